"""The outbox: what the backfill queues, which mappings a change is weighed against, and what the workers are told."""

from __future__ import annotations

import json
import uuid
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation import tasks
from activation.export import lanes, outbox
from activation.models import Dataflow, ExportReason, Lane, PendingExport
from kinesis_admin import health
from kinesis_admin.celery import app
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.elsewhere import Elsewhere
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)
from tests.postgres import wait_for_a_lock
from tests.services import RedisServer

from .exporting import FIRST_NAME, Told, activate, members_of, queue, waiting

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, tzinfo=UTC)


# -- backfill -------------------------------------------------------------------------------------------------------


def test_a_backfill_queues_each_member_once_in_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    one, two, other = SegmentFactory.create_batch(3)
    dataflow = DataflowFactory.create(segments=[one, two])
    members = members_of(one, 20)
    for profile in members[:10]:
        MembershipFactory.create(profile=profile, segment=two, status="existing")
    MembershipFactory.create(segment=two, status="exited")
    members_of(other, 3)
    with django_assert_num_queries(1):
        assert outbox.backfill(dataflow, [one.pk, two.pk]) == 20
    assert waiting(dataflow) == {profile.pk for profile in members}
    rows = PendingExport.objects.values_list("reason", "bulk", "attempts", "error_code").distinct()
    assert list(rows) == [("backfill", True, 0, "")]
    assert not PendingExport.objects.filter(available_at__gt=timezone.now()).exists()


def test_a_backfill_of_no_segments_is_no_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    dataflow = DataflowFactory.create()
    with django_assert_num_queries(0):
        assert outbox.backfill(dataflow, []) == 0


def test_who_waits_already_is_not_queued_twice_and_will_be_read_anew() -> None:
    segment = SegmentFactory.create()
    dataflow = DataflowFactory.create(segments=[segment])
    profiles = members_of(segment, 3)
    queue(dataflow, profiles[:1])
    before = PendingExport.objects.get()
    assert outbox.backfill(dataflow, [segment.pk]) == 3
    assert PendingExport.objects.count() == 3
    after = PendingExport.objects.get(pk=before.pk)
    assert after.generation != before.generation
    assert after.created_at == before.created_at
    assert (after.reason, after.available_at) == ("backfill", before.available_at)


def test_a_backfill_does_not_put_a_fresh_change_among_the_many() -> None:
    segment = SegmentFactory.create()
    dataflow = DataflowFactory.create(segments=[segment])
    fresh, other = members_of(segment, 2)
    queue(dataflow, [fresh])
    outbox.backfill(dataflow, [segment.pk])
    assert dict(PendingExport.objects.values_list("profile_id", "bulk")) == {fresh.pk: False, other.pk: True}


def test_a_fresh_change_takes_its_row_out_of_the_many() -> None:
    segment = SegmentFactory.create()
    dataflow = DataflowFactory.create(segments=[segment])
    profile, other = members_of(segment, 2)
    outbox.backfill(dataflow, [segment.pk])
    before = PendingExport.objects.get(profile=profile)
    queue(dataflow, [profile])
    after = PendingExport.objects.get(pk=before.pk)
    assert (after.bulk, after.reason) == (False, "attribute")
    assert after.generation != before.generation
    assert (after.created_at, after.available_at) == (before.created_at, before.available_at)
    assert PendingExport.objects.get(profile=other).bulk


def test_what_is_queued_by_the_many_keeps_time_as_every_other_row_does() -> None:
    """To the microsecond, in the form in which times are compared."""
    segment = SegmentFactory.create()
    dataflow = DataflowFactory.create(segments=[segment])
    profile, other = members_of(segment, 2)
    before = timezone.now()
    outbox.queue_many(dataflow.pk, Profile.objects.filter(pk=profile.pk), ExportReason.REPLAY)
    row = PendingExport.objects.get()
    assert before <= row.created_at == row.available_at <= timezone.now()
    PendingExport.objects.create(
        dataflow=dataflow,
        profile=other,
        reason="replay",
        created_at=row.created_at,
        available_at=row.available_at,
    )
    assert PendingExport.objects.filter(available_at=row.available_at, created_at=row.created_at).count() == 2


