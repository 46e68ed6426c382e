"""The right to deliver a dataflow's records: a lease with an expiry, fenced by a token.

A worker that dies loses its lease by time. One that was only slow finds another's token when it comes to settle, and
commits nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import timedelta

from django.db import IntegrityError
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from activation.models import Lane

LEASE = timedelta(seconds=30)  # longer than the longest request to the other side, by far
SHORTEST_HOLD = timedelta(seconds=5)
LONGEST_HOLD = timedelta(minutes=2)


class LeaseLost(Exception):
    """Another worker has the lane by now."""


def take(dataflow_id: uuid.UUID) -> uuid.UUID | None:
    """Lease the lane of a dataflow.

    Returns:
        The token; None where somebody has the lane, it is held for an error, or the dataflow is gone.
    """
    now = timezone.now()
    try:
        Lane.objects.bulk_create([Lane(dataflow_id=dataflow_id)], ignore_conflicts=True)
    except IntegrityError:
        return None
    token = uuid.uuid4()
    taken = (
        Lane.objects.filter(dataflow_id=dataflow_id)
        .filter(Q(leased_until=None) | Q(leased_until__lte=now))
        .filter(Q(held_until=None) | Q(held_until__lte=now))
        .update(token=token, leased_until=now + LEASE)
    )
    return token if taken else None


def renew(dataflow_id: uuid.UUID, token: uuid.UUID) -> None:
    """Keep the lane for another lease; in a transaction, its row stays locked until the end.

    Raises:
        LeaseLost: it is not ours any more.
    """
    mine = Lane.objects.filter(dataflow_id=dataflow_id, token=token)
    if not mine.update(leased_until=timezone.now() + LEASE):
        raise LeaseLost


def give_back(dataflow_id: uuid.UUID, token: uuid.UUID) -> None:
    """Let the next one have it. Does nothing if it is not ours any more."""
    Lane.objects.filter(dataflow_id=dataflow_id, token=token).update(token=None, leased_until=None)


def hold(dataflow_id: uuid.UUID, token: uuid.UUID, code: str, message: str) -> None:
    """The destination as a whole refuses: wait before the next try, as long again as it has refused already.

    Args:
        code: the other side's code, e.g. ``ResourceNotFoundException``.
        message: its own words.
    """
    now = timezone.now()
    since = (
        Lane.objects.filter(dataflow_id=dataflow_id, token=token).values_list("error_at", flat=True).first()
    )
    length = min(max(now - (since or now), SHORTEST_HOLD), LONGEST_HOLD)
    Lane.objects.filter(dataflow_id=dataflow_id, token=token).update(
        held_until=now + length,
        error_code=code[:100],
        error_message=message,
        error_at=Coalesce(F("error_at"), now),
    )


def reached(dataflow_id: uuid.UUID, token: uuid.UUID) -> None:
    """The destination answers again: forget its error."""
    Lane.objects.filter(dataflow_id=dataflow_id, token=token).exclude(error_at=None).update(
        held_until=None, error_code="", error_message="", error_at=None
    )


def release(dataflow_ids: Collection[uuid.UUID]) -> None:
    """Something changed that may have cured the destination: try at once. What was wrong is shown until it works."""
    Lane.objects.filter(dataflow__in=dataflow_ids).update(held_until=None)


def lock(dataflow_id: uuid.UUID) -> None:
    """Until the end of the transaction nobody takes the lane, and nobody settles in it."""
    Lane.objects.bulk_create([Lane(dataflow_id=dataflow_id)], ignore_conflicts=True)
    Lane.objects.select_for_update().get(dataflow_id=dataflow_id)
