"""Workers are killed, again and again, in the middle of a backfill."""

from __future__ import annotations

import pytest

from destinations.connectors.kinesis.local.faults import Kind
from profiles.models import Segment
from tests.local_kinesis import KinesisProcess
from tests.services import StartWorker

from .proving import (
    Crash,
    arrived,
    chance,
    destination_at,
    finish,
    members,
    prove,
    reached,
    rename,
    size,
    swept,
)

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

EXPORTS = size("FAULTS_EXPORTS", 50_000, on_sqlite=10_000)
KILLS = size("FAULTS_KILLS", 10, on_sqlite=4)


def test_workers_that_are_killed_at_random_lose_nothing(
    wide_kinesis: KinesisProcess, everyone: Segment, start_worker: StartWorker
) -> None:
    random = chance()
    profiles = members(everyone, EXPORTS)
    # Time enough to die while an answer is under way.
    wide_kinesis.fault(Kind.DELAY, seconds=0.3)
    moments = sorted(random.sample(range(EXPORTS * 3 // 4), KILLS))
    workers = [start_worker() for _ in range(2)]
    dataflow = finish(destination_at(wide_kinesis), everyone, queued=EXPORTS, lane_count=16)

    crashes = []
    for number, moment in enumerate(moments):
        assert reached(dataflow, moment, seconds=60)
        workers.pop(random.randrange(2)).kill()
        crashes.append(Crash(dataflow))
        rename(random.sample(profiles, 10), f"changed after kill {number}")
        workers.append(start_worker())
        crashes[-1].only_of_the_dead()
        swept(dataflow, seconds=0)
    assert swept(dataflow, seconds=60)

    records = arrived(wide_kinesis)
    prove(dataflow, records, crashes=crashes)
    assert any(crash.explains(record) for crash in crashes for record in records)
