"""All dataflows at this moment, in a constant number of queries: for the terminal and for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Sum
from django.utils import timezone

from activation.backlog import Backlog, backlogs
from activation.export import latency
from activation.models import Dataflow, DataflowRun, Lane


@dataclass(frozen=True, slots=True)
class Status:
    """A dataflow at this moment.

    Args:
        lanes: that a worker has right now.
        totals: what its runs counted, added up.
        run: of this hour; None where nothing was exported in it.
    """

    dataflow: Dataflow
    waiting: Backlog
    lanes: int
    totals: Mapping[str, int]
    run: DataflowRun | None

    @property
    def lag(self) -> float:
        """Seconds that the oldest has waited; 0 where nothing waits."""
        return _seconds_since(self.waiting.since)

    @property
    def lags(self) -> dict[str, float]:
        """The same of changes of the moment, and of backfills."""
        return {
            "fresh": _seconds_since(self.waiting.fresh_since),
            "bulk": _seconds_since(self.waiting.bulk_since),
        }

    @property
    def held(self) -> bool:
        """The destination as a whole refuses."""
        return bool(self.dataflow.error_code)

    def latency(self, percent: float) -> float | None:
        """Seconds within which so many of this hour's records were acknowledged."""
        return latency.percentile(self.run.latencies, percent) if self.run else None


def _seconds_since(moment: datetime | None) -> float:
    return max((timezone.now() - moment).total_seconds(), 0.0) if moment else 0.0


def finished() -> QuerySet[Dataflow]:
    """Dataflows that are, or were, live."""
    return Dataflow.objects.exclude(state=Dataflow.State.DRAFT)


def statuses(dataflows: QuerySet[Dataflow]) -> list[Status]:
    """By the destination's name. Five queries."""
    found = list(dataflows.select_related("destination").order_by("destination__name"))
    now = timezone.now()
    waiting = backlogs(found)
    leased = Lane.objects.filter(dataflow__in=found, leased_until__gt=now).order_by()
    lanes = dict(leased.values_list("dataflow").annotate(n=Count("*")))
    runs = DataflowRun.objects.filter(dataflow__in=found).order_by()
    summed = runs.values_list("dataflow").annotate(**{name: Sum(name) for name in DataflowRun.COUNTS})
    totals = {dataflow_id: dict(zip(DataflowRun.COUNTS, sums, strict=True)) for dataflow_id, *sums in summed}
    of_this_hour = {run.dataflow_id: run for run in runs.filter(started_at__gt=now - DataflowRun.WINDOW)}
    return [
        Status(
            dataflow,
            waiting.get(dataflow.pk, Backlog()),
            lanes.get(dataflow.pk, 0),
            totals.get(dataflow.pk) or dict.fromkeys(DataflowRun.COUNTS, 0),
            of_this_hour.get(dataflow.pk),
        )
        for dataflow in found
    ]


def as_json(status: Status) -> dict[str, Any]:
    """A status in plain values, times as ISO 8601."""
    dataflow, run = status.dataflow, status.run
    return {
        "destination": {"id": str(dataflow.destination_id), "name": dataflow.destination.name},
        "dataflow": str(dataflow.pk),
        "state": "draining" if dataflow.draining_since else dataflow.state,
        "waiting": {
            "fresh": status.waiting.fresh,
            "bulk": status.waiting.bulk,
            "oldestSince": _iso(status.waiting.since),
        },
        "lanes": {"count": dataflow.lane_count, "atWork": status.lanes},
        "error": {
            "code": dataflow.error_code,
            "message": dataflow.error_message,
            "since": _iso(dataflow.error_at),
            "nextTry": _iso(dataflow.held_until),
        }
        if status.held
        else None,
        "thisHour": {name: getattr(run, name) for name in DataflowRun.COUNTS}
        | {"latencySeconds": {f"p{percent}": status.latency(percent) for percent in latency.PERCENTILES}}
        if run
        else None,
        "total": dict(status.totals),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
