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
from activation.models import Dataflow, Lane, PendingExport
from kinesis_admin import health
from kinesis_admin.celery import app
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
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

from .exporting import FIRST_NAME, Elsewhere, activate, members_of, queue, waiting

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
    rows = PendingExport.objects.values_list("reason", "attempts", "error_code").distinct()
    assert list(rows) == [("backfill", 0, "")]
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


def test_a_message_has_ids_and_nothing_else(redis_server: RedisServer) -> None:
    dataflow = DataflowFactory.create(segments=[SegmentFactory.create(id="secret-segment")])
    assert outbox.wake(dataflow) is True
    [raw] = health.redis_client().lrange("celery", 0, -1)
    message = json.loads(raw)
    [args, kwargs, _options] = json.loads(b64decode(message["body"]))
    assert (message["headers"]["task"], args, kwargs) == ("activation.tasks.deliver", [str(dataflow.pk)], {})


def test_after_an_outage_of_redis_the_next_message_goes_through(redis_server: RedisServer) -> None:
    dataflow = DataflowFactory.create()
    assert outbox.wake(dataflow) is True
    redis_server.stop()
    assert outbox.wake(dataflow) is False
    redis_server.start()
    assert outbox.wake(dataflow) is True


@pytest.mark.parametrize("setting, value", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_redis_that_takes_nothing_is_no_error_either(
    setting: str, value: str, redis_server: RedisServer
) -> None:
    health.redis_client().config_set(setting, value)
    assert outbox.wake(DataflowFactory.create()) is False


# -- the sweep ------------------------------------------------------------------------------------------------------


def test_the_sweep_starts_what_stands_and_nothing_else(
    told: list[uuid.UUID], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    now = timezone.now()
    standing, orphan, was_held, later, leased, held, disabled, _idle = DataflowFactory.create_batch(8)
    profiles = ProfileFactory.create_batch(2)
    for dataflow in (standing, orphan, was_held, later, leased, held, disabled):
        queue(dataflow, profiles)
    PendingExport.objects.filter(dataflow=later).update(available_at=now + timedelta(minutes=1))
    Dataflow.objects.filter(pk=disabled.pk).update(state="disabled")
    for dataflow in (orphan, leased):
        assert lanes.take(dataflow.pk)
    past, soon = now - timedelta(seconds=1), now + timedelta(seconds=20)
    Lane.objects.filter(dataflow=orphan).update(leased_until=past)  # its worker is dead
    Lane.objects.create(dataflow=was_held, held_until=past, error_code="X", error_at=past)
    Lane.objects.create(dataflow=held, held_until=soon, error_code="X", error_at=past)
    with django_assert_num_queries(1):
        tasks.sweep()
    assert sorted(told) == sorted(dataflow.pk for dataflow in (standing, orphan, was_held))


def test_a_sweep_without_redis_is_no_error() -> None:
    queue(DataflowFactory.create(), [ProfileFactory.create()])
    tasks.sweep()


def test_beat_sweeps_every_few_seconds() -> None:
    entry: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE["sweep"]
    assert entry["task"] in app.tasks
    assert entry["schedule"] <= 10
