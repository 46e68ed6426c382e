"""Batch after batch: claim, build, send, settle. To a local Kinesis."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from structlog.testing import capture_logs

from activation import services, tasks
from activation.export import delivery, lanes, records
from activation.export.records import Snapshot
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, Lane, PendingExport
from destinations.connectors.base import Record
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from destinations.services import Setup, edit_account, edit_destination
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.factories import IdentityFactory, SegmentFactory
from tests.local_kinesis import STREAM, RunningKinesis

from .exporting import (
    Elsewhere,
    before_sending,
    counts,
    dataflow_to,
    lane,
    members_of,
    queue,
    waiting,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("told")]

MIB = 1024 * 1024


@pytest.fixture
def segment() -> Segment:
    return SegmentFactory.create(id="members")


@pytest.fixture
def dataflow(kinesis: RunningKinesis, segment: Segment) -> Dataflow:
    return dataflow_to(kinesis, segment)


@pytest.fixture
def members(dataflow: Dataflow, segment: Segment) -> list[Profile]:
    """Three customers who wait."""
    profiles = members_of(segment, 3)
    queue(dataflow, profiles)
    return profiles


def requests(kinesis: RunningKinesis) -> list[int]:
    """How many records each PutRecords had."""
    return [len(params["Records"]) for operation, params in kinesis.asked if operation == "PutRecords"]


def arrived(kinesis: RunningKinesis) -> list[str]:
    """The partition keys in the stream: the ids of profiles."""
    return [record.key for record in kinesis.records()]


def ids(profiles: Sequence[Profile]) -> list[str]:
    return [str(profile.pk) for profile in profiles]


def names_of(kinesis: RunningKinesis, profile: Profile) -> list[str]:
    """The first names in a profile's records, in the order of their arrival."""
    return [
        json.loads(record.data)["person"]["name"]["firstName"]
        for record in kinesis.records()
        if record.key == str(profile.pk)
    ]


def rename(profile: Profile, name: str) -> None:
    ingest([Fragment(profile_id=profile.pk, attributes={"person": {"name": {"firstName": name}}})])


# -- what waits arrives ---------------------------------------------------------------------------------------------


def test_what_waits_arrives_once_and_is_counted(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    IdentityFactory.create(profile=members[0], value="kim@example.com")
    delivery.deliver(dataflow.pk)
    assert sorted(arrived(kinesis)) == ids(members)
    [first] = [json.loads(r.data) for r in kinesis.records() if r.key == str(members[0].pk)]
    assert first["person"] == {"name": {"firstName": "Customer 0"}}
    assert first["identityMap"] == {"email": [{"id": "kim@example.com"}]}
    assert first["segmentMembership"]["ups"]["members"]["status"] == "realized"
    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 3, "identities": 1}
    assert DataflowRun.objects.get().bytes == sum(len(record.data) for record in kinesis.records())
    delivery.deliver(dataflow.pk)
    assert requests(kinesis) == [3]


