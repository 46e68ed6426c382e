"""Uploads in the browser: the file, its columns, the report."""

from __future__ import annotations

import csv
import io
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from profiles.models import IdentityNamespace, Segment, Upload, UploadPart
from profiles.uploads import files, work
from tests.factories import SegmentFactory, UserFactory
from tests.profiles.uploads.conftest import addresses, done, members, received, started

pytestmark = pytest.mark.django_db

NEW = reverse("profiles:upload_new")
KOREAN = "이메일;이름;점수\nkim@example.com;김민준;10\nlee@example.com;이서연;20\n"


@pytest.fixture
def browser(marketer: User) -> Client:
    client = Client()
    client.force_login(marketer)
    return client


def url(name: str, upload: Upload) -> str:
    return reverse(f"profiles:{name}", args=[upload.pk])


def page(browser: Client, address: str) -> str:
    response = browser.get(address)
    assert response.status_code == 200
    return unescape(response.content.decode())


def post_file(browser: Client, data: str | bytes, *, file_name: str = "list.csv", **fields: str) -> Any:
    data = data.encode() if isinstance(data, str) else data
    file = SimpleUploadedFile(file_name, data)
    return browser.post(NEW, {"name": "Summer sale", "segment": "", **fields, "file": file})


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 422
    return dict(response.context["form"].errors)


def choices(upload: Upload, **changes: str) -> dict[str, str]:
    """The form of the columns as it comes, with changes."""
    email = IdentityNamespace.objects.get(code="Email")
    return {"identity": "0", "namespace": str(email.pk), "expires_after": "30", "way": "append", **changes}


# --- The file


