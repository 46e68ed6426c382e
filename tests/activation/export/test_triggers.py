"""What starts an export, and what does not (behaviour.md)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from activation.export import lanes
from activation.export.triggers import queue_exports
from activation.models import Dataflow, PendingExport
from profiles import services
from profiles.ingest import Fragment, Result, ingest
from profiles.models import Profile, Segment, SegmentMembership
from profiles.signals import ProfileChange
from tests.factories import (
    DataflowFactory,
    IdentityFactory,
    MembershipFactory,
    ProfileFactory,
    SchemaFieldFactory,
    SegmentFactory,
)

from .exporting import FIRST_NAME, Told, members_of, waiting

pytestmark = pytest.mark.django_db

LAST_YEAR = datetime(2025, 11, 20, tzinfo=UTC)
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def segment() -> Segment:
    return SegmentFactory.create(id="mapped")


@pytest.fixture
def dataflow(segment: Segment) -> Dataflow:
    """Maps one segment, two attributes and a map."""
    SchemaFieldFactory.create(path="_ours.consents", type="map")
    SegmentFactory.create(id="unmapped")
    return DataflowFactory.create(
        segments=[segment],
        attributes=[FIRST_NAME, "homeAddress.city", "_ours.consents", "segmentMembership.status"],
    )


def customer(segment: Segment, status: str | None) -> Profile:
    profile = ProfileFactory.create(
        attributes={
            "person": {"name": {"firstName": "Min-jun", "lastName": "Kim"}},
            "homeAddress": {"city": "Seoul"},
            "loyalty": {"points": 7},
            "_ours": {"consents": {"mail": "yes"}},
        }
    )
    IdentityFactory.create(profile=profile, value="kim@example.com")
    if status is not None:
        MembershipFactory.create(
            profile=profile, segment=segment, status=status, last_qualification_time=LAST_YEAR
        )
    return profile


def reasons() -> list[str]:
    return list(PendingExport.objects.values_list("reason", flat=True))


# -- what does ------------------------------------------------------------------------------------------------------

JOINS: dict[str, Any] = {"memberships": {"mapped": ("realized", NOW)}}
LEAVES: dict[str, Any] = {"memberships": {"mapped": ("exited", NOW)}}
FIRST_NAME_AGAIN: dict[str, Any] = {"attributes": {"person": {"name": {"firstName": "Min-jun"}}}}
IDENTITY_ADDED: dict[str, Any] = {"identities": [("ECID", "1234")]}


@pytest.mark.parametrize("before", ["realized", "existing"])
@pytest.mark.parametrize(
    "change, reason",
    [
        pytest.param(LEAVES, "membership", id="leaves a mapped segment"),
        pytest.param(IDENTITY_ADDED, "identity", id="an identity is added"),
        pytest.param(
            {"identities_removed": [("Email", "kim@example.com")]}, "identity", id="an identity is removed"
        ),
        pytest.param(
            {"attributes": {"homeAddress": {"city": "Busan"}}},
            "attribute",
            id="a mapped attribute is written",
        ),
        pytest.param(FIRST_NAME_AGAIN, "attribute", id="with the same value"),
        pytest.param({"attributes": {"homeAddress": {"city": None}}}, "attribute", id="it is removed"),
        pytest.param({"attributes": {"homeAddress": None}}, "attribute", id="what it is part of is removed"),
        pytest.param(
            {"attributes": {"homeAddress": "none"}}, "attribute", id="... or becomes something else"
        ),
        pytest.param(
            {"attributes": {"_ours": {"consents": {"phone": "no"}}}},
            "attribute",
            id="something in a mapped map is written",
        ),
    ],
)
@pytest.mark.usefixtures("told")
def test_a_member_is_exported_when(
    change: dict[str, Any], reason: str, before: str, dataflow: Dataflow, segment: Segment
) -> None:
    profile = customer(segment, before)
    ingest([Fragment(profile_id=profile.pk, **change)])
    assert waiting(dataflow) == {profile.pk}
    assert reasons() == [reason]


@pytest.mark.usefixtures("told")
def test_a_mapped_attribute_that_holds_more_than_the_schema_says_is_written_with_its_parts(
    dataflow: Dataflow, segment: Segment
) -> None:
    profile = customer(segment, "realized")
    for given in ("Min-jun", "Seo-yeon"):
        ingest(
            [
                Fragment(
                    profile_id=profile.pk, attributes={"person": {"name": {"firstName": {"given": given}}}}
                )
            ]
        )
        assert reasons() == ["attribute"]
        PendingExport.objects.all().delete()


@pytest.mark.parametrize("before", [None, "exited"])
@pytest.mark.parametrize("after", ["realized", "existing"])
@pytest.mark.usefixtures("told")
def test_who_joins_a_mapped_segment_is_exported(
    before: str | None, after: str, dataflow: Dataflow, segment: Segment
) -> None:
    profile = customer(segment, before)
    services.set_membership(profile.pk, segment_id="mapped", status=after)
    assert waiting(dataflow) == {profile.pk}
    assert reasons() == ["membership"]


@pytest.mark.usefixtures("told")
def test_a_new_profile_that_is_a_member_from_the_start_is_exported(dataflow: Dataflow) -> None:
    [outcome] = ingest([Fragment(identities=[("Email", "new@example.com")], **JOINS)])
    assert outcome.result == Result.CREATED
    assert waiting(dataflow) == {outcome.profile_id}


# -- what does not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"attributes": {"loyalty": {"points": 8}}}, id="an unmapped attribute is written"),
        pytest.param(
            {"attributes": {"person": {"name": {"lastName": "Lee"}}}}, id="the mapped one's neighbour is"
        ),
        pytest.param(
            {"attributes": {"person": {"name": {"firstName2": "x"}}}},
            id="one whose name begins as the mapped",
        ),
        pytest.param({"memberships": {"unmapped": ("realized", NOW)}}, id="an unmapped segment is joined"),
        pytest.param({"memberships": {"mapped": ("existing", NOW)}}, id="the membership goes on"),
        pytest.param({"memberships": {"mapped": ("realized", NOW)}}, id="it qualifies once more"),
        pytest.param(
            {"memberships": {"mapped": ("exited", LAST_YEAR - timedelta(days=1))}}, id="old news come late"
        ),
        pytest.param({"identities": [("Email", "kim@example.com")]}, id="an identity is there already"),
        pytest.param({"identities_removed": [("ECID", "9")]}, id="an identity is not there to be removed"),
        pytest.param({"attributes": {"billingAddress": None}}, id="nothing is removed"),
    ],
)
@pytest.mark.usefixtures("told")
def test_a_member_is_not_exported_when(change: dict[str, Any], dataflow: Dataflow, segment: Segment) -> None:
    profile = customer(segment, "realized")
    ingest([Fragment(profile_id=profile.pk, **change)])
    assert reasons() == []


@pytest.mark.parametrize("before", [None, "exited"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(FIRST_NAME_AGAIN, id="a mapped attribute"),
        pytest.param(IDENTITY_ADDED, id="an identity"),
        pytest.param({"memberships": {"mapped": ("exited", NOW)}}, id="leaving"),
        pytest.param(
            {"memberships": {"unmapped": ("realized", NOW)}, **FIRST_NAME_AGAIN}, id="another segment"
        ),
    ],
)
@pytest.mark.usefixtures("told")
def test_who_is_no_member_is_not_exported(
    change: dict[str, Any], before: str | None, dataflow: Dataflow, segment: Segment
) -> None:
    profile = customer(segment, before)
    ingest([Fragment(profile_id=profile.pk, **change)])
    assert reasons() == []


@pytest.mark.usefixtures("told")
def test_of_a_hundred_members_five_new_ones_mean_five_exports(dataflow: Dataflow, segment: Segment) -> None:
    members_of(segment, 100)
    joined = ingest([Fragment(identities=[("Email", f"{n}@example.com")], **JOINS) for n in range(5)])
    assert waiting(dataflow) == {outcome.profile_id for outcome in joined}


@pytest.mark.usefixtures("told")
def test_importing_the_same_again_exports_nothing(dataflow: Dataflow) -> None:
    fragment = Fragment(identities=[("Email", "a@example.com")], **FIRST_NAME_AGAIN, **JOINS)
    ingest([fragment])
    PendingExport.objects.all().delete()
    ingest([fragment], skip_unchanged=True)
    assert reasons() == []


# -- which dataflow -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("told")
def test_each_dataflow_gets_what_concerns_it(segment: Segment) -> None:
    other = SegmentFactory.create(id="other")
    names = DataflowFactory.create(segments=[segment], attributes=[FIRST_NAME])
    cities = DataflowFactory.create(segments=[segment, other], attributes=["homeAddress.city"])
    elsewhere = DataflowFactory.create(segments=[other], attributes=[FIRST_NAME, "homeAddress.city"])
    profile = customer(segment, "existing")

    ingest([Fragment(profile_id=profile.pk, attributes={"homeAddress": {"city": "Jeju"}})])
    assert (waiting(names), waiting(cities), waiting(elsewhere)) == (set(), {profile.pk}, set())

    ingest([Fragment(profile_id=profile.pk, memberships={"other": ("realized", NOW)})])
    assert (waiting(names), waiting(cities), waiting(elsewhere)) == (set(), {profile.pk}, {profile.pk})


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("state, queued", [("enabled", 1), ("disabled", 1), ("draft", 0)])
def test_a_disabled_dataflow_queues_and_a_draft_does_not(state: str, queued: int, segment: Segment) -> None:
    DataflowFactory.create(segments=[segment], attributes=[FIRST_NAME], state=state)
    joins = Fragment(identities=[("Email", "a@example.com")], **JOINS)
    ingest([joins])
    assert len(reasons()) == queued
    PendingExport.objects.all().delete()
    ingest([Fragment(identities=[("Email", "a@example.com")], **FIRST_NAME_AGAIN)])
    assert len(reasons()) == queued


# -- folding --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("told")
def test_changes_while_a_profile_waits_fold_into_its_row(dataflow: Dataflow, segment: Segment) -> None:
    profile = customer(segment, "existing")
    ingest([Fragment(profile_id=profile.pk, **FIRST_NAME_AGAIN)])
    first = PendingExport.objects.get()
    ingest([Fragment(profile_id=profile.pk, **IDENTITY_ADDED)])
    second = PendingExport.objects.get()
    assert second.pk == first.pk
    assert (first.reason, second.reason) == ("attribute", "identity")
    assert second.generation != first.generation
    assert (second.created_at, second.available_at) == (first.created_at, first.available_at)


@pytest.mark.usefixtures("told")
def test_of_several_causes_the_strongest_is_told(dataflow: Dataflow, segment: Segment) -> None:
    profile = customer(segment, "existing")
    ingest(
        [
            Fragment(profile_id=profile.pk, **FIRST_NAME_AGAIN),
            Fragment(profile_id=profile.pk, **IDENTITY_ADDED),
        ]
    )
    assert reasons() == ["identity"]
    ingest([Fragment(profile_id=profile.pk, **FIRST_NAME_AGAIN, **LEAVES)])
    assert reasons() == ["membership"]


# -- in the transaction of the change -------------------------------------------------------------------------------


def test_the_row_is_there_with_the_change_and_the_workers_are_told_after_the_commit(
    dataflow: Dataflow,
    segment: Segment,
    told: Told,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    profiles = [customer(segment, "realized").pk]
    with django_capture_on_commit_callbacks(execute=True):
        ingest([Fragment(profile_id=pk, **FIRST_NAME_AGAIN) for pk in profiles])
        assert waiting(dataflow) == set(profiles)
        assert told == []
    assert told == [(dataflow.pk, lanes.lane_of(profiles[0], dataflow.lane_count))]


def test_a_batch_is_one_message_for_each_lane_with_something_to_do(
    dataflow: Dataflow,
    segment: Segment,
    told: Told,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    second = DataflowFactory.create(segments=[segment], attributes=[FIRST_NAME], lane_count=64)
    with django_capture_on_commit_callbacks(execute=True):
        joined = ingest([Fragment(identities=[("Email", f"{n}@example.com")], **JOINS) for n in range(20)])
    expected = {
        (each.pk, lanes.lane_of(outcome.profile_id, each.lane_count))
        for each in (dataflow, second)
        for outcome in joined
        if outcome.profile_id
    }
    assert 4 < len(expected) < 4 + 64
    assert sorted(told) == sorted(expected)


def test_a_change_that_is_rolled_back_leaves_no_row_and_tells_nobody(
    dataflow: Dataflow,
    segment: Segment,
    told: Told,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    profile = customer(segment, "realized")
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        ingest([Fragment(profile_id=profile.pk, **FIRST_NAME_AGAIN)])
        assert reasons() == ["attribute"]
        transaction.set_rollback(True)
    assert reasons() == []
    assert told == []


def test_a_change_whose_exports_can_not_be_queued_does_not_happen(
    dataflow: Dataflow, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = customer(segment, "realized")
    monkeypatch.setattr("activation.export.outbox.queue", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ingest([Fragment(profile_id=profile.pk, **LEAVES)])
    assert SegmentMembership.objects.get().status == "realized"


def test_without_redis_the_change_is_written_and_waits(
    dataflow: Dataflow,
    segment: Segment,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    profile = customer(segment, "realized")
    with django_capture_on_commit_callbacks(execute=True):  # nobody listens at the tests' REDIS_URL
        [outcome] = ingest([Fragment(profile_id=profile.pk, **LEAVES)])
    assert outcome.result == Result.UPDATED
    assert waiting(dataflow) == {profile.pk}


def test_the_queries_do_not_grow_with_profiles_and_dataflows(dataflow: Dataflow, segment: Segment) -> None:
    def queries(count: int) -> int:
        changes = [
            Fragment(identities=[("Email", f"{count}-{n}@example.com")], **JOINS, **FIRST_NAME_AGAIN)
            for n in range(count)
        ]
        with CaptureQueriesContext(connection) as captured:
            ingest(changes)
        return len(captured)

    few = queries(2)
    for _ in range(3):
        DataflowFactory.create(segments=[segment], attributes=[FIRST_NAME, "homeAddress.city"])
    assert queries(25) == few  # as many rows as SQLite takes in one statement
    assert PendingExport.objects.count() == 2 + 4 * 25


def test_without_a_dataflow_a_change_costs_next_to_nothing(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_max_num_queries(2):
        queue_exports(changes=[ProfileChange(uuid.uuid4(), written_paths=frozenset([FIRST_NAME]))] * 500)
