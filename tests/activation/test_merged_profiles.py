"""Two profiles that prove to be one: who is told, and what becomes of what waited."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, PendingExport
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.factories import (
    DataflowFactory,
    IdentityFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
)

pytestmark = pytest.mark.django_db

EARLIER, LATER = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def stays() -> Profile:
    return IdentityFactory.create(value="stays@example.com", profile=ProfileFactory.create()).profile


@pytest.fixture
def goes(stays: Profile) -> Profile:
    return IdentityFactory.create(value="goes@example.com", profile=ProfileFactory.create()).profile


def merge() -> None:
    ingest([Fragment(identities=[("Email", "goes@example.com"), ("Email", "stays@example.com")])])


def delivered(dataflow: Dataflow, profile: Profile) -> None:
    Delivery.objects.create(
        dataflow=dataflow, profile=profile, delivered_at=timezone.now(), shard="0", sequence_number="1"
    )


def pending() -> set[tuple[uuid.UUID, uuid.UUID]]:
    return set(PendingExport.objects.values_list("dataflow_id", "profile_id"))


def test_every_dataflow_that_knew_either_gets_one_export_of_the_one_that_stayed(
    stays: Profile, goes: Profile
) -> None:
    knew_one, knew_other, knew_both, was_to_know, disabled, knew_none = (
        DataflowFactory.create() for _number in range(6)
    )
    Dataflow.objects.filter(pk=disabled.pk).update(state=Dataflow.State.DISABLED)
    delivered(knew_one, stays)
    delivered(knew_other, goes)
    delivered(knew_both, stays)
    delivered(knew_both, goes)
    delivered(disabled, goes)
    delivered(knew_none, ProfileFactory.create())
    PendingExport.objects.create(dataflow=was_to_know, profile=goes, reason="membership")
    merge()
    told = (knew_one, knew_other, knew_both, was_to_know, disabled)
    assert pending() == {(dataflow.pk, stays.pk) for dataflow in told}
    assert not Profile.objects.filter(pk=goes.pk).exists()


def test_a_dataflow_of_a_segment_that_the_merge_ended_is_told(stays: Profile, goes: Profile) -> None:
    segment: Segment = SegmentFactory.create()
    MembershipFactory.create(
        profile=goes, segment=segment, status="existing", last_qualification_time=EARLIER
    )
    MembershipFactory.create(profile=stays, segment=segment, status="exited", last_qualification_time=LATER)
    dataflow = DataflowFactory.create(segments=[segment])
    delivered(dataflow, goes)
    merge()
    assert pending() == {(dataflow.pk, stays.pk)}


def test_who_joins_a_mapped_segment_by_a_merge_is_exported(stays: Profile, goes: Profile) -> None:
    membership = MembershipFactory.create(profile=goes)
    dataflow = DataflowFactory.create(segments=[membership.segment])
    merge()
    assert pending() == {(dataflow.pk, stays.pk)}


def test_what_waited_keeps_its_place_with_a_new_generation(stays: Profile, goes: Profile) -> None:
    dataflow = DataflowFactory.create()
    row = PendingExport.objects.create(dataflow=dataflow, profile=stays, reason="attribute")
    merge()
    again = PendingExport.objects.get()
    assert (again.pk, again.created_at) == (row.pk, row.created_at)
    assert again.generation != row.generation


def test_dead_letters_stay_with_the_runs_that_counted_them(stays: Profile, goes: Profile) -> None:
    dataflow = DataflowFactory.create()
    run = DataflowRun.objects.create(
        dataflow=dataflow, started_at=EARLIER, last_at=EARLIER, failed=1, excluded=0
    )
    FailedExport.objects.create(run=run, profile=goes, kind="failed", code="X", reason="x")
    merge()
    assert FailedExport.objects.get().profile_id == stays.pk


def test_the_number_of_queries_does_not_depend_on_how_many_are_merged() -> None:
    segment = SegmentFactory.create()
    for _number in range(3):
        DataflowFactory.create(segments=[segment], attributes=["person.email"])

    def queries(pairs: int, first: int) -> int:
        fragments = []
        for number in range(first, first + pairs):
            for side in "ab":
                profile = IdentityFactory.create(value=f"{side}{number}").profile
                MembershipFactory.create(profile=profile, segment=segment)
            fragments.append(Fragment(identities=[("Email", f"a{number}"), ("Email", f"b{number}")]))
        with CaptureQueriesContext(connection) as captured:
            ingest(fragments)
        return len(captured)

    assert queries(1, first=100) == queries(30, first=0)
