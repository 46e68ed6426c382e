"""The right to deliver: how profiles are split, one worker at a lane, fenced by its token; holding what is broken."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activation import tasks
from activation.export import delivery, lanes
from activation.export.lanes import Lease
from activation.models import MAX_LANES, SLOTS, Dataflow, Lane, PendingExport, Slot
from profiles.models import Profile
from tests.factories import DataflowFactory, ProfileFactory

from .exporting import Told, hold_is_over, lane, pass_time, queue

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create(lane_count=4)


def take(dataflow: Dataflow, number: int = 0) -> Lease:
    lease = lanes.take(dataflow.pk, number)
    assert lease is not None
    return lease


def give_back(*leases: Lease) -> None:
    for lease in leases:
        lanes.give_back(lease, {})


def free(dataflow: Dataflow) -> list[int]:
    """Which lanes a worker gets now; it gives them back at once."""
    numbers = []
    for number in range(MAX_LANES):
        if lease := lanes.take(dataflow.pk, number):
            give_back(lease)
            numbers.append(number)
    return numbers


def split(dataflow: Dataflow, count: int) -> None:
    Dataflow.objects.filter(pk=dataflow.pk).update(lane_count=count)


def expire(*leases: Lease) -> None:
    """Their workers were not heard of for as long as a lease lasts."""
    for lease in leases:
        Lane.objects.filter(token=lease.token).update(leased_until=timezone.now())


def in_a_lane_for_each_byte(dataflow: Dataflow) -> list[Profile]:
    """Profiles whose ids end with every byte that there is, all of them waiting."""
    profiles = [ProfileFactory.build(pk=uuid.UUID(int=(7 << 64) + byte)) for byte in range(256)]
    Profile.objects.bulk_create(profiles)
    queue(dataflow, profiles)
    return profiles


# -- who is in which lane -------------------------------------------------------------------------------------------


@given(st.integers(1, MAX_LANES))
def test_the_lanes_share_all_slots_evenly_and_none_twice(of: int) -> None:
    ranges = [lanes.slots(number, of) for number in range(of)]
    assert [slot for first, last in ranges for slot in range(first, last + 1)] == list(range(SLOTS))
    sizes = {last - first + 1 for first, last in ranges}
    assert max(sizes) - min(sizes) <= 1


@given(st.uuids(), st.integers(1, MAX_LANES))
def test_a_profile_is_in_the_lane_that_owns_its_slot(profile_id: uuid.UUID, of: int) -> None:
    number = lanes.lane_of(profile_id, of)
    first, last = lanes.slots(number, of)
    assert first <= profile_id.bytes[-1] <= last


@settings(max_examples=30, deadline=None)
@given(st.lists(st.uuids(), min_size=1, max_size=50, unique=True))
@example([uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)])
def test_the_slot_is_the_last_byte_of_the_id_in_the_database_too(profile_ids: list[uuid.UUID]) -> None:
    Profile.objects.all().delete()
    profiles = Profile.objects.bulk_create(ProfileFactory.build(pk=pk) for pk in profile_ids)
    queue(DataflowFactory.create(), profiles)
    rows = dict(PendingExport.objects.values_list("profile_id", "slot"))
    assert rows == {pk: pk.bytes[-1] for pk in profile_ids}
    slots = Profile.objects.annotate(slot=Slot("pk")).values_list("pk", "slot")
    assert dict(slots) == rows


@pytest.mark.parametrize("of", [1, 2, 3, 4, 7, 8, 64])
def test_each_waiting_row_is_in_one_lane_and_in_the_one_whose_workers_are_told(
    of: int, dataflow: Dataflow
) -> None:
    profiles = in_a_lane_for_each_byte(dataflow)
    found: dict[uuid.UUID, int] = {}
    for number in range(of):
        rows: QuerySet[PendingExport] = PendingExport.objects.filter(slot__range=lanes.slots(number, of))
        for profile_id in rows.values_list("profile_id", flat=True):
            assert profile_id not in found
            found[profile_id] = number
    assert found == {profile.pk: lanes.lane_of(profile.pk, of) for profile in profiles}


# -- leases ---------------------------------------------------------------------------------------------------------


def test_one_at_a_time_has_a_lane(dataflow: Dataflow) -> None:
    lease = take(dataflow)
    assert lanes.take(dataflow.pk, 0) is None
    give_back(lease)
    assert take(dataflow).token != lease.token


def test_the_lanes_of_a_dataflow_are_leased_one_by_one(dataflow: Dataflow) -> None:
    leases = [take(dataflow, number) for number in range(4)]
    assert len({lease.token for lease in leases}) == 4
    give_back(leases[2])
    assert free(dataflow) == [2]


def test_there_are_no_more_lanes_than_the_dataflow_has(dataflow: Dataflow) -> None:
    assert free(dataflow) == [0, 1, 2, 3]
    assert lanes.take(dataflow.pk, 4) is None


def test_each_dataflow_has_lanes_of_its_own(dataflow: Dataflow) -> None:
    take(dataflow)
    take(DataflowFactory.create())


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_who_take_lanes_at_the_same_moment_one_gets_each(dataflow: Dataflow) -> None:
    start = threading.Barrier(8)
    leases: list[Lease | None] = []

    def run(number: int) -> None:
        try:
            start.wait(timeout=10)
            leases.append(lanes.take(dataflow.pk, number))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[place % 2]) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(leases) == 8
    got = {lease.number: lease.token for lease in leases if lease}
    assert len([lease for lease in leases if lease]) == 2
    assert got == {0: lane(dataflow, 0).token, 1: lane(dataflow, 1).token}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_dataflow_that_is_gone_has_no_lane() -> None:
    assert lanes.take(uuid.uuid4(), 0) is None
    assert not Lane.objects.exists()


@pytest.mark.parametrize("state", ["disabled", "draft"])
def test_a_dataflow_that_is_not_enabled_has_none(state: str, dataflow: Dataflow) -> None:
    Dataflow.objects.update(state=state)
    assert free(dataflow) == []


def test_who_died_loses_the_lane_by_time(dataflow: Dataflow) -> None:
    take(dataflow)
    pass_time(dataflow, seconds=lanes.LEASE.total_seconds() - 5)
    assert lanes.take(dataflow.pk, 0) is None
    pass_time(dataflow, seconds=6)
    take(dataflow)


def test_what_a_killed_worker_had_is_taken_over_within_30_seconds(
    dataflow: Dataflow, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_lane_for_each_byte(dataflow)
    take(dataflow, 1)  # and is never heard of again
    died = timezone.now()
    entry: dict[str, Any] = django_settings.CELERY_BEAT_SCHEDULE["sweep"]
    taken_over: list[float] = []
    for sweep in range(1, 10):
        after = sweep * entry["schedule"] - 0.1  # the worst time: one comes just before the lease is over
        moment = died + timedelta(seconds=after)
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        tasks.sweep()
        if (dataflow.pk, 1) in told and lanes.take(*(dataflow.pk, 1)):
            taken_over.append(after)
        told.forget()
    assert lanes.LEASE.total_seconds() < taken_over[0] < 30


def test_who_was_only_slow_keeps_it_if_nobody_else_came(dataflow: Dataflow) -> None:
    lease = take(dataflow)
    pass_time(dataflow, minutes=10)
    lanes.renew(lease)
    assert lanes.take(dataflow.pk, 0) is None


def test_who_was_slower_than_another_has_lost_it(dataflow: Dataflow) -> None:
    slow = take(dataflow)
    pass_time(dataflow, minutes=10)
    other = take(dataflow)
    with pytest.raises(lanes.LeaseLost):
        lanes.renew(slow)
    lanes.give_back(slow, {"shard": [1.0]})
    row = lane(dataflow)
    assert (row.token, row.pace) == (other.token, {})
    assert row.leased_until and row.leased_until > timezone.now()
    lanes.renew(other)


def test_who_gave_it_back_has_it_no_more(dataflow: Dataflow) -> None:
    lease = take(dataflow)
    give_back(lease)
    with pytest.raises(lanes.LeaseLost):
        lanes.renew(lease)


def test_what_was_learned_of_the_shards_is_for_the_next_who_has_the_lane(dataflow: Dataflow) -> None:
    lanes.give_back(take(dataflow), {"shard": [512.5]})
    assert take(dataflow).pace == {"shard": [512.5]}
    assert take(dataflow, 1).pace == {}


# -- another number of lanes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before, after", [(2, 8), (8, 1), (3, 4)])
def test_lanes_of_another_number_wait_until_all_of_before_are_given_back(
    before: int, after: int, dataflow: Dataflow
) -> None:
    split(dataflow, before)
    first, *others = (take(dataflow, number) for number in range(before))
    split(dataflow, after)
    assert free(dataflow) == []
    give_back(*others)
    assert free(dataflow) == []
    lanes.renew(first)  # is still allowed to settle what it has sent
    give_back(first)
    assert free(dataflow) == list(range(after))


@pytest.mark.parametrize("before, after", [(2, 8), (8, 1), (8, 2)])
def test_or_until_their_leases_are_over(before: int, after: int, dataflow: Dataflow) -> None:
    split(dataflow, before)
    dead, alive = take(dataflow, 0), take(dataflow, 1)
    split(dataflow, after)
    give_back(alive)
    assert free(dataflow) == []
    expire(dead)
    assert free(dataflow) == list(range(after))


@pytest.mark.parametrize("before, after", [(2, 8), (8, 1), (8, 2)])
def test_who_comes_back_late_has_lost_its_lane_of_before(before: int, after: int, dataflow: Dataflow) -> None:
    """Also where the lane of its number was not leased again: its profiles are in others by now."""
    split(dataflow, before)
    slow = [take(dataflow, number) for number in range(before)]
    split(dataflow, after)
    expire(*slow)
    take(dataflow, after - 1)
    for lease in slow:
        with pytest.raises(lanes.LeaseLost):
            lanes.renew(lease)


def test_what_was_learned_for_fewer_lanes_is_not_true_for_more(dataflow: Dataflow) -> None:
    lanes.give_back(take(dataflow), {"shard": [512.5]})
    split(dataflow, 8)
    assert take(dataflow).pace == {}


# -- what is planned ------------------------------------------------------------------------------------------------


def at(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def test_one_message_is_planned_for_what_is_due_later_and_another_only_for_what_is_due_before(
    dataflow: Dataflow,
) -> None:
    give_back(take(dataflow), take(dataflow, 1))
    key = (dataflow.pk, 0)
    assert lanes.plan_wake(key, at(10))
    assert not lanes.plan_wake(key, at(20))
    assert not lanes.plan_wake(key, lane(dataflow).wake_at)  # type: ignore[arg-type]
    assert lanes.plan_wake(key, at(5))
    assert not lanes.plan_wake(key, at(10))
    assert lanes.plan_wake((dataflow.pk, 1), at(20))


def test_once_it_was_due_it_says_nothing_any_more(dataflow: Dataflow) -> None:
    give_back(take(dataflow))
    assert lanes.plan_wake((dataflow.pk, 0), at(10))
    pass_time(dataflow, seconds=11)
    assert lanes.plan_wake((dataflow.pk, 0), at(20))


# -- holding --------------------------------------------------------------------------------------------------------


def fail(dataflow: Dataflow, code: str = "ResourceNotFoundException", message: str = "not found") -> float:
    """Try once, in vain. Seconds until the next try."""
    lease = take(dataflow)
    lanes.hold(dataflow.pk, code, message)
    give_back(lease)
    dataflow.refresh_from_db()
    assert dataflow.held_until
    return (dataflow.held_until - timezone.now()).total_seconds()


@pytest.fixture
def waits(dataflow: Dataflow) -> list[Profile]:
    """There is something to do in each lane."""
    return in_a_lane_for_each_byte(dataflow)


@pytest.mark.usefixtures("waits")
def test_what_is_held_is_not_tried_before_its_time(dataflow: Dataflow) -> None:
    wait = fail(dataflow)
    assert free(dataflow) == []
    pass_time(dataflow, seconds=wait)
    take(dataflow)


@pytest.mark.usefixtures("waits")
def test_one_lane_at_a_time_tries_what_refused_before(dataflow: Dataflow) -> None:
    assert not take(dataflow).probing
    pass_time(dataflow, minutes=1)
    fail(dataflow)
    hold_is_over(dataflow)
    lease = take(dataflow, 2)
    assert lease.probing
    assert free(dataflow) == []
    give_back(lease)
    assert free(dataflow) == []  # nor right after it: it may not have come as far as an answer
    hold_is_over(dataflow)
    assert take(dataflow, 3).probing


@pytest.mark.usefixtures("waits")
def test_it_is_not_tried_while_a_worker_of_before_is_at_it(dataflow: Dataflow) -> None:
    other = take(dataflow, 3)
    fail(dataflow)
    hold_is_over(dataflow)
    assert free(dataflow) == []
    give_back(other)
    assert take(dataflow).probing


def test_only_a_lane_with_something_due_tries(dataflow: Dataflow, waits: list[Profile]) -> None:
    fail(dataflow)
    rows = PendingExport.objects.filter(dataflow=dataflow)
    rows.filter(slot__range=lanes.slots(0, 4)).delete()
    rows.filter(slot__range=lanes.slots(1, 4)).update(available_at=at(60))
    hold_is_over(dataflow)
    assert lanes.take(dataflow.pk, 0) is None
    assert lanes.take(dataflow.pk, 1) is None
    assert take(dataflow, 2).probing


@pytest.mark.usefixtures("waits")
def test_the_error_is_shown_in_the_other_sides_words(dataflow: Dataflow) -> None:
    fail(dataflow, "X" * 200, "Stream gone under account 1 not found.")
    assert (dataflow.error_code, dataflow.error_message) == (
        "X" * 100,
        "Stream gone under account 1 not found.",
    )
    assert dataflow.error_at is not None


@pytest.mark.usefixtures("waits")
def test_the_longer_it_is_broken_the_longer_the_wait_within_limits(dataflow: Dataflow) -> None:
    waits = []
    for _ in range(8):
        waits.append(fail(dataflow))
        pass_time(dataflow, seconds=waits[-1] + 1)
    assert waits == pytest.approx([5, 6, 13, 27, 55, 111, 120, 120], abs=3)
    since = dataflow.error_at
    fail(dataflow)
    assert since is not None
    assert dataflow.error_at == since


@pytest.mark.usefixtures("waits")
def test_a_worker_that_dies_while_it_tries_does_not_make_the_others_try_at_once(dataflow: Dataflow) -> None:
    fail(dataflow)
    pass_time(dataflow, minutes=1)
    dead = take(dataflow)
    expire(dead)
    assert free(dataflow) == []
    pass_time(dataflow, seconds=61)
    assert take(dataflow, 1).probing


@pytest.mark.usefixtures("waits")
def test_an_answer_ends_it_for_all_lanes(dataflow: Dataflow) -> None:
    fail(dataflow)
    pass_time(dataflow, minutes=5)
    lease = take(dataflow)
    lanes.reached(dataflow.pk)
    give_back(lease)
    dataflow.refresh_from_db()
    assert (dataflow.held_until, dataflow.error_code, dataflow.error_message, dataflow.error_at) == (
        None,
        "",
        "",
        None,
    )
    assert free(dataflow) == [0, 1, 2, 3]
    assert fail(dataflow) == pytest.approx(5, abs=1)


@pytest.mark.usefixtures("waits")
def test_what_was_released_is_tried_at_once_and_still_shows_its_error(dataflow: Dataflow) -> None:
    other = DataflowFactory.create()
    fail(dataflow)
    fail(other)
    lanes.release([dataflow.pk])
    dataflow.refresh_from_db()
    assert dataflow.error_code == "ResourceNotFoundException"
    assert take(dataflow, 1).probing
    assert lanes.take(other.pk, 0) is None


@pytest.mark.usefixtures("waits")
def test_the_sweep_does_not_wake_what_is_held(dataflow: Dataflow) -> None:
    def started() -> Iterable[int]:
        return [number for _, number in delivery.startable()]

    assert started() == [0, 1, 2, 3]
    fail(dataflow)
    assert started() == []
    hold_is_over(dataflow)
    assert started() == [0, 1, 2, 3]