def test_a_backfill_leaves_other_dataflows_alone() -> None:
    segment = SegmentFactory.create()
    members_of(segment, 2)
    dataflow, other = DataflowFactory.create_batch(2, segments=[segment])
    outbox.backfill(dataflow, [segment.pk])
    assert (len(waiting(dataflow)), len(waiting(other))) == (2, 0)


# -- a change and a mapping at the same moment ----------------------------------------------------------------------


def joins(segment: Segment) -> Fragment:
    return Fragment(identities=[("Email", "new@example.com")], memberships={segment.pk: ("realized", NOW)})


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("first", ["change", "finish"])
def test_who_joins_a_segment_while_it_is_mapped_is_not_forgotten(first: str) -> None:
    segment = SegmentFactory.create()
    destination, person = DestinationFactory.create(), UserFactory.create()
    acts: list[Callable[[], object]] = [
        lambda: ingest([joins(segment)]),
        lambda: activate(destination, segment, by=person),
    ]
    if first == "finish":
        acts.reverse()
    with transaction.atomic():
        acts[0]()
        other = Elsewhere(acts[1])
        wait_for_a_lock()
    other.join()
    assert waiting(destination.dataflow) == {Profile.objects.get().pk}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.usefixtures("told")
def test_changes_do_not_wait_for_each_other() -> None:
    segment = SegmentFactory.create()
    DataflowFactory.create(segments=[segment], attributes=[FIRST_NAME])
    with transaction.atomic():
        ingest([joins(segment)])
        Elsewhere(lambda: ingest([Fragment(identities=[("Email", "other@example.com")])])).join()


# -- telling the workers --------------------------------------------------------------------------------------------


def messages() -> list[Any]:
    """What the workers will find, oldest first: [[args, kwargs, …], …]."""
    raw = health.redis_client().lrange("celery", 0, -1)
    return [json.loads(b64decode(json.loads(message)["body"])) for message in reversed(raw)]


def test_a_message_has_ids_and_nothing_else(redis_server: RedisServer) -> None:
    dataflow = DataflowFactory.create(segments=[SegmentFactory.create(id="secret-segment")], lane_count=2)
    assert outbox.wake(dataflow) is True
    assert [message[:2] for message in messages()] == [
        [[str(dataflow.pk), 0], {}],
        [[str(dataflow.pk), 1], {}],
    ]
    raw = health.redis_client().lrange("celery", 0, -1)
    assert {json.loads(message)["headers"]["task"] for message in raw} == {"activation.tasks.deliver"}
    assert not any(b"secret" in message for message in raw)


LANE = (uuid.UUID(int=7), 3)


def test_while_a_message_is_under_way_there_is_no_second_one(redis_server: RedisServer) -> None:
    for _ in range(3):
        assert outbox.wake_lanes([LANE]) is True
    assert outbox.wake_lanes([LANE, (LANE[0], 4)]) is True
    assert [args for args, *_ in messages()] == [[str(LANE[0]), 3], [str(LANE[0]), 4]]


def test_nor_while_a_worker_is_at_it_and_afterwards_there_is(redis_server: RedisServer) -> None:
    with outbox.working(LANE):
        outbox.wake_lanes([LANE])
        assert messages() == []
    outbox.wake_lanes([LANE])
    assert len(messages()) == 1


def test_a_worker_that_fails_leaves_nobody_untold(redis_server: RedisServer) -> None:
    with pytest.raises(ZeroDivisionError), outbox.working(LANE):
        1 / 0  # noqa: B018
    outbox.wake_lanes([LANE])
    assert len(messages()) == 1


