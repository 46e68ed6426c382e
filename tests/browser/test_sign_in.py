"""Signing in, as a person does it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.product import Product


def test_the_sign_in_page_is_accessible_and_refuses_in_words(page: Page, product: Product) -> None:
    page.goto("/")
    expect(page).to_have_url(f"{product.url}/sign-in/?next=/destinations/")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()

    page.get_by_label("Username").fill(product.user)
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_text("Wrong username or password")).to_be_visible()
