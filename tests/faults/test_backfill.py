"""5,000 sample customers go to a stream of two shards that really throttles, while things break."""

from __future__ import annotations

import json
import time
from collections import Counter
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command

from activation import tasks
from activation.models import Dataflow, FailedExport
from destinations.fields import Encrypted
from destinations.models import Destination
from kinesis_admin.processes import Program, wait_until
from profiles.ingest import Fragment, ingest
from profiles.models import Identity, Profile, Segment, SegmentMembership
from tests.activation.export.exporting import Reachable, Reading, activate, counts, members_of, waiting
from tests.factories import AccountFactory, DestinationFactory, MembershipFactory, SegmentFactory, UserFactory
from tests.local_kinesis import STREAM, KinesisProcess, RunningKinesis
from tests.services import RedisServer, StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

CUSTOMERS = 5000
BATCH = 500


@pytest.fixture
def everyone() -> Segment:
    return SegmentFactory.create(id="everyone")


def destination_at(kinesis: Reachable) -> Destination:
    connection = kinesis.connection()
    account = AccountFactory.create(
        credentials=Encrypted.of(connection.credentials), settings=dict(connection.settings)
    )
    return DestinationFactory.create(account=account, settings={"stream": STREAM})


def finish(destination: Destination, segment: Segment) -> Dataflow:
    finished = activate(destination, segment, by=UserFactory.create())
    assert finished.queued == CUSTOMERS
    return finished.dataflow


def swept(dataflow: Dataflow, *, seconds: float) -> bool:
    """Whether, in so many seconds and with beat's sweep, nothing waits any more."""

    def is_empty() -> bool:
        tasks.sweep()
        return not waiting(dataflow)

    return wait_until(is_empty, seconds=seconds, every=1)


def under_way(dataflow: Dataflow, least: int = 1000) -> bool:
    """Whether the backfill is in its middle, soon."""
    found = wait_until(lambda: counts(dataflow).get("activated", 0) >= least, seconds=30, every=0.02)
    return found and len(waiting(dataflow)) > BATCH


def test_a_backfill_over_the_limits_of_the_stream_misses_none_and_sends_none_twice(
    local_kinesis: RunningKinesis, everyone: Segment, celery_worker: Program
) -> None:
    started = time.time()
    # A second there lasts ten here: a busy machine is throttled, too.
    local_kinesis.kinesis.clock = lambda: started + (time.time() - started) / 10
    call_command("load_sample", profiles=CUSTOMERS, stdout=StringIO())
    profiles = dict(Profile.objects.values_list("pk", "attributes"))
    SegmentMembership.objects.bulk_create(
        MembershipFactory.build(profile_id=pk, segment=everyone) for pk in profiles
    )
    dataflow = finish(destination_at(local_kinesis), everyone)

    assert swept(dataflow, seconds=90)

    records = local_kinesis.records()
    assert Counter(record.key for record in records) == Counter(map(str, profiles))
    sent = sum(len(params["Records"]) for _operation, params in local_kinesis.asked)
    assert sent > CUSTOMERS
    numbers = counts(dataflow)
    assert (numbers["activated"], numbers["retries"]) == (CUSTOMERS, sent - CUSTOMERS)
    assert numbers["identities"] == Identity.objects.count()
    assert not FailedExport.objects.exists()
    for record in records:
        name = profiles[UUID(record.key)]["person"]["name"]
        assert json.loads(record.data)["person"]["name"].items() <= name.items()


def test_a_worker_that_is_killed_loses_nothing_and_doubles_only_what_kinesis_was_just_answering(
    local_kinesis: RunningKinesis, everyone: Segment, start_worker: StartWorker
) -> None:
    profiles = members_of(everyone, CUSTOMERS)
    worker = start_worker()
    in_flight: set[str] = set()
    answer = local_kinesis.answer

    def kill_before_answering(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        answered = answer(operation, params)
        if operation == "PutRecords" and len(local_kinesis.asked) == 7:
            worker.kill()
            rows = zip(params["Records"], answered["Records"], strict=True)
            in_flight.update(record["PartitionKey"] for record, row in rows if "SequenceNumber" in row)
        return answered

    local_kinesis.answer = kill_before_answering  # type: ignore[method-assign]
    dataflow = finish(destination_at(local_kinesis), everyone)
    assert wait_until(lambda: not worker.alive, seconds=30)
    delivered = counts(dataflow)["activated"]
    assert delivered + len(waiting(dataflow)) == CUSTOMERS
    assert delivered + len(in_flight) == len(local_kinesis.records())

    start_worker()
    assert swept(dataflow, seconds=90)

    keys = Counter(record.key for record in local_kinesis.records())
    assert keys.keys() == {str(profile.pk) for profile in profiles}
    assert in_flight
    assert {key for key, times in keys.items() if times > 1} == in_flight
    assert max(keys.values()) == 2
    assert counts(dataflow)["activated"] == CUSTOMERS


def test_a_redis_that_is_gone_and_comes_back_empty_loses_nothing(
    everyone: Segment,
    redis_server: RedisServer,
    celery_worker: Program,
    kinesis_process: KinesisProcess,
) -> None:
    profiles = members_of(everyone, CUSTOMERS)
    dataflow = finish(destination_at(kinesis_process), everyone)
    assert under_way(dataflow)
    redis_server.stop()
    changed = {str(profile.pk) for profile in profiles[:50]}
    ingest([Fragment(profile_id=UUID(pk), identities=[("CRMID", pk)]) for pk in changed])
    redis_server.start()

    assert swept(dataflow, seconds=60)

    reading = Reading(kinesis_process.client())
    keys = Counter(reading.keys())
    assert keys.keys() == {str(profile.pk) for profile in profiles}
    # Who was changed after its first record has a second one.
    assert {key for key, times in keys.items() if times > 1} <= changed
    assert max(keys.values()) <= 2
    assert counts(dataflow)["activated"] == len(reading.records)
    latest = {r["PartitionKey"]: json.loads(r["Data"]) for r in sorted(reading.records, key=sequence)}
    assert all(latest[pk]["identityMap"] == {"crmid": [{"id": pk}]} for pk in changed)


def sequence(record: Any) -> int:
    return int(record["SequenceNumber"])
