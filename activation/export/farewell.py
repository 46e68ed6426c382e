"""The last record of a person who is erased: to each destination that knows them, that they left every segment.

The profile is gone by then, so the record itself waits. It goes after what may still be under way of the profile, and
it does not wait for ever: what can't be delivered within :data:`KEPT` is dropped with what it says of the person.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from django.db.models import Q
from django.utils import timezone

from activation.export import lanes
from activation.export.records import Builder, Layout, Reader
from activation.export.ways import open_way
from activation.models import Dataflow, Delivery, ExportReason, Farewell
from destinations.connectors.base import ConnectorError, Record, TryAgain
from destinations.fields import KeyLost

log = structlog.get_logger(__name__)

AFTER = 2 * lanes.LEASE  # what a worker had of the profile is sent by then, or never
AGAIN = timedelta(minutes=1)
KEPT = timedelta(days=7)
AT_ONCE = 1_000


def queue(profile_id: uuid.UUID) -> int:
    """Write the last records of a profile, in the current transaction. Returns how many.

    Who withdrew consent has had one.
    """
    told = Delivery.objects.filter(profile=profile_id).exclude(reason=ExportReason.CONSENT).values("dataflow")
    known = Q(pk__in=told) | Q(pk__in=lanes.sending(profile_id))
    live = Dataflow.objects.filter(known).exclude(state=Dataflow.State.DRAFT)
    now = timezone.now()
    rows = []
    for dataflow in live.select_related("destination"):
        layout = Layout.of(dataflow)
        reader = Reader(dataflow_id=dataflow.pk if layout.delivery_of else None)
        snapshot = reader.read([profile_id])[profile_id]
        record = Builder(layout).farewell(snapshot, now)
        rows.append(
            Farewell(
                dataflow=dataflow,
                partition_key=record.partition_key,
                data=record.data,
                available_at=now + AFTER,
            )
        )
    return len(Farewell.objects.bulk_create(rows))


def send_due(now: datetime | None = None) -> int:
    """Send what is due, outside of any transaction. Returns how many arrived."""
    now = now or timezone.now()
    Farewell.objects.filter(created_at__lt=now - KEPT).delete()
    enabled = Q(dataflow__state=Dataflow.State.ENABLED, dataflow__held_until=None)
    due = Farewell.objects.filter(enabled, available_at__lte=now).order_by("available_at")
    batches: dict[uuid.UUID, list[Farewell]] = defaultdict(list)
    for row in due.select_related("dataflow__destination__account")[:AT_ONCE]:
        # Of two workers, one sends it.
        mine = Farewell.objects.filter(pk=row.pk, available_at=row.available_at)
        if mine.update(available_at=now + AGAIN):
            batches[row.dataflow_id].append(row)
    return sum(_send(batch) for batch in batches.values())


def _send(rows: Sequence[Farewell]) -> int:
    sent = 0
    try:
        sender = open_way(rows[0].dataflow.destination).sender
        for start in range(0, len(rows), sender.batch_size):
            part = rows[start : start + sender.batch_size]
            results = sender.send([Record(row.partition_key, bytes(row.data)) for row in part])
            done = [
                row.pk for row, result in zip(part, results, strict=True) if not isinstance(result, TryAgain)
            ]
            sent += Farewell.objects.filter(pk__in=done).delete()[0]
    except (ConnectorError, KeyLost) as error:
        log.warning("farewell_not_sent", error=type(error).__name__)
    return sent
