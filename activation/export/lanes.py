"""Who delivers what: a dataflow's profiles are split over lanes, and one worker at a time has a lane.

A lease ends by time, so that a worker that dies loses it. One that was only slow finds another's token when it comes
to settle, and commits nothing. While the destination as a whole refuses, the dataflow is held, and one lane at a time
tries.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from activation.export.pace import Learned
from activation.models import SLOTS, Dataflow, Lane, PendingExport
from profiles.locks import commit_without_waiting

LEASE = timedelta(seconds=20)
"""Renewed with every batch and while one is under way; what a killed worker had is taken over after it, within 30 s."""

ABOUT = timedelta(seconds=0.05)  # that a lane may be told too late
SHORTEST_HOLD = timedelta(seconds=5)
LONGEST_HOLD = timedelta(minutes=2)


LaneKey: TypeAlias = tuple[uuid.UUID, int]
"""A dataflow and the number of one of its lanes."""


class LeaseLost(Exception):
    """Another worker has the lane by now."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to deliver what is in the slots of one lane.

    Args:
        number: which of ``of`` lanes, from 0.
        probing: the destination refused before; this lane alone tries it again.
        pace: see :class:`activation.export.pace.Pace`.
        unsure: somebody left it, and did not settle what was under way (:func:`take_under_way`).
    """

    dataflow_id: uuid.UUID
    number: int
    of: int
    token: uuid.UUID
    probing: bool = False
    pace: Learned = field(default_factory=dict)
    unsure: bool = False

    @property
    def lane(self) -> LaneKey:
        return self.dataflow_id, self.number

    @property
    def slots(self) -> tuple[int, int]:
        return slots(self.number, self.of)


def slots(number: int, of: int) -> tuple[int, int]:
    """The first and the last slot of a lane."""
    return number * SLOTS // of, (number + 1) * SLOTS // of - 1


def lane_of(profile_id: uuid.UUID, of: int) -> int:
    """In which of so many lanes a profile is."""
    return ((profile_id.bytes[-1] + 1) * of - 1) // SLOTS


def take(dataflow_id: uuid.UUID, number: int) -> Lease | None:
    """Lease a lane.

    Returns:
        None where another worker has it, the dataflow is held or not enabled, or has no such lane (any more), or while
        lanes of another number are still being delivered: no profile may be in two lanes at once.
    """
    now = timezone.now()
    with transaction.atomic():
        # Locked: of two who take lanes of one dataflow, the second sees what the first took.
        dataflow = (
            Dataflow.objects.select_for_update(no_key=True)
            .filter(pk=dataflow_id, state=Dataflow.State.ENABLED, lane_count__gt=number)
            .filter(Q(held_until=None) | Q(held_until__lte=now))
            .only("lane_count", "error_at")
            .first()
        )
        if dataflow is None:
            return None
        of = dataflow.lane_count
        rows = Lane.objects.filter(dataflow=dataflow).defer("under_way").annotate(unsure=~Q(under_way=b""))
        lanes = {lane.number: lane for lane in rows}
        leased = [lane for lane in lanes.values() if lane.leased_until and lane.leased_until > now]
        if any(lane.number == number or lane.of != of for lane in leased):
            return None
        if any(lane.of != of and lane.token for lane in lanes.values()):
            # Their time is over, but a slow worker may still come back: its profiles are in other lanes now.
            Lane.objects.filter(dataflow=dataflow).exclude(of=of).update(token=None)
        probing = dataflow.error_at is not None
        if probing:
            due = PendingExport.objects.filter(
                dataflow=dataflow, slot__range=slots(number, of), available_at__lte=now
            )
            if leased or not due.exists():
                return None
            Dataflow.objects.filter(pk=dataflow_id).update(held_until=now + _hold(dataflow.error_at, now))
        lane = lanes.get(number) or Lane(dataflow=dataflow, number=number)
        if lane.of != of:
            lane.pace = {}
        unsure = any(each.unsure for each in lanes.values() if each.number == number or each.of != of)
        lane.of, lane.token, lane.leased_until = of, uuid.uuid4(), now + LEASE
        lane.save()
        return Lease(dataflow_id, number, of, lane.token, probing, lane.pace, unsure)


def renew(lease: Lease) -> datetime:
    """Keep the lane for another lease; in a transaction, its row stays locked until the end.

    Returns:
        When the lease ends now: a moment that no other renewal has.

    Raises:
        LeaseLost: it is not ours any more.
    """
    until = timezone.now() + LEASE
    if not _row(lease).update(leased_until=until):
        raise LeaseLost
    return until


def mark_under_way(lease: Lease, profile_ids: Iterable[uuid.UUID]) -> None:
    """Remember whose records are sent from now on, and keep the lane for another lease.

    Does not wait for the disk: who drops a row that is under way commits later, and waits.

    Raises:
        LeaseLost: it is not ours any more.
    """
    ids = b"".join(profile_id.bytes for profile_id in profile_ids)
    with transaction.atomic():
        commit_without_waiting()
        if not _row(lease).update(leased_until=timezone.now() + LEASE, under_way=ids):
            raise LeaseLost


def take_under_way(lease: Lease) -> list[uuid.UUID]:
    """Whose records were under way when others left this lane, or lanes of another number; forgotten with the current
    transaction.
    """
    rows = Lane.objects.filter(dataflow=lease.dataflow_id).exclude(under_way=b"")
    rows = rows.filter(Q(number=lease.number) | ~Q(of=lease.of))
    found = dict(rows.values_list("pk", "under_way"))
    Lane.objects.filter(pk__in=found).update(under_way=b"")
    return [profile_id for ids in found.values() for profile_id in _ids(ids)]


def sending(profile_id: uuid.UUID) -> set[uuid.UUID]:
    """The dataflows that a record of a profile is under way to. One query."""
    rows = Lane.objects.exclude(under_way=b"").values_list("dataflow_id", "under_way")
    return {dataflow_id for dataflow_id, ids in rows if profile_id in _ids(ids)}


def _ids(marked: bytes | memoryview) -> list[uuid.UUID]:
    data = bytes(marked)
    return [uuid.UUID(bytes=data[at : at + 16]) for at in range(0, len(data), 16)]


def is_leased_until(lease: Lease, until: datetime) -> bool:
    """Whether the renewal that gave this moment was committed."""
    return _row(lease).filter(leased_until=until).exists()


def give_back(lease: Lease, pace: Learned, *, settled: bool = True) -> None:
    """Let the next one have it. Does nothing if it is not ours any more.

    Args:
        pace: what was learned of the shards.
        settled: nothing is under way any more.
    """
    nothing: dict[str, bytes] = {"under_way": b""} if settled else {}
    _row(lease).update(token=None, leased_until=None, pace=dict(pace), **nothing)


def plan_wake(lane: LaneKey, at: datetime) -> bool:
    """Whether a message to the workers is wanted for a lane: not where one is under way that comes earlier, or about
    then.
    """
    dataflow_id, number = lane
    now = timezone.now()
    row = Lane.objects.filter(dataflow=dataflow_id, number=number)
    later = Q(wake_at=None) | Q(wake_at__lte=now) | Q(wake_at__gt=at + ABOUT)
    return bool(row.filter(later).update(wake_at=at))


def _row(lease: Lease) -> QuerySet[Lane]:
    return Lane.objects.filter(dataflow=lease.dataflow_id, number=lease.number, token=lease.token)


# -- what the destination as a whole says ----------------------------------------------------------------------------


def hold(dataflow_id: uuid.UUID, code: str, message: str) -> None:
    """The destination as a whole refuses: wait before the next try, as long again as it has refused already.

    Args:
        code: the other side's code, e.g. ``ResourceNotFoundException``.
        message: its own words.
    """
    now = timezone.now()
    row = Dataflow.objects.filter(pk=dataflow_id)
    since = row.values_list("error_at", flat=True).first()
    row.update(
        held_until=now + _hold(since, now),
        error_code=code[:100],
        error_message=message,
        error_at=Coalesce(F("error_at"), now),
    )


def _hold(since: datetime | None, now: datetime) -> timedelta:
    return min(max(now - (since or now), SHORTEST_HOLD), LONGEST_HOLD)


def reached(dataflow_id: uuid.UUID) -> None:
    """The destination answers again: forget its error."""
    Dataflow.objects.filter(pk=dataflow_id).exclude(error_at=None).update(
        held_until=None, error_code="", error_message="", error_at=None
    )


def release(dataflow_ids: Collection[uuid.UUID]) -> None:
    """Something changed that may have cured the destination: try at once. What was wrong is shown until it works."""
    Dataflow.objects.filter(pk__in=dataflow_ids).update(held_until=None)


def every_lane(dataflow_ids: Iterable[uuid.UUID]) -> list[LaneKey]:
    """The lanes of dataflows, to be told to the workers. One query."""
    counts = Dataflow.objects.filter(pk__in=list(dataflow_ids)).values_list("pk", "lane_count")
    return [(pk, number) for pk, count in sorted(counts) for number in range(count)]


def lock(dataflow_id: uuid.UUID) -> None:
    """Until the end of the transaction nobody settles in the lanes of a dataflow. (Taking one locks the dataflow.)"""
    list(Lane.objects.select_for_update().filter(dataflow=dataflow_id).order_by("number"))
