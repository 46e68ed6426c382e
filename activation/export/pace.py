"""How fast a lane may write to each shard: found out from what the stream takes, as nobody says it.

A shard that throttles gets a rate; its records are sent in turns of that rate, and those of other shards go on. The
rate grows while the shard takes everything, the faster the longer it does, and becomes what the shard took where it
refused more. Several lanes that write to a shard come to share its capacity.

A lane that waits for its turn is given back to the workers, and is another one's a moment later: what is known goes
along. Times are seconds since 1970, so that every host can read them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

WHOLE = ""
"""Stands for the stream where a record's shard is not known yet."""

SLOWEST = 1.0  # records a second
FIRST = 250.0  # records a second that a lane may hope for before it knows more: a shard takes 1,000
GROWTH = 0.02  # of the rate, in a window without refusals; twice that in the next one, and so on
FASTEST_GROWTH = 0.25
GUESSED = 3  # windows without refusals that a first guess counts for
WINDOW = 0.5  # seconds over which a shard is watched before its rate changes
FORGOTTEN = 5.0  # seconds after which a window that was not watched to its end says nothing
UNLIMITED = 50_000.0  # records a second: what grew so far is no limit
BURST = 0.6  # seconds of the rate that may be made up for
AHEAD = 0.1  # seconds: a turn that comes so soon is taken now
FARTHEST = 30.0  # seconds that a record is put off at the most


class LearnedShards:
    """Which shard a partition key goes to, learned from the answers: Kinesis spreads MD5 hashes over ranges.

    The first byte of the hash decides here: exact for up to some 50 shards, and near enough for pacing beyond. Kept for
    as long as the connection to the stream.
    """

    def __init__(self) -> None:
        self._shards: dict[int, str] = {}

    @property
    def complete(self) -> bool:
        """No answer tells more, unless the stream's shards become others."""
        return len(self._shards) == 256

    def shard(self, partition_key: str) -> str:
        return self._shards.get(_bucket(partition_key), WHOLE)

    def learn(self, partition_key: str, shard: str) -> None:
        self._shards[_bucket(partition_key)] = shard


def _bucket(partition_key: str) -> int:
    return hashlib.md5(partition_key.encode("utf-8", "replace"), usedforsecurity=False).digest()[0]


Learned: TypeAlias = Mapping[str, Sequence[Any]]
"""Shard → what is known of it, as JSON: the numbers of a :class:`_Rate`."""


@dataclass(slots=True)
class _Rate:
    per_second: float  # UNLIMITED: it never refused
    next_free: float  # the next turn
    since: float  # what is counted below
    took: int = 0
    refused: int = 0
    calm: int = 0  # windows without refusals, in a row
    later: float = 0.0  # the last turn that was given to a record that was put off

    @property
    def limited(self) -> bool:
        return self.per_second < UNLIMITED

    def watch(self, now: float) -> None:
        """Begin to count."""
        self.since, self.took, self.refused = now, 0, 0


class Pace:
    """The rates of one lane.

    Args:
        learned: as :attr:`learned` gave it the last time.
        now: seconds since 1970.
    """

    def __init__(self, learned: Learned, now: float) -> None:
        self._rates = {shard: _Rate(*known) for shard, known in learned.items()}
        self._began = now
        for rate in self._rates.values():
            if not 0 <= now - rate.since <= FORGOTTEN:
                rate.watch(now)
            rate.next_free = min(rate.next_free, now + FARTHEST)  # a clock that was put back

    @property
    def learned(self) -> Learned:
        """Nothing of a stream that takes everything."""
        rates = self._rates if self.limited else {}
        return {shard: [round(number, 3) for number in astuple(rate)] for shard, rate in rates.items()}

    @property
    def limited(self) -> bool:
        """Some shard has a rate: it is worth knowing the shards of records."""
        return any(rate.limited for rate in self._rates.values())

    def room(self, most: int, now: float) -> int:
        """How many records to look at next: as many as the shards take soon, where all of them have a rate."""
        if not self._rates or not all(rate.limited for rate in self._rates.values()):
            return most
        soon = sum(
            max(0.0, now + AHEAD - max(rate.next_free, now - BURST)) * rate.per_second
            for rate in self._rates.values()
        )
        # However slow: where a turn comes now, one record may take it.
        return min(most, int(soon) or int(self.wait(now) <= AHEAD))

    def wait(self, now: float) -> float:
        """Seconds until there is room."""
        return max(0.0, min((rate.next_free - now for rate in self._rates.values()), default=0.0))

    def turn(self, shard: str, now: float) -> float:
        """Take a turn at a shard. Seconds until it comes: 0 for at once."""
        rate = self._rates.get(shard)
        if rate is None or not rate.limited:
            return 0.0
        at = max(rate.next_free, now - BURST)
        if at - now <= AHEAD:
            rate.next_free = at + 1 / rate.per_second
            return 0.0
        rate.later = min(max(rate.later, at) + 1 / rate.per_second, now + FARTHEST)
        return rate.later - now

    def heard(self, took: Mapping[str, int], refused: Mapping[str, int], now: float) -> None:
        """What became of a batch: how many records each shard took and refused."""
        for shard in {*took, *refused}:
            rate = self._rates.setdefault(shard, _Rate(UNLIMITED, now, self._began))
            rate.took += took.get(shard, 0)
            rate.refused += refused.get(shard, 0)
            seconds = now - rate.since
            if not rate.limited:
                if rate.refused:
                    self._limit(rate, now)
            elif seconds >= WINDOW:
                self._adapt(rate, seconds)
                rate.watch(now)

    @staticmethod
    def _limit(rate: _Rate, now: float) -> None:
        """The first refusal: on the average it took so many. Of a few records that says little: then the share that
        was taken counts.
        """
        hoped = FIRST * (rate.took + 1) / (rate.took + rate.refused + 2)
        rate.per_second = max(rate.took / max(now - rate.since, 1.0), hoped, SLOWEST)
        rate.next_free, rate.calm = now, GUESSED
        rate.watch(now)

    @staticmethod
    def _adapt(rate: _Rate, seconds: float) -> None:
        if rate.refused:
            # What a shard took while it refused more is what it can take; where the lane was not at it for all of the
            # time, the share that it took tells more.
            measured = rate.took / seconds
            share = rate.took / (rate.took + rate.refused)
            rate.per_second = max(
                min(rate.per_second * 0.98, max(measured, rate.per_second * share)), SLOWEST
            )
            rate.calm = 0
        else:
            rate.per_second *= 1 + min(GROWTH * 2**rate.calm, FASTEST_GROWTH)
            rate.calm += rate.calm < GUESSED + 1
            rate.per_second = min(rate.per_second, UNLIMITED)


def limits(learned: Learned) -> dict[str, float]:
    """Records a second of each shard that has a rate."""
    rates = {shard: _Rate(*known) for shard, known in learned.items()}
    return {shard: rate.per_second for shard, rate in rates.items() if rate.limited}
