"""What uploads make of segments, batch after batch."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activation.models import PendingExport
from profiles import services as segments
from profiles.ingest import Fragment, ingest
from profiles.models import (
    Identity,
    IdentityNamespace,
    Profile,
    Segment,
    SegmentMembership,
    Upload,
    UploadPart,
)
from profiles.signals import ProfileChange, Transition
from profiles.uploads import services, work
from tests.factories import DataflowFactory
from tests.profiles.uploads.conftest import (
    addresses,
    done,
    members,
    received,
    rejections,
    started,
    statuses,
)

pytestmark = pytest.mark.django_db

Announced = list[list[ProfileChange]]
REPLACE, APPEND, REMOVE = Upload.Way.REPLACE, Upload.Way.APPEND, Upload.Way.REMOVE


@pytest.fixture
def _batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BATCH", 2)


batches_of_two = pytest.mark.usefixtures("_batches_of_two")


def transitions(announced: Announced) -> list[tuple[str | None, str]]:
    return [
        (step.before, step.after) for batch in announced for change in batch for step in change.transitions
    ]


def aged(segment: Segment, days: float) -> None:
    """Let everything that happened have happened so many days earlier."""
    earlier = timedelta(days=days)
    for membership in SegmentMembership.objects.filter(segment=segment):
        membership.last_qualification_time -= earlier
        membership.save()
    segment.refresh_from_db()
    if segment.expires_since is not None:
        segment.expires_since -= earlier
        segment.save()


# --- Append, replace, remove


def test_a_file_makes_a_segment_with_its_customers(announced: Announced) -> None:
    ingest([Fragment([("Email", "kim@example.com")], {"person": {"name": {"firstName": "Min-jun"}}})])
    announced.clear()
    upload = done(addresses("kim", "lee"))
    segment = Segment.objects.get()
    assert (segment.name, segment.origin, segment.expires_after) == ("List", "upload", 30)
    assert segment.evaluated_at == upload.finished_at
    assert members(segment.pk) == {"kim", "lee"}
    assert transitions(announced) == [(None, "realized")] * 2
    assert (upload.rows, upload.accepted, upload.created, upload.joined) == (3, 2, 1, 2)
    assert not UploadPart.objects.exists()


@batches_of_two
def test_adding_leaves_the_others_and_confirms_who_is_there(segment: Segment, announced: Announced) -> None:
    done(addresses("a", "b", "c"), segment)
    announced.clear()
    upload = done(addresses("c", "d", "e", "d", "c"), segment)
    assert statuses("vip") == {
        "a": "realized", "b": "realized", "c": "existing", "d": "realized", "e": "realized",
    }  # fmt: skip
    assert transitions(announced) == [(None, "realized")] * 2
    assert (upload.accepted, upload.joined, upload.left) == (5, 2, 0)


@batches_of_two
def test_replacing_lets_those_leave_who_are_not_in_the_file(segment: Segment, announced: Announced) -> None:
    done(addresses("a", "b", "c", "d", "e"), segment)
    announced.clear()
    upload = done(addresses("x", "c", "y"), segment, REPLACE)
    assert members("vip") == {"c", "x", "y"}
    assert sorted(transitions(announced), key=str) == [
        *[("realized", "exited")] * 4,
        *[(None, "realized")] * 2,
    ]
    assert (upload.joined, upload.left) == (2, 4)


def test_who_comes_in_by_another_door_meanwhile_stays(segment: Segment, told: list[uuid.UUID]) -> None:
    done(addresses("a"), segment)
    upload = started(addresses("b"), segment, REPLACE)
    work.proceed(upload.pk, seconds=-1)  # the rows, and not yet who leaves
    ingest([Fragment([("Email", "late@example.com")], memberships={"vip": ("realized", None)})])
    work.proceed(upload.pk)
    assert members("vip") == {"b", "late"}


def test_customers_who_prove_to_be_one_are_not_taken_out(segment: Segment) -> None:
    done(addresses("a", "b"), segment)
    upload = started(addresses("b"), segment, REPLACE)
    work.proceed(upload.pk, seconds=-1)
    ingest([Fragment([("Email", "a@example.com"), ("Email", "b@example.com")])])
    work.proceed(upload.pk)
    [membership] = SegmentMembership.objects.all()
    assert membership.status == "existing"


@batches_of_two
def test_removing_takes_out_who_is_there_and_makes_nobody(segment: Segment, announced: Announced) -> None:
    done(addresses("a", "b", "c"), segment)
    ingest([Fragment([("Email", "known@example.com")])])
    announced.clear()
    upload = done(addresses("b", "unknown", "known", "b", "c"), segment, REMOVE)
    assert statuses("vip") == {"a": "realized", "b": "exited", "c": "exited"}
    assert transitions(announced) == [("realized", "exited")] * 2
    assert (upload.accepted, upload.left, upload.unknown) == (2, 2, 3)
    assert not Identity.objects.filter(value="unknown@example.com").exists()
    # Who was taken out can come back.
    done(addresses("b"), segment)
    assert statuses("vip")["b"] == "realized"


def test_a_file_of_which_nothing_can_be_taken_empties_no_segment(segment: Segment) -> None:
    done(addresses("a"), segment)
    upload = started(addresses("b"), segment, REPLACE)
    Upload.objects.filter(pk=upload.pk).update(namespace="Gone")  # deleted meanwhile
    work.proceed(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.accepted, upload.rejected) == ("done", 0, 1)
    assert "no identity namespace “Gone”" in rejections(upload)[0][2]
    assert members("vip") == {"a"}


def test_the_same_list_again_exports_nobody_again(segment: Segment) -> None:
    DataflowFactory.create(segments=[segment], attributes=["person.name.firstName"])
    columns = ["", "person.name.firstName"]
    done("email,name\na@x.kr,김민준\nb@x.kr,이서연\n", segment, REPLACE, columns=columns)
    assert PendingExport.objects.count() == 2
    PendingExport.objects.all().delete()
    done("email,name\na@x.kr,김민준\nb@x.kr,이서연\n", segment, REPLACE, columns=columns)
    assert not PendingExport.objects.exists()
    done("email,name\na@x.kr,김민지\n", segment, REPLACE, columns=columns)
    assert sorted(PendingExport.objects.values_list("reason", flat=True)) == ["attribute", "membership"]


def test_what_is_exported_stands_with_the_batch_or_not_at_all(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    DataflowFactory.create(segments=[segment])
    upload = started(addresses("a"), segment)
    monkeypatch.setattr("activation.export.outbox.queue", _fail)
    with pytest.raises(RuntimeError):
        work.proceed(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.rows, Profile.objects.count()) == ("waiting", 0, 0)
    monkeypatch.undo()
    work.proceed(upload.pk)
    assert PendingExport.objects.get().reason == "membership"


def _fail(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError


# --- Attributes


def test_columns_are_written_to_attributes_and_empty_cells_are_not() -> None:
    ingest([Fragment([("CRMID", "2")], {"homeAddress": {"city": "부산"}, "loyalty": {"points": 7}})])
    upload = done(
        "id;도시;점수;생일;메모\n1;서울;1200;2001.2.3;x\n2;;50;;\n3;대구;많음;;\n4;대전;1;2001-02-30;\n",
        columns=["", "homeAddress.city", "loyalty.points", "person.birthDate", ""],
        code="CRMID",
    )
    by_id = {
        identity.value: identity.profile.attributes for identity in Identity.objects.select_related("profile")
    }
    assert by_id == {
        "1": {"homeAddress": {"city": "서울"}, "loyalty": {"points": 1200}, "person": {"birthDate": "2001-02-03"}},
        "2": {"homeAddress": {"city": "부산"}, "loyalty": {"points": 50}},
    }  # fmt: skip
    assert [(row, value) for row, value, _reason in rejections(upload)] == [(4, "많음"), (5, "2001-02-30")]


def test_plain_addresses_are_hashed_for_namespaces_of_hashes() -> None:
    upload = done("a\nKim@Example.com \n" + "A" * 64 + "\nnobody\n", code="Email_LC_SHA256")
    hashed = hashlib.sha256(b"kim@example.com").hexdigest()
    assert set(Identity.objects.values_list("value", flat=True)) == {"a" * 64, hashed}
    assert [row for row, _value, _reason in rejections(upload)] == [4]


# --- What is rejected


def test_bad_rows_are_told_and_their_neighbours_go_in() -> None:
    text = (
        "email,name\n"
        "a@x.kr,김민준\n"
        "no address,이서연\n"
        ",박지우\n"
        "\n"
        "b@x.kr,최수빈,one too many\n"
        "c@x.kr\n"
        '"d@x.kr,"정하윤"\n'
        f"{'e' * 1100}@x.kr,강서준\n"
        "8.21012E+11,윤도윤\n"
        "z@x.kr,임지호\n"
    )
    upload = done(text)
    assert set(Identity.objects.values_list("value", flat=True)) == {"a@x.kr", "z@x.kr"}
    assert [(row, value[:11], reason) for row, value, reason in rejections(upload)] == [
        (3, "no address", "This is no email address."),
        (4, "", "The row has no identity."),
        (6, "b@x.kr,최수빈,", "Columns in this row: 3; in the first one: 2."),
        (7, "c@x.kr", "Columns in this row: 1; in the first one: 2."),
        (8, '"d@x.kr,"정하', "A quotation mark is not closed, or stands in the middle of a value."),
        (9, "e" * 11, "An identity is longer than 1024 characters (2600 bytes)."),
        (10, "8.21012E+11", rejections(upload)[-1][2]),
    ]
    assert "spreadsheet has rounded" in rejections(upload)[-1][2]
    assert (upload.rows, upload.accepted, upload.rejected) == (11, 2, 7)


def test_reasons_are_in_the_language_of_whoever_uploaded() -> None:
    upload = started(addresses("a") + "x" * 1100 + "@x.kr\n")
    Upload.objects.update(language="ko")
    work.proceed(upload.pk)
    [(row, _value, reason)] = rejections(upload)
    assert row == 3
    assert "1024자" in reason


def test_a_cp949_file_goes_in(segment: Segment) -> None:
    text = "이메일;이름\nkim@example.com;김민준\nlee@example.com;이서연\n"
    done(text.encode("cp949"), segment, columns=["", "person.name.fullName"])
    names = Profile.objects.values_list("attributes__person__name__fullName", flat=True)
    assert set(names) == {"김민준", "이서연"}


def test_of_many_rejected_rows_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "REJECTIONS_KEPT", 5)
    monkeypatch.setattr(work, "BATCH", 3)
    upload = done(addresses("a") + "x\n" * 20)
    assert upload.rejected == 20
    assert [row for row, _value, _reason in rejections(upload)] == [3, 4, 5, 6, 7]


# --- Beside others


def test_the_second_upload_to_a_segment_waits_for_its_turn(
    segment: Segment,
    told: list[uuid.UUID],
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]],
) -> None:
    first = started(addresses("a", "b"), segment, REPLACE)
    second = started(addresses("b", "c"), segment, REPLACE)
    other = started(addresses("x"))
    work.proceed(second.pk)
    assert members("vip") == set()
    work.proceed(other.pk)
    with django_capture_on_commit_callbacks(execute=True):
        work.proceed(first.pk)
    assert told == [second.pk]
    assert members("vip") == {"a", "b"}
    work.proceed(second.pk)
    assert members("vip") == {"b", "c"}


@batches_of_two
def test_another_worker_goes_on_where_one_stopped(segment: Segment, told: list[uuid.UUID]) -> None:
    upload = started(addresses(*"abcdefg"), segment)
    while Upload.objects.get().active:
        work.proceed(upload.pk, seconds=-1)
    assert members("vip") == set("abcdefg")
    assert Upload.objects.get().accepted == 7
    assert told == [upload.pk] * 4


@batches_of_two
def test_a_message_that_comes_late_is_not_followed(segment: Segment, told: list[uuid.UUID]) -> None:
    """Else every sweep beside a long upload would begin another chain of messages."""
    upload = started(addresses(*"abcdef"), segment)
    work.proceed(upload.pk, progress=0, seconds=-1)
    work.proceed(upload.pk, progress=0, seconds=-1)
    upload.refresh_from_db()
    assert (upload.rows, told) == (2, [upload.pk])
    work.proceed(upload.pk, progress=upload.progress)
    assert members("vip") == set("abcdef")


@batches_of_two
def test_a_stopped_upload_keeps_what_it_took(segment: Segment, told: list[uuid.UUID]) -> None:
    done(addresses("z"), segment)
    upload = started(addresses(*"abcdef"), segment, REPLACE)
    work.proceed(upload.pk, seconds=-1)
    services.stop(upload)
    work.proceed(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, members("vip")) == ("stopped", {"z", "a"})
    assert not UploadPart.objects.exists()
    services.stop(upload)


def test_a_segment_with_an_upload_under_way_stays(segment: Segment) -> None:
    upload = started(addresses("a"), segment)
    for refused in (segments.delete_segment, segments.archive_segment):
        with pytest.raises(ValidationError, match=r"in use by list\.csv"):
            refused(segment)
    work.proceed(upload.pk)
    segments.archive_segment(segment)
    with pytest.raises(ValidationError, match="not live"):
        received(addresses("a"), segment)
    segments.delete_segment(segment)
    assert not Upload.objects.exists()


def test_a_batch_has_few_queries_however_large_it_is(segment: Segment) -> None:
    def queries(upload: Upload) -> int:
        with CaptureQueriesContext(connection) as captured:
            work.proceed(upload.pk)
        return len(captured)

    def names(count: int) -> str:
        return addresses(*(f"n{number}" for number in range(count))) + "x\n"

    few = queries(started(names(2), segment, REPLACE))
    assert queries(started(names(300), segment, REPLACE)) <= few + 6  # of which some find something now
    again = started(names(300), segment, REPLACE)
    assert queries(again) <= few + 6


# --- Expiry


def test_members_leave_when_their_time_is_over(segment: Segment, announced: Announced) -> None:
    done(addresses("a", "b"), segment, expires_after=3)
    aged(segment, 2)
    done(addresses("b"), segment, expires_after=3)
    announced.clear()
    work.expire()
    assert members("vip") == {"a", "b"}
    aged(segment, 1.1)
    work.expire()
    assert statuses("vip") == {"a": "exited", "b": "existing"}
    assert [step for batch in announced for change in batch for step in change.transitions] == [
        Transition("vip", "realized", "exited")
    ]
    aged(segment, 2)
    work.expire()
    assert members("vip") == set()
    exited = SegmentMembership.objects.values_list("last_qualification_time", flat=True)
    assert max(exited) > timezone.now() - timedelta(days=3)


def test_who_joined_when_members_stayed_for_ever_does_not_leave_at_once(segment: Segment) -> None:
    old: datetime = timezone.now() - timedelta(days=100)
    ingest([Fragment([("Email", "old@example.com")], memberships={"vip": ("realized", old)})])
    done(addresses("a"), segment, expires_after=30)
    work.expire()
    assert members("vip") == {"a", "old"}
    aged(segment, 29)
    work.expire()
    assert members("vip") == {"a", "old"}
    aged(segment, 31)
    work.expire()
    assert members("vip") == set()


def test_archived_segments_and_those_without_a_limit_keep_their_members(segment: Segment) -> None:
    done(addresses("a"), segment)
    ingest([Fragment([("Email", "b@example.com")], memberships={"other": ("realized", None)})])
    segments.archive_segment(segment)
    aged(segment, 365)
    aged(Segment.objects.get(pk="other"), 365)
    work.expire()
    assert (members("vip"), members("other")) == ({"a"}, {"b"})


def test_drafts_are_forgotten_after_a_day_and_reports_after_some_months(segment: Segment) -> None:
    kept, draft = received(addresses("a"), segment), received(addresses("a"), segment)
    old, new = done(addresses("a") + "x\n", segment), done(addresses("a"), segment)
    Upload.objects.filter(pk=draft.pk).update(created_at=timezone.now() - timedelta(hours=25))
    Upload.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=91))
    work.forget()
    assert set(Upload.objects.values_list("pk", flat=True)) == {kept.pk, new.pk}
    assert UploadPart.objects.count() == 1


def test_a_namespace_and_an_attribute_may_go_while_a_draft_waits(segment: Segment) -> None:
    namespace = IdentityNamespace.objects.create(code="OURS", name="Ours")
    upload = started("id\n1\n", segment, code="OURS")
    namespace.delete()
    work.proceed(upload.pk)
    assert "OURS" in rejections(upload)[0][2]
