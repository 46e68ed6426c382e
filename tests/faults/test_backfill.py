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
from django.utils import timezone

from activation.models import FailedExport, Lane
from kinesis_admin.processes import Program, wait_until
from profiles.ingest import Fragment, ingest
from profiles.models import Identity, Profile, Segment, SegmentMembership
from tests.activation.export.exporting import counts, members_of, sendings, waiting
from tests.factories import MembershipFactory
from tests.local_kinesis import KinesisProcess, RunningKinesis
from tests.services import RedisServer, StartWorker

from .proving import arrived, destination_at, finish, members, prove, swept, under_way

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

CUSTOMERS = 5000


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
    dataflow = finish(destination_at(local_kinesis), everyone, queued=CUSTOMERS)

    assert swept(dataflow, seconds=90)

    records = local_kinesis.records()
    assert Counter(record.key for record in records) == Counter(map(str, profiles))
    sent = sum(len(params["Records"]) for _operation, params in local_kinesis.asked)
    assert sent > CUSTOMERS
    numbers = counts(dataflow)
    assert (numbers["activated"], numbers["retries"]) == (CUSTOMERS, sent - CUSTOMERS)
    again = sent - CUSTOMERS
    assert sendings(dataflow) == {"attempts": sent, "retries": again, "throttled": again}
    assert sent < 1.5 * CUSTOMERS
    assert numbers["identities"] == Identity.objects.count()
    assert not FailedExport.objects.exists()
    for record in records:
        name = profiles[UUID(record.key)]["person"]["name"]
        assert json.loads(record.data)["person"]["name"].items() <= name.items()


def test_a_worker_that_is_killed_loses_nothing_and_doubles_only_what_it_had_not_settled(
    local_kinesis: RunningKinesis, everyone: Segment, start_worker: StartWorker
) -> None:
    profiles = members_of(everyone, CUSTOMERS)
    worker = start_worker()
    taken: list[set[str]] = []
    answer = local_kinesis.answer

    def kill_before_answering(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        answered = answer(operation, params)
        if operation == "PutRecords":
            rows = zip(params["Records"], answered["Records"], strict=True)
            taken.append({record["PartitionKey"] for record, row in rows if "SequenceNumber" in row})
            if len(taken) == 7:
                worker.kill()
        return answered

    local_kinesis.answer = kill_before_answering  # type: ignore[method-assign]
    dataflow = finish(destination_at(local_kinesis), everyone, queued=CUSTOMERS)
    assert wait_until(lambda: not worker.alive, seconds=30)
    # The batch whose answer did not come, and perhaps the one that was just being settled.
    unsettled = set(map(str, waiting(dataflow))).intersection(set().union(*taken))
    assert taken[-1] <= unsettled <= taken[-1] | taken[-2]
    delivered = counts(dataflow)["activated"]
    assert delivered + len(waiting(dataflow)) == CUSTOMERS
    assert delivered + len(unsettled) == len(local_kinesis.records())

    start_worker()
    Lane.objects.update(leased_until=timezone.now())  # as long as a lease lasts nobody does anything
    assert swept(dataflow, seconds=90)

    keys = Counter(record.key for record in local_kinesis.records())
    assert keys.keys() == {str(profile.pk) for profile in profiles}
    assert unsettled
    assert {key for key, times in keys.items() if times > 1} == unsettled
    assert max(keys.values()) == 2
    assert counts(dataflow)["activated"] == CUSTOMERS


def test_a_redis_that_is_gone_and_comes_back_empty_loses_nothing(
    everyone: Segment,
    redis_server: RedisServer,
    celery_worker: Program,
    kinesis_process: KinesisProcess,
) -> None:
    profiles = members(everyone, CUSTOMERS)
    dataflow = finish(destination_at(kinesis_process), everyone, queued=CUSTOMERS)
    assert under_way(dataflow)
    redis_server.stop()
    changed = {str(pk) for pk in profiles[:50]}
    ingest([Fragment(profile_id=UUID(pk), identities=[("CRMID", pk)]) for pk in changed])
    redis_server.start()

    assert swept(dataflow, seconds=60)

    records = arrived(kinesis_process)
    prove(dataflow, records)
    # Who was changed after its first record has a second one; nobody has the same twice.
    keys = Counter(record.key for record in records)
    assert {key for key, times in keys.items() if times > 1} <= changed
    assert max(keys.values()) <= 2
    assert counts(dataflow)["activated"] == len(records)
