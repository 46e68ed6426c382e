"""Aggregated records: their format, against AWS's own libraries, and the sender that packs them."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records
from hypothesis import given
from hypothesis import strategies as st

from destinations.connectors import get
from destinations.connectors.base import (
    ConnectorError,
    Delivered,
    DestinationForm,
    ReadRecord,
    Record,
    Refused,
    Result,
    Sender,
    TryAgain,
)
from destinations.connectors.kinesis.aggregating import MAX_AGGREGATE
from destinations.connectors.kinesis.aggregation import MAGIC, OVERHEAD, RECORD_OVERHEAD, decode, encode
from destinations.connectors.kinesis.local.faults import Fault, Kind
from destinations.connectors.kinesis.local.streams import Stored
from destinations.viewer import ShownRecord
from tests.local_kinesis import RunningKinesis

MIB = 1024 * 1024
SETTINGS = {"stream": "packed", "aggregate": True}

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
batches = st.lists(st.builds(Record, keys, st.binary(max_size=2000)), min_size=1, max_size=30)


def taken_apart(records: Iterable[Stored]) -> list[tuple[str, str, int | None, bytes]]:
    """Key, sequence number, place and data of every record, by AWS's library as a Lambda function has it."""
    event = [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.key,
                "sequenceNumber": str(record.sequence),
                "approximateArrivalTimestamp": record.arrived,
                "data": base64.b64encode(record.data),
            }
        }
        for record in records
    ]
    return [
        (
            row["partitionKey"],
            row["sequenceNumber"],
            row.get("subSequenceNumber"),
            base64.b64decode(row["data"]),
        )
        for row in (found["kinesis"] for found in deaggregate_records(event))
    ]


# --- The format ----------------------------------------------------------------------------------------


@given(batches)
def test_aws_takes_apart_what_is_packed_and_the_packed_bytes_are_those_of_aws(batch: list[Record]) -> None:
    packed = encode(batch)

    apart = taken_apart([Stored(7, 0.0, batch[0].partition_key, packed)])
    theirs = RecordAggregator()
    for record in batch:
        theirs.add_user_record(record.partition_key, record.data)

    assert apart == [(record.partition_key, "7", place, record.data) for place, record in enumerate(batch)]
    assert packed == theirs.clear_and_get().get_contents()[2]
    assert decode(packed) == batch


@given(batches)
def test_a_packed_record_is_never_larger_than_was_reckoned(batch: list[Record]) -> None:
    reckoned = sum(len(r.data) + len(r.partition_key.encode()) + RECORD_OVERHEAD for r in batch)
    assert len(encode(batch)) <= OVERHEAD + reckoned


def test_explicit_hash_keys_of_others_are_passed_over() -> None:
    theirs = RecordAggregator()
    theirs.add_user_record("a", b"1", explicit_hash_key="340282366920938463463374607431768211455")
    theirs.add_user_record("b", b"2")
    assert decode(theirs.clear_and_get().get_contents()[2]) == [Record("a", b"1"), Record("b", b"2")]


@given(st.binary(max_size=60))
def test_what_only_looks_aggregated_is_no_aggregated_record(message: bytes) -> None:
    """With a right magic number and checksum, too: it is shown as it is, or taken apart, and nothing breaks."""
    looks = MAGIC + message + hashlib.md5(message).digest()
    decoded = decode(looks)
    assert decoded is None or all(isinstance(record, Record) for record in decoded)
    assert decode(looks[:-1]) is None
    assert decode(message) is None


# --- The sender ----------------------------------------------------------------------------------------


@pytest.fixture
def packed(unthrottled: RunningKinesis) -> Sender:
    """A sender to the stream “packed”, which has four shards."""
    unthrottled.create_stream("packed", 4)
    return sender_to(unthrottled)


def sender_to(server: RunningKinesis) -> Sender:
    return get("kinesis").open_sender(server.connection(), SETTINGS)


def records(count: int, size: int = 100) -> list[Record]:
    return [Record(f"key {i}", f"{i:020}".encode().ljust(size, b".")) for i in range(count)]


def kinds(results: list[Result]) -> list[str]:
    return [type(result).__name__ for result in results]


def shard_of(server: RunningKinesis, key: str) -> str:
    """Where a key belongs, as Kinesis's documentation has it."""
    hash_key = int.from_bytes(hashlib.md5(key.encode()).digest())
    return server.kinesis.streams["packed"].shard_of(hash_key).id


def in_shards(server: RunningKinesis) -> dict[str, list[Stored]]:
    return {shard.id: shard.records for shard in server.kinesis.streams["packed"].shards}


