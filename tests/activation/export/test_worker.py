"""A real Celery worker, a real Redis, a Kinesis in a process of its own: a change arrives."""

from __future__ import annotations

import pytest

from activation import services, tasks
from activation.models import Dataflow
from destinations.connectors.kinesis.local.faults import Kind
from kinesis_admin import health
from kinesis_admin.processes import Program, wait_until
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.factories import SegmentFactory
from tests.local_kinesis import KinesisProcess
from tests.services import RedisServer, StartWorker

from .exporting import Reading, counts, dataflow_to, error, members_of, sendings, waiting

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def segment() -> Segment:
    return SegmentFactory.create(id="VIP")


@pytest.fixture
def dataflow(kinesis_process: KinesisProcess, segment: Segment) -> Dataflow:
    return dataflow_to(kinesis_process, segment, lane_count=4)


@pytest.fixture
def stream(kinesis_process: KinesisProcess) -> Reading:
    return Reading(kinesis_process.client())


def write(name: str) -> Profile:
    """One customer, a member from the start, gets a first name."""
    [outcome] = ingest(
        [
            Fragment(
                identities=[("Email", "kim@example.com")],
                attributes={"person": {"name": {"firstName": name}}},
                memberships={"VIP": ("realized", None)},
            )
        ]
    )
    return Profile.objects.get(pk=str(outcome.profile_id))


def delivered(dataflow: Dataflow, *, seconds: float = 10) -> bool:
    """Whether, in so many seconds, nothing waits any more."""
    return wait_until(lambda: not waiting(dataflow), seconds=seconds)


def swept(dataflow: Dataflow, *, seconds: float = 30) -> bool:
    """The same, with beat's sweep."""

    def is_empty() -> bool:
        tasks.sweep()
        return not waiting(dataflow)

    return wait_until(is_empty, seconds=seconds, every=0.5)


def first_names(stream: Reading) -> list[str]:
    return [record["person"]["name"]["firstName"] for record in stream.parsed()]


def test_a_change_is_in_the_stream_soon_and_then_the_next(
    dataflow: Dataflow, celery_worker: Program, stream: Reading
) -> None:
    profile = write("Min-jun")
    assert delivered(dataflow)
    [record] = stream.look()
    assert record["PartitionKey"] == str(profile.pk)
    qualified = profile.memberships.get().last_qualification_time
    milliseconds = f".{qualified.microsecond // 1000:03}" if qualified.microsecond >= 1000 else ""
    assert record["Data"].decode() == (
        '{"person":{"name":{"firstName":"Min-jun"}},"segmentMembership":{"ups":{"VIP":'
        f'{{"lastQualificationTime":"{qualified:%Y-%m-%dT%H:%M:%S}{milliseconds}Z","status":"realized"}}}}}},'
        '"identityMap":{"email":[{"id":"kim@example.com"}]}}'
    )
    write("민준")
    assert delivered(dataflow)
    assert sorted(first_names(stream)) == ["Min-jun", "민준"]
    assert counts(dataflow) == {"activated": 2, "identities": 2}


def test_what_a_shard_had_no_room_for_goes_by_itself_soon(
    dataflow: Dataflow, kinesis_process: KinesisProcess, celery_worker: Program, stream: Reading
) -> None:
    """By a message that comes when it is due: nothing sweeps here."""
    kinesis_process.fault(Kind.RECORDS, code="ProvisionedThroughputExceededException", times=1)
    write("Min-jun")
    assert delivered(dataflow)
    assert first_names(stream) == ["Min-jun"]
    assert sendings(dataflow) == {"attempts": 2, "retries": 1, "throttled": 1}


def test_two_workers_and_many_messages_send_nothing_twice(
    dataflow: Dataflow, segment: Segment, start_worker: StartWorker, stream: Reading
) -> None:
    start_worker(concurrency=2)
    profiles = members_of(segment, 200)
    for profile in profiles:
        ingest([Fragment(profile_id=profile.pk, identities=[("CRMID", str(profile.pk))])])
    assert swept(dataflow)
    keys = stream.keys()
    assert set(keys) == {str(profile.pk) for profile in profiles}
    assert len(keys) == len(set(keys))
    assert counts(dataflow) == {"activated": 200, "identities": 200}


def test_what_was_written_while_redis_was_away_goes_when_it_is_back(
    dataflow: Dataflow, redis_server: RedisServer, celery_worker: Program, stream: Reading
) -> None:
    redis_server.stop()
    write("Min-jun")
    assert len(waiting(dataflow)) == 1
    redis_server.start()
    assert swept(dataflow)
    write("민준")  # and from then on by itself
    assert delivered(dataflow, seconds=20)
    assert sorted(first_names(stream)) == ["Min-jun", "민준"]


def test_what_was_queued_while_disabled_goes_when_it_is_enabled(
    dataflow: Dataflow, celery_worker: Program, stream: Reading
) -> None:
    services.disable(destination=dataflow.destination)
    write("Min-jun")
    assert wait_until(lambda: not health.redis_client().llen("celery"), seconds=10)
    assert len(waiting(dataflow)) == 1
    services.enable(destination=dataflow.destination)
    assert delivered(dataflow)
    assert first_names(stream) == ["Min-jun"]


def test_an_endpoint_that_was_away_gets_everything_once_it_is_back(
    dataflow: Dataflow, kinesis_process: KinesisProcess, celery_worker: Program
) -> None:
    kinesis_process.stop()
    write("Min-jun")
    assert wait_until(lambda: error(dataflow) == "EndpointConnectionError", seconds=20)
    kinesis_process.start()
    assert swept(dataflow)
    assert first_names(Reading(kinesis_process.client())) == ["Min-jun"]
    assert wait_until(lambda: error(dataflow) == "", seconds=5)


def test_neither_messages_nor_logs_have_anything_of_a_profile_or_a_secret(
    dataflow: Dataflow, kinesis_process: KinesisProcess, start_worker: StartWorker
) -> None:
    worker = start_worker(env={"LOG_LEVEL": "DEBUG"})
    write("Hong-secret")
    assert delivered(dataflow)
    kinesis_process.stop()
    write("Hong-secret")
    assert wait_until(lambda: error(dataflow) != "", seconds=20)
    worker.stop()
    log = worker.log_path.read_text()
    assert str(dataflow.pk) in log
    assert "batch_settled" in log
    for secret in ("Hong-secret", "kim@example.com", "VIP", kinesis_process.keys.secret_access_key):
        assert secret not in log
