"""Runs, a run, activation data, and the parts on the pages of profiles and segments."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation.models import (
    Dataflow,
    DataflowRun,
    Delivery,
    ExportReason,
    FailedExport,
    PendingExport,
)
from activation.selectors import SAMPLES
from profiles.models import Segment
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

RIGHTS = [
    "activation.view_monitoring",
    "destinations.view_destination",
    "profiles.view_profile",
    "profiles.view_segment",
]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def client() -> Client:
    return signed_in(UserFactory.create(permissions=RIGHTS))


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create(
        segments=SegmentFactory.create_batch(2), attributes=["person.name.firstName"]
    )


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def make_run(dataflow: Dataflow, hours_ago: int = 0, **numbers: Any) -> DataflowRun:
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    return DataflowRun.objects.create(
        dataflow=dataflow, started_at=start, last_at=start + timedelta(minutes=7), **numbers
    )


def fail(run: DataflowRun, code: str, kind: str = "failed", **more: Any) -> FailedExport:
    return FailedExport.objects.create(
        run=run, profile=ProfileFactory.create(), kind=kind, code=code, reason=f"reason of {code}", **more
    )


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def address(name: str, dataflow: Dataflow) -> str:
    """Of one of the pages below."""
    target: object = dataflow.destination_id
    if name == "run":
        target = make_run(dataflow).pk
    elif name == "profile_exports":
        target = ProfileFactory.create().pk
    elif name == "segment_activations":
        target = SegmentFactory.create().pk
    return reverse(f"activation:{name}", args=[target])


PAGES = {
    "runs": ["activation.view_monitoring"],
    "run": ["activation.view_monitoring"],
    "activation_data": ["destinations.view_destination"],
    "profile_exports": ["profiles.view_profile", "destinations.view_destination"],
    "segment_activations": ["profiles.view_segment", "destinations.view_destination"],
}


@pytest.mark.parametrize("name", PAGES)
def test_each_page_needs_its_rights_and_no_others(dataflow: Dataflow, name: str) -> None:
    where, needed = address(name, dataflow), PAGES[name]
    assert Client().get(where)["Location"].startswith(reverse("sign_in"))
    for lacking in needed:
        rest = [right for right in RIGHTS if right != lacking]
        assert signed_in(UserFactory.create(permissions=rest)).get(where).status_code == 403
    assert signed_in(UserFactory.create(permissions=needed)).get(where).status_code == 200


@pytest.mark.parametrize("name", PAGES)
def test_htmx_gets_the_part_and_everybody_else_a_page(client: Client, dataflow: Dataflow, name: str) -> None:
    where = address(name, dataflow)
    assert "<!doctype html>" in text_of(client.get(where))
    if name != "run":
        assert "<html" not in text_of(client.get(where, headers=HTMX))


def test_a_part_of_who_was_signed_out_has_the_page_loaded_again(dataflow: Dataflow) -> None:
    response = Client().get(reverse("activation:runs", args=[dataflow.destination_id]), headers=HTMX)
    assert response["HX-Refresh"] == "true"
    assert response.content == b""


def test_what_does_not_exist_is_a_404(client: Client) -> None:
    for name in ("runs", "run", "activation_data", "profile_exports"):
        assert client.get(reverse(f"activation:{name}", args=[uuid.uuid4()])).status_code == 404
    assert client.get(reverse("activation:segment_activations", args=["no/such"])).status_code == 404


def test_a_destination_without_anything_says_what_would_be_there(client: Client) -> None:
    destination = DestinationFactory.create()
    assert "No runs yet" in text_of(client.get(reverse("activation:runs", args=[destination.pk])))
    assert "Nothing is activated yet" in text_of(
        client.get(reverse("activation:activation_data", args=[destination.pk]))
    )
    assert not Dataflow.objects.exists()


def test_a_run_is_a_row_with_its_numbers(client: Client, dataflow: Dataflow) -> None:
    make_run(dataflow, hours_ago=2, activated=9_990, excluded=8, failed=2, identities=12_345)
    text = text_of(client.get(reverse("activation:runs", args=[dataflow.destination_id])))
    for shown in ("Completed", "0:07:00", "10,000", "9,990", "12,345", "99.9 %"):
        assert shown in text


def test_live_numbers_are_asked_for_on_the_first_page_alone(client: Client, dataflow: Dataflow) -> None:
    for hours in range(30):
        make_run(dataflow, hours_ago=hours)
    where = reverse("activation:runs", args=[dataflow.destination_id])
    first = text_of(client.get(where, headers=HTMX))
    assert 'hx-trigger="every 3s"' in first
    # The addresses are whole ones: the part stands in the page of the destination.
    assert f'href="{where}?page=2"' in first
    assert 'hx-trigger="every 3s"' not in text_of(client.get(where, {"page": "2"}, headers=HTMX))


def test_what_waits_is_counted(client: Client, dataflow: Dataflow) -> None:
    for _number in range(3):
        PendingExport.objects.create(
            dataflow=dataflow, profile=ProfileFactory.create(), reason=ExportReason.BACKFILL
        )
    page = client.get(reverse("activation:runs", args=[dataflow.destination_id]))
    assert page.context["live"].waiting.count == 3


def test_a_destination_that_refuses_is_shown_in_its_own_words(client: Client, dataflow: Dataflow) -> None:
    dataflow.error_code = "AccessDeniedException"
    dataflow.error_message = "User is not authorized <to> perform: kinesis:PutRecords"
    dataflow.error_at = timezone.now()
    dataflow.held_until = datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC)
    dataflow.save()
    text = text_of(client.get(reverse("activation:runs", args=[dataflow.destination_id])))
    assert "AccessDeniedException" in text
    assert "not authorized &lt;to&gt; perform" in text
    assert "2026-11-24 12:00:05 UTC" in text
    assert "Error" in text


@pytest.mark.parametrize("count", [1, 25])
def test_runs_take_the_same_queries_however_many(
    client: Client, dataflow: Dataflow, django_assert_max_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    for hours in range(count):
        make_run(dataflow, hours_ago=hours)
    with django_assert_max_num_queries(12):
        client.get(reverse("activation:runs", args=[dataflow.destination_id]))


def test_a_run_groups_what_failed_by_code_with_samples(
    client: Client, dataflow: Dataflow, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = make_run(dataflow, activated=10, failed=8, excluded=1)
    other = make_run(dataflow, hours_ago=1)
    failures = [fail(run, "RecordTooLarge") for _number in range(SAMPLES + 3)]
    fail(run, "MandatoryAttributeMissing", kind="excluded")
    fail(other, "OfAnotherRun")
    with django_assert_max_num_queries(8):
        page = client.get(reverse("activation:run", args=[run.pk]))
    groups = page.context["groups"]
    assert [(g.kind, g.code, g.count) for g in groups] == [
        ("failed", "RecordTooLarge", SAMPLES + 3),
        ("excluded", "MandatoryAttributeMissing", 1),
    ]
    newest = [failure.pk for failure in reversed(failures)][:SAMPLES]
    assert [failure.pk for failure in groups[0].samples] == newest
    text = text_of(page)
    assert "reason of RecordTooLarge" in text
    assert reverse("profiles:profile", args=[groups[0].samples[0].profile_id]) in text


def test_samples_link_to_profiles_only_for_who_may_see_them(dataflow: Dataflow) -> None:
    run = make_run(dataflow)
    failure = fail(run, "RecordTooLarge")
    person = signed_in(UserFactory.create(permissions=["activation.view_monitoring"]))
    text = text_of(person.get(reverse("activation:run", args=[run.pk])))
    assert reverse("profiles:profile", args=[failure.profile_id]) not in text


def test_activation_data_lists_what_is_live(
    client: Client, dataflow: Dataflow, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    segment = dataflow.segments.order_by("name")[0]
    MembershipFactory.create(segment=segment)
    with django_assert_max_num_queries(12):
        page = client.get(reverse("activation:activation_data", args=[dataflow.destination_id]))
    assert [(row.segment_id, row.members) for row in page.context["page"]][:1] == [(segment.pk, 1)]
    assert "person.name.firstName" in text_of(page)


def test_many_mapped_segments_come_in_pages(client: Client) -> None:
    Segment.objects.bulk_create([Segment(pk=f"s{n}", name=f"Segment {n:03}") for n in range(60)])
    dataflow = DataflowFactory.create(segments=list(Segment.objects.all()))
    where = reverse("activation:activation_data", args=[dataflow.destination_id])
    page = client.get(where, {"page": "3"})
    assert [row.segment.name for row in page.context["page"]][-1] == "Segment 059"


def test_a_profile_shows_who_exported_it_last_and_what_waits(
    client: Client, dataflow: Dataflow, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    profile = ProfileFactory.create()
    waiting = DataflowFactory.create()
    Delivery.objects.create(
        dataflow=dataflow,
        profile=profile,
        delivered_at=timezone.now(),
        reason=ExportReason.MEMBERSHIP,
        shard="shardId-000000000001",
        sequence_number="4965",
        version=17,
    )
    PendingExport.objects.create(dataflow=waiting, profile=profile, reason=ExportReason.ATTRIBUTE)
    where = reverse("activation:profile_exports", args=[profile.pk])
    with django_assert_max_num_queries(8):
        text = text_of(client.get(where, headers=HTMX))
    for shown in (
        "shardId-000000000001", "4965", "Segment membership changed", "version 17",
        dataflow.destination.name, waiting.destination.name,
    ):  # fmt: skip
        assert shown in text
    assert "Mapped attribute written" in text
    assert "Not exported yet" in text_of(
        client.get(reverse("activation:profile_exports", args=[ProfileFactory.create().pk]), headers=HTMX)
    )


def test_a_segment_shows_where_it_is_activated(client: Client, dataflow: Dataflow) -> None:
    segment = SegmentFactory.create(pk="odd/id with spaces")
    mapped = DataflowFactory.create(segments=[segment], state="disabled")
    where = reverse("activation:segment_activations", args=[segment.pk])
    text = text_of(client.get(where, headers=HTMX))
    assert mapped.destination.name in text
    assert dataflow.destination.name not in text
    assert "Disabled" in text
    mapped.delete()
    assert "Not activated" in text_of(client.get(where, headers=HTMX))
