"""How fast a lane may write to each shard: found out from what the stream takes, as nobody says it.

A shard that throttles gets a rate; its records are sent in turns of that rate, and those of other shards go on. The
rate grows while the shard takes everything, and becomes what the shard took where it refused more. Several lanes that
write to a shard come to share its capacity.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

WHOLE = ""
"""Stands for the stream where a record's shard is not known yet."""

SLOWEST = 1.0  # records a second
FIRST = 250.0  # records a second that a lane may hope for before it knows more: a shard takes 1,000
GROWTH = 0.1  # of the rate, in a second without refusals
WINDOW = 0.5  # seconds over which a shard is watched before its rate changes
UNLIMITED = 50_000.0  # records a second: what grew so far is no limit
BURST = 0.3  # seconds of the rate that may be made up for
AHEAD = 0.1  # seconds: a turn that comes so soon is taken now
FARTHEST = 30.0  # seconds that a record is put off at the most


class ShardMap:
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


@dataclass(slots=True)
class _Rate:
    per_second: float
    next_free: float  # monotonic seconds: the next turn
    since: float  # what is counted below
    took: int = 0
    refused: int = 0
    later: float = 0.0  # the last turn that was given to a record that was put off


class Pace:
    """The rates of one lane.

    Args:
        learned: shard → records a second, as :attr:`learned` gave it the last time.
        now: monotonic seconds.
    """

    def __init__(self, learned: Mapping[str, float], now: float) -> None:
        self._rates = {shard: _Rate(rate, now, now) for shard, rate in learned.items()}
        self._began = now
        self._took: dict[str, int] = defaultdict(int)  # by shards without a rate
        # Every record of the last batch was for a shard with a rate: probably all shards have one.
        self._all_limited = bool(learned)

    @property
    def learned(self) -> dict[str, float]:
        return {shard: round(rate.per_second, 1) for shard, rate in self._rates.items()}

    @property
    def limited(self) -> bool:
        """Some shard has a rate: it is worth knowing the shards of records."""
        return bool(self._rates)

    def room(self, most: int, now: float) -> int:
        """How many records to look at next: as many as the shards take soon, where all of them have a rate."""
        if not self._all_limited:
            return most
        seconds = (now + AHEAD - max(rate.next_free, now - BURST) for rate in self._rates.values())
        soon = sum(
            max(0.0, s) * rate.per_second for s, rate in zip(seconds, self._rates.values(), strict=True)
        )
        # However slow: where a turn comes now, one record may take it.
        return min(most, int(soon) or int(self.wait(now) <= AHEAD))

    def wait(self, now: float) -> float:
        """Seconds until there is room."""
        return max(0.0, min((rate.next_free - now for rate in self._rates.values()), default=0.0))

    def turn(self, shard: str, now: float) -> float:
        """Take a turn at a shard. Seconds until it comes: 0 for at once."""
        rate = self._rates.get(shard)
        if rate is None:
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
            rate = self._rates.get(shard)
            if rate is None:
                if shard not in refused:
                    self._took[shard] += took[shard]
                    continue
                # The first refusal: on the average since the lane was leased it took so many. Of a few records that
                # says little: then the share that was taken counts.
                seen = self._took[shard] + took.get(shard, 0)
                hoped = FIRST * (seen + 1) / (seen + refused[shard] + 2)
                first = max(seen / max(now - self._began, 1.0), hoped, SLOWEST)
                self._rates[shard] = _Rate(first, now, now)
                continue
            rate.took += took.get(shard, 0)
            rate.refused += refused.get(shard, 0)
            seconds = now - rate.since
            if seconds < WINDOW:
                continue
            if rate.refused:
                # What a shard took while it refused more is what it can take; where the lane was not at it for all of
                # the time, the share that it took tells more.
                measured = rate.took / seconds
                share = rate.took / (rate.took + rate.refused)
                rate.per_second = max(
                    min(rate.per_second * 0.98, max(measured, rate.per_second * share)), SLOWEST
                )
            else:
                rate.per_second *= 1 + GROWTH * min(seconds, 1.0)
            rate.since, rate.took, rate.refused = now, 0, 0
            if rate.per_second > UNLIMITED:
                del self._rates[shard]
        self._all_limited = bool(self._rates) and {*took, *refused} <= self._rates.keys()
