"""What the pages of inlets read. Every function has a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max, QuerySet, Sum
from django.utils import timezone

from profiles.models import Inlet, InletHour, InletSample

HOURS = 24  # that pages look back


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


def hours(inlet: Inlet) -> list[InletHour]:
    """The last :data:`HOURS` hours, the oldest first; those without messages, too. One query."""
    starts = _hours()
    found = {hour.started_at: hour for hour in InletHour.objects.filter(inlet=inlet, started_at__in=starts)}
    return [found.get(start) or InletHour(inlet=inlet, started_at=start, last_at=start) for start in starts]


def samples(inlet: Inlet) -> list[InletSample]:
    """What could not be taken as it came, the newest first. One query."""
    return list(InletSample.objects.filter(inlet=inlet).order_by("-pk"))


def _hours() -> list[datetime]:
    this = timezone.now().replace(minute=0, second=0, microsecond=0)
    return [this - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
