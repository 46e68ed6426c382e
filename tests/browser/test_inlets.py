"""An inlet from its page to the first customer: the command that is shown is the command that works."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import assert_accessible


@pytest.fixture
def inlet_page(page: Page, sign_in: Callable[[Page], None]) -> Page:
    sign_in(page)
    page.get_by_role("link", name="Inlets").click()
    return page


def test_the_command_of_a_new_inlet_posts_a_customer(inlet_page: Page) -> None:
    page = inlet_page
    page.get_by_role("link", name="Create inlet").first.click()
    page.get_by_role("textbox", name="Name").fill("Tills of the flagship store")
    page.get_by_role("button", name="Create inlet").click()
    expect(page.get_by_text("Copy the token now")).to_be_visible()
    assert_accessible(page)
    export, curl = (
        page.get_by_role("region", name=name, exact=True).locator("code").inner_text()
        for name in ("Token for the shell", "Post a customer")
    )
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_role("heading", name="Tills of the flagship store")).to_be_visible()
    assert export not in page.content()

    shell = {"PATH": os.environ["PATH"]}
    posted = subprocess.run(
        ["sh", "-c", f"{export}\n{curl}"], env=shell, capture_output=True, text=True, check=True
    )
    assert json.loads(posted.stdout)["syncValidation"] == {"status": "pass"}, posted.stdout
    without_token = subprocess.run(["sh", "-c", curl], env=shell, capture_output=True, text=True)
    assert json.loads(without_token.stdout)["status"] == 401

    # The page notices by itself.
    expect(page.locator("#traffic .stat", has_text="Accepted").first.locator(".stat-value")).to_have_text(
        "1", timeout=15_000
    )
    page.get_by_role("searchbox", name="Find a profile by identity").fill("minjun@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Min-jun Kim")).to_be_visible()


def test_a_new_token_and_disabling_ask_first(inlet_page: Page) -> None:
    page = inlet_page
    page.get_by_role("link", name="Create inlet").first.click()
    page.get_by_role("textbox", name="Name").fill("Open till")
    page.get_by_label("Whoever knows its address").check()
    page.get_by_role("button", name="Create inlet").click()
    expect(page.get_by_role("heading", name="Open till")).to_be_visible()

    page.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(page.get_by_text("“Open till” takes no messages now.")).to_be_visible()
    page.get_by_role("button", name="Enable").click()
    expect(page.get_by_text("“Open till” takes messages again.")).to_be_visible()

    page.get_by_role("button", name="Ask for a token").click()
    page.get_by_role("dialog").get_by_role("button", name="Ask for a token").click()
    expect(page.get_by_text("Copy the token now")).to_be_visible()
    page.get_by_role("link", name="I have copied it").click()

    page.get_by_role("link", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete inlet").click()
    expect(page.get_by_text("“Open till” was deleted.")).to_be_visible()