def test_a_message_that_is_lost_is_not_missed_for_long(redis_server: RedisServer) -> None:
    outbox.wake_lanes([LANE])
    with outbox.working((LANE[0], 4)):
        pass
    [key] = health.redis_client().keys("kinesis-admin:told:*")
    assert 0 < health.redis_client().ttl(key) <= 15
    assert outbox.wake_lanes([LANE], again=True) is True
    assert len(messages()) == 2


def test_what_is_due_later_is_told_later(redis_server: RedisServer) -> None:
    before = timezone.now()
    outbox.wake_later(LANE, 20)
    [raw] = health.redis_client().lrange("celery", 0, -1)
    eta = datetime.fromisoformat(json.loads(raw)["headers"]["eta"])
    assert 19 < (eta - before).total_seconds() < 25
    outbox.wake_lanes([LANE])  # which does not keep others from being told now
    assert len(messages()) == 2


def test_after_an_outage_of_redis_the_next_message_goes_through(redis_server: RedisServer) -> None:
    dataflow = DataflowFactory.create()
    assert outbox.wake(dataflow) is True
    redis_server.stop()
    assert outbox.wake(dataflow) is False
    redis_server.start()
    assert outbox.wake(dataflow) is True
    assert len(messages()) == dataflow.lane_count


def test_without_redis_whoever_works_or_tells_goes_on() -> None:
    outbox.wake_later(LANE, 1)
    assert outbox.wake_lanes([LANE]) is False
    with outbox.working(LANE):
        pass


def test_nobody_to_tell_needs_no_redis() -> None:
    assert outbox.wake_lanes([]) is True


@pytest.mark.parametrize("setting, value", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_redis_that_takes_nothing_is_no_error_either(
    setting: str, value: str, redis_server: RedisServer
) -> None:
    health.redis_client().config_set(setting, value)
    assert outbox.wake(DataflowFactory.create()) is False
    outbox.wake_later(LANE, 1)
    with outbox.working(LANE):
        pass


# -- the sweep ------------------------------------------------------------------------------------------------------


def test_the_sweep_starts_what_stands_and_nothing_else(
    told: Told, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    now = timezone.now()
    past, soon = now - timedelta(seconds=1), now + timedelta(seconds=20)
    standing, orphan, was_held, later, leased, held, disabled, _idle = DataflowFactory.create_batch(
        8, lane_count=2
    )
    profiles = ProfileFactory.create_batch(2)
    for dataflow in (standing, orphan, was_held, later, leased, held, disabled):
        queue(dataflow, profiles)
    PendingExport.objects.filter(dataflow=later).update(available_at=now + timedelta(minutes=1))
    Dataflow.objects.filter(pk=disabled.pk).update(state="disabled")
    for dataflow in (orphan, leased):
        assert lanes.take(dataflow.pk, 0)
    assert lanes.take(leased.pk, 1)
    Lane.objects.filter(dataflow=orphan).update(leased_until=past)  # its worker is dead
    for dataflow, until in [(was_held, past), (held, soon)]:
        Dataflow.objects.filter(pk=dataflow.pk).update(held_until=until, error_code="X", error_at=past)
    with django_assert_num_queries(3):  # one of them for what is drained
        tasks.sweep()
    expected = [(dataflow.pk, number) for dataflow in (standing, orphan, was_held) for number in (0, 1)]
    assert sorted(told) == sorted(expected)


def test_the_sweep_tells_again_who_was_told_already(told: Told) -> None:
    """That one may have died with its message."""
    dataflow = DataflowFactory.create(lane_count=1)
    queue(dataflow, [ProfileFactory.create()])
    outbox.wake_lanes([(dataflow.pk, 0)])
    tasks.sweep()
    assert told == [(dataflow.pk, 0)] * 2


def test_a_sweep_without_redis_is_no_error() -> None:
    queue(DataflowFactory.create(), [ProfileFactory.create()])
    tasks.sweep()


def test_beat_sweeps_every_few_seconds() -> None:
    entry: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE["sweep"]
    assert entry["task"] in app.tasks
    assert entry["schedule"] <= 10
