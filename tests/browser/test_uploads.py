"""A list of customers from a spreadsheet to the members of a segment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import NARROW, WIDE
from tests.product import Product
from tests.services import ROOT

KOREAN = (
    "고객,이메일,포인트\n"
    "김민준,upload.kim@example.com,1200\n"
    "이서연,upload.lee@example.com,\n"
    "박지우,주소 없음,5\n"
    '"최수빈,upload.choi@example.com,7\n'
    "정하윤,upload.jung@example.com,300\n"
)


@pytest.fixture
def list_of(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_a_list_becomes_a_segment_and_is_replaced(
    page: Page, sign_in: Callable[[Page], None], product: Product, list_of: Callable[[str, bytes], Path]
) -> None:
    sign_in(page)
    page.get_by_role("link", name="Segments", exact=True).click()
    page.get_by_role("link", name="Upload a segment").click()

    # A workbook is no CSV, and what was typed stays.
    page.get_by_label("Name of the new segment").fill("Summer sale")
    page.get_by_label("File", exact=True).set_input_files(list_of("list.xlsx", b"PK\x03\x04workbook"))
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Save the sheet as “CSV UTF-8”").first).to_be_visible()
    expect(page.get_by_label("Name of the new segment")).to_have_value("Summer sale")
    assert_accessible(page)
    page.get_by_label("File", exact=True).set_input_files(list_of("여름.csv", KOREAN.encode("cp949")))
    page.get_by_role("button", name="Next").click()

    # The first rows, as they are written; another separator is tried and taken back.
    expect(page.get_by_role("cell", name="김민준")).to_be_visible()
    expect(page.get_by_label("Encoding")).to_have_value("cp949")
    expect(page.get_by_text("1 of the first 6 rows")).to_be_visible()
    page.get_by_label("Between columns").select_option("|")
    expect(page.get_by_role("cell", name="김민준", exact=True)).to_have_count(0)
    page.get_by_label("Between columns").select_option(",")
    expect(page.get_by_role("cell", name="김민준", exact=True)).to_be_visible()
    expect(page.get_by_label("이메일 is the identity")).to_be_checked()

    # A wrong column is told before anything happens.
    page.get_by_label("고객 is the identity").check()
    page.get_by_role("button", name="Start the upload").click()
    expect(page.get_by_text("“김민준”: This is no email address.").first).to_be_visible()
    assert_accessible(page)
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.screenshot(path=ROOT / "var" / "browser" / "upload-columns-error-390.png", full_page=True)
    page.set_viewport_size(WIDE)
    page.get_by_label("이메일 is the identity").check()
    page.get_by_role("row", name="포인트").get_by_role("combobox").select_option("loyalty.points")
    page.get_by_label("Days that members stay").fill("7")
    page.get_by_role("button", name="Start the upload").click()

    # The page follows the worker by itself.
    expect(page.get_by_text("Done, with rejected rows")).to_be_visible(timeout=20_000)
    rows = page.get_by_role("row")
    expect(rows.filter(has_text="주소 없음")).to_contain_text("This is no email address.")
    expect(rows.filter(has_text="최수빈")).to_contain_text("quotation mark")
    assert_accessible(page)
    page.screenshot(path=ROOT / "var" / "browser" / "upload.png", full_page=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    assert "주소 없음" in Path(download.value.path()).read_text("utf-8-sig")

    # Another file takes out who is not in it.
    page.get_by_role("link", name="Upload another file").click()
    expect(page.get_by_label("Segment", exact=True)).to_have_value(page.url.partition("segment=")[2])
    second = b"email\nupload.lee@example.com\nupload.new@example.com\n"
    page.get_by_label("File", exact=True).set_input_files(list_of("second.csv", second))
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_label("Days that members stay")).to_have_value("7")
    page.get_by_label("Replace the members").check()
    page.get_by_role("button", name="Start the upload").click()
    expect(page.locator(".stat").filter(has_text="Left the segment")).to_contain_text("2", timeout=20_000)
    page.get_by_role("link", name="Summer sale").first.click()
    expect(page.get_by_role("link", name="Members (2)")).to_be_visible()
    expect(page.locator("#details")).to_contain_text("Custom upload")
    page.get_by_role("link", name="Uploads", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(3)
