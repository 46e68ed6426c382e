"""The outbox: rows in the transaction of the change itself, and a message to the workers once it is committed.

The message carries an id and may be lost: the rows say what is to be done, and the sweep finds them.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable

import structlog
from celery import current_app
from django.db import connection, transaction
from django.db.models import (
    BigIntegerField,
    CharField,
    DateTimeField,
    Exists,
    Field,
    IntegerField,
    OuterRef,
    UUIDField,
    Value,
)
from django.db.models.functions import Cast
from django.utils import timezone
from kombu.exceptions import OperationalError

from activation.models import Dataflow, ExportReason, PendingExport, new_generation
from profiles.locks import advisory_lock
from profiles.models import Profile, SegmentMembership

log = structlog.get_logger(__name__)

_MAPPINGS = b"kinesis"  # the name of an advisory lock


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
    PendingExport.objects.bulk_create(
        # Sorted: two transactions that queue the same profiles wait for each other instead of locking each other out.
        [
            PendingExport(
                dataflow_id=dataflow_id,
                profile_id=profile_id,
                reason=reason,
                created_at=now,
                available_at=now,
            )
            for dataflow_id, profile_id, reason in sorted(rows)
        ],
        update_conflicts=True,
        unique_fields=["dataflow", "profile"],
        update_fields=["generation", "reason"],
    )


def lock(profile_ids: Iterable[uuid.UUID]) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Lock what waits of these profiles, in the order in which delivery does, until the end of the transaction.

    Returns:
        (dataflow id, profile id) of each row.
    """
    rows = PendingExport.objects.filter(profile__in=list(profile_ids)).select_for_update()
    return set(rows.order_by("dataflow_id", "profile_id").values_list("dataflow_id", "profile_id"))


def backfill(dataflow: Dataflow, segment_ids: Collection[str]) -> int:
    """Queue every member of the segments, in one statement inside the database.

    Returns:
        How many profiles were queued, those included that waited already.
    """
    if not segment_ids:
        return 0
    now = timezone.now()
    members = SegmentMembership.objects.filter(
        profile=OuterRef("pk"), segment__in=segment_ids, status__in=SegmentMembership.MEMBER_STATUSES
    )
    values: dict[str, tuple[object, Field[object, object]]] = {
        "dataflow_id": (dataflow.pk, UUIDField()),
        "generation": (new_generation(), BigIntegerField()),
        "reason": (ExportReason.BACKFILL.value, CharField(max_length=10)),
        "created_at": (now, DateTimeField()),
        "available_at": (now, DateTimeField()),
        "attempts": (0, IntegerField()),
        "error_code": ("", CharField(max_length=100)),
    }
    profiles = (
        Profile.objects.filter(Exists(members))
        .order_by("pk")
        .values_list("pk", *(Cast(Value(value, type_), type_) for value, type_ in values.values()))
    )
    select, params = profiles.query.get_compiler(connection=connection).as_sql()
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


def wake(dataflow: Dataflow) -> bool:
    """Tell the workers of a dataflow. Call it after the commit.

    Returns:
        False when Redis is away: the sweep starts the export when it is back.
    """
    return wake_all([dataflow.pk])


def wake_all(dataflow_ids: Iterable[uuid.UUID]) -> bool:
    """The same for several."""
    try:
        for dataflow_id in dataflow_ids:
            current_app.send_task("activation.tasks.deliver", args=[str(dataflow_id)])
    except OperationalError as error:
        log.warning("workers_not_told", reason=str(error))
        return False
    return True


def wake_on_commit(dataflow_ids: Iterable[uuid.UUID]) -> None:
    """Tell the workers once the current transaction is committed."""
    ids = sorted(set(dataflow_ids))
    if ids:
        transaction.on_commit(lambda: wake_all(ids), robust=True)
