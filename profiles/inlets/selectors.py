"""What the pages of inlets read. Every function has a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

from django.db.models import Max, QuerySet, Sum
from django.utils import timezone

from profiles.models import Inlet, InletHour, InletSample

HOURS = 24  # that pages look back
DAYS = 30  # that are kept

Numbers: TypeAlias = tuple[
    date, tuple[int, ...]
]  # the beginning of an hour, or a day; and what was counted in it


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came in through an inlet in the last :data:`HOURS` hours. Repeated messages are among the accepted ones."""

    accepted: int = 0
    repeated: int = 0
    rejected: int = 0
    unlinked: int = 0
    bytes: int = 0
    last_at: datetime | None = None


def inlets(search: str = "") -> QuerySet[Inlet]:
    """Inlets whose name holds ``search``, by name."""
    found = Inlet.objects.select_related("namespace").order_by("name", "id")
    if search := search.strip():
        if "\0" in search:
            return found.none()
        found = found.filter(name__icontains=search)
    return found


def traffic(inlets: Iterable[Inlet]) -> dict[str, Traffic]:
    """The traffic of each, in one query."""
    wanted = [inlet.pk for inlet in inlets]
    counted = (
        InletHour.objects.filter(inlet__in=wanted, started_at__gte=_hours()[0])
        .order_by()
        .values_list("inlet")
        .annotate(Sum("accepted"), Sum("repeated"), Sum("rejected"), Sum("unlinked"), Sum("bytes"), Max("last_at"))
    )  # fmt: skip
    found = {key: Traffic(*numbers) for key, *numbers in counted}
    return {key: found.get(key, Traffic()) for key in wanted}


def hours(inlet: Inlet) -> list[Numbers]:
    """How many messages were accepted, repeated and rejected in the last :data:`HOURS` hours, the oldest first.

    One query.
    """
    starts = _hours()
    counted = InletHour.objects.filter(inlet=inlet, started_at__in=starts)
    return _filled(starts, counted.values_list("started_at", "accepted", "repeated", "rejected"))


def days(inlet: Inlet) -> list[Numbers]:
    """The same of the last :data:`DAYS` days of UTC. One query."""
    today = timezone.now().date()
    starts = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    counted = InletHour.objects.filter(inlet=inlet, started_at__date__gte=starts[0]).order_by()
    return _filled(
        starts,
        counted.values_list("started_at__date").annotate(Sum("accepted"), Sum("repeated"), Sum("rejected")),
    )


def _filled(starts: Sequence[date], counted: Iterable[tuple[Any, ...]]) -> list[Numbers]:
    found = {start: tuple(numbers) for start, *numbers in counted}
    return [(start, found.get(start, (0, 0, 0))) for start in starts]


def samples(inlet: Inlet) -> list[InletSample]:
    """What could not be taken as it came, the newest first. One query."""
    return list(InletSample.objects.filter(inlet=inlet).order_by("-pk"))


def _hours() -> list[datetime]:
    this = timezone.now().replace(minute=0, second=0, microsecond=0)
    return [this - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
