"""Pacing against a stream of the test's own, with a clock of its own: shards that take so many records a second."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from activation.export.pace import WHOLE, LearnedShards, Pace

BATCH = 500
REQUEST = 0.01  # seconds that a batch takes


@dataclass
class Shards:
    """Token buckets, as Kinesis has them: a second's worth at once."""

    count: int
    per_second: float = 1000.0
    taken: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._tokens = dict.fromkeys(self.names, self.per_second)
        self._at = 0.0

    @property
    def names(self) -> list[str]:
        return [f"shard-{number}" for number in range(self.count)]

    def take(self, shard: str, now: float) -> bool:
        for each in self.names:
            self._tokens[each] = min(self.per_second, self._tokens[each] + (now - self._at) * self.per_second)
        self._at = now
        if self._tokens[shard] < 1:
            return False
        self._tokens[shard] -= 1
        self.taken[shard] += 1
        return True


@dataclass
class Run:
    """What lanes sent from ``since`` on."""

    shards: Shards
    seconds: float
    sent: int = 0
    taken: int = 0

    @property
    def used(self) -> float:
        return self.taken / (self.seconds * self.shards.count * self.shards.per_second)

    @property
    def tries(self) -> float:
        return self.sent / self.taken


def export(shards: Shards, *, lanes: int, hot: float = 0.0, seconds: float = 20, since: float = 5) -> Run:
    """A backlog without end, delivered as delivery does it. Where shards throttle, every batch is another worker's.

    Args:
        hot: the share of the records that are all for the first shard.
    """
    chance = random.Random(7)
    run = Run(shards, seconds - since)
    paces = [Pace({}, 0.0) for _ in range(lanes)]
    ready = [(0.0, number) for number in range(lanes)]
    later: list[list[tuple[float, str]]] = [[] for _ in range(lanes)]
    while ready[0][0] < seconds:
        now, number = heapq.heappop(ready)
        if paces[number].limited:
            paces[number] = Pace(paces[number].learned, now)
        pace, put_off = paces[number], later[number]
        room = pace.room(BATCH, now)
        due: list[str] = []
        while put_off and put_off[0][0] <= now and len(due) < room:
            due.append(heapq.heappop(put_off)[1])
        while len(due) < room:
            due.append(shards.names[0] if chance.random() < hot else chance.choice(shards.names))
        took: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        for shard in due:
            if wait := pace.turn(shard, now):
                heapq.heappush(put_off, (now + wait, shard))
            elif shards.take(shard, now):
                took[shard] += 1
            else:
                refused[shard] += 1
                heapq.heappush(put_off, (now + chance.uniform(0.1, 0.2), shard))
        if now >= since:
            run.sent += took.total() + refused.total()
            run.taken += took.total()
        pace.heard(took, refused, now + REQUEST)
        heapq.heappush(ready, (now + REQUEST + (0 if room else max(pace.wait(now), 0.02)), number))
    return run


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_stream_that_throttles_is_used_to_the_full_and_hardly_asked_in_vain(lanes: int, count: int) -> None:
    run = export(Shards(count), lanes=lanes)
    assert run.used >= 0.95
    assert run.tries <= 1.1


def test_a_hot_shard_does_not_hold_up_the_others() -> None:
    shards = Shards(4)
    run = export(shards, lanes=4, hot=0.7)
    assert run.used >= 0.95
    assert run.tries <= 1.1


def test_a_stream_that_takes_everything_is_not_slowed_down() -> None:
    pace = Pace({}, 0.0)
    for second in range(10):
        assert pace.room(BATCH, second) == BATCH
        assert pace.turn("shard-0", second) == 0
        pace.heard({"shard-0": BATCH}, {}, second + 0.5)
    assert not pace.limited and pace.learned == {}


def test_a_rate_that_is_no_limit_any_more_is_forgotten() -> None:
    pace = Pace({"shard-0": [40_000.0, 0, 0]}, 0.0)
    for second in range(1, 20):
        pace.heard({"shard-0": 10}, {}, second)
    assert pace.learned == {}


def test_what_was_learned_goes_on_with_the_next_lease() -> None:
    shards = Shards(2)
    first = Pace({}, 0.0)
    first.heard(dict.fromkeys(shards.names, 100), dict.fromkeys(shards.names, 400), 1.0)
    second = Pace(first.learned, 2.0)
    assert second.learned == first.learned
    assert {shard: rate for shard, (rate, *_) in first.learned.items()} == dict.fromkeys(shards.names, 100.0)
    assert second.room(BATCH, 2.0) < BATCH


def test_the_shard_of_a_key_is_learned_from_the_answers() -> None:
    shards = LearnedShards()
    assert shards.shard("customer-1") == WHOLE
    shards.learn("customer-1", "shardId-000000000001")
    assert shards.shard("customer-1") == "shardId-000000000001"


def test_before_the_shards_are_known_the_whole_stream_has_one_rate() -> None:
    pace = Pace({}, 0.0)
    pace.heard({}, {WHOLE: BATCH}, 1.0)
    assert [(shard, rate) for shard, (rate, *_) in pace.learned.items()] == [(WHOLE, 1.0)]
    assert pace.room(BATCH, 1.0) < BATCH


@pytest.mark.parametrize("took, refused", [(0, 1), (2, 1), (20, 1)])
def test_one_refusal_says_little_of_a_lane_that_has_hardly_begun(took: int, refused: int) -> None:
    pace = Pace({}, 0.0)
    pace.heard({"shard-0": took}, {"shard-0": refused}, 0.1)
    assert pace.room(BATCH, 0.2) >= 10
    changes = [0.2 + number / 50 for number in range(100)]  # 50 a second
    assert max(pace.turn("shard-0", now) for now in changes) < 0.1


def test_the_slowest_shard_gets_a_record_when_its_turn_comes() -> None:
    pace = Pace({"shard-0": [1.0, 0, 0]}, 0.0)
    assert pace.room(BATCH, 0.0) == 1
    assert pace.turn("shard-0", 0.0) == 0
    assert pace.room(BATCH, 0.5) == 0
    assert pace.wait(0.5) == pytest.approx(0.5)
    assert pace.room(BATCH, 1.0) == 1


@pytest.mark.parametrize("rate", [0.3, 1.0, 7.0, 9.9, 50.0])
def test_who_is_told_to_wait_is_told_for_how_long(rate: float) -> None:
    """With no room and no wait, a worker would be told again at once, for ever."""
    pace = Pace({"shard-0": [rate, 0, 0], "shard-1": [rate, 0, 0]}, 0.0)
    now = 0.0
    for _ in range(50):
        if pace.room(BATCH, now):
            pace.turn("shard-0", now)
            pace.turn("shard-1", now)
        else:
            assert pace.wait(now) > 0
        now += 0.01
