"""Workers are killed, again and again, in the middle of a backfill."""

from __future__ import annotations

import json

import pytest

from destinations.connectors.kinesis.local.faults import Kind
from profiles.ingest import Fragment, ingest
from profiles.models import Segment
from tests.activation.export.exporting import members_of
from tests.governance.governed import action, make_consent_policy
from tests.local_kinesis import KinesisProcess
from tests.services import StartWorker

from .proving import (
    Crash,
    arrived,
    chance,
    destination_at,
    finish,
    members,
    progress,
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


def test_who_withdraws_after_a_kill_is_told_of_where_they_may_be_known_and_nowhere_else(
    wide_kinesis: KinesisProcess, everyone: Segment, start_worker: StartWorker
) -> None:
    agree = members_of(everyone, 3_000, consents={"share": {"val": "y"}})
    refuse = members_of(everyone, 500, consents={"share": {"val": "n"}})
    destination = destination_at(wide_kinesis)
    destination.marketing_actions.add(action())
    make_consent_policy()
    wide_kinesis.fault(Kind.DELAY, seconds=0.3)
    worker = start_worker()
    dataflow = finish(destination, everyone, queued=len(agree) + len(refuse))
    assert reached(dataflow, 200, seconds=60)
    worker.kill()
    ingest([Fragment(profile_id=each.pk, attributes={"consents": {"share": {"val": "n"}}}) for each in agree])
    start_worker()
    assert swept(dataflow, seconds=60)

    records = arrived(wide_kinesis)
    assert len(records) > progress(dataflow), "none of them was under way"
    told = {record.key: json.loads(record.data) for record in records}
    assert {each["segmentMembership"]["ups"]["everyone"]["status"] for each in told.values()} == {"exited"}
    assert not any("person" in each for each in told.values())
    assert told.keys() <= {str(each.pk) for each in agree}
    assert len(told) < len(agree)
