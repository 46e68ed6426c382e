"""The outbox: rows in the transaction of the change itself, and a message to the workers once it is committed.

The message carries an id and may be lost: the rows say what is to be done, and the sweep finds them.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.db.models import (
    BigIntegerField,
    BooleanField,
    CharField,
    DateTimeField,
    Exists,
    Field,
    IntegerField,
    OuterRef,
    QuerySet,
    UUIDField,
    Value,
)
from django.db.models.functions import Cast
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from activation.export import lanes
from activation.models import Dataflow, ExportReason, PendingExport, new_generation
from profiles import bulk
from profiles.locks import advisory_lock
from profiles.models import Profile, SegmentMembership

log = structlog.get_logger(__name__)

_MAPPINGS = b"kinesis"  # names of advisory locks
_MANY = b"many"


def lock_many() -> None:
    """Until the end of the transaction, nobody else queues many, or lets go of a destination.

    Taken before the rows of dataflows: a replay locks what waits and then its dataflow, without which no worker gets a
    lane, for a moment alone; others lock the dataflow first. Together they would wait in a circle.
    """
    advisory_lock(_MANY, shared=False)


def lock_mapping(dataflow: Dataflow) -> None:
    """Until the end of the transaction, no change of a profile is weighed against the mappings.

    Taken by whoever changes a live mapping and backfills: a change that was weighed against the old mapping is
    committed by then, so the backfill sees it; one that comes after is weighed against the new. (SQLite has one writer
    anyway.)
    """
    log.debug("mapping_locked", dataflow_id=str(dataflow.pk))
    advisory_lock(_MAPPINGS, shared=False)


def hold_mappings() -> None:
    """Until the end of the transaction, mappings stay as they are. Any number of transactions may do this at once."""
    advisory_lock(_MAPPINGS, shared=True)


def queue(rows: Iterable[tuple[uuid.UUID, uuid.UUID, str]]) -> None:
    """Queue exports in the current transaction; a row that waits already gets a new generation and reason.

    Args:
        rows: (dataflow id, profile id, reason), no pair of ids twice.
    """
    now = timezone.now()
    bulk.insert(
        PendingExport,
        ["dataflow_id", "profile_id", "generation", "reason"],
        # Sorted: two transactions that queue the same profiles wait for each other instead of locking each other out.
        [
            (dataflow_id, profile_id, new_generation(), reason)
            for dataflow_id, profile_id, reason in sorted(rows, key=lambda row: (row[0].int, row[1].int))
        ],
        same={"bulk": False, "created_at": now, "available_at": now, "attempts": 0, "error_code": ""},
        unique=["dataflow_id", "profile_id"],
        # Of the moment, even where it waited among many.
        update=["generation", "reason", "bulk"],
    )


def lock(profile_ids: Iterable[uuid.UUID]) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Lock what waits of these profiles, in the order in which delivery does, until the end of the transaction.

    Returns:
        (dataflow id, profile id) of each row.
    """
    rows = PendingExport.objects.filter(profile__in=list(profile_ids)).select_for_update()
    return set(rows.order_by("dataflow_id", "profile_id").values_list("dataflow_id", "profile_id"))


def backfill(dataflow: Dataflow, segment_ids: Collection[str]) -> int:
    """Queue every member of the segments.

    Returns:
        How many profiles were queued, those included that waited already.
    """
    if not segment_ids:
        return 0
    members = SegmentMembership.objects.filter(
        profile=OuterRef("pk"), segment__in=segment_ids, status__in=SegmentMembership.MEMBER_STATUSES
    )
    return queue_many(dataflow.pk, Profile.objects.filter(Exists(members)), ExportReason.BACKFILL)


