"""Signing in, as a person does it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.accessibility import assert_accessible
from tests.product import Product


def test_the_sign_in_page_is_accessible_and_refuses_in_words(page: Page, product: Product) -> None:
    page.goto("/destinations/")
    expect(page).to_have_url(f"{product.url}/sign-in/?next=/destinations/")
    assert_accessible(page)

    page.get_by_label("Username").fill(product.user)
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_text("You were not signed in")).to_be_visible()
    assert_accessible(page)


def test_one_lands_on_the_destinations_and_gets_out_again(
    page: Page, product: Product, sign_in: Callable[[Page], None]
) -> None:
    sign_in(page)
    expect(page).to_have_url(f"{product.url}/destinations/")
    expect(page).to_have_title("Destinations · Kinesis Admin")

    page.context.clear_cookies()
    page.reload()

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
