"""Review, the sample, the estimate, *Finish*, enable and disable."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation import preview, selectors, services
from activation.models import (
    Dataflow,
    Delivery,
    DraftAttribute,
    DraftSegment,
    MappedAttribute,
    MappedSegment,
    PendingExport,
)
from activation.selectors import RECOMMENDED
from activation.views.wizard import WIZARD
from destinations.connectors.base import ConnectorError, Target
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from profiles.models import MemberCount, Segment
from tests.activation.wizard import (
    HTMX,
    ready,
    said,
    send_attributes,
    send_finish,
    send_segments,
    signed_in,
    url,
    version,
)
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    IdentityFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Target:
    """The stream that the connector describes."""
    target = Target(
        "profile-exports",
        "ACTIVE",
        "PROVISIONED",
        shards=2,
        records_per_second=2000,
        bytes_per_second=2_000_000,
    )
    connector = DestinationFactory.create().type
    monkeypatch.setattr(type(connector), "describe_target", lambda *args, **kwargs: target)
    return target


def members(segment: Segment, count: int) -> None:
    for profile in ProfileFactory.create_batch(count):
        MembershipFactory.create(profile=profile, segment=segment)


def mapped(destination: Destination) -> set[str]:
    return set(
        MappedSegment.objects.filter(dataflow__destination=destination).values_list("segment", flat=True)
    )


def waiting(destination: Destination) -> int:
    return PendingExport.objects.filter(dataflow__destination=destination).count()


# -- Finish ---------------------------------------------------------------------------------------------------------


def test_finish_makes_the_draft_live_and_queues_each_member_once(
    client: Client, destination: Destination, woken: list[uuid.UUID]
) -> None:
    one, two = SegmentFactory.create_batch(2)
    members(one, 3)
    both = ProfileFactory.create()
    MembershipFactory.create(profile=both, segment=one)
    MembershipFactory.create(profile=both, segment=two, status="existing")
    MembershipFactory.create(segment=two, status="exited")
    ready(client, destination, one, two)
    send_attributes(client, destination, *RECOMMENDED, mandatory=[RECOMMENDED[2]])
    response = send_finish(client, destination)
    assert response["Location"] == destination.get_absolute_url()
    assert said(response) == "Activated: 4 records are on their way."
    dataflow = Dataflow.objects.get()
    assert dataflow.state == "enabled"
    assert (dataflow.draft_at, dataflow.finished_at is None) == (None, False)
    assert mapped(destination) == {one.pk, two.pk}
    rows = MappedAttribute.objects.order_by("position").values_list("field__path", "mandatory")
    assert list(rows) == [(path, path == RECOMMENDED[2]) for path in RECOMMENDED]
    assert set(PendingExport.objects.values_list("reason", flat=True)) == {"backfill"}
    assert waiting(destination) == 4
    assert not DraftSegment.objects.exists() and not DraftAttribute.objects.exists()
    assert woken == [dataflow.pk]


def test_finish_without_redis_says_when_the_export_starts(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    members(segment, 2)
    ready(client, destination, segment)
    response = send_finish(client, destination)  # nobody listens at the tests' REDIS_URL
    assert response["Location"] == destination.get_absolute_url()
    assert said(response) == "Activated: 2 records are queued. The export starts when the workers are back."
    assert Dataflow.objects.get().state == "enabled"
    assert waiting(destination) == 2


@pytest.mark.usefixtures("woken")
def test_a_second_click_doubles_nothing_and_is_told_so(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    members(segment, 2)
    ready(client, destination, segment)
    sent = {"version": version(destination), "segments": 1, "attributes": 4}
    assert client.post(url("finish", destination), sent).status_code == 302
    before = Dataflow.objects.values().get()
    response = client.post(url("finish", destination), sent)
    assert response["Location"] == destination.get_absolute_url()
    assert "already finished" in said(response)
    assert Dataflow.objects.values().get() == before
    assert waiting(destination) == 2


def test_finish_without_a_draft_leads_to_the_destination(client: Client, destination: Destination) -> None:
    response = client.post(url("finish", destination), {"version": "0"})
    assert response["Location"] == destination.get_absolute_url()
    assert not Dataflow.objects.exists()


@pytest.mark.usefixtures("woken")
def test_who_reviewed_something_else_finishes_nothing(client: Client, destination: Destination) -> None:
    one, two = SegmentFactory.create_batch(2)
    ready(client, destination, one)
    reviewed = version(destination)
    other = signed_in(UserFactory.create(username="Lee", permissions=[*WIZARD]))
    send_segments(other, destination, [one, two], [one, two])
    response = send_finish(client, destination, version=reviewed)
    assert response.status_code == 422
    assert "Lee changed this activation meanwhile" in response.content.decode()
    assert Dataflow.objects.get().state == "draft"


def test_a_segment_deleted_after_the_review_is_told_at_its_step(
    client: Client, destination: Destination
) -> None:
    one, two = SegmentFactory.create_batch(2)
    ready(client, destination, one, two)
    sent = {"version": version(destination), "segments": 2, "attributes": 4}
    two.delete()
    response = client.post(url("finish", destination), sent)
    assert response["Location"] == url("segments", destination)
    assert "A segment was deleted" in said(response)
    assert Dataflow.objects.get().state == "draft"


def test_without_a_segment_or_an_attribute_nothing_is_finished(
    client: Client, destination: Destination
) -> None:
    segment = SegmentFactory.create()
    ready(client, destination, segment)
    send_attributes(client, destination, action="save")
    response = send_finish(client, destination)
    assert response["Location"] == url("attributes", destination)
    assert "Choose at least one attribute." in said(response)
    segment.delete()
    assert send_finish(client, destination)["Location"] == url("segments", destination)
    assert Dataflow.objects.get().state == "draft"


@pytest.mark.usefixtures("woken")
def test_editing_what_is_live_changes_nothing_before_finish_and_backfills_only_what_is_new(
    client: Client,
) -> None:
    stays, goes, new = SegmentFactory.create_batch(3)
    for segment in (stays, goes, new):
        members(segment, 2)
    dataflow = DataflowFactory.create(
        segments=[stays, goes], attributes=["person.name.firstName", "personID"]
    )
    destination = dataflow.destination
    long_ago = timezone.now() - timedelta(days=30)
    MappedSegment.objects.update(created_at=long_ago, updated_at=long_ago)
    send_segments(client, destination, [stays, goes, new], [stays, new])
    send_attributes(client, destination, "personID", "homeAddress.city")
    assert mapped(destination) == {stays.pk, goes.pk}
    assert waiting(destination) == 0

    page = client.get(url("review", destination))
    assert page.context["backfill"] == selectors.Backfill(2)
    text = page.content.decode()
    assert f"Segment “{goes.name}” is removed" in text
    assert "Attribute homeAddress.city is added" in text
    assert "Attribute person.name.firstName is removed" in text

    said(send_finish(client, destination))
    assert mapped(destination) == {stays.pk, new.pk}
    assert MappedSegment.objects.get(segment=stays).created_at == long_ago
    assert MappedSegment.objects.get(segment=new).created_at > long_ago
    rows = MappedAttribute.objects.order_by("position").values_list("field__path", flat=True)
    assert list(rows) == ["personID", "homeAddress.city"]
    queued = set(PendingExport.objects.values_list("profile", flat=True))
    assert queued == set(new.memberships.values_list("profile", flat=True))


@pytest.mark.usefixtures("woken")
def test_changes_without_a_backfill_are_live_at_once(client: Client) -> None:
    dataflow = DataflowFactory.create(segments=[SegmentFactory.create()], attributes=["personID"])
    send_attributes(client, dataflow.destination, "personID", "homeAddress.city")
    assert "The changes are live." in said(send_finish(client, dataflow.destination))


def test_looking_through_what_is_live_makes_no_draft(client: Client) -> None:
    segment = SegmentFactory.create()
    dataflow = DataflowFactory.create(segments=[segment], attributes=["personID"])
    destination = dataflow.destination
    send_segments(client, destination, [segment], [segment])
    send_attributes(client, destination, "personID")
    text = client.get(url("review", destination)).content.decode()
    assert "Nothing was changed." in text
    assert "Finish" not in text
    dataflow.refresh_from_db()
    assert dataflow.draft_at is None


def test_changes_of_what_is_live_can_be_discarded(client: Client) -> None:
    one, two = SegmentFactory.create_batch(2)
    dataflow = DataflowFactory.create(segments=[one], attributes=["personID"])
    destination = dataflow.destination
    send_segments(client, destination, [one, two], [two])
    response = client.post(url("discard", destination), {"version": version(destination)})
    assert "discarded" in said(response)
    assert mapped(destination) == {one.pk}
    assert not DraftSegment.objects.exists() and not DraftAttribute.objects.exists()
    dataflow.refresh_from_db()
    assert (dataflow.state, dataflow.draft_at) == ("enabled", None)


def test_changes_of_somebody_else_are_not_discarded_unseen(client: Client) -> None:
    one, two = SegmentFactory.create_batch(2)
    destination = DataflowFactory.create(segments=[one], attributes=["personID"]).destination
    seen = version(destination)
    other = signed_in(UserFactory.create(username="Lee", permissions=[*WIZARD]))
    send_segments(other, destination, [one, two], [two])
    assert client.post(url("discard", destination), {"version": seen}).status_code == 422
    assert DraftSegment.objects.exists()


def test_a_first_draft_is_not_discarded(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    client.post(url("discard", destination), {"version": version(destination)})
    assert DraftSegment.objects.exists()


@pytest.mark.usefixtures("woken")
def test_a_disabled_dataflow_is_enabled_by_finishing_and_says_so_before(client: Client) -> None:
    one, two = SegmentFactory.create_batch(2)
    destination = DataflowFactory.create(
        segments=[one], attributes=["personID"], state="disabled"
    ).destination
    send_segments(client, destination, [one, two], [one, two])
    assert "Finishing enables it." in client.get(url("review", destination)).content.decode()
    send_finish(client, destination)
    assert Dataflow.objects.get().state == "enabled"


@pytest.mark.usefixtures("woken")
def test_finishing_thousands_of_segments_and_members_takes_few_queries(
    client: Client,
    marketer: User,
    destination: Destination,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    Segment.objects.bulk_create([Segment(pk=f"s{n}", name=f"Segment {n}") for n in range(2_000)])
    members(Segment.objects.get(pk="s7"), 50)
    send_segments(client, destination, [], [], action="all")
    with django_assert_max_num_queries(40):
        finished = services.finish(
            destination=destination, version=version(destination), by=marketer, segments=2_000, attributes=4
        )
    assert finished.queued == 50
    assert MappedSegment.objects.count() == 2_000


# -- Review and the estimate ----------------------------------------------------------------------------------------


def test_the_review_shows_all_there_is(client: Client) -> None:
    destination = DestinationFactory.create(description="For the call centre", partition_key="identity:ECID")
    segment = SegmentFactory.create(name="High propensity to convert")
    members(segment, 3)
    ready(client, destination, segment)
    page = client.get(url("review", destination))
    text = page.content.decode()
    shown = [destination.name, "For the call centre", destination.target, destination.account.name, "ECID"]
    for word in [*shown, "High propensity to convert", *RECOMMENDED]:
        assert word in text
    assert page.context["backfill"] == selectors.Backfill(3)
    assert destination.account.credentials.open()["secret_access_key"] not in text


def test_a_review_of_thousands_of_segments_takes_few_queries(
    client: Client, destination: Destination, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Segment.objects.bulk_create([Segment(pk=f"s{n}", name=f"Segment {n:05}") for n in range(3_000)])
    members(Segment.objects.get(pk="s7"), 5)
    send_segments(client, destination, [], [], action="all")
    with django_assert_max_num_queries(20):
        page = client.get(url("review", destination), {"page": "120"})
    assert page.context["backfill"] == selectors.Backfill(5)
    assert [segment.name for segment in page.context["page"]][-1] == "Segment 02999"


def test_the_members_of_large_segments_are_not_counted_one_by_one(
    client: Client, destination: Destination, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    segments = SegmentFactory.create_batch(2)
    for segment in segments:
        MemberCount.objects.create(segment=segment, day=timezone.now().date(), members=20_000)
    ready(client, destination, *segments)
    with django_assert_max_num_queries(24) as captured:
        page = client.get(url("review", destination))
    assert page.context["backfill"] == selectors.Backfill(40_000, at_most=True)
    assert 'Up to <strong class="big-number">40,000</strong> records' in page.content.decode()
    assert not any("profiles_segmentmembership" in query["sql"] for query in captured.captured_queries)
    assert selectors.backfill(Segment.objects.filter(pk=segments[1].pk)) == selectors.Backfill(20_000)


@pytest.mark.usefixtures("stream")
def test_the_estimate_sets_the_backfill_against_the_stream(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    members(segment, 30)
    ready(client, destination, segment)
    page = client.get(url("estimate", destination), headers=HTMX)
    estimate = page.context["estimate"]
    assert (estimate.records, estimate.target.shards, estimate.seconds) == (30, 2, 1)
    # Each of these records holds a name, a membership and the partition key.
    assert 150 < estimate.record_bytes < 500
    assert "2 shards" in page.content.decode()


def test_a_stream_that_can_not_be_described_is_said_and_the_rest_is_shown(
    client: Client, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Target:
        raise ConnectorError("ResourceNotFoundException", "Stream profile-exports not found")

    monkeypatch.setattr(type(destination.type), "describe_target", refuse)
    segment = SegmentFactory.create()
    members(segment, 2)
    ready(client, destination, segment)
    text = client.get(url("estimate", destination)).content.decode()
    assert "ResourceNotFoundException: Stream profile-exports not found" in text
    assert "Expected volume" in text


def test_lost_credential_keys_do_not_break_the_estimate(client: Client, destination: Destination) -> None:
    Account.objects.update(credentials=Encrypted("sealed with a key that is gone"))
    ready(client, destination, SegmentFactory.create())
    assert "KeyLost" in client.get(url("estimate", destination)).content.decode()


# -- the sample -----------------------------------------------------------------------------------------------------


def test_the_sample_is_the_record_of_the_member_with_most(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    members(segment, 3)
    rich = ProfileFactory.create(
        attributes={
            "person": {"name": {"firstName": "지우", "lastName": "박"}},
            "personalEmail": {"address": "jiwoo@example.com"},
            "homeAddress": {"city": "서울"},
        }
    )
    MembershipFactory.create(profile=rich, segment=segment)
    IdentityFactory.create(profile=rich, value="jiwoo@example.com")
    ready(client, destination, segment)
    page = client.get(url("sample", destination), headers=HTMX)
    sample = page.context["sample"]
    assert sample.profile_id == rich.pk
    text = page.content.decode()
    assert "지우" in text and "jiwoo@example.com" in text
    assert "서울" not in text  # not mapped
    assert segment.pk in text
    assert sample.of == 4
    # And it follows the draft.
    send_attributes(client, destination, "homeAddress.city")
    text = client.get(url("sample", destination), headers=HTMX).content.decode()
    assert "서울" in text and "지우" not in text


def test_delivery_details_are_in_the_sample_as_they_would_be_sent(
    client: Client, destination: Destination
) -> None:
    member = MembershipFactory.create()
    ready(client, destination, member.segment)
    assert "_delivery" not in client.get(url("sample", destination), headers=HTMX).content.decode()
    Destination.objects.update(include_delivery=True)
    dataflow = Dataflow.objects.get(destination=destination)
    Delivery.objects.create(
        dataflow=dataflow, profile=member.profile, delivered_at=timezone.now(), reason="backfill",
        shard="s", sequence_number="1", version=4,
    )  # fmt: skip
    sample = client.get(url("sample", destination), headers=HTMX).context["sample"]
    told = json.loads(sample.record.data)["_delivery"]
    assert time.time() * 1000 - told.pop("exportedAt") < 60_000
    assert told == {
        "dataflowId": str(dataflow.pk), "profileId": str(member.profile_id), "version": 5, "reason": "backfill",
    }  # fmt: skip
    assert "Delivery details" in client.get(url("review", destination)).content.decode()


def test_another_member_goes_round(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    members(segment, 3)
    ready(client, destination, segment)
    seen = [
        client.get(url("sample", destination), {"place": str(place)}).context["sample"].profile_id
        for place in range(4)
    ]
    assert len(set(seen)) == 3
    assert seen[3] == seen[0]


def test_a_member_without_a_mandatory_attribute_would_be_excluded(
    client: Client, destination: Destination
) -> None:
    segment = SegmentFactory.create()
    members(segment, 1)
    ready(client, destination, segment)
    send_attributes(client, destination, "personID", mandatory=["personID"])
    text = client.get(url("sample", destination)).content.decode()
    assert "would be excluded" in text
    assert "personID" in text


def test_without_segments_or_members_the_sample_says_so(client: Client, destination: Destination) -> None:
    assert "No segment chosen" in client.get(url("sample", destination)).content.decode()
    ready(client, destination, SegmentFactory.create())
    assert "No members yet" in client.get(url("sample", destination)).content.decode()


@pytest.mark.parametrize("count", [1, 60])
def test_the_sample_takes_the_same_queries_however_many_members(
    client: Client,
    destination: Destination,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    count: int,
) -> None:
    segment = SegmentFactory.create()
    members(segment, count)
    ready(client, destination, segment)
    with django_assert_max_num_queries(16):
        client.get(url("sample", destination), headers=HTMX)
    assert len(preview._candidates(selectors.Selection.of(destination))) == min(count, preview.CANDIDATES)


# -- enable and disable ---------------------------------------------------------------------------------------------


@pytest.fixture
def operator() -> Client:
    return signed_in(UserFactory.create(permissions=["activation.activate_destinations"]))


def test_disabling_keeps_what_waits_and_enabling_wakes(operator: Client, woken: list[uuid.UUID]) -> None:
    dataflow = DataflowFactory.create()
    PendingExport.objects.create(dataflow=dataflow, profile=ProfileFactory.create(), reason="attribute")
    response = operator.post(url("disable", dataflow.destination))
    assert response["Location"] == dataflow.destination.get_absolute_url()
    assert "Disabled" in said(response)
    dataflow.refresh_from_db()
    assert (dataflow.state, waiting(dataflow.destination), woken) == ("disabled", 1, [])
    assert "already" in said(operator.post(url("disable", dataflow.destination)))
    assert "Enabled: the export goes on." in said(operator.post(url("enable", dataflow.destination)))
    dataflow.refresh_from_db()
    assert (dataflow.state, woken) == ("enabled", [dataflow.pk])
    assert "already" in said(operator.post(url("enable", dataflow.destination)))
    assert woken == [dataflow.pk]


def test_enabling_without_redis_says_when_it_goes_on(operator: Client) -> None:
    dataflow = DataflowFactory.create(state="disabled")
    assert "when the workers are back" in said(operator.post(url("enable", dataflow.destination)))
    dataflow.refresh_from_db()
    assert dataflow.state == "enabled"


@pytest.mark.parametrize("name", ["enable", "disable"])
def test_what_was_never_finished_is_neither_enabled_nor_disabled(operator: Client, name: str) -> None:
    destination = DestinationFactory.create()
    assert "never finished" in said(operator.post(url(name, destination)))
    DataflowFactory.create(destination=destination, state="draft", finished_at=None)
    assert "never finished" in said(operator.post(url(name, destination)))
    assert Dataflow.objects.get().state == "draft"


@pytest.mark.parametrize("name", ["enable", "disable"])
def test_enabling_and_disabling_need_the_right_and_a_post(operator: Client, name: str) -> None:
    dataflow = DataflowFactory.create()
    others = [right for right in WIZARD if right != "activation.activate_destinations"]
    person = signed_in(UserFactory.create(permissions=others))
    assert person.post(url(name, dataflow.destination)).status_code == 403
    assert operator.get(url(name, dataflow.destination)).status_code == 405
    assert Client().post(url(name, dataflow.destination))["Location"].startswith(reverse("sign_in"))
    dataflow.refresh_from_db()
    assert dataflow.state == "enabled"


def test_an_attribute_can_be_exported_hashed(client: Client, destination: Destination) -> None:
    email, memberships = RECOMMENDED[2], RECOMMENDED[3]
    ready(client, destination, MembershipFactory.create().segment)
    send_attributes(client, destination, *RECOMMENDED, hashed=[email, memberships])
    send_finish(client, destination)
    rows = MappedAttribute.objects.filter(hashed=True).values_list("field__path", flat=True)
    assert list(rows) == [email]  # memberships are always sent as they are
    page = client.get(url("attributes", destination)).content.decode()
    assert f'name="hashed" value="{email}" checked' in page
    assert f'name="hashed" value="{memberships}"' not in page
    send_attributes(client, destination, *RECOMMENDED)
    review = client.get(url("review", destination)).content.decode()
    assert f"Attribute {email} is not hashed any more" in review
    send_finish(client, destination)
    assert not MappedAttribute.objects.filter(hashed=True).exists()