def test_five_hundred_records_are_one_for_each_shard_and_each_has_its_result(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    sent = records(500, size=300)

    results = packed.send(sent)

    stored = unthrottled.records("packed")
    assert len(stored) == 4
    apart = {(sequence, place): (key, data) for key, sequence, place, data in taken_apart(stored)}
    assert len(apart) == 500
    for record, result in zip(sent, results, strict=True):
        assert isinstance(result, Delivered)
        there = apart[result.sequence_number, result.sub_sequence]
        assert there == (record.partition_key, record.data)


def test_every_record_is_in_the_shard_of_its_own_key(packed: Sender, unthrottled: RunningKinesis) -> None:
    """The KCL drops an aggregated record in which a single key is not of the shard's range."""
    packed.send(records(500))

    for shard, stored in in_shards(unthrottled).items():
        for key, *_ in taken_apart(stored):
            assert shard_of(unthrottled, key) == shard


def test_a_packed_record_has_at_most_fifty_kibibytes(packed: Sender, unthrottled: RunningKinesis) -> None:
    assert kinds(packed.send(records(500, size=1000))) == ["Delivered"] * 500

    sizes = [record.size for record in unthrottled.records("packed")]
    assert max(sizes) <= MAX_AGGREGATE
    assert len(sizes) <= 16  # 520 kB


def test_records_of_a_key_stay_in_their_order_with_large_ones_between(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    sizes = [10, 60_000, 20, 30, 49_000, 10_000, 2 * MIB, 5]
    sent = [
        Record(key, f"{i:04}".encode().ljust(size, b"."))
        for i, size in enumerate(sizes * 5)
        for key in ("one", "two", "three")
    ]

    results = packed.send(sent)

    assert kinds(results) == ["Refused" if len(record.data) > MIB else "Delivered" for record in sent]
    found = defaultdict(list)
    for key, _, _, data in taken_apart(unthrottled.records("packed")):
        found[key].append(data)
    for key in ("one", "two", "three"):
        assert found[key] == [
            record.data for record in sent if record.partition_key == key and len(record.data) <= MIB
        ]


def test_one_alone_is_sent_as_it_is(packed: Sender, unthrottled: RunningKinesis) -> None:
    (result,) = packed.send([Record("key", b"{}")])
    assert isinstance(result, Delivered)
    assert result.sub_sequence is None
    assert [(record.key, record.data) for record in unthrottled.records("packed")] == [("key", b"{}")]


def test_a_partition_key_that_can_not_be_refuses_its_record_alone(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    bad = [Record("", b"1"), Record("k" * 257, b"2"), Record("half a pair \ud800", b"3")]
    results = packed.send([*records(5), *bad, *records(5)])
    assert kinds(results) == ["Delivered"] * 5 + ["Refused"] * 3 + ["Delivered"] * 5
    assert isinstance(results[5], Refused)
    assert results[5].code == "InvalidPartitionKey"


def test_nothing_to_send_is_nothing_sent(packed: Sender, unthrottled: RunningKinesis) -> None:
    assert packed.send([]) == []
    assert unthrottled.records("packed") == []


def test_all_that_was_packed_with_a_throttled_record_is_to_be_tried_again(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    batch = records(100)
    unthrottled.faults.add(
        Fault(
            Kind.RECORDS,
            wanted=lambda key: key == batch[0].partition_key,
            code="ProvisionedThroughputExceededException",
            message="Rate exceeded for shard shardId-000000000002 in stream packed under account 1.",
        )
    )

    results = packed.send(batch)

    delivered = {key for key, *_ in taken_apart(unthrottled.records("packed"))}
    again = [result for result in results if isinstance(result, TryAgain)]
    assert 0 < len(again) < 100
    assert all(result.throttled and result.shard == "shardId-000000000002" for result in again)
    assert delivered == {
        record.partition_key
        for record, result in zip(batch, results, strict=True)
        if isinstance(result, Delivered)
    }


def test_the_shards_are_asked_for_once(packed: Sender, unthrottled: RunningKinesis) -> None:
    for _ in range(3):
        packed.send(records(10))
    operations = [operation for operation, _ in unthrottled.asked]
    assert operations == ["DescribeStreamSummary", "ListShards", *["PutRecords"] * 3]


def split(server: RunningKinesis, shard: str) -> None:
    found = next(s for s in server.kinesis.streams["packed"].shards if s.id == shard)
    server.client().split_shard(
        StreamName="packed", ShardToSplit=shard, NewStartingHashKey=str((found.low + found.high) // 2)
    )


def test_what_was_packed_for_a_shard_that_was_split_is_sent_again_for_the_new_ones(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    batch = records(200)
    packed.send(batch)
    before = len(taken_apart(unthrottled.records("packed")))
    split(unthrottled, "shardId-000000000000")

    results = packed.send(batch)

    strayed = [r for r, result in zip(batch, results, strict=True) if isinstance(result, TryAgain)]
    assert before == 200
    assert 20 < len(strayed) < 80
    assert {(r.code, r.maybe_taken) for r in results if isinstance(r, TryAgain)} == {("WrongShard", True)}
    for record, result in zip(strayed, packed.send(strayed), strict=True):
        assert isinstance(result, Delivered)
        assert result.shard == shard_of(unthrottled, record.partition_key)


def test_what_lands_in_a_shard_that_holds_it_all_the_same_is_delivered(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    packed.send(records(10))
    split(unthrottled, "shardId-000000000000")
    child = unthrottled.kinesis.streams["packed"].open_shards[-1].id
    of_child = [r for r in records(300) if shard_of(unthrottled, r.partition_key) == child]

    results = packed.send(of_child)

    assert len(of_child) > 10
    assert {result.shard for result in results if isinstance(result, Delivered)} == {child}
    assert kinds(results) == ["Delivered"] * len(of_child)


def test_where_the_shards_can_not_be_asked_for_again_what_strayed_is_to_be_sent_again(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    batch = records(50)
    packed.send(batch)
    split(unthrottled, "shardId-000000000000")
    unthrottled.fail_next("LimitExceededException", operation="ListShards")

    results = packed.send(batch)

    assert {r.code for r in results if isinstance(r, TryAgain)} == {"WrongShard"}
    assert kinds(packed.send(batch)) == ["Delivered"] * 50


def spreading(server: RunningKinesis) -> Sender:
    server.create_stream("packed", 4, mode="ON_DEMAND", distribution="AUTO")
    return sender_to(server)


def test_nothing_is_packed_for_a_stream_that_spreads_records_by_itself(unthrottled: RunningKinesis) -> None:
    results = spreading(unthrottled).send(records(20))
    assert kinds(results) == ["Delivered"] * 20
    assert len(unthrottled.records("packed")) == 20


def test_a_stream_that_may_not_be_asked_shows_by_itself_that_it_spreads_records(
    unthrottled: RunningKinesis,
) -> None:
    sender = spreading(unthrottled)
    unthrottled.fail_next("AccessDeniedException", operation="DescribeStreamSummary", times=10)
    batch = records(40)

    first = sender.send(batch)
    strayed = [record for record, result in zip(batch, first, strict=True) if isinstance(result, TryAgain)]
    again = sender.send(strayed)

    assert strayed
    assert kinds(again) == ["Delivered"] * len(strayed)
    assert all(result.sub_sequence is None for result in again if isinstance(result, Delivered))


def test_who_may_not_list_shards_is_told_so(packed: Sender, unthrottled: RunningKinesis) -> None:
    message = "User: x is not authorized to perform: kinesis:ListShards on resource: y"
    unthrottled.fail_next("AccessDeniedException", message, operation="ListShards", times=10)
    with pytest.raises(ConnectorError) as caught:
        packed.send(records(5))
    assert "Allow kinesis:ListShards" in str(caught.value.hint)
    with pytest.raises(ConnectorError, match="kinesis:ListShards"):
        get("kinesis").describe_target(unthrottled.connection(), SETTINGS)


def test_when_shards_are_asked_for_too_often_the_records_wait(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    unthrottled.fail_next("LimitExceededException", operation="ListShards")
    results = packed.send(records(5))
    assert {(type(r), getattr(r, "throttled", None)) for r in results} == {(TryAgain, True)}
    assert kinds(packed.send(records(5))) == ["Delivered"] * 5


def test_a_stream_that_is_gone_is_an_error_of_the_destination(unthrottled: RunningKinesis) -> None:
    with pytest.raises(ConnectorError, match="ResourceNotFoundException"):
        sender_to(unthrottled).send(records(5))


def test_a_sender_ends_with_what_it_sends_with(packed: Sender) -> None:
    packed.send(records(5))
    packed.close()
    assert packed.batch_size == 2000


# --- The form and the viewer ---------------------------------------------------------------------------


@pytest.mark.parametrize("ticked, settings", [("", {"stream": "packed"}), ("on", SETTINGS)])
def test_aggregation_is_chosen_with_the_stream(ticked: str, settings: dict[str, Any]) -> None:
    form: DestinationForm = get("kinesis").destination_form({"stream": "packed", "aggregate": ticked})
    assert form.is_valid()
    assert form.target_settings() == settings


def test_the_viewer_shows_each_record_of_an_aggregated_one(
    packed: Sender, unthrottled: RunningKinesis
) -> None:
    sent = records(60)
    packed.send(sent)
    packed.send([Record("alone", b"{}")])

    found = get("kinesis").read_newest(unthrottled.connection(), SETTINGS, 20)

    assert len(found) == 20
    assert (found[0].partition_key, found[0].data, found[0].sub_sequence) == ("alone", b"{}", None)
    data = {record.partition_key: record.data for record in sent}
    assert all(record.data == data[record.partition_key] for record in found[1:])
    newest_first = [(int(r.sequence_number), r.sub_sequence or 0) for r in found]
    assert newest_first == sorted(newest_first, reverse=True)
    assert len({ShownRecord(record, "", 0).key for record in found}) == 20


def test_what_was_sent_as_it_is_has_the_key_that_it_had() -> None:
    from django.utils import timezone

    record = ReadRecord("shardId-1", "49", "key", timezone.now(), b"{}")
    assert ShownRecord(record, "", 0).key == "shardId-1-49"
