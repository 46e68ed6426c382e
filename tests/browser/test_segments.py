"""A segment from its rule to its members: what the estimate says is who is in it, and who comes and goes later."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import NARROW
from tests.product import Product
from tests.services import ROOT


@pytest.fixture
def form(page: Page, sign_in: Callable[[Page], None]) -> Page:
    sign_in(page)
    page.get_by_role("link", name="Segments", exact=True).click()
    page.get_by_role("link", name="Create segment").click()
    return page


def write(product: Product, entity: dict[str, Any]) -> None:
    path = product.env_file.with_name("write.ndjson")
    path.write_text(json.dumps(entity) + "\n")
    product.manage("import_profiles", str(path))


def test_a_rule_is_written_estimated_and_followed(form: Page, product: Product) -> None:
    page = form
    estimate = page.locator("#estimate")
    expect(estimate).to_contain_text("estimated while the rule is written")
    rule = page.get_by_label("Rule", exact=True)

    # A mistake is shown where it is, while it is written.
    rule.press_sequentially('homeAddress.countryCod = "KR"')
    expect(estimate.locator("mark")).to_have_text("h")
    expect(estimate).to_contain_text("Did you mean homeAddress.countryCode?")
    assert_accessible(page)
    rule.fill('homeAddress.countryCode = "KR" and loyalty.points > 3000')
    expect(estimate.locator(".big-number")).to_have_text(re.compile(r"^[1-9]\d*$"))
    expect(estimate.get_by_role("listitem")).to_have_count(10)
    estimated = int(estimate.locator(".big-number").inner_text())
    assert_accessible(page)
    page.screenshot(path=ROOT / "var" / "browser" / "segment-form.png", full_page=True)
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.screenshot(path=ROOT / "var" / "browser" / "segment-form-390.png", full_page=True)
    page.set_viewport_size({"width": 1440, "height": 900})

    # Saved, the worker asks everybody, and the page notices by itself.
    page.get_by_label("Name").fill("Seoul, with points")
    page.get_by_role("button", name="Create segment").click()
    expect(page.get_by_role("heading", name="Seoul, with points")).to_be_visible()
    expect(page.get_by_role("link", name=f"Realized ({estimated})")).to_be_visible(timeout=20_000)
    expect(page.locator("#details")).to_contain_text("Live")
    assert_accessible(page)
    page.screenshot(path=ROOT / "var" / "browser" / "segment.png", full_page=True)

    # A customer comes, and leaves.
    known = {"identityMap": {"Email": [{"id": "browser.segment@example.com"}]}}
    write(product, {**known, "homeAddress": {"countryCode": "KR"}, "loyalty": {"points": 5000}})
    page.reload()
    expect(page.get_by_role("link", name=f"Realized ({estimated + 1})")).to_be_visible()
    write(product, {**known, "loyalty": {"points": 5}})
    page.reload()
    expect(page.get_by_role("link", name="Exited (1)")).to_be_visible()

    # By the keyboard: archived after a question, and live again.
    page.get_by_role("button", name="Archive").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("its members stay as they are")
    dialog.get_by_role("button", name="Archive").click()
    expect(page.locator("#details")).to_contain_text("Archived")
    page.get_by_role("button", name="Make live").click()
    expect(page.locator("#details")).to_contain_text("Live", timeout=20_000)


def test_a_draft_with_a_mistake_is_kept(form: Page) -> None:
    page = form
    page.get_by_label("Name").fill("Half a thought")
    page.get_by_label("Rule", exact=True).fill("loyalty.points >")
    page.get_by_role("button", name="Create segment").click()
    expect(page.get_by_text("Character 17: The rule is not finished.").first).to_be_visible()
    expect(page.get_by_label("Rule", exact=True)).to_have_value("loyalty.points >")
    assert_accessible(page)
    page.screenshot(path=ROOT / "var" / "browser" / "segment-form-error.png", full_page=True)
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator("#details")).to_contain_text("Draft")
    page.screenshot(path=ROOT / "var" / "browser" / "segment-draft.png", full_page=True)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control with this name has the focus, as somebody without a mouse does."""
    for _press in range(40):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "document.activeElement.ariaLabel ?? document.activeElement.textContent"
        ).strip()
        if found.startswith(name):
            return
    raise AssertionError(f"{name} can't be reached with Tab; the last was {found}")


def test_a_rule_is_built_by_keyboard(form: Page) -> None:
    page = form
    keys, builder = page.keyboard, page.locator("#builder")
    page.get_by_label("Name").focus()
    keys.type("Ready to convert")

    # A field is searched for, and the focus goes on to what is asked of it, and to the value.
    tab_to(page, "Field of condition 1: Choose a field")
    keys.press("Enter")
    expect(page.get_by_label("Search fields by path or title")).to_be_focused()
    keys.type("loyalty.points")
    tab_to(page, "points")
    keys.press("Enter")
    expect(page.get_by_label("Operator of condition 1")).to_be_focused()
    keys.type("is more")
    page.keyboard.press("Tab")
    # The operator may be on its way still: nothing that is typed meanwhile is lost.
    keys.type("1000")
    rule, number = page.get_by_label("Rule", exact=True), page.locator("#estimate .big-number")
    expect(rule).to_have_value("loyalty.points > 1000")
    expect(page.get_by_label("Value of condition 1")).to_be_focused()
    expect(page.get_by_label("Value of condition 1")).to_have_value("1000")
    everybody = int(number.inner_text())

    tab_to(page, "Add condition")
    keys.press("Enter")
    expect(page.get_by_label("Search fields by path or title")).to_be_focused()
    keys.type("Email choice")
    assert_accessible(page)
    page.screenshot(path=ROOT / "var" / "browser" / "builder-fields.png", full_page=True)
    tab_to(page, "val")
    keys.press("Enter")
    expect(page.get_by_label("Operator of condition 2")).to_be_focused()
    keys.press("Tab")
    keys.type("y")
    expect(rule).to_have_value('loyalty.points > 1000 and consents.marketing.email.val = "y"')
    expect(number).not_to_have_text(str(everybody))
    estimated = number.inner_text()
    expect(page.locator("#estimate").get_by_role("listitem")).to_have_count(10)
    assert_accessible(page)

    # A group, and a way back: each leaves the focus where it was worked.
    tab_to(page, "Add group")
    keys.press("Enter")
    expect(page.get_by_label("Group 3: how many have to be so")).to_be_focused()
    tab_to(page, "Remove group 3")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Remove condition 2")).to_be_focused()
    page.get_by_role("button", name="Move condition 2 up").focus()
    keys.press("Enter")
    expect(rule).to_have_value('consents.marketing.email.val = "y" and loyalty.points > 1000')
    expect(page.get_by_role("button", name="Move condition 1 up")).to_be_focused()

    # The text leads the builder, and tells what is too rich for it.
    rule.focus()
    keys.press("ControlOrMeta+End")
    keys.type(" * 2")
    expect(builder).to_contain_text("more than the builder can show")
    expect(rule).to_be_focused()
    for _letter in " * 2":
        keys.press("Backspace")
    expect(page.get_by_label("Value of condition 2")).to_have_value("1000")

    expect(number).to_have_text(estimated)
    page.screenshot(path=ROOT / "var" / "browser" / "builder.png", full_page=True)
    tab_to(page, "Create segment")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Ready to convert")).to_be_visible()
    expect(page.get_by_role("link", name=f"Realized ({estimated})")).to_be_visible(timeout=20_000)
