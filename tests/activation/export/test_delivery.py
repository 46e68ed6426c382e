"""Batch after batch: claim, build, send, settle. To a local Kinesis."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from structlog.testing import capture_logs

from activation import services, tasks
from activation.export import delivery, lanes, outbox
from activation.export import settle as settling
from activation.export.claims import Claim, Claims
from activation.export.lanes import Lease
from activation.export.pace import Learned, LearnedShards
from activation.export.records import Row, Snapshot
from activation.export.settle import Outcome
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, Lane, PendingExport
from destinations.connectors.base import Record, Result
from destinations.connectors.kinesis.local.faults import Fault, Kind
from destinations.connectors.kinesis.sender import KinesisSender
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from destinations.services import Setup, edit_account, edit_destination
from destinations.signals import connection_changed
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.elsewhere import Elsewhere
from tests.factories import IdentityFactory, MembershipFactory, ProfileFactory, SegmentFactory
from tests.local_kinesis import STREAM, RunningKinesis

from .exporting import (
    FIRST_NAME,
    Told,
    before_sending,
    come_due,
    counts,
    dataflow_to,
    deliver,
    error,
    hold_is_over,
    lane,
    members_of,
    queue,
    sendings,
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
    deliver(dataflow)
    assert sorted(arrived(kinesis)) == ids(members)
    [first] = [json.loads(r.data) for r in kinesis.records() if r.key == str(members[0].pk)]
    assert first["person"] == {"name": {"firstName": "Customer 0"}}
    assert first["identityMap"] == {"email": [{"id": "kim@example.com"}]}
    assert first["segmentMembership"]["ups"]["members"]["status"] == "realized"
    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 3, "identities": 1}
    assert DataflowRun.objects.get().bytes == sum(len(record.data) for record in kinesis.records())
    deliver(dataflow)
    assert requests(kinesis) == [3]


def test_receipts_name_the_record_in_the_stream(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    deliver(dataflow)
    stored = {record.key: str(record.sequence) for record in kinesis.records()}
    receipts = Delivery.objects.values_list("profile_id", "sequence_number")
    assert {str(profile_id): sequence for profile_id, sequence in receipts} == stored


def test_batches_have_500_records_at_most(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    profiles = members_of(segment, 1500)
    queue(dataflow, profiles)
    deliver(dataflow)
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert max(requests(kinesis)) == 500
    assert len(requests(kinesis)) <= 6
    assert counts(dataflow) == {"activated": 1500}


def test_batches_have_10_mib_at_most_and_then_no_more_is_read(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = Claims.next

    def counted(*args: Any) -> list[tuple[Claim, Row]]:
        found = original(*args)
        read.append(len(found))
        return found

    monkeypatch.setattr(delivery, "SLICE", 60)  # so much takes a busy machine its time
    monkeypatch.setattr(Claims, "next", counted)
    sent = before_sending(monkeypatch)
    profiles = members_of(segment, 35)
    Profile.objects.update(attributes={"person": {"name": {"firstName": "x" * 900_000}}})
    queue(dataflow, profiles)
    deliver(dataflow)
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert [len(batch) for batch in sent] == [11, 11, 11, 2]
    assert all(sum(len(record.data) for record in batch) <= 10 * MIB for batch in sent)
    assert read == [35, 11, 11, 2, 0, 0]
    assert waiting(dataflow) == set()


def test_two_batches_are_in_memory_and_not_what_waits(
    dataflow: Dataflow, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_memory() -> Counter[type]:
        # type(), not isinstance(): that would wake lazy objects of other tests. Records are nothing for the collector.
        found = [each for each in gc.get_objects() if type(each) in (Snapshot, delivery._Batch)]
        return Counter(
            {
                Snapshot: sum(type(each) is Snapshot for each in found),
                Record: sum(len(each.sending) for each in found if isinstance(each, delivery._Batch)),
            }
        )

    gc.collect()
    before = in_memory()  # what other tests left
    kept: list[Counter[type]] = []
    settle = settling.settle

    def look(lease: Lease, outcomes: Sequence[Outcome]) -> None:
        kept.append(in_memory() - before)
        settle(lease, outcomes)

    monkeypatch.setattr(delivery, "SLICE", 60)  # looking takes its time
    monkeypatch.setattr(delivery, "settle", look)
    monkeypatch.setattr(delivery, "FIRST_BATCH", 50)
    monkeypatch.setattr(KinesisSender, "batch_size", 50)
    queue(dataflow, members_of(segment, 500))
    deliver(dataflow)
    assert waiting(dataflow) == set()
    assert len(kept) == 10
    assert max(kinds[Record] for kinds in kept) == 2 * 50
    assert max(kinds[Snapshot] for kinds in kept) <= 50


def test_the_queries_of_a_batch_do_not_grow_with_it(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    def queries(count: int) -> int:
        queue(dataflow, members_of(segment, count))
        with CaptureQueriesContext(connection) as captured:
            deliver(dataflow)
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
    deliver(dataflow)
    assert {record.partition_key for record in sent[0]} == set(ids(old))


def test_a_fresh_change_overtakes_a_backfill(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = members_of(segment, 300)
    outbox.backfill(dataflow, [segment.pk])
    last = PendingExport.objects.order_by("-available_at", "-id")[0].profile
    new, *_ = members_of(segment, 1)

    def change(_records: Sequence[Record]) -> None:
        rename(last, "Now")
        queue(dataflow, [new])

    sent = before_sending(monkeypatch, change)
    deliver(dataflow)
    assert [len(batch) for batch in sent] == [64, 237]
    assert {record.partition_key for record in sent[1][:2]} == {str(last.pk), str(new.pk)}
    assert sorted(arrived(kinesis)) == ids([*profiles, new])
    assert names_of(kinesis, last) == ["Now"]


def test_a_backfill_goes_on_behind_changes_that_keep_coming(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = members_of(segment, 150)
    outbox.backfill(dataflow, [segment.pk])
    busy = profiles[0]
    before_sending(monkeypatch, *[lambda _records: rename(busy, "again")] * 2)
    deliver(dataflow)
    assert sorted(set(arrived(kinesis))) == ids(profiles)
    assert waiting(dataflow) == set()
    reasons = dict(Delivery.objects.values_list("profile_id", "reason"))
    assert reasons == {**dict.fromkeys((p.pk for p in profiles), "backfill"), busy.pk: "attribute"}


def test_of_a_backfill_each_is_claimed_once_and_what_was_put_off_comes_again(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    profiles = members_of(segment, 150)
    outbox.backfill(dataflow, [segment.pk])
    some = set(ids(profiles[::10]))
    kinesis.fail_records(lambda key: key in some)
    deliver(dataflow)
    come_due(dataflow)
    deliver(dataflow)
    assert sorted(arrived(kinesis)) == ids(profiles)
    retried = PendingExport.objects.count()
    assert (retried, counts(dataflow)["activated"]) == (0, 150)


def test_a_profile_is_sent_as_it_is_then_and_not_as_it_was_when_it_was_queued(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    rename(members[0], "Later")
    rename(members[0], "Last")
    deliver(dataflow)
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
    deliver(dataflow)
    named = ["name" in r["segmentMembership"]["ups"]["members"] for r in kinesis.exported()]
    assert (named.count(False), named.count(True)) == (64, 6)


def write_to_the_second_stream(dataflow: Dataflow) -> None:
    destination = dataflow.destination
    setup = Setup(destination.name, {"stream": "second"})
    edit_destination(destination_id=destination.pk, version=1, setup=setup)


def test_another_stream_is_written_to_from_the_next_batch_on(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis.create_stream("second")

    before_sending(monkeypatch, lambda _records: write_to_the_second_stream(dataflow))
    queue(dataflow, members_of(segment, 70))
    deliver(dataflow)
    assert (len(kinesis.records()), len(kinesis.records("second"))) == (64, 6)


def details(kinesis: RunningKinesis) -> list[dict[str, Any]]:
    return [record["_delivery"] for record in kinesis.exported()]


def test_records_tell_of_their_delivery_where_the_destination_wants_it(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, include_delivery=True)
    [member] = members_of(segment, 1)
    before = time.time()
    outbox.backfill(dataflow, [segment.pk])
    deliver(dataflow)
    rename(member, "Later")
    deliver(dataflow)
    first, second = details(kinesis)
    assert before <= first["exportedAt"] / 1000 + 0.001 <= second["exportedAt"] / 1000 + 0.001 <= time.time()
    del first["exportedAt"], second["exportedAt"]
    same = {"dataflowId": str(dataflow.pk), "profileId": str(member.pk)}
    assert first == {**same, "version": 1, "reason": "backfill"}
    assert second == {**same, "version": 2, "reason": "attribute"}
    receipt = Delivery.objects.get()
    assert (receipt.version, receipt.reason) == (2, "attribute")


def test_what_is_sent_again_for_want_of_an_answer_has_the_same_version(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, include_delivery=True)
    queue(dataflow, members_of(segment, 1))
    kinesis.faults.add(Fault(Kind.RESET_AFTER, times=1))
    deliver(dataflow)
    hold_is_over(dataflow)
    come_due(dataflow)
    deliver(dataflow)
    assert [each["version"] for each in details(kinesis)] == [1, 1]
    assert sendings(dataflow) == {"attempts": 2, "retries": 1, "duplicates": 1}
    assert Delivery.objects.get().version == 1


def test_else_they_do_not(dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis) -> None:
    deliver(dataflow)
    assert not any("_delivery" in record for record in kinesis.exported())


# -- partial failures -----------------------------------------------------------------------------------------------


def test_a_throttled_record_alone_is_sent_again(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    throttled = str(members[1].pk)
    kinesis.fail_records(lambda key: key == throttled, "ProvisionedThroughputExceededException")
    deliver(dataflow)
    assert waiting(dataflow) == {members[1].pk}
    come_due(dataflow)
    deliver(dataflow)
    assert requests(kinesis) == [3, 1]
    assert sorted(arrived(kinesis)) == ids(members)
    assert counts(dataflow) == {"activated": 3, "retries": 1}


def test_a_batch_that_was_refused_for_the_moment_is_sent_again(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    kinesis.fail_next("InternalFailure", status=500)
    deliver(dataflow)
    assert waiting(dataflow) == {profile.pk for profile in members}
    hold_is_over(dataflow)
    come_due(dataflow)
    deliver(dataflow)
    assert requests(kinesis) == [3, 3]
    assert sorted(arrived(kinesis)) == ids(members)
    assert counts(dataflow) == {"activated": 3, "retries": 3}


def test_a_record_that_fails_for_long_is_not_waited_for_and_holds_up_nobody(
    dataflow: Dataflow,
    segment: Segment,
    members: list[Profile],
    kinesis: RunningKinesis,
    told: Told,
) -> None:
    stubborn = members[1]
    kinesis.fail_records(lambda key: key == str(stubborn.pk), times=1000)
    before = timezone.now()
    deliver(dataflow)
    row = PendingExport.objects.get()
    assert (row.profile, row.attempts, row.error_code) == (stubborn, 1, "InternalFailure")
    assert timedelta(seconds=0.1) <= row.available_at - before < timedelta(seconds=1)
    assert requests(kinesis) == [3]
    assert counts(dataflow) == {"activated": 2}
    assert told == []  # but later, when it is due
    [(key, seconds)] = told.later
    assert key == (dataflow.pk, 0)
    assert 0 < seconds <= 0.2
    PendingExport.objects.update(available_at=timezone.now() + timedelta(minutes=1))
    queue(dataflow, members_of(segment, 2))
    deliver(dataflow)
    assert waiting(dataflow) == {stubborn.pk}
    assert requests(kinesis) == [3, 2]


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
    for _ in range(100):
        deliver(dataflow)
        if not waiting(dataflow):
            break
        come_due(dataflow)
    assert sorted(record.key for record in local_kinesis.records("one")) == ids(profiles)
    sent = sum(requests(local_kinesis))
    assert sent > 1800
    assert counts(dataflow) == {"activated": 1800, "retries": sent - 1800}
    assert sendings(dataflow) == {"attempts": sent, "retries": sent - 1800, "throttled": sent - 1800}


# -- what can't go --------------------------------------------------------------------------------------------------


def test_one_that_is_too_large_does_not_hold_up_its_batch(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    Profile.objects.filter(pk=members[1].pk).update(
        attributes={"person": {"name": {"firstName": "x" * 2 * MIB}}}
    )
    deliver(dataflow)
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
    deliver(dataflow)
    assert arrived(kinesis) == ids([has])
    assert counts(dataflow) == {"activated": 1, "excluded": 1}
    letter = FailedExport.objects.get()
    assert (letter.profile, letter.kind, letter.code) == (lacks, "excluded", "MandatoryAttributeMissing")
    assert letter.reason == "Mandatory but not there: personalEmail.address"
    ingest([Fragment(profile_id=lacks.pk, attributes={"personalEmail": {"address": "b@example.com"}})])
    deliver(dataflow)
    assert arrived(kinesis) == ids([has, lacks])


def test_when_nobody_of_a_batch_has_a_record_nothing_is_asked(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, mandatory=["personalEmail.address"])
    queue(dataflow, members_of(segment, 3))
    deliver(dataflow)
    assert kinesis.asked == []
    assert counts(dataflow) == {"excluded": 3}


# -- while it is being sent -----------------------------------------------------------------------------------------


def test_a_change_that_comes_while_its_profile_is_sent_is_sent_too(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: rename(members[1], "Later"))
    deliver(dataflow)
    assert requests(kinesis) == [3, 1]
    assert names_of(kinesis, members[1]) == ["Customer 1", "Later"]
    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 4}


def test_a_change_while_its_profile_is_throttled_folds_into_the_next_try(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis.fail_records(lambda key: key == str(members[1].pk))
    before_sending(monkeypatch, lambda _records: rename(members[1], "Later"))
    deliver(dataflow)
    assert names_of(kinesis, members[1]) == []
    come_due(dataflow)
    deliver(dataflow)
    assert names_of(kinesis, members[1]) == ["Later"]
    assert counts(dataflow) == {"activated": 3, "retries": 1}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_profile_that_is_deleted_while_it_is_sent_stops_nobody(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: members[1].delete())
    deliver(dataflow)
    assert len(arrived(kinesis)) == 3
    assert waiting(dataflow) == set()
    assert Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_destination_that_is_deleted_while_it_is_written_to_leaves_nothing(
    dataflow: Dataflow, members: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: Destination.objects.all().delete())
    deliver(dataflow)
    deliver(dataflow)
    assert not (Lane.objects.exists() or PendingExport.objects.exists() or Delivery.objects.exists())


# -- one batch behind the other -------------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_BATCH", 10)
    monkeypatch.setattr(KinesisSender, "batch_size", 10)


@pytest.mark.usefixtures("small_batches")
def test_while_a_batch_is_on_its_way_the_next_is_built_and_goes_as_soon_as_the_answer_is_there(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    before_sending(monkeypatch, *[lambda _records: steps.append("send")] * 3)
    for module, name in [(Claims, "next"), (delivery, "settle")]:
        monkeypatch.setattr(module, name, noted(steps, name, getattr(module, name)))
    queue(dataflow, members_of(segment, 25))
    deliver(dataflow)
    assert steps == [
        *("next", "send"),
        *("next", "send", "settle"),
        *("next", "send", "settle"),
        *("next", "settle"),
        "next",
    ]
    assert requests(kinesis) == [10, 10, 5]


def noted(steps: list[str], step: str, act: Any) -> Any:
    def wrapped(*args: Any) -> Any:
        steps.append(step)
        return act(*args)

    return wrapped


@pytest.mark.usefixtures("small_batches")
def test_no_profile_is_read_again_before_its_batch_is_settled_however_often_it_changes(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = members_of(segment, 15)
    under_way: set[uuid.UUID] = set()
    read, settle, version = Claims.next, settling.settle, count(1)

    def read_once(*args: Any) -> list[tuple[Claim, Row]]:
        found = read(*args)
        profile_ids = {claim.profile_id for claim, _ in found}
        assert profile_ids.isdisjoint(under_way)
        under_way.update(profile_ids)
        return found

    def settled(lease: Lease, outcomes: Sequence[Outcome]) -> None:
        settle(lease, outcomes)
        under_way.difference_update(outcome.claim.profile_id for outcome in outcomes)

    def change(_records: Sequence[Record]) -> None:
        number = next(version)
        for profile in profiles[:5]:
            rename(profile, f"version {number}")

    monkeypatch.setattr(Claims, "next", read_once)
    monkeypatch.setattr(delivery, "settle", settled)
    sent = before_sending(monkeypatch, *[change] * 4)
    queue(dataflow, profiles)
    deliver(dataflow)
    assert len(sent) == 5
    assert [names_of(kinesis, profile) for profile in profiles[:5]] == [
        [f"Customer {place}", "version 2", "version 3", "version 4"] for place in range(5)
    ]
    assert (waiting(dataflow), under_way) == (set(), set())


@pytest.mark.usefixtures("small_batches")
def test_who_has_no_record_is_counted_once_while_the_others_are_on_their_way(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, mandatory=["personalEmail.address"])
    profiles = members_of(segment, 30)
    has = {"personalEmail": {"address": "a@example.com"}}
    Profile.objects.filter(pk__in=[profile.pk for profile in profiles[::2]]).update(attributes=has)
    queue(dataflow, profiles)
    deliver(dataflow)
    assert counts(dataflow) == {"activated": 15, "excluded": 15}
    assert FailedExport.objects.count() == 15


@pytest.mark.usefixtures("small_batches")
def test_when_the_way_is_lost_behind_a_batch_what_it_delivered_is_settled(
    dataflow: Dataflow,
    segment: Segment,
    kinesis: RunningKinesis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(_records: Sequence[Record]) -> None:
        settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
        Account.objects.update(updated_at=timezone.now())

    before_sending(monkeypatch, lose)
    queue(dataflow, members_of(segment, 25))
    deliver(dataflow)
    assert (len(arrived(kinesis)), len(waiting(dataflow))) == (10, 15)
    assert counts(dataflow) == {"activated": 10}
    assert error(dataflow) == "CredentialsLost"


@pytest.mark.usefixtures("small_batches")
def test_when_a_batch_is_refused_behind_one_without_an_answer_both_are_settled(
    kinesis: RunningKinesis, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataflow = dataflow_to(kinesis, segment, attributes=[], mandatory=[FIRST_NAME])

    def break_down(_records: Sequence[Record]) -> None:
        kinesis.fail_next("InternalFailure", status=500)
        kinesis.fail_next("AccessDeniedException", "not any more", times=100)

    before_sending(monkeypatch, break_down)
    profiles = members_of(segment, 25)
    queue(dataflow, profiles)
    first, second = (set(sent) for sent in batches_of(dataflow, 2))
    Profile.objects.filter(pk=min(second)).update(attributes={})
    deliver(dataflow)
    assert requests(kinesis) == [10, 9]
    assert len(waiting(dataflow)) == 24
    tried = PendingExport.objects.filter(attempts=1).values_list("profile_id", flat=True)
    assert set(tried) == first
    assert counts(dataflow) == {"excluded": 1}
    assert error(dataflow) == "AccessDeniedException"


def batches_of(dataflow: Dataflow, number: int, size: int = 10) -> list[list[uuid.UUID]]:
    """The profiles of the next batches."""
    rows = PendingExport.objects.filter(dataflow=dataflow).order_by("available_at", "id")
    waits = list(rows.values_list("profile_id", flat=True))
    return [waits[place * size : (place + 1) * size] for place in range(number)]


@pytest.mark.usefixtures("small_batches")
def test_a_batch_without_an_answer_does_not_hold_what_the_one_behind_it_reached(
    dataflow: Dataflow,
    segment: Segment,
    kinesis: RunningKinesis,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_sending(monkeypatch, lambda _records: kinesis.fail_next("InternalFailure", status=500))
    queue(dataflow, members_of(segment, 25))
    deliver(dataflow)
    assert error(dataflow) == ""
    assert told == [(dataflow.pk, 0)]
    deliver(dataflow)
    come_due(dataflow)
    deliver(dataflow)
    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 25, "retries": 10}


@pytest.mark.usefixtures("small_batches")
def test_what_is_on_its_way_is_settled_when_the_next_can_not_be_read(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Claims.next
    times = count(1)

    def fail_once(*args: Any) -> list[tuple[Claim, Row]]:
        if next(times) == 2:
            raise OperationalError("the connection was lost")
        return read(*args)

    monkeypatch.setattr(Claims, "next", fail_once)
    queue(dataflow, members_of(segment, 25))
    with pytest.raises(OperationalError):
        deliver(dataflow)
    assert (len(arrived(kinesis)), len(waiting(dataflow))) == (10, 15)
    assert counts(dataflow) == {"activated": 10}
    assert lane(dataflow).token is None
    deliver(dataflow)
    assert len(arrived(kinesis)) == 25
    assert counts(dataflow) == {"activated": 25}


@pytest.mark.usefixtures("small_batches")
def test_a_stream_that_is_left_gets_what_is_on_its_way_to_it_and_is_not_mixed_up_with_the_next(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis.create_stream("second", 1)
    learned: dict[LearnedShards, set[str]] = {}
    learn = LearnedShards.learn

    def note(shards: LearnedShards, key: str, shard: str) -> None:
        learned.setdefault(shards, set()).add(shard)
        learn(shards, key, shard)

    monkeypatch.setattr(LearnedShards, "learn", note)

    before_sending(monkeypatch, lambda _records: write_to_the_second_stream(dataflow))
    # Ids of which the first ten are for both shards; any ten are not, once in 500 times.
    ids = [uuid.UUID(int=number) for number in range(1, 26)]
    queue(dataflow, [MembershipFactory.create(segment=segment, profile__id=each).profile for each in ids])
    deliver(dataflow)
    assert (len(kinesis.records()), len(kinesis.records("second"))) == (10, 15)
    first, second = "shardId-000000000000", "shardId-000000000001"
    assert list(learned.values()) == [{first, second}, {first}]


# -- disabled -------------------------------------------------------------------------------------------------------


def test_disabling_stops_within_a_batch_and_enabling_goes_on(
    dataflow: Dataflow,
    segment: Segment,
    kinesis: RunningKinesis,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_sending(monkeypatch, lambda _records: services.disable(destination=dataflow.destination))
    profiles = members_of(segment, 100)
    queue(dataflow, profiles)
    deliver(dataflow)
    assert requests(kinesis) == [64]
    assert len(waiting(dataflow)) == 36
    tasks.deliver(str(dataflow.pk), 0)
    assert requests(kinesis) == [64]
    assert told == []

    assert services.enable(destination=dataflow.destination) is True
    assert told == [(dataflow.pk, 0)]
    tasks.deliver(str(dataflow.pk), 0)
    assert sorted(arrived(kinesis)) == ids(profiles)


@pytest.mark.parametrize("state", ["disabled", "draft"])
def test_what_is_not_enabled_is_not_delivered(
    state: str, dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, told: Told
) -> None:
    Dataflow.objects.update(state=state)
    deliver(dataflow)
    assert (kinesis.asked, len(waiting(dataflow)), told) == ([], 3, [])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_dataflow_that_is_gone_is_nothing_to_do() -> None:
    tasks.deliver(str(uuid.uuid4()), 0)


# -- a broken destination -------------------------------------------------------------------------------------------


def kept(dataflow: Dataflow) -> tuple[set[uuid.UUID], set[int], int]:
    """Who waits, how often they were tried, and how many runs there are."""
    rows = PendingExport.objects.filter(dataflow=dataflow)
    return waiting(dataflow), set(rows.values_list("attempts", flat=True)), DataflowRun.objects.count()


def test_a_wrong_key_holds_everything_and_other_credentials_let_it_go_on(
    dataflow: Dataflow,
    members: list[Profile],
    kinesis: RunningKinesis,
    told: Told,
    django_capture_on_commit_callbacks: Any,
) -> None:
    account = dataflow.destination.account
    right, wrong = kinesis.connection(), kinesis.connection(secret_access_key="not the secret")
    Account.objects.update(credentials=Encrypted.of(wrong.credentials))
    with capture_logs() as logs:
        deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    dataflow.refresh_from_db()
    assert dataflow.error_code == "InvalidSignatureException"
    assert dataflow.error_message.startswith("The request signature we calculated does not match")
    assert lane(dataflow).token is None
    assert [entry["code"] for entry in logs if entry["event"] == "dataflow_held"] == [dataflow.error_code]
    assert "not the secret" not in f"{logs} {dataflow.error_message}"
    asked = len(kinesis.asked)
    deliver(dataflow)
    assert len(kinesis.asked) == asked  # not tried before its time
    assert delivery.startable() == []

    account.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):
        edit_account(account=account, seen=account.updated_at, name=account.name, connection=right)
    assert told == [(dataflow.pk, 0)]
    deliver(dataflow)
    assert sorted(arrived(kinesis)) == ids(members)
    dataflow.refresh_from_db()
    assert (dataflow.error_code, dataflow.error_at) == ("", None)


def test_a_missing_stream_holds_everything_until_a_later_try_finds_it(
    kinesis: RunningKinesis, segment: Segment, told: Told
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone")
    profiles = members_of(segment, 3)
    queue(dataflow, profiles)
    deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in profiles}, {0}, 0)
    dataflow.refresh_from_db()
    assert (dataflow.error_code, dataflow.error_message) == (
        "ResourceNotFoundException",
        "Stream gone under account 000000000000 not found.",
    )
    since = dataflow.error_at
    hold_is_over(dataflow)
    deliver(dataflow)  # and is held again, since the same moment
    dataflow.refresh_from_db()
    assert dataflow.error_at == since
    assert dataflow.held_until > timezone.now()  # type: ignore[operator]

    kinesis.create_stream("gone")
    tasks.sweep()
    assert told == []
    hold_is_over(dataflow)
    tasks.sweep()
    assert told == [(dataflow.pk, 0)]
    deliver(dataflow)
    assert len(kinesis.records("gone")) == 3
    assert error(dataflow) == ""
    assert counts(dataflow) == {"activated": 3}


def test_another_stream_lets_it_go_on_at_once(
    kinesis: RunningKinesis,
    segment: Segment,
    told: Told,
    django_capture_on_commit_callbacks: Any,
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone")
    queue(dataflow, members_of(segment, 3))
    deliver(dataflow)
    setup = Setup(dataflow.destination.name, {"stream": STREAM})
    with django_capture_on_commit_callbacks(execute=True):
        edit_destination(destination_id=dataflow.destination.pk, version=1, setup=setup)
    assert told == [(dataflow.pk, 0)]
    deliver(dataflow)
    assert len(kinesis.records()) == 3


def test_an_endpoint_that_is_down_holds_everything(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis
) -> None:
    kinesis.stop()
    deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert error(dataflow) == "EndpointConnectionError"


def test_an_endpoint_that_is_not_allowed_any_more_is_not_asked(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, settings: Settings
) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert (error(dataflow), kinesis.asked) == ("EndpointNotAllowed", [])


def test_credentials_that_no_key_opens_hold_everything(
    dataflow: Dataflow, members: list[Profile], settings: Settings
) -> None:
    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
    deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert error(dataflow) == "CredentialsLost"


def test_a_destination_type_that_is_not_installed_holds_everything(
    dataflow: Dataflow, members: list[Profile]
) -> None:
    Account.objects.update(connector="carrier-pigeon")
    deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert error(dataflow) == "NotAvailable"


def test_who_has_no_record_is_settled_although_the_destination_is_broken(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone", mandatory=["personalEmail.address"])
    has, lacks = members_of(segment, 2)
    Profile.objects.filter(pk=has.pk).update(attributes={"personalEmail": {"address": "a@example.com"}})
    queue(dataflow, [has, lacks])
    deliver(dataflow)
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
    deliver(dataflow)
    assert (len(arrived(kinesis)), len(waiting(dataflow))) == (64, 36)
    assert error(dataflow) == "AccessDeniedException"
    assert counts(dataflow) == {"activated": 64}


# -- trying it again ------------------------------------------------------------------------------------------------


def test_a_batch_of_which_nothing_is_answered_holds_the_dataflow_though_its_rows_are_put_off(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, told: Told
) -> None:
    kinesis.fail_next("InternalFailure", "try again", status=500, times=2)
    deliver(dataflow)
    dataflow.refresh_from_db()
    assert (dataflow.error_code, dataflow.error_message) == ("InternalFailure", "try again")
    assert dataflow.held_until and dataflow.held_until > timezone.now() + timedelta(seconds=4)
    assert set(PendingExport.objects.values_list("attempts", "error_code")) == {(1, "InternalFailure")}
    assert (told, told.later) == ([], [])  # the sweep comes after it
    come_due(dataflow)
    deliver(dataflow)
    assert requests(kinesis) == [3]


def test_a_stream_that_throttles_everything_is_there_and_does_not_hold_the_dataflow(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, told: Told
) -> None:
    kinesis.fail_records(lambda _key: True, "ProvisionedThroughputExceededException")
    deliver(dataflow)
    assert error(dataflow) == ""
    assert [key for key, _seconds in told.later] == [(dataflow.pk, 0)]


def in_every_lane(segment: Segment, dataflow: Dataflow, each: int) -> list[Profile]:
    """So many waiting members in each lane of the dataflow."""
    profiles = []
    for number in range(dataflow.lane_count):
        first, _last = lanes.slots(number, dataflow.lane_count)
        for place in range(each):
            profile = ProfileFactory.create(pk=uuid.UUID(int=(number + 1 << 64) + (place << 8) + first))
            MembershipFactory.create(profile=profile, segment=segment)
            profiles.append(profile)
    queue(dataflow, profiles)
    return profiles


def test_what_refused_is_tried_with_a_few_records_by_one_lane_and_then_all_go_on(
    kinesis: RunningKinesis, segment: Segment, told: Told
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="later", lane_count=4)
    profiles = in_every_lane(segment, dataflow, 60)
    deliver(dataflow)
    assert (requests(kinesis), error(dataflow)) == ([60], "ResourceNotFoundException")
    assert told == []
    kinesis.create_stream("later")
    hold_is_over(dataflow)
    delivery.deliver(dataflow.pk, 2)
    assert requests(kinesis) == [60, delivery.PROBE, 35]
    assert error(dataflow) == ""
    assert told == [(dataflow.pk, number) for number in range(4)]
    deliver(dataflow)
    assert sorted(record.key for record in kinesis.records("later")) == ids(profiles)


def test_while_one_lane_tries_the_others_wait(
    kinesis: RunningKinesis, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="later", lane_count=4)
    in_every_lane(segment, dataflow, 3)
    deliver(dataflow)
    hold_is_over(dataflow)
    sent = before_sending(monkeypatch, lambda _records: delivery.deliver(dataflow.pk, 1))
    delivery.deliver(dataflow.pk, 0)
    assert len(sent) == 1
    delivery.deliver(dataflow.pk, 1)
    assert len(sent) == 1


def test_who_only_has_profiles_without_a_record_does_not_end_the_hold(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, stream="gone", mandatory=["personalEmail.address"])
    [member] = members_of(segment, 1)
    lanes.hold(dataflow.pk, "ResourceNotFoundException", "not found")
    hold_is_over(dataflow)
    queue(dataflow, [member])
    deliver(dataflow)
    assert waiting(dataflow) == set()
    assert error(dataflow) == "ResourceNotFoundException"


@pytest.mark.parametrize("change", ["enable", "credentials"])
def test_workers_that_found_nothing_to_do_before_are_told_again_when_there_is(
    change: str,
    dataflow: Dataflow,
    members: list[Profile],
    told: Told,
    django_capture_on_commit_callbacks: Any,
) -> None:
    """Also soon after the last message, when nobody would be told of one more row."""
    outbox.wake(dataflow)
    if change == "enable":
        services.disable(destination=dataflow.destination)
    else:
        lanes.hold(dataflow.pk, "ExpiredTokenException", "")
    deliver(dataflow)
    told.forget()
    with django_capture_on_commit_callbacks(execute=True):
        if change == "enable":
            services.enable(destination=dataflow.destination)
        else:
            connection_changed.send(None, destination_ids=[dataflow.destination.pk])
    assert told == [(dataflow.pk, 0)]


# -- several lanes --------------------------------------------------------------------------------------------------


class OnTheWire:
    """What is being sent at each moment, by all workers of this process.

    Args:
        together: the first so many requests wait for each other.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, together: int) -> None:
        self.twice: set[str] = set()
        self.most = 0
        self._now: list[str] = []
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(together)
        self._first = iter(range(together))
        send = KinesisSender.send

        def watched(sender: KinesisSender, records: Sequence[Record]) -> list[Result]:
            keys = [record.partition_key for record in records]
            with self._lock:
                self.twice.update(set(keys) & set(self._now))
                self._now += keys
                first = next(self._first, None) is not None
            if first:
                self._barrier.wait(timeout=20)
            try:
                return send(sender, records)
            finally:
                with self._lock:
                    self.most = max(self.most, len(self._now))
                    self._now = [key for key in self._now if key not in keys]

        monkeypatch.setattr(KinesisSender, "send", watched)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_lanes_are_delivered_at_once_and_never_carry_the_same_profile(
    kinesis: RunningKinesis, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataflow = dataflow_to(kinesis, segment, lane_count=4)
    profiles = members_of(segment, 600)
    queue(dataflow, profiles)
    wire = OnTheWire(monkeypatch, together=4)
    workers = [Elsewhere(partial(delivery.deliver, dataflow.pk, number % 4)) for number in range(8)]
    for profile in profiles[:50]:
        rename(profile, "Changed")
    for worker in workers:
        worker.join()
    deliver(dataflow)
    assert wire.most > 64
    assert wire.twice == set()
    assert set(arrived(kinesis)) == set(ids(profiles))
    assert all(names_of(kinesis, profile)[-1] == "Changed" for profile in profiles[:50])
    assert len(arrived(kinesis)) == counts(dataflow)["activated"] <= 650


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("before, after", [(2, 8), (8, 1)])
def test_another_number_of_lanes_while_a_batch_is_on_its_way_loses_and_doubles_nothing(
    before: int, after: int, kinesis: RunningKinesis, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataflow = dataflow_to(kinesis, segment, lane_count=before)
    profiles = members_of(segment, 400)
    queue(dataflow, profiles)
    sending, go_on = threading.Event(), threading.Event()

    def wait(_records: Sequence[Record]) -> None:
        sending.set()
        assert go_on.wait(timeout=20)

    sent = before_sending(monkeypatch, wait)
    first = Elsewhere(lambda: delivery.deliver(dataflow.pk, before - 1))
    assert sending.wait(timeout=20)
    Dataflow.objects.update(lane_count=after)
    deliver(dataflow)
    assert len(sent) == 1  # nobody else sends before that one is settled
    go_on.set()
    first.join()
    assert len(sent) == 1  # and it stops after its batch
    deliver(dataflow)
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert counts(dataflow) == {"activated": 400}
    assert waiting(dataflow) == set()


def test_who_comes_back_after_its_lanes_were_split_anew_commits_nothing(
    kinesis: RunningKinesis, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataflow = dataflow_to(kinesis, segment, lane_count=8)
    profiles = members_of(segment, 100)
    queue(dataflow, profiles)
    mine = [profile for profile in profiles if lanes.lane_of(profile.pk, 8) == 7]

    def overtake(_records: Sequence[Record]) -> None:
        Lane.objects.update(leased_until=timezone.now())
        Dataflow.objects.update(lane_count=1)
        deliver(dataflow)

    before_sending(monkeypatch, overtake)
    delivery.deliver(dataflow.pk, 7)
    assert counts(dataflow) == {"activated": 100}
    assert set(Delivery.objects.values_list("version", flat=True)) == {1}
    assert sorted(arrived(kinesis)) == sorted([*ids(profiles), *ids(mine)])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_last_record_of_each_profile_is_its_newest_state(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    """Two people change the same profiles while four workers deliver them."""
    dataflow = dataflow_to(kinesis, segment, lane_count=4)
    profiles = members_of(segment, 40)
    done = threading.Event()

    def change(by: int) -> None:
        for number in range(12):
            ingest(
                [
                    Fragment(
                        profile_id=profile.pk,
                        attributes={"person": {"name": {"firstName": f"{by}/{number}"}}},
                    )
                    for profile in profiles[:: by + 1]
                ]
            )

    def work(number: int) -> None:
        while not done.is_set():
            delivery.deliver(dataflow.pk, number)

    workers = [Elsewhere(partial(work, number)) for number in range(4)]
    people = [Elsewhere(partial(change, by)) for by in (0, 1)]
    for person in people:
        person.join()
    done.set()
    for worker in workers:
        worker.join()
    deliver(dataflow)
    assert waiting(dataflow) == set()
    for profile in Profile.objects.all():
        assert names_of(kinesis, profile)[-1] == profile.attributes["person"]["name"]["firstName"]
    assert counts(dataflow)["activated"] == len(kinesis.records())


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
    first = Elsewhere(lambda: deliver(dataflow))
    assert sending.wait(timeout=20)
    deliver(dataflow)
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
    workers = [Elsewhere(lambda: deliver(dataflow)) for _ in range(4)]
    for worker in workers:
        worker.join()
    assert sorted(arrived(kinesis)) == ids(profiles)
    assert counts(dataflow) == {"activated": 700}
    assert waiting(dataflow) == set()


def test_who_was_overtaken_commits_nothing_and_says_so(
    dataflow: Dataflow, members: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Lease | None] = []

    def overtake(_records: Sequence[Record]) -> None:
        Lane.objects.update(leased_until=timezone.now())
        others.append(lanes.take(dataflow.pk, 0))

    before_sending(monkeypatch, overtake)
    with capture_logs() as logs:
        deliver(dataflow)
    assert kept(dataflow) == ({profile.pk for profile in members}, {0}, 0)
    assert not Delivery.objects.exists()
    assert [lane(dataflow).token] == [other and other.token for other in others]
    assert "lease_lost" in [entry["event"] for entry in logs]


def test_who_lost_the_lane_while_it_read_sends_nothing(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it read may be older than what another has sent by now."""
    read, times = Claims.next, count(1)

    def slow(*args: Any) -> list[tuple[Claim, Row]]:
        found = read(*args)
        if next(times) == 1:
            Lane.objects.update(leased_until=timezone.now())
            rename(members[0], "Later")
            deliver(dataflow)
            now = time.monotonic() + lanes.LEASE.total_seconds()
            monkeypatch.setattr(time, "monotonic", lambda: now)
        return found

    monkeypatch.setattr(Claims, "next", slow)
    with capture_logs() as logs:
        deliver(dataflow)
    assert requests(kinesis) == [3]
    assert names_of(kinesis, members[0]) == ["Later"]
    assert "lease_lost" in [entry["event"] for entry in logs]


def test_who_waits_long_for_an_answer_keeps_the_lane(
    dataflow: Dataflow, members: list[Profile], kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RENEW_EVERY", 0.01)
    kinesis.faults.add(Fault(Kind.DELAY, seconds=0.3))
    before_sending(monkeypatch, lambda _records: Lane.objects.update(leased_until=timezone.now()))
    settle, leased = settling.settle, []

    def look(lease: Lease, outcomes: Sequence[Outcome]) -> None:
        leased.append(lane(dataflow).leased_until)
        settle(lease, outcomes)

    monkeypatch.setattr(delivery, "settle", look)
    deliver(dataflow)
    [until] = leased
    assert until and until > timezone.now() + lanes.LEASE / 2


def test_an_unexpected_error_gives_the_lane_back(
    dataflow: Dataflow, members: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    before_sending(monkeypatch, lambda _records: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        deliver(dataflow)
    assert delivery.startable() == [(dataflow.pk, 0)]


# -- taking turns ---------------------------------------------------------------------------------------------------


def test_who_has_worked_for_its_time_queues_behind_the_others(
    dataflow: Dataflow,
    members: list[Profile],
    kinesis: RunningKinesis,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SLICE", 0.0)
    deliver(dataflow)
    assert (kinesis.asked, told) == ([], [(dataflow.pk, 0)])


def test_what_came_while_the_lane_was_taken_is_told_again(
    dataflow: Dataflow, members: list[Profile], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own message found the lane taken: nobody else would look before the sweep."""
    give_back = lanes.give_back

    def late(lease: Lease, pace: Learned, **how: bool) -> None:
        queue(dataflow, members[:1])
        give_back(lease, pace, **how)

    monkeypatch.setattr(lanes, "give_back", late)
    deliver(dataflow)
    assert waiting(dataflow) == {members[0].pk}
    assert told == [(dataflow.pk, 0)]


def test_when_all_is_done_nobody_is_told(dataflow: Dataflow, members: list[Profile], told: Told) -> None:
    deliver(dataflow)
    assert (told, told.later) == ([], [])


def test_nobody_is_told_of_a_lane_that_a_worker_is_at(
    dataflow: Dataflow,
    segment: Segment,
    members: list[Profile],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = members_of(segment, 5)

    def change(_records: Sequence[Record]) -> None:
        queue(dataflow, others)
        outbox.wake_lanes([(dataflow.pk, 0)])

    before_sending(monkeypatch, change)
    deliver(dataflow)
    assert waiting(dataflow) == set()  # it was seen without a message
    assert told == []
    outbox.wake_lanes([(dataflow.pk, 0)])
    assert told == [(dataflow.pk, 0)]


def test_one_message_is_under_way_for_what_is_due_later(
    dataflow: Dataflow, members: list[Profile], told: Told
) -> None:
    soon = timezone.now() + timedelta(seconds=20)
    PendingExport.objects.update(available_at=soon)
    for _ in range(3):
        deliver(dataflow)
    [(key, seconds)] = told.later
    assert key == (dataflow.pk, 0)
    assert seconds == pytest.approx(20, abs=2)
    assert told == []


def test_what_is_due_much_later_is_for_the_sweep_to_find(
    dataflow: Dataflow, members: list[Profile], told: Told
) -> None:
    PendingExport.objects.update(available_at=timezone.now() + timedelta(minutes=2))
    deliver(dataflow)
    assert (told, told.later) == ([], [])


def test_where_all_shards_are_slow_one_message_is_under_way_for_the_next_turn(
    kinesis: RunningKinesis, segment: Segment, told: Told
) -> None:
    """Whoever else is told of the lane meanwhile leaves no second one."""
    kinesis.create_stream("one", 1)
    dataflow = dataflow_to(kinesis, segment, stream="one")
    members = members_of(segment, 3)
    queue(dataflow, members)
    deliver(dataflow)
    Lane.objects.update(pace={"shardId-000000000000": [0.2, 0, 0]})
    queue(dataflow, members)
    for _ in range(2):
        deliver(dataflow)
    assert requests(kinesis) == [3, 1]
    [(key, seconds)] = told.later
    assert key == (dataflow.pk, 0)
    assert 0 < seconds <= 5
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
    deliver(dataflow)
    come_due(dataflow)
    deliver(dataflow)
    lines: list[Any] = [record.msg for record in caplog.records if record.name == delivery.__name__]
    assert [(line["event"], line["delivered"], line["others"]) for line in lines] == [
        ("batch_settled", 1, 2),
        ("batch_settled", 1, 0),
    ]
    assert {(line["dataflow_id"], line["lane"]) for line in lines} == {(str(dataflow.pk), 0)}
    written = f"{[record.getMessage() for record in caplog.records]} {list(FailedExport.objects.values())}"
    assert "secret" not in written
    assert "Customer" not in written