def test_receipts_name_the_record_in_the_stream(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    delivery.deliver(dataflow.pk)
    stored = {record.key: str(record.sequence) for record in kinesis.records()}
    receipts = Delivery.objects.values_list("profile_id", "sequence_number")
    assert {str(profile_id): sequence for profile_id, sequence in receipts} == stored


def test_batches_have_500_records_at_most(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    profiles = members_of(segment, 1500)
    queue(dataflow, profiles)
    delivery.deliver(dataflow.pk)
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert max(requests(kinesis)) == 500
    assert len(requests(kinesis)) <= 6
    assert counts(dataflow) == {"activated": 1500}


def test_batches_have_10_mib_at_most_and_then_no_more_is_read(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = records.read

    def counted(wanted: Iterable[uuid.UUID]) -> dict[uuid.UUID, Snapshot]:
        found = original(wanted)
        read.append(len(found))
        return found

    monkeypatch.setattr(records, "read", counted)
    sent = before_sending(monkeypatch)
    profiles = members_of(segment, 35)
    Profile.objects.update(attributes={"person": {"name": {"firstName": "x" * 900_000}}})
    queue(dataflow, profiles)
    delivery.deliver(dataflow.pk)
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert [len(batch) for batch in sent] == [11, 11, 11, 2]
    assert all(sum(len(record.data) for record in batch) <= 10 * MIB for batch in sent)
    assert read == [35, 11, 13, 2]
    assert waiting(dataflow) == set()


def test_the_queries_of_a_batch_do_not_grow_with_it(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    def queries(count: int) -> int:
        queue(dataflow, members_of(segment, count))
        with CaptureQueriesContext(connection) as captured:
            delivery.deliver(dataflow.pk)
        return len(captured)

    queries(1)
    assert queries(60) == queries(3)
    assert requests(kinesis) == [1, 60, 3]


def test_the_oldest_go_first(dataflow: Dataflow, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = before_sending(monkeypatch)
    new, old = members_of(segment, 100), members_of(segment, 64)
    queue(dataflow, [*new, *old])
    long_ago = timezone.now() - timedelta(hours=1)
    PendingExport.objects.filter(profile__in=old).update(available_at=long_ago)
    delivery.deliver(dataflow.pk)
    assert {record.partition_key for record in sent[0]} == set(ids(old))


def test_a_profile_is_sent_as_it_is_then_and_not_as_it_was_when_it_was_queued(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    rename(members[0], "Later")
    rename(members[0], "Last")
    delivery.deliver(dataflow.pk)
    assert names_of(kinesis, members[0]) == ["Last"]


def test_records_are_made_anew_when_mapping_or_destination_change(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two batches of the same task."""

    def edit(_records: Sequence[Record]) -> None:
        destination = dataflow.destination
        setup = Setup(destination.name, destination.settings, include_segment_names=True)
        edit_destination(destination_id=destination.pk, version=1, setup=setup)

    before_sending(monkeypatch, edit)
    queue(dataflow, members_of(segment, 70))
    delivery.deliver(dataflow.pk)
    named = ["name" in r["segmentMembership"]["ups"]["members"] for r in kinesis.exported()]
    assert (named.count(False), named.count(True)) == (64, 6)


def test_another_stream_is_written_to_from_the_next_batch_on(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis.create_stream("second")

    def edit(_records: Sequence[Record]) -> None:
        destination = dataflow.destination
        setup = Setup(destination.name, {"stream": "second"})
        edit_destination(destination_id=destination.pk, version=1, setup=setup)

    before_sending(monkeypatch, edit)
    queue(dataflow, members_of(segment, 70))
    delivery.deliver(dataflow.pk)
    assert (len(kinesis.records()), len(kinesis.records("second"))) == (64, 6)


# -- partial failures -----------------------------------------------------------------------------------------------


def test_a_throttled_record_alone_is_sent_again(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    throttled = str(members[1].pk)
    kinesis.fail_records(lambda key: key == throttled, "ProvisionedThroughputExceededException")
    delivery.deliver(dataflow.pk)
    assert requests(kinesis) == [3, 1]
    assert sorted(arrived(kinesis)) == ids(members)
    assert counts(dataflow) == {"activated": 3, "retries": 1}


def test_a_batch_that_was_refused_for_the_moment_is_sent_again(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    kinesis.fail_next("InternalFailure", status=500)
    delivery.deliver(dataflow.pk)
    assert requests(kinesis) == [3, 3]
    assert sorted(arrived(kinesis)) == ids(members)
    assert counts(dataflow) == {"activated": 3, "retries": 3}


def test_a_record_that_fails_for_long_is_not_waited_for_and_holds_up_nobody(
    dataflow: Dataflow,
    segment: Segment,
    members: list[Profile],
    kinesis: RunningKinesis,
    told: list[uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SOON", 0.3)
    stubborn = members[1]
    kinesis.fail_records(lambda key: key == str(stubborn.pk), times=1000)
    delivery.deliver(dataflow.pk)
    row = PendingExport.objects.get()
    assert (row.profile, row.error_code) == (stubborn, "InternalFailure")
    assert row.available_at > timezone.now()
    assert requests(kinesis)[0] == 3
    assert set(requests(kinesis)[1:]) == {1}
    assert len(requests(kinesis)) <= 5  # after 0.2 s, perhaps 0.4 …
    assert counts(dataflow) == {"activated": 2, "retries": row.attempts - 1}
    assert told == []
    queue(dataflow, members_of(segment, 2))
    delivery.deliver(dataflow.pk)
    assert waiting(dataflow) == {stubborn.pk}


def test_a_shard_that_throttles_gets_all_of_it_in_the_end(
    local_kinesis: RunningKinesis, segment: Segment
) -> None:
    started = time.time()
    # Time goes by requests, so that a slow machine is throttled too: the shard takes 150 more with each.
    local_kinesis.kinesis.clock = lambda: started + 0.15 * len(local_kinesis.asked)
    local_kinesis.create_stream("one", 1)
    dataflow = dataflow_to(local_kinesis, segment, stream="one")
    profiles = members_of(segment, 1800)
    queue(dataflow, profiles)
    delivery.deliver(dataflow.pk)
    assert sorted(record.key for record in local_kinesis.records("one")) == ids(profiles)
    sent = sum(requests(local_kinesis))
    assert sent > 1800
    assert counts(dataflow) == {"activated": 1800, "retries": sent - 1800}


# -- what can't go --------------------------------------------------------------------------------------------------


def test_one_that_is_too_large_does_not_hold_up_its_batch(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    Profile.objects.filter(pk=members[1].pk).update(
        attributes={"person": {"name": {"firstName": "x" * 2 * MIB}}}
    )
    delivery.deliver(dataflow.pk)
    assert sorted(arrived(kinesis)) == ids([members[0], members[2]])
    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 2, "failed": 1}
    letter = FailedExport.objects.get()
    assert (letter.profile, letter.kind, letter.code) == (members[1], "failed", "RecordTooLarge")
    assert letter.reason.startswith("2,097,")


def test_one_without_a_mandatory_attribute_is_excluded_and_goes_once_it_has_it(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, mandatory=["personalEmail.address"])
    has, lacks = members_of(segment, 2)
    Profile.objects.filter(pk=has.pk).update(attributes={"personalEmail": {"address": "a@example.com"}})
    queue(dataflow, [has, lacks])
    delivery.deliver(dataflow.pk)
    assert arrived(kinesis) == ids([has])
    assert counts(dataflow) == {"activated": 1, "excluded": 1}
    letter = FailedExport.objects.get()
    assert (letter.profile, letter.kind, letter.code) == (lacks, "excluded", "MandatoryAttributeMissing")
    assert letter.reason == "Mandatory but not there: personalEmail.address"
    ingest([Fragment(profile_id=lacks.pk, attributes={"personalEmail": {"address": "b@example.com"}})])
    delivery.deliver(dataflow.pk)
    assert arrived(kinesis) == ids([has, lacks])


def test_when_nobody_of_a_batch_has_a_record_nothing_is_asked(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, mandatory=["personalEmail.address"])
    queue(dataflow, members_of(segment, 3))
    delivery.deliver(dataflow.pk)
    assert kinesis.asked == []
    assert counts(dataflow) == {"excluded": 3}


# -- while it is being sent -----------------------------------------------------------------------------------------


def test_a_change_that_comes_while_its_profile_is_sent_is_sent_too(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: rename(members[1], "Later"))
    delivery.deliver(dataflow.pk)
    assert requests(kinesis) == [3, 1]
    assert names_of(kinesis, members[1]) == ["Customer 1", "Later"]
    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 4}


def test_a_change_while_its_profile_is_throttled_folds_into_the_next_try(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis.fail_records(lambda key: key == str(members[1].pk))
    before_sending(monkeypatch, lambda _records: rename(members[1], "Later"))
    delivery.deliver(dataflow.pk)
    assert names_of(kinesis, members[1]) == ["Later"]
    assert counts(dataflow) == {"activated": 3, "retries": 1}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_profile_that_is_deleted_while_it_is_sent_stops_nobody(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: members[1].delete())
    delivery.deliver(dataflow.pk)
    assert len(arrived(kinesis)) == 3
    assert waiting(dataflow) == set()
    assert Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_destination_that_is_deleted_while_it_is_written_to_leaves_nothing(
    dataflow: Dataflow, members: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: Destination.objects.all().delete())
    delivery.deliver(dataflow.pk)
    delivery.deliver(dataflow.pk)
    assert not (Lane.objects.exists() or PendingExport.objects.exists() or Delivery.objects.exists())


# -- disabled -------------------------------------------------------------------------------------------------------


def test_disabling_stops_within_a_batch_and_enabling_goes_on(
    dataflow: Dataflow,
    segment: Segment,
    kinesis: RunningKinesis,
    told: list[uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_sending(monkeypatch, lambda _records: services.disable(destination=dataflow.destination))
    profiles = members_of(segment, 100)
    queue(dataflow, profiles)
    delivery.deliver(dataflow.pk)
    assert requests(kinesis) == [64]
    assert len(waiting(dataflow)) == 36
    tasks.deliver(str(dataflow.pk))
    assert requests(kinesis) == [64]
    assert told == []

    assert services.enable(destination=dataflow.destination) is True
    assert told == [dataflow.pk]
    tasks.deliver(str(dataflow.pk))
    assert sorted(arrived(kinesis)) == ids(profiles)


@pytest.mark.parametrize("state", ["disabled", "draft"])
def test_what_is_not_enabled_is_not_delivered(
    state: str, dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, told: list[uuid.UUID]
) -> None:
    Dataflow.objects.update(state=state)
    delivery.deliver(dataflow.pk)
    assert (kinesis.asked, len(waiting(dataflow)), told) == ([], 3, [])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_dataflow_that_is_gone_is_nothing_to_do() -> None:
    tasks.deliver(str(uuid.uuid4()))


# -- a broken destination -------------------------------------------------------------------------------------------


def hold_is_over(dataflow: Dataflow) -> None:
    Lane.objects.filter(dataflow=dataflow).update(held_until=timezone.now())


def kept(dataflow: Dataflow) -> tuple[set[uuid.UUID], set[int], int]:
    """Who waits, how often they were tried, and how many runs there are."""
    rows = PendingExport.objects.filter(dataflow=dataflow)
    return waiting(dataflow), set(rows.values_list("attempts", flat=True)), DataflowRun.objects.count()


def test_a_wrong_key_holds_everything_and_other_credentials_let_it_go_on(
    dataflow: Dataflow,
    members: list[Profile],
    kinesis: RunningKinesis,
    told: list[uuid.UUID],
    django_capture_on_commit_callbacks: Any,
) -> None:
    account = dataflow.destination.account
    right, wrong = kinesis.connection(), kinesis.connection(secret_access_key="not the secret")
    Account.objects.update(credentials=Encrypted.of(wrong.credentials))
    with capture_logs() as logs:
        delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    row = lane(dataflow)
    assert row.error_code == "InvalidSignatureException"
    assert row.error_message.startswith("The request signature we calculated does not match")
    assert row.token is None
    assert [entry["code"] for entry in logs if entry["event"] == "dataflow_held"] == [row.error_code]
    assert "not the secret" not in f"{logs} {row.error_message}"
    asked = len(kinesis.asked)
    delivery.deliver(dataflow.pk)
    assert len(kinesis.asked) == asked  # not tried before its time
    assert delivery.startable() == []

    account.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):
        edit_account(account=account, seen=account.updated_at, name=account.name, connection=right)
    assert told == [dataflow.pk]
    delivery.deliver(dataflow.pk)
    assert sorted(arrived(kinesis)) == ids(members)
    assert (lane(dataflow).error_code, lane(dataflow).error_at) == ("", None)


def test_a_missing_stream_holds_everything_until_a_later_try_finds_it(
    kinesis: RunningKinesis, segment: Segment, told: list[uuid.UUID]
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone")
    profiles = members_of(segment, 3)
    queue(dataflow, profiles)
    delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in profiles}, {0}, 0)
    error = lane(dataflow)
    assert (error.error_code, error.error_message) == (
        "ResourceNotFoundException",
        "Stream gone under account 000000000000 not found.",
    )
    hold_is_over(dataflow)
    delivery.deliver(dataflow.pk)  # and is held again, since the same moment
    assert lane(dataflow).error_at == error.error_at
    assert lane(dataflow).held_until > timezone.now()  # type: ignore[operator]

    kinesis.create_stream("gone")
    tasks.sweep()
    assert told == []
    hold_is_over(dataflow)
    tasks.sweep()
    assert told == [dataflow.pk]
    delivery.deliver(dataflow.pk)
    assert len(kinesis.records("gone")) == 3
    assert lane(dataflow).error_code == ""
    assert counts(dataflow) == {"activated": 3}


def test_another_stream_lets_it_go_on_at_once(
    kinesis: RunningKinesis,
    segment: Segment,
    told: list[uuid.UUID],
    django_capture_on_commit_callbacks: Any,
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone")
    queue(dataflow, members_of(segment, 3))
    delivery.deliver(dataflow.pk)
    setup = Setup(dataflow.destination.name, {"stream": STREAM})
    with django_capture_on_commit_callbacks(execute=True):
        edit_destination(destination_id=dataflow.destination.pk, version=1, setup=setup)
    assert told == [dataflow.pk]
    delivery.deliver(dataflow.pk)
    assert len(kinesis.records()) == 3


def test_an_endpoint_that_is_down_holds_everything(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    kinesis.stop()
    delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert lane(dataflow).error_code == "EndpointConnectionError"


def test_an_endpoint_that_is_not_allowed_any_more_is_not_asked(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, settings: Settings
) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert (lane(dataflow).error_code, kinesis.asked) == ("EndpointNotAllowed", [])


def test_credentials_that_no_key_opens_hold_everything(
    dataflow: Dataflow, members: list[Profile], settings: Settings
) -> None:
    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
    delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert lane(dataflow).error_code == "CredentialsLost"


def test_a_destination_type_that_is_not_installed_holds_everything(
    dataflow: Dataflow, members: list[Profile]
) -> None:
    Account.objects.update(connector="carrier-pigeon")
    delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert lane(dataflow).error_code == "NotAvailable"


def test_who_has_no_record_is_settled_although_the_destination_is_broken(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone", mandatory=["personalEmail.address"])
    has, lacks = members_of(segment, 2)
    Profile.objects.filter(pk=has.pk).update(attributes={"personalEmail": {"address": "a@example.com"}})
    queue(dataflow, [has, lacks])
    delivery.deliver(dataflow.pk)
    assert waiting(dataflow) == {has.pk}
    assert counts(dataflow) == {"excluded": 1}


def test_what_was_taken_before_the_destination_broke_is_not_sent_again(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_records: Sequence[Record]) -> None:
        kinesis.fail_next("AccessDeniedException", "not any more", times=100)

    before_sending(monkeypatch, lambda _records: None, break_down)
    profiles = members_of(segment, 100)
    queue(dataflow, profiles)
    delivery.deliver(dataflow.pk)
    assert (len(arrived(kinesis)), len(waiting(dataflow))) == (64, 36)
    assert lane(dataflow).error_code == "AccessDeniedException"
    assert counts(dataflow) == {"activated": 64}


# -- one worker at a time -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_workers_one_delivers(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, go_on = threading.Event(), threading.Event()

    def wait(_records: Sequence[Record]) -> None:
        sending.set()
        assert go_on.wait(timeout=20)

    before_sending(monkeypatch, wait)
    first = Elsewhere(lambda: delivery.deliver(dataflow.pk))
    assert sending.wait(timeout=20)
    delivery.deliver(dataflow.pk)
    assert kinesis.asked == []
    go_on.set()
    first.join()
    assert sorted(arrived(kinesis)) == ids(members)
    assert counts(dataflow) == {"activated": 3}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_many_workers_at_once_send_nothing_twice(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    profiles = members_of(segment, 700)
    queue(dataflow, profiles)
    workers = [Elsewhere(lambda: delivery.deliver(dataflow.pk)) for _ in range(4)]
    for worker in workers:
        worker.join()
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert counts(dataflow) == {"activated": 700}
    assert waiting(dataflow) == set()


def test_who_was_overtaken_commits_nothing_and_says_so(
    dataflow: Dataflow, members: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[uuid.UUID | None] = []

    def overtake(_records: Sequence[Record]) -> None:
        Lane.objects.update(leased_until=timezone.now())
        others.append(lanes.take(dataflow.pk))

    before_sending(monkeypatch, overtake)
    with capture_logs() as logs:
        delivery.deliver(dataflow.pk)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert not Delivery.objects.exists()
    assert [lane(dataflow).token] == others
    assert "lease_lost" in [entry["event"] for entry in logs]


def test_an_unexpected_error_gives_the_lane_back(
    dataflow: Dataflow, members: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        delivery.deliver(dataflow.pk)
    assert delivery.startable() == [dataflow.pk]


# -- taking turns ---------------------------------------------------------------------------------------------------


def test_who_has_worked_for_its_time_queues_behind_the_others(
    dataflow: Dataflow,
    members: list[Profile],
    kinesis: RunningKinesis,
    told: list[uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SLICE", 0.0)
    delivery.deliver(dataflow.pk)
    assert (kinesis.asked, told) == ([], [dataflow.pk])


def test_what_came_while_the_lane_was_taken_is_told_again(
    dataflow: Dataflow, members: list[Profile], told: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own message found the lane taken: nobody else would look before the sweep."""
    give_back = lanes.give_back

    def late(dataflow_id: uuid.UUID, token: uuid.UUID) -> None:
        queue(dataflow, members[:1])
        give_back(dataflow_id, token)

    monkeypatch.setattr(lanes, "give_back", late)
    delivery.deliver(dataflow.pk)
    assert waiting(dataflow) == {members[0].pk}
    assert told == [dataflow.pk]


def test_when_all_is_done_nobody_is_told(
    dataflow: Dataflow, members: list[Profile], told: list[uuid.UUID]
) -> None:
    delivery.deliver(dataflow.pk)
    assert told == []


# -- what is said of it ---------------------------------------------------------------------------------------------


def test_logs_have_ids_and_numbers_and_nothing_of_a_profile(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="")
    profiles = members_of(segment, 3)
    IdentityFactory.create(profile=profiles[0], value="secret@example.com")
    large = {"person": {"name": {"firstName": "secret" * MIB}}}
    Profile.objects.filter(pk=profiles[1].pk).update(attributes=large)
    kinesis.fail_records(lambda key: key == str(profiles[2].pk))
    queue(dataflow, profiles)
    caplog.clear()
    delivery.deliver(dataflow.pk)
    lines: list[Any] = [record.msg for record in caplog.records if record.name == delivery.__name__]
    assert [(line["event"], line["sent"], line["throttled"]) for line in lines] == [
        ("batch_settled", 2, 1),
        ("batch_settled", 1, 0),
    ]
    assert {line["dataflow_id"] for line in lines} == {str(dataflow.pk)}
    written = f"{[record.getMessage() for record in caplog.records]} {list(FailedExport.objects.values())}"
    assert "secret" not in written
    assert "Customer" not in written
