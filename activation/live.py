"""A dataflow at work: what waits, how fast it goes, how long records take, which shards take them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from activation import preview
from activation.backlog import Backlog, backlog
from activation.export import latency
from activation.export.pace import limits
from activation.models import Dataflow, DataflowRun, Delivery, Lane
from activation.preview import Estimate

WINDOW = timedelta(minutes=1)  # over which the rate is measured
RECEIPTS = 10_000  # of which the shards are counted


# -- the rate ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """What the run of the hour counted as activated at a moment."""

    at: datetime
    activated: int

    def __str__(self) -> str:
        return f"{self.at.timestamp() * 1000:.0f}-{self.activated}"

    @classmethod
    def of(cls, text: str) -> Look | None:
        """What ``str`` gave, or None."""
        if not (found := re.fullmatch(r"([0-9]{12,14})-([0-9]{1,15})", text, re.ASCII)):
            return None
        return cls(datetime.fromtimestamp(int(found[1]) / 1000, UTC), int(found[2]))


@dataclass(frozen=True, slots=True)
class Pulse:
    """How fast records are acknowledged: what the runs count now, against what they counted up to a minute ago.

    Nobody keeps the counts of a minute ago but the page that asked for them: it sends its earlier looks along. That
    costs the exporting nothing.

    Args:
        per_second: None at the first look.
        looks: to be sent along with the next question.
    """

    per_second: float | None
    looks: str

    @classmethod
    def feel(cls, runs: Sequence[DataflowRun], looks: str, now: datetime | None = None) -> Pulse:
        """
        Args:
            runs: newest first, those of the last two hours at least.
            looks: of the last answer; empty at first.
        """
        now = now or timezone.now()
        hour = DataflowRun.start_of(now)
        this = Look(now, sum(run.activated for run in runs if run.started_at >= hour))
        parsed = [Look.of(text) for text in looks.split(".")]
        earlier = [look for look in parsed if look and timedelta() < now - look.at < 2 * WINDOW]
        if not earlier:
            return cls(None, f"{this}.{this}")
        base, newer = earlier[0], earlier[-1]
        activated = (
            sum(run.activated for run in runs if run.started_at >= DataflowRun.start_of(base.at))
            - base.activated
        )
        # Two looks are kept, half a minute apart: the base is between half a minute and a minute old.
        kept = (newer, this) if now - newer.at >= WINDOW / 2 else (base, newer)
        per_second = max(activated, 0) / (now - base.at).total_seconds()
        return cls(per_second, ".".join(map(str, kept)))


# -- all of it -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Live:
    """A dataflow at this moment.

    Args:
        run: of this hour; None where nothing was exported in it.
        lanes: that a worker has right now.
    """

    dataflow: Dataflow | None
    waiting: Backlog
    run: DataflowRun | None
    lanes: int
    pulse: Pulse

    @property
    def latency(self) -> list[tuple[int, float | None]]:
        """Percentiles of this hour, in seconds from queueing to acknowledgement."""
        return latency.percentiles(self.run.latencies if self.run else [])

    @property
    def seconds_left(self) -> int | None:
        """Until what waits is sent at the rate of now; None where that is not known."""
        rate = self.pulse.per_second
        return math.ceil(self.waiting.count / rate) if rate and self.waiting.count else None

    @property
    def bulk_sent(self) -> int | None:
        """How many are done of the many that were queued last; None while none of them waits."""
        if self.dataflow is None or not self.waiting.bulk:
            return None
        return max(self.dataflow.bulk_total - self.waiting.bulk, 0)


def live(dataflow: Dataflow | None, runs: Sequence[DataflowRun], looks: str) -> Live:
    """Two queries.

    Args:
        runs: newest first, those of the last two hours at least.
        looks: see :meth:`Pulse.feel`.
    """
    now = timezone.now()
    lanes = Lane.objects.filter(dataflow=dataflow, leased_until__gt=now).count()
    run = runs[0] if runs and runs[0].ends_at > now else None
    return Live(dataflow, backlog(dataflow), run, lanes, Pulse.feel(runs, looks, now))


# -- the stream ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shard:
    """What went to a shard.

    Args:
        share: of the records of some receipts, in percent; None where there are none of it.
        pace: records a second that it was found to take; None where it never throttled.
    """

    name: str
    share: float | None
    pace: float | None


@dataclass(frozen=True, slots=True)
class Capacity:
    """The stream against what waits.

    Args:
        shards: the busiest first.
        receipts: of how many the shares are.
    """

    estimate: Estimate
    shards: list[Shard]
    receipts: int

    @property
    def skew(self) -> float | None:
        """How many times its even share the busiest shard got; None where that can't be told."""
        count = max(self.estimate.target.shards or 0 if self.estimate.target else 0, len(self.shards))
        shares = [shard.share for shard in self.shards if shard.share]
        return max(shares) / 100 * count if shares and count > 1 else None


def capacity(dataflow: Dataflow) -> Capacity:
    """Asks the other side: up to 10 s. Never raises for it."""
    # Any receipts of the dataflow, without an order: its index gives them without reading all.
    some = Delivery.objects.filter(dataflow=dataflow).order_by().values_list("shard", flat=True)[:RECEIPTS]
    counts = Counter(some)
    paces: Counter[str] = Counter()
    for learned in Lane.objects.filter(dataflow=dataflow).values_list("pace", flat=True):
        paces.update(limits(learned))
    receipts = sum(counts.values())
    shards = [
        Shard(name, 100 * counts[name] / receipts if name in counts else None, paces.get(name))
        for name in {*counts, *paces} - {""}
    ]
    shards.sort(key=lambda shard: (-(shard.share or 0), shard.name))
    return Capacity(preview.estimate_backlog(dataflow, backlog(dataflow).count), shards, receipts)
