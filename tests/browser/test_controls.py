"""What an operator does in a real browser: watch, steer, and answer for what failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.activated import Activated, activate
from tests.product import Product


@pytest.fixture(scope="module")
def activated(product: Product) -> Activated:
    return activate(product, "Steered by the operator")


def test_an_operator_watches_and_steers_a_dataflow(
    page: Page, activated: Activated, sign_in: Callable[[Page], None]
) -> None:
    sign_in(page)
    page.goto(f"/destinations/{activated.destination}/")
    expect(page.locator("#capacity")).to_contain_text("2 shards")
    members = _number(_stat(page, "Activated in this hour"))
    assert members > 0

    # Lanes: the dialog stays while the numbers behind it are asked for again.
    page.locator("#ask-lanes").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Lanes").fill("6")
    with page.expect_response(lambda response: "/runs/" in response.url):
        pass
    _assert_accessible(page)
    dialog.get_by_role("button", name="Save").click()
    _expect_toast(page, "The lanes were changed.")
    expect(page.locator("#ask-lanes")).to_contain_text("6 lanes")

    # Replayed while it is disabled, all members wait; once purged, none does.
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    _expect_toast(page, "Disabled:")
    _replay_all_members(page, expected=members)
    _expect_toast(page, f"{members:,} records are queued. They are sent once the destination is enabled.")
    expect(_stat(page, "Waiting")).to_have_text(f"{members:,}")
    page.locator("#ask-purge").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"{members:,} records that wait will not be sent.")
    _assert_accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Purge the backlog").click()
    _expect_toast(page, f"{members:,} records were dropped")
    expect(_stat(page, "Waiting")).to_have_text("0")

    # Enabled, a replay goes out before the eyes, and what is drained ends disabled.
    page.get_by_role("button", name="Enable").click()
    page.get_by_role("dialog").get_by_role("button", name="Enable").click()
    _expect_toast(page, "Enabled:")
    _replay_all_members(page, expected=members)
    _expect_toast(page, f"{members:,} records are on their way again.")
    expect(_stat(page, "Activated in this hour")).not_to_have_text(f"{members:,}", timeout=30_000)
    expect(_stat(page, "Waiting")).to_have_text("0", timeout=30_000)
    page.locator("#ask-drain").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    _expect_toast(page, "Nothing was waiting: it is disabled.")
    expect(page.get_by_role("button", name="Enable")).to_be_visible()


def test_an_operator_answers_for_what_failed(
    page: Page, activated: Activated, sign_in: Callable[[Page], None], tmp_path: Path
) -> None:
    sign_in(page)
    page.goto(f"/activation/{activated.destination}/failures/")
    results = page.locator("#results")
    total, large = _found(results), _found(results, "RecordTooLarge")
    assert large >= 5
    page.get_by_label("Code", exact=True).select_option("RecordTooLarge")
    expect(results).to_contain_text(f"{large} found")

    # Two are discarded, with a word why.
    _tick(page, 2)
    page.locator("#discard-chosen").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Discard 2 failed exports")
    _assert_accessible(page)
    dialog.get_by_label("Why").fill("Test customers")
    dialog.get_by_role("button", name="Discard").click()
    _expect_toast(page, "2 failed exports were discarded.")
    expect(results).to_contain_text(f"{large - 2} found")

    # Three are looked at at home; the dialog of their replay is closed again, and the focus is where it was.
    _tick(page, 3)
    with page.expect_download() as download:
        results.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "three.ndjson")
    lines = [json.loads(line) for line in (tmp_path / "three.ndjson").read_text().splitlines()]
    assert [line["code"] for line in lines] == ["RecordTooLarge"] * 3
    assert all(line["record"]["identityMap"] for line in lines)
    page.locator("#replay-chosen").click()
    expect(dialog).to_contain_text("Replay 3 failed exports")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(page.locator("#replay-chosen")).to_be_focused()

    # All that the filter finds are replayed; those of another code stay open.
    page.locator("#replay-all").click()
    expect(dialog).to_contain_text(f"Replay {large - 2} failed exports")
    dialog.get_by_role("button", name="Replay").click()
    _expect_toast(page, f"{large - 2} records are")
    expect(results).to_contain_text("No failed export is as the filters ask")
    results.get_by_role("link", name="Show all that are open").click()
    expect(results).to_contain_text(f"{total - large} found")

    # What was discarded can be looked up, with the reason.
    page.get_by_label("State").select_option("Discarded")
    expect(results).to_contain_text("2 found")
    results.get_by_role("link", name="RecordTooLarge").first.click()
    expect(page.get_by_text("Test customers")).to_be_visible()
    _assert_accessible(page)


def _stat(page: Page, label: str) -> Locator:
    tile = page.locator("#runs .stat", has=page.get_by_text(label, exact=True))
    return tile.locator(".stat-value")


def _number(value: Locator) -> int:
    return int(value.inner_text().replace(",", ""))


def _found(results: Locator, code: str = "") -> int:
    """How many failed exports a page that holds all of them shows."""
    return results.locator("tbody tr", has_text=code).count()


def _tick(page: Page, count: int) -> None:
    boxes = page.locator("tbody").get_by_role("checkbox")
    for index in range(count):
        boxes.nth(index).check()


def _replay_all_members(page: Page, *, expected: int) -> None:
    page.get_by_role("link", name="Replay").click()
    page.get_by_role("button", name="Count", exact=True).click()
    expect(page.locator(".big-number")).to_have_text(f"{expected:,}")
    _assert_accessible(page)
    page.get_by_role("button", name="Send again").click()


def _expect_toast(page: Page, text: str) -> None:
    expect(page.locator(".toast").filter(has_text=text)).to_be_visible()


def _assert_accessible(page: Page) -> None:
    """Once no dialog moves any more: one that comes up is pale at first."""
    page.wait_for_function(
        "() => ![...document.querySelectorAll('dialog')].some((each) => each.getAnimations().length)"
    )
    assert_accessible(page)
