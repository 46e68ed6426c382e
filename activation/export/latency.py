"""How long records took from queueing to acknowledgement, kept as counts of a run, and told as percentiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

BOUNDS = [0.005 * 1.2**step for step in range(92)]
"""Seconds, from 5 ms to a day: the upper end of each count but the last. A percentile is off by 20 % at the most."""


PERCENTILES = (50, 95, 99)
"""Those that are told of a run."""


def add(counts: Sequence[int], seconds: Iterable[float]) -> list[int]:
    """The counts with some more records."""
    added = list(counts) or [0] * (len(BOUNDS) + 1)
    for each in seconds:
        added[bisect_left(BOUNDS, each)] += 1
    return added


def percentile(counts: Sequence[int], percent: float) -> float | None:
    """Seconds within which ``percent`` of the records were acknowledged; None where there are none."""
    total = sum(counts)
    if not total:
        return None
    place = next(i for i, sofar in enumerate(accumulate(counts)) if sofar >= total * percent / 100)
    return BOUNDS[min(place, len(BOUNDS) - 1)]


def percentiles(counts: Sequence[int]) -> list[tuple[int, float | None]]:
    """(percent, seconds) of each of :data:`PERCENTILES`."""
    return [(percent, percentile(counts, percent)) for percent in PERCENTILES]
