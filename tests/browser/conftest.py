"""A real Chromium (the system's own; nothing is downloaded) against the running product.

``product`` is one run for all browser tests, ``page`` a fresh browser context signed out, ``sign_in(page)`` signs in.
A failed test leaves a screenshot in ``var/browser/``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.product import Product, running_product
from tests.services import ROOT

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product with 300 sample profiles."""
    with running_product(tmp_path_factory.mktemp("product"), SAMPLE_PROFILES="300") as product:
        yield product


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    assert path, f"None of {', '.join(CHROMIUMS)} is installed."
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, product: Product, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(base_url=product.url, viewport=WIDE, locale="en-US")
    context.set_default_timeout(10_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    if getattr(request.node, "failed", False):
        name = re.sub(r"\W+", "-", request.node.name)
        page.screenshot(path=ROOT / "var" / "browser" / f"{name}.png", full_page=True)
    context.close()
    assert errors == [], "JavaScript failed in the page"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report


@pytest.fixture
def sign_in(product: Product) -> Callable[[Page], None]:
    def sign_in(page: Page) -> None:
        page.goto("/sign-in/")
        page.get_by_label("Username").fill(product.user)
        page.get_by_label("Password", exact=True).fill(product.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in/" not in url)

    return sign_in
