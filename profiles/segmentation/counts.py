"""How many members a segment has, and how many came and left, by the day: counted with the memberships themselves.

Whoever changes memberships adds a row a segment (:class:`profiles.models.MemberCount`) in the same transaction: the sum
is exact, and two transactions never wait for each other's count. :func:`fold` keeps the rows few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Sum

from profiles.models import MemberCount

DAYS = 30  # that are told one by one; what was before is one row
FOLDED_AT_ONCE = 10_000


@dataclass(slots=True)
class Change:
    """Members who came, who left, and how many more there are (or less)."""

    realized: int = 0
    exited: int = 0
    members: int = 0

    def __bool__(self) -> bool:
        return bool(self.realized or self.exited or self.members)


@dataclass(frozen=True, slots=True)
class Day:
    """A day of UTC: who came and left, and how many members there were when it ended; today: how many there are."""

    date: date
    realized: int
    exited: int
    members: int


def add_counts(changes: Mapping[str, Change]) -> None:
    """Note what the current transaction does to segments' members. One query."""
    today = _today()
    _create((segment_id, today, changes[segment_id]) for segment_id in sorted(changes))


def days_of(segment_ids: Iterable[str], days: int = DAYS) -> dict[str, list[Day]]:
    """The last days of each segment, the oldest first, today last. One query.

    Args:
        days: up to :data:`DAYS`.
    """
    counted: dict[str, dict[date, Change]] = {segment_id: {} for segment_id in segment_ids}
    rows = MemberCount.objects.filter(segment__in=list(counted)).order_by().values_list("segment", "day")
    for segment_id, day, *numbers in rows.annotate(Sum("realized"), Sum("exited"), Sum("members")):
        counted[segment_id][day] = Change(*numbers)
    today = _today()
    return {
        segment_id: _days(changes, [today - timedelta(days=ago) for ago in range(days)])
        for segment_id, changes in counted.items()
    }


def _days(changes: Mapping[date, Change], newest_first: list[date]) -> list[Day]:
    members = sum(change.members for change in changes.values())
    days = []
    for day in newest_first:
        change = changes.get(day, Change())
        days.append(Day(day, change.realized, change.exited, members))
        members -= change.members
    return days[::-1]


def fold() -> None:
    """Make one row of those of a segment's day, and one of all its days before the last :data:`DAYS`.

    Rows that are being added just now are not seen, and those that another worker folds are passed over.
    """
    before = _today() - timedelta(days=DAYS)
    MemberCount.objects.filter(day__lt=before).update(day=before)
    same_day = MemberCount.objects.filter(segment=OuterRef("segment"), day=OuterRef("day"))
    several = MemberCount.objects.filter(Exists(same_day.exclude(pk=OuterRef("pk"))))
    more = True
    while more:
        with transaction.atomic():
            rows = list(
                several.order_by("segment", "day").select_for_update(skip_locked=True)[:FOLDED_AT_ONCE]
            )
            sums: dict[tuple[str, date], Change] = defaultdict(Change)
            for row in rows:
                total = sums[row.segment_id, row.day]
                total.realized += row.realized
                total.exited += row.exited
                total.members += row.members
            MemberCount.objects.filter(pk__in=[row.pk for row in rows]).delete()
            _create((segment_id, day, total) for (segment_id, day), total in sums.items())
            more = len(rows) == FOLDED_AT_ONCE


def _create(counts: Iterable[tuple[str, date, Change]]) -> None:
    MemberCount.objects.bulk_create(
        MemberCount(
            segment_id=segment_id,
            day=day,
            realized=change.realized,
            exited=change.exited,
            members=change.members,
        )
        for segment_id, day, change in counts
        if change
    )


def _today() -> date:
    return datetime.now(UTC).date()