def test_a_file_becomes_a_draft_that_shows_its_first_rows(browser: Client, marketer: User) -> None:
    response = post_file(browser, KOREAN.encode("cp949"), file_name="C:\\Daten\\고객.csv")
    upload = Upload.objects.get()
    assert response["Location"] == url("upload_columns", upload)
    assert (upload.file_name, upload.encoding, upload.delimiter, upload.has_header) == (
        "고객.csv", "cp949", ";", True,
    )  # fmt: skip
    assert (upload.created_by, upload.state, Segment.objects.count()) == (marketer, "draft", 0)
    shown = page(browser, response["Location"])
    assert "김민준" in shown and "점수" in shown and "Summer sale" in shown
    form = browser.get(response["Location"]).context["form"]
    assert form["identity"].initial == 0 and form["namespace"].initial.code == "Email"


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "The file is empty."),
        (b"PK\x03\x04\x14\0", "Excel workbook"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (bytes(range(256)) * 10, "no text file"),
        (b"email\n", "no rows"),
        (b"\n\n", "no rows"),
        (b",".join([b"x"] * 101) + b"\n" + b",".join([b"y"] * 101), "more than 100 columns"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_told_at_the_file(browser: Client, data: bytes, words: str) -> None:
    assert words in errors(post_file(browser, data))["file"][0]
    assert not Upload.objects.exists() and not UploadPart.objects.exists()


def test_a_file_that_is_too_long_is_refused_and_not_kept(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 3 * 1024 * 1024)
    kept = []
    monkeypatch.setattr(
        "django.core.files.uploadhandler.TemporaryFileUploadHandler.receive_data_chunk",
        lambda handler, data, start: kept.append(len(data)),
    )
    found = errors(post_file(browser, b"a@example.com\n" * 500_000))
    assert found["file"] == [
        "The file has 6.7\xa0MB; 3.0\xa0MB are the limit. Split it, and add one part after the other."
    ]
    assert sum(kept) < 4 * 1024 * 1024


def test_the_segment_is_new_with_a_name_or_takes_uploads(browser: Client, segment: Segment) -> None:
    ruled = SegmentFactory.create(origin=Segment.Origin.SEGMENTATION)
    archived = SegmentFactory.create(state=Segment.State.ARCHIVED)
    assert "Give the new segment a name" in errors(post_file(browser, "a@x.kr", name=" "))["name"][0]
    for other in (ruled.pk, archived.pk, "nothing", "a\0b"):
        assert "segment" in errors(post_file(browser, "a@x.kr", segment=other))
    assert "file" in errors(browser.post(NEW, {"name": "x"}))
    post_file(browser, "a@x.kr", segment=segment.pk)
    assert Upload.objects.get().segment == segment
    assert browser.get(f"{NEW}?segment=vip").context["form"]["segment"].value() == "vip"


# --- The columns


def test_columns_are_guessed_by_their_names_and_values(browser: Client) -> None:
    upload = received("note,First name,mail,loyalty.points\nx,Kim,kim@example.com,5\n")
    form = browser.get(url("upload_columns", upload)).context["form"]
    assert form["identity"].initial == 2 and form["namespace"].initial.code == "Email"
    assert [field.initial for field in form.column_fields] == [
        "",
        "person.name.firstName",
        "",
        "loyalty.points",
    ]
    upload = received("x,CRMID\n1,2\n")
    form = browser.get(url("upload_columns", upload)).context["form"]
    assert form["identity"].initial == 1 and form["namespace"].initial.code == "CRMID"


def test_a_file_without_names_is_read_without_them(browser: Client) -> None:
    upload = received("kim@example.com,Kim\nlee@example.com,Lee\n")
    shown = page(browser, url("upload_columns", upload))
    assert "Column 1" in shown and shown.count("kim@example.com") >= 2
    browser.post(url("upload_columns", upload), choices(upload))
    work.proceed(upload.pk)
    assert members(Segment.objects.get().pk) == {"kim", "lee"}


def test_encoding_and_separator_can_be_said_anew(browser: Client) -> None:
    upload = received(KOREAN.encode("cp949"))
    where = url("upload_read_as", upload)
    wrong = {"encoding": "utf-8-sig", "delimiter": ",", "has_header": "on"}
    assert browser.post(where, wrong)["Location"] == url("upload_columns", upload)
    shown = page(browser, url("upload_columns", upload))
    assert "3 of the first 3 rows" in shown and "Choose another encoding" in shown
    assert (
        "None of the first rows can be taken. Row 2"
        in errors(browser.post(url("upload_columns", upload), choices(upload)))["identity"][0]
    )
    browser.post(where, {"encoding": "cp949", "delimiter": ";"})
    upload.refresh_from_db()
    assert (upload.encoding, upload.delimiter, upload.has_header) == ("cp949", ";", False)
    browser.post(where, {"encoding": "klingon", "delimiter": ";"})
    upload.refresh_from_db()
    assert upload.encoding == "cp949"


@pytest.mark.parametrize(
    "change, field, words",
    [
        ({"identity": "1"}, "identity", "Row 2, “김민준”: This is no email address."),
        ({"identity": "3"}, "identity", "valid choice"),
        ({"namespace": ""}, "namespace", "required"),
        ({"expires_after": "0"}, "expires_after", "greater than or equal to 1"),
        ({"expires_after": "91"}, "expires_after", "less than or equal to 90"),
        ({"way": "x"}, "way", "valid choice"),
        ({"column_1": "nothing.like.this"}, "column_1", "valid choice"),
        ({"column_1": "identityMap"}, "column_1", "valid choice"),
        ({"column_1": "person.gender", "column_2": "person.gender"}, "column_2", "“이름” is written"),
        ({"column_1": "loyalty.points"}, "identity", "Row 2, “김민준”: This is no whole number."),
    ],
)
def test_what_can_not_be_is_told_at_its_field(
    browser: Client, segment: Segment, change: dict[str, str], field: str, words: str
) -> None:
    upload = received(KOREAN, segment)
    found = errors(browser.post(url("upload_columns", upload), choices(upload, **change)))
    assert any(words in message for message in found[field]), found
    upload.refresh_from_db()
    assert upload.state == "draft"


def test_a_start_happens_once_however_often_it_is_pressed(browser: Client, segment: Segment) -> None:
    upload = received(KOREAN, segment)
    form = choices(upload, way="replace", expires_after="7", column_1="person.name.fullName")
    for _time in range(2):
        assert browser.post(url("upload_columns", upload), form)["Location"] == url("upload", upload)
    upload.refresh_from_db()
    segment.refresh_from_db()
    assert (upload.state, upload.way, upload.columns) == (
        "waiting",
        "replace",
        ["", "person.name.fullName", ""],
    )
    assert segment.expires_after == 7
    assert browser.get(url("upload_columns", upload))["Location"] == url("upload", upload)


def test_a_draft_is_dropped(browser: Client) -> None:
    upload = received(addresses("a"))
    assert browser.get(url("upload", upload))["Location"] == url("upload_columns", upload)
    for _time in range(2):
        assert browser.post(url("upload_stop", upload))["Location"] == reverse("profiles:segments")
    assert not Upload.objects.exists() and not UploadPart.objects.exists()


# --- The report


def test_the_report_follows_and_tells_what_was_rejected(browser: Client, segment: Segment) -> None:
    upload = started(addresses("a") + "<b>x</b>\n" * 30, segment, Upload.Way.REPLACE)
    second = started(addresses("b"), segment)
    assert 'hx-trigger="every 2s"' in page(browser, url("upload", upload))
    assert "Another upload to this segment comes first" in page(browser, url("upload", second))
    work.proceed(upload.pk)
    shown = page(browser, url("upload", upload))
    assert (
        "every 2s" not in shown
        and "Done, with rejected rows" in shown
        and "This is no email address." in shown
    )
    assert "<b>x" not in browser.get(url("upload", upload)).content.decode()
    assert "1–25 of 30" in shown and "26–30 of 30" in page(browser, url("upload", upload) + "?page=2")
    browser.post(url("upload_stop", second))
    assert "Stopped" in page(browser, url("upload", second))


def test_a_file_of_which_nothing_was_taken_says_that_nobody_left(browser: Client, segment: Segment) -> None:
    done(addresses("a"), segment)
    upload = started(addresses("b"), segment, Upload.Way.REPLACE)
    Upload.objects.filter(pk=upload.pk).update(namespace="Gone")
    work.proceed(upload.pk)
    assert "the members stay as they were" in page(browser, url("upload", upload))


def test_rejected_rows_are_downloaded_as_text_that_no_spreadsheet_computes(browser: Client) -> None:
    upload = done(addresses("a") + '"=HYPERLINK(""http://x"")"\n-1\n@김\n+82 10\n"comma, ""quoted"""\n')
    response = browser.get(url("upload_rejected", upload))
    assert "attachment" in response["Content-Disposition"]
    data = b"".join(response.streaming_content)  # type: ignore[attr-defined]
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows[0] == ["Row", "Value", "Reason"]
    assert [(number, value) for number, value, _reason in rows[1:]] == [
        ("3", "'=HYPERLINK(\"http://x\")"), ("4", "'-1"), ("5", "'@김"), ("6", "'+82 10"), ("7", 'comma, "quoted"'),
    ]  # fmt: skip


def test_uploads_are_found_at_their_segment(browser: Client, segment: Segment) -> None:
    uploads = reverse("profiles:uploads", args=["vip"])
    assert uploads in page(browser, reverse("profiles:segment", args=["vip"]))
    assert "No uploads yet" in page(browser, uploads)
    received(addresses("draft"), segment)
    upload = done(addresses("a") + "x\n", segment)
    shown = page(browser, uploads)
    assert url("upload", upload) in shown and shown.count("list.csv") == 2  # with its tooltip
    assert f"{NEW}?segment=vip" in shown
    Segment.objects.update(state=Segment.State.ARCHIVED)
    assert f"{NEW}?segment=vip" not in page(browser, uploads)
    assert browser.get(reverse("profiles:uploads", args=["a\0b"])).status_code == 404


def test_who_may_only_look_at_segments_sees_no_file(segment: Segment) -> None:
    upload = done(addresses("a") + "secret customer\n", segment)
    viewer = Client()
    viewer.force_login(UserFactory.create(permissions=["profiles.view_segment"]))
    for name in ("upload", "upload_columns", "upload_rejected"):
        assert viewer.get(url(name, upload)).status_code == 403
    assert NEW not in page(viewer, reverse("profiles:segments"))


def test_pages_have_few_queries_however_much_there_is(browser: Client, segment: Segment) -> None:
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            page(browser, address)
        return len(captured)

    uploads = reverse("profiles:uploads", args=["vip"])
    upload = done(addresses("a") + "x\n", segment)
    draft = received("a,b\n" + "k@x.kr,1\n", segment)
    few = queries(uploads), queries(url("upload", upload)), queries(url("upload_columns", draft))
    for number in range(5):
        done(addresses(f"b{number}") + "x\n" * 30, segment)
    upload = Upload.objects.filter(rejected=30)[0]
    draft = received(",".join("abcdefghij") + "\n" + "k@x.kr,2,3,4,5,6,7,8,9,10\n" * 40, segment)
    assert (queries(uploads), queries(url("upload", upload)), queries(url("upload_columns", draft))) == few
    assert max(few) <= 12


def test_the_admin_shows_uploads_and_changes_none(segment: Segment) -> None:
    upload = done(addresses("a"), segment)
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    assert "list.csv" in page(admin, reverse("admin:profiles_upload_changelist"))
    assert "VIP" in page(admin, reverse("admin:profiles_upload_change", args=[upload.pk]))
    assert admin.get(reverse("admin:profiles_upload_add")).status_code == 403