def queue_many(dataflow_id: uuid.UUID, profiles: QuerySet[Profile], reason: ExportReason) -> int:
    """Queue all of these, in one statement inside the database. Changes of the moment overtake them.

    Returns:
        How many were queued, those included that waited already.
    """
    now = timezone.now()
    values: dict[str, tuple[object, Field[object, object]]] = {
        "dataflow_id": (dataflow_id, UUIDField()),
        "generation": (new_generation(), BigIntegerField()),
        "reason": (reason.value, CharField(max_length=10)),
        "bulk": (True, BooleanField()),
        "created_at": (now, DateTimeField()),
        "available_at": (now, DateTimeField()),
        "attempts": (0, IntegerField()),
        "error_code": ("", CharField(max_length=100)),
    }
    rows = profiles.order_by("pk").values_list("pk", *(_literal(*value) for value in values.values()))
    select, params = rows.query.get_compiler(connection=connection).as_sql()
    quote = connection.ops.quote_name
    columns = ", ".join(map(quote, ["profile_id", *values]))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(PendingExport._meta.db_table)} ({columns}) {select} "
            "ON CONFLICT (dataflow_id, profile_id) DO UPDATE "
            "SET generation = excluded.generation, reason = excluded.reason",
            params,
        )
        return int(cursor.rowcount)


def _literal(value: object, type_: Field[object, object]) -> Value | Cast:
    literal = Value(value, type_)
    # SQLite would cut a time to milliseconds, in a form that sorts before its own digits.
    return Cast(literal, type_) if connection.vendor == "postgresql" else literal


# -- telling the workers ---------------------------------------------------------------------------------------------

# While a message for a lane is under way, or a worker is at it, no other message is sent: who is told looks again
# before leaving. In Redis, with an expiry; lost with it, it costs a few messages too many.
_TOLD = "kinesis-admin:told:{}:{}"
_TOLD_FOR = 15  # seconds


@cache
def _redis() -> Redis:
    # Whoever writes a change does not wait for a Redis that is away.
    return Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def wake(dataflow: Dataflow) -> bool:
    """Tell the workers of a dataflow that there is something to do at last. Call it after the commit.

    Returns:
        False when Redis is away: the sweep starts the export when it is back.
    """
    return wake_lanes(lanes.every_lane([dataflow.pk]), again=True)


def wake_lanes(wanted: Collection[lanes.LaneKey], *, again: bool = False) -> bool:
    """Tell the workers of lanes.

    Args:
        again: even where somebody was told already: that one may have died, or found nothing that could be done.
    """
    if not wanted:
        return True
    try:
        with _redis().pipeline(transaction=False) as pipeline:
            for lane in wanted:
                pipeline.set(_TOLD.format(*lane), 1, nx=not again, ex=_TOLD_FOR)
            told = pipeline.execute()
        for (dataflow_id, number), new in zip(wanted, told, strict=True):
            if new:
                current_app.send_task("activation.tasks.deliver", args=[str(dataflow_id), number])
    except (OperationalError, RedisError) as error:
        log.warning("workers_not_told", reason=type(error).__name__)
        return False
    return True


def wake_later(lane: lanes.LaneKey, seconds: float) -> None:
    """Tell a worker of a lane in some seconds."""
    try:
        dataflow_id, number = lane
        current_app.send_task(
            "activation.tasks.deliver", args=[str(dataflow_id), number], countdown=max(seconds, 0.01)
        )
    except (OperationalError, RedisError) as error:
        log.warning("workers_not_told", reason=type(error).__name__)


def wake_on_commit(wanted: Iterable[lanes.LaneKey], *, again: bool = False) -> None:
    """Tell the workers once the current transaction is committed."""
    keys = sorted(set(wanted))
    if keys:
        transaction.on_commit(lambda: wake_lanes(keys, again=again), robust=True)


@contextmanager
def working(lane: lanes.LaneKey) -> Iterator[None]:
    """While a worker is at a lane nobody needs to be told of it. Whoever leaves this looks once more."""
    key = _TOLD.format(*lane)
    try:
        _redis().set(key, 1, ex=_TOLD_FOR)
    except RedisError:
        pass
    try:
        yield
    finally:
        try:
            _redis().delete(key)
        except RedisError:
            pass
