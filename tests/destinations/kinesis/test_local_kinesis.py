from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from django.core.management import CommandError, call_command

from destinations.connectors.kinesis.local import LocalKinesis, LocalKinesisServer
from destinations.connectors.kinesis.local.errors import ApiError
from destinations.connectors.kinesis.local.server import NotLoopback
from destinations.connectors.kinesis.local.signature import Keys
from tests.local_kinesis import KEYS, STREAM, KinesisProcess, RunningKinesis, client_of
from tests.moto_server import running_moto

from .conftest import Clock

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MIB = 1024 * 1024


def data(content: bytes) -> str:
    return base64.b64encode(content).decode()


def entries(count: int, size: int = 10) -> list[dict[str, str]]:
    return [{"Data": data(b"x" * size), "PartitionKey": f"key {i}"} for i in range(count)]


def put(kinesis: LocalKinesis, records: list[dict[str, str]], stream: str = STREAM) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = kinesis.perform("PutRecords", {"StreamName": stream, "Records": records})[
        "Records"
    ]
    return rows


# --- moto judges: the same calls have the same outcome -------------------------------------------------


@pytest.fixture(scope="module")
def moto_client() -> Iterator[KinesisClient]:
    with running_moto() as url:
        yield client_of(url, KEYS)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return shape(call())
    except ClientError as error:
        return error.response["Error"]["Code"]


def shape(value: Any) -> Any:
    """The names and types of an answer, without what differs from call to call."""
    if isinstance(value, dict):
        return {
            name: shape(member)
            for name, member in value.items()
            if name not in ("ResponseMetadata", "NextToken")
        }
    if isinstance(value, list):
        return [shape(member) for member in value]
    return type(value).__name__


def both(ours: KinesisClient, moto: KinesisClient, call: Callable[[KinesisClient], Any]) -> tuple[Any, Any]:
    return outcome(lambda: call(ours)), outcome(lambda: call(moto))


CALLS: dict[str, Callable[[Any], Any]] = {
    "a record": lambda k: k.put_record(StreamName="judged", Data=b"{}", PartitionKey="p"),
    "a record to no stream": lambda k: k.put_record(StreamName="none", Data=b"{}", PartitionKey="p"),
    "records": lambda k: k.put_records(
        StreamName="judged", Records=[{"Data": b"1", "PartitionKey": "p"}] * 3
    ),
    "records to no stream": lambda k: k.put_records(
        StreamName="no", Records=[{"Data": b"1", "PartitionKey": "p"}]
    ),
    "501 records": lambda k: k.put_records(
        StreamName="judged", Records=[{"Data": b"1", "PartitionKey": "p"}] * 501
    ),
    "a record over 1 MiB": lambda k: k.put_records(
        StreamName="judged", Records=[{"Data": b"1" * (MIB + 1), "PartitionKey": "p"}]
    ),
    "records over the limit of a request": lambda k: k.put_records(
        StreamName="judged", Records=[{"Data": b"1" * 1_000_000, "PartitionKey": "p"}] * 11
    ),
    "an explicit hash key": lambda k: k.put_record(
        StreamName="judged",
        Data=b"1",
        PartitionKey="p",
        ExplicitHashKey="200000000000000000000000000000000000000",
    ),
    "an explicit hash key out of range": lambda k: k.put_record(
        StreamName="judged",
        Data=b"1",
        PartitionKey="p",
        ExplicitHashKey="340282366920938463463374607431768211456",
    ),
    "no stream's summary": lambda k: k.describe_stream_summary(StreamName="none"),
    "no stream's description": lambda k: k.describe_stream(StreamName="none"),
    "no stream's shards": lambda k: k.list_shards(StreamName="none"),
    "an iterator of no shard": lambda k: k.get_shard_iterator(
        StreamName="judged", ShardId="shardId-000000000009", ShardIteratorType="LATEST"
    ),
    "a stream that exists": lambda k: k.create_stream(StreamName="judged", ShardCount=1),
    "no stream to delete": lambda k: k.delete_stream(StreamName="none"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_operation_has_the_outcome_that_it_has_with_moto(
    call: Callable[[Any], Any], unthrottled: RunningKinesis, moto_client: KinesisClient
) -> None:
    ours = unthrottled.client()
    for client in (ours, moto_client):
        if "judged" not in client.list_streams()["StreamNames"]:
            client.create_stream(StreamName="judged", ShardCount=2)

    here, there = both(ours, moto_client, call)

    assert here == there or (isinstance(here, dict) and there.items() <= here.items())


def test_descriptions_have_what_motos_have(local_kinesis: RunningKinesis, moto_client: KinesisClient) -> None:
    moto_client.create_stream(StreamName="described", ShardCount=2)
    local_kinesis.create_stream("described", 2)
    ours = local_kinesis.client()

    here, there = (
        dict(k.describe_stream_summary(StreamName="described")["StreamDescriptionSummary"])
        for k in (ours, moto_client)
    )
    assert there.keys() - here.keys() <= {"StreamId", "WarmThroughput", "KeyId"}
    same = {name for name in here.keys() & there.keys() if "Timestamp" not in name and "ARN" not in name}
    assert {name: here[name] for name in same} == {name: there[name] for name in same}

    lists: list[Callable[[KinesisClient], Any]] = [
        lambda k: k.describe_stream(StreamName="described")["StreamDescription"]["Shards"],
        lambda k: k.list_shards(StreamName="described")["Shards"],
        lambda k: [s for s in k.list_streams()["StreamSummaries"] if s["StreamName"] == "described"],
    ]
    for listed in lists:
        assert shape(listed(ours)) == shape(listed(moto_client))


def test_a_shard_is_split_as_moto_splits_it(unthrottled: RunningKinesis, moto_client: KinesisClient) -> None:
    def after(client: KinesisClient) -> Any:
        client.create_stream(StreamName="split", ShardCount=2)
        whole = client.list_shards(StreamName="split")["Shards"][0]
        middle = str(int(whole["HashKeyRange"]["EndingHashKey"]) // 3)
        client.split_shard(StreamName="split", ShardToSplit=whole["ShardId"], NewStartingHashKey=middle)
        shards = client.list_shards(StreamName="split")["Shards"]
        return [(s["ShardId"], s["HashKeyRange"], s.get("ParentShardId"), shape(s)) for s in shards]

    assert after(unthrottled.client()) == after(moto_client)


def test_a_shard_that_was_split_is_read_to_its_end(unthrottled: RunningKinesis) -> None:
    client = unthrottled.client()
    unthrottled.create_stream("split", 1)
    client.put_record(StreamName="split", Data=b"1", PartitionKey="key")
    client.split_shard(
        StreamName="split", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127)
    )
    iterator = client.get_shard_iterator(
        StreamName="split", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    answer = client.get_records(ShardIterator=iterator)
    assert [record["Data"] for record in answer["Records"]] == [b"1"]
    assert "NextShardIterator" not in answer
    with pytest.raises(ClientError, match="InvalidArgumentException"):
        client.split_shard(
            StreamName="split", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126)
        )


def test_a_record_lands_in_the_shard_where_moto_puts_it(
    unthrottled: RunningKinesis, moto_client: KinesisClient
) -> None:
    moto_client.create_stream(StreamName="spread", ShardCount=7)
    unthrottled.create_stream("spread", 7)
    records: Any = [{"Data": b"1", "PartitionKey": f"고객 {i}"} for i in range(200)]

    here, there = (
        [row["ShardId"] for row in client.put_records(StreamName="spread", Records=records)["Records"]]
        for client in (unthrottled.client(), moto_client)
    )

    assert here == there
    assert len(set(here)) == 7


@pytest.mark.parametrize(
    "kind", ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]
)
def test_reading_gives_what_moto_gives(
    kind: Any, unthrottled: RunningKinesis, moto_client: KinesisClient
) -> None:
    read: list[list[bytes]] = []
    for client in (unthrottled.client(), moto_client):
        name = f"read-{kind}"
        client.create_stream(StreamName=name, ShardCount=1)
        rows = [client.put_record(StreamName=name, Data=str(i).encode(), PartitionKey="p") for i in range(4)]
        where: dict[str, Any] = {}
        if "SEQUENCE" in kind:
            where["StartingSequenceNumber"] = rows[1]["SequenceNumber"]
        if kind == "AT_TIMESTAMP":
            where["Timestamp"] = datetime.now(UTC) - timedelta(minutes=1)
        iterator: Any = client.get_shard_iterator(
            StreamName=name, ShardId="shardId-000000000000", ShardIteratorType=kind, **where
        )["ShardIterator"]
        found: list[bytes] = []
        for _ in range(2):
            client.put_record(StreamName=name, Data=b"later", PartitionKey="p")
            answer = client.get_records(ShardIterator=iterator, Limit=4)
            found += [record["Data"] for record in answer["Records"]]
            iterator = answer["NextShardIterator"]
        read.append(found)

    assert read[0] == read[1]
    assert read[0].count(b"later") == 2 or kind not in ("LATEST",)


def test_lists_of_streams_come_in_pages(local_kinesis: RunningKinesis) -> None:
    for i in range(230):
        local_kinesis.create_stream(f"stream-{i:03}")
    client = local_kinesis.client()

    pages = list(client.get_paginator("list_streams").paginate())

    assert [len(page["StreamNames"]) for page in pages] == [100, 100, 31]
    assert len({name for page in pages for name in page["StreamNames"]}) == 231
    assert client.list_streams(ExclusiveStartStreamName="stream-228")["StreamNames"] == ["stream-229"]


def test_shards_come_in_pages_too(local_kinesis: RunningKinesis) -> None:
    local_kinesis.create_stream("wide", 25)
    client = local_kinesis.client()
    ids = [f"shardId-{i:012}" for i in range(25)]

    pages = [client.list_shards(StreamName="wide", MaxResults=10)]
    while "NextToken" in pages[-1]:
        pages.append(client.list_shards(NextToken=pages[-1]["NextToken"], MaxResults=10))

    assert [shard["ShardId"] for page in pages for shard in page["Shards"]] == ids
    assert [len(page["Shards"]) for page in pages] == [10, 10, 5]
    described = client.describe_stream(StreamName="wide", Limit=5, ExclusiveStartShardId=ids[17])[
        "StreamDescription"
    ]
    assert [shard["ShardId"] for shard in described["Shards"]] == ids[18:23]
    assert described["HasMoreShards"]


def test_a_made_up_token_is_refused(local_kinesis: RunningKinesis) -> None:
    client = local_kinesis.client()
    with pytest.raises(ClientError, match="InvalidArgumentException"):
        client.list_shards(StreamName=STREAM, NextToken="made up")
    with pytest.raises(ClientError, match="ExpiredNextTokenException"):
        client.list_streams(NextToken="made up")
    with pytest.raises(ClientError, match="InvalidArgumentException"):
        client.get_records(ShardIterator="made up")


def test_a_stream_may_be_named_by_its_arn(local_kinesis: RunningKinesis) -> None:
    client = local_kinesis.client()
    arn = client.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    client.put_record(StreamARN=arn, Data=b"{}", PartitionKey="p")
    assert len(local_kinesis.records()) == 1
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client.put_record(StreamARN=arn.replace("us-east-1", "eu-west-1"), Data=b"{}", PartitionKey="p")


def test_an_iterator_does_not_outlive_its_stream(local_kinesis: RunningKinesis) -> None:
    client = local_kinesis.client()
    iterator = client.get_shard_iterator(
        StreamName=STREAM, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    client.delete_stream(StreamName=STREAM)
    client.create_stream(StreamName=STREAM, ShardCount=1)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client.get_records(ShardIterator=iterator)


# --- Signatures ----------------------------------------------------------------------------------------


def refused(local_kinesis: RunningKinesis, **changes: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        local_kinesis.client(**changes).list_streams()
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_an_unknown_access_key_is_refused(local_kinesis: RunningKinesis) -> None:
    assert refused(local_kinesis, access_key_id="AKIASOMEBODYELSE0000") == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )


def test_a_wrong_secret_is_refused(local_kinesis: RunningKinesis) -> None:
    code, message = refused(local_kinesis, secret_access_key="wrong")
    assert code == "InvalidSignatureException"
    assert message.startswith(
        "The request signature we calculated does not match the signature you provided."
    )


def test_a_session_token_is_refused_where_the_key_has_none(local_kinesis: RunningKinesis) -> None:
    assert refused(local_kinesis, session_token="made up")[0] == "UnrecognizedClientException"


def test_a_session_token_is_needed_where_the_key_has_one(local_kinesis: RunningKinesis) -> None:
    local_kinesis.keys = Keys(KEYS.access_key_id, KEYS.secret_access_key, "the token")

    assert local_kinesis.client(session_token="the token").list_streams()["StreamNames"] == [STREAM]
    assert refused(local_kinesis)[0] == "UnrecognizedClientException"


def test_another_region_is_refused(local_kinesis: RunningKinesis) -> None:
    code, message = refused(local_kinesis, region="ap-northeast-2")
    assert (code, message.strip()) == (
        "InvalidSignatureException",
        "Credential should be scoped to a valid region, not 'ap-northeast-2'.",
    )


@pytest.mark.parametrize(
    "minutes, words", [(16, "Signature expired"), (-16, "Signature not yet current")], ids=["slow", "fast"]
)
def test_a_clock_that_is_a_quarter_hour_off_is_refused(
    minutes: int, words: str, local_kinesis: RunningKinesis
) -> None:
    now = datetime.now(UTC).timestamp()
    local_kinesis.kinesis.clock = lambda: now + minutes * 60

    code, message = refused(local_kinesis)

    assert code == "InvalidSignatureException"
    assert message.startswith(words)


def test_a_body_that_was_changed_on_the_way_is_refused(local_kinesis: RunningKinesis) -> None:
    client = local_kinesis.client()

    def change(request: Any, **kwargs: Any) -> None:
        request.body = request.body.replace(b'"kept"', b'"gone"')

    client.meta.events.register("before-send.kinesis.DeleteStream", change)
    local_kinesis.create_stream("kept")
    local_kinesis.create_stream("gone")

    with pytest.raises(ClientError, match="InvalidSignatureException"):
        client.delete_stream(StreamName="kept")
    assert set(local_kinesis.kinesis.streams) == {STREAM, "kept", "gone"}


@pytest.mark.parametrize(
    "headers, code",
    [
        ({}, "MissingAuthenticationTokenException"),
        ({"Authorization": "Basic abc"}, "IncompleteSignatureException"),
    ],
    ids=["none", "another kind"],
)
def test_a_request_without_a_signature_is_refused(
    headers: dict[str, str], code: str, local_kinesis: RunningKinesis
) -> None:
    connection = HTTPConnection("127.0.0.1", local_kinesis.server_port, timeout=5)
    connection.request("POST", "/", b"{}", {"X-Amz-Target": "Kinesis_20131202.ListStreams", **headers})
    answer = connection.getresponse()

    assert answer.status == 400
    assert json.loads(answer.read())["__type"] == code
    connection.close()


def test_a_key_is_not_in_the_representation_of_the_server(local_kinesis: RunningKinesis) -> None:
    assert KEYS.secret_access_key not in repr(local_kinesis.keys)


# --- Limits --------------------------------------------------------------------------------------------


def test_a_shard_takes_a_thousand_records_a_second_and_fails_the_others(
    kinesis: LocalKinesis, clock: Clock
) -> None:
    rows = [row for _ in range(5) for row in put(kinesis, entries(500))]

    taken = [row for row in rows if "SequenceNumber" in row]
    failed = [row for row in rows if "ErrorCode" in row]
    assert len(taken) == len(kinesis.records(STREAM)) == 2000
    assert {row["ErrorCode"] for row in failed} == {"ProvisionedThroughputExceededException"}
    assert failed[0]["ErrorMessage"].startswith("Rate exceeded for shard shardId-00000000000")

    clock.move(0.5)
    assert sum("SequenceNumber" in row for _ in range(5) for row in put(kinesis, entries(500))) == 1000


def test_a_shard_takes_a_megabyte_a_second(kinesis: LocalKinesis, clock: Clock) -> None:
    kinesis.create_stream("one")

    rows = put(kinesis, entries(8, size=200 * 1024), "one")
    assert sum("SequenceNumber" in row for row in rows) == 5

    clock.move(1)
    assert sum("SequenceNumber" in row for row in put(kinesis, entries(8, size=200 * 1024), "one")) == 5


def test_only_the_full_shard_fails(kinesis: LocalKinesis) -> None:
    def shard(key: str) -> int:
        return int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16) >> 127

    hot = next(f"k{i}" for i in range(100) if shard(f"k{i}") == 0)
    cold = next(f"k{i}" for i in range(100) if shard(f"k{i}") == 1)
    for _ in range(2):
        put(kinesis, [{"Data": data(b"1"), "PartitionKey": hot}] * 500)

    answer = kinesis.perform(
        "PutRecords",
        {"StreamName": STREAM, "Records": [{"Data": data(b"1"), "PartitionKey": key} for key in (hot, cold)]},
    )

    assert answer["FailedRecordCount"] == 1
    assert ["ErrorCode" in row for row in answer["Records"]] == [True, False]


def test_an_on_demand_stream_is_not_throttled(kinesis: LocalKinesis) -> None:
    kinesis.create_stream("free", 1, mode="ON_DEMAND")
    assert all("SequenceNumber" in row for _ in range(5) for row in put(kinesis, entries(500), "free"))


def test_a_stream_may_spread_records_whatever_their_key(kinesis: LocalKinesis) -> None:
    kinesis.create_stream("free", 4, mode="ON_DEMAND", distribution="AUTO")
    same = [{"Data": data(b"x"), "PartitionKey": "key"}] * 8
    assert Counter(row["ShardId"][-1] for row in put(kinesis, same, "free")) == dict.fromkeys("0123", 2)
    with pytest.raises(ApiError, match="InvalidArgumentException"):
        kinesis.create_stream("fixed", 4, distribution="AUTO")


def test_a_throttled_single_record_is_an_error(kinesis: LocalKinesis) -> None:
    kinesis.create_stream("one")
    for _ in range(2):
        put(kinesis, entries(500), "one")
    with pytest.raises(ApiError, match="ProvisionedThroughputExceededException"):
        kinesis.perform("PutRecord", {"StreamName": "one", "Data": data(b"1"), "PartitionKey": "p"})


@pytest.mark.parametrize("limit_kib", [1024, 2048])
def test_a_record_may_be_as_large_as_the_stream_says(limit_kib: int, kinesis: LocalKinesis) -> None:
    kinesis.create_stream("large", max_record_kib=limit_kib)
    key = "p" * 10

    assert put(kinesis, [{"Data": data(b"x" * (limit_kib * 1024 - 10)), "PartitionKey": key}], "large")
    with pytest.raises(ApiError, match=rf"records.1.member.data.*less than or equal to {limit_kib * 1024}"):
        put(kinesis, [{"Data": data(b"x" * (limit_kib * 1024 - 9)), "PartitionKey": key}], "large")


@pytest.mark.parametrize("key", ["", "k" * 257], ids=["empty", "257 characters"])
def test_a_partition_key_has_1_to_256_characters(key: str, kinesis: LocalKinesis) -> None:
    with pytest.raises(ApiError, match=r"ValidationException.*records\.2\.member\.partitionKey"):
        put(kinesis, [{"Data": data(b"1"), "PartitionKey": k} for k in ("가" * 256, key)])
    assert kinesis.records(STREAM) == []


def test_a_shard_answers_five_reads_a_second(kinesis: LocalKinesis, clock: Clock) -> None:
    where = {"StreamName": STREAM, "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"}
    iterator = kinesis.perform("GetShardIterator", where)
    for _ in range(5):
        kinesis.perform("GetRecords", iterator)
    with pytest.raises(ApiError, match="ProvisionedThroughputExceededException"):
        kinesis.perform("GetRecords", iterator)

    clock.move(0.2)
    assert kinesis.perform("GetRecords", iterator)["MillisBehindLatest"] == 0


def test_an_iterator_lives_five_minutes(kinesis: LocalKinesis, clock: Clock) -> None:
    where = {"StreamName": STREAM, "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"}
    iterator = kinesis.perform("GetShardIterator", where)
    clock.move(301)
    with pytest.raises(ApiError, match="ExpiredIteratorException"):
        kinesis.perform("GetRecords", iterator)


def test_sequence_numbers_grow_even_when_the_clock_goes_back(kinesis: LocalKinesis, clock: Clock) -> None:
    kinesis.create_stream("one")
    first = put(kinesis, entries(2), "one")
    clock.move(-60)
    numbers = [int(row["SequenceNumber"]) for row in [*first, *put(kinesis, entries(2), "one")]]

    assert numbers == sorted(set(numbers))
    assert {len(str(number)) for number in numbers} == {56}


def test_memory_stays_within_the_bound_and_the_oldest_go(clock: Clock) -> None:
    kinesis = LocalKinesis(clock=clock, max_memory=5 * MIB, enforce_throughput=False)
    kinesis.create_stream("small", 2)
    for number in range(400):
        put(kinesis, [{"Data": data(f"{number:04}".encode() * 10_000), "PartitionKey": f"{number}"}], "small")
        assert kinesis.memory <= 5 * MIB

    kept = [int(record.data[:4]) for record in kinesis.records("small")]
    assert kept == list(range(400 - len(kept), 400))
    assert len(kept) > 100
    held = sum(len(r.data) for s in kinesis.streams["small"].shards for r in s.records)
    assert held <= 5 * MIB  # what is dropped is freed, too


def test_records_are_kept_for_a_day(kinesis: LocalKinesis, clock: Clock) -> None:
    put(kinesis, entries(10))
    clock.move(23 * 3600)
    put(kinesis, entries(5))
    assert len(kinesis.records(STREAM)) == 15
    clock.move(3600 + 1)
    put(kinesis, entries(1))
    assert len(kinesis.records(STREAM)) == 6


def test_a_deleted_stream_gives_its_memory_back(kinesis: LocalKinesis) -> None:
    put(kinesis, entries(10))
    kinesis.create_stream("other")
    put(kinesis, entries(10), "other")
    half = kinesis.memory // 2
    kinesis.delete_stream(STREAM)
    assert kinesis.memory == half
    assert len(kinesis.records("other")) == 10


@pytest.mark.parametrize(
    "operation, params",
    [
        ("PutRecords", {"StreamName": STREAM}),
        ("PutRecords", {"StreamName": STREAM, "Records": [{"PartitionKey": "p"}]}),
        ("PutRecords", {"StreamName": STREAM, "Records": [{"PartitionKey": "p", "Data": "***"}]}),
        ("PutRecords", {"StreamName": 1, "Records": [{"PartitionKey": "p", "Data": "eA=="}]}),
        ("ListStreams", {"Limit": "many"}),
    ],
)
def test_a_member_of_the_wrong_type_is_said(
    operation: str, params: dict[str, Any], kinesis: LocalKinesis
) -> None:
    with pytest.raises(ApiError, match="SerializationException"):
        kinesis.perform(operation, params)


def test_an_operation_that_it_does_not_have_is_said(local_kinesis: RunningKinesis) -> None:
    with pytest.raises(ClientError, match="UnknownOperationException"):
        local_kinesis.client().describe_limits()


# --- The command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com"])
def test_it_refuses_to_be_reachable_from_other_machines(host: str) -> None:
    with pytest.raises(CommandError, match="is not a loopback address"):
        call_command("local_kinesis", host=host, port=0)
    with pytest.raises(NotLoopback):
        LocalKinesisServer(host=host)


def test_a_taken_port_is_said_in_a_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            CommandError, match=rf"^Port {port} of 127.0.0.1 can't be used \(Address already in use\)"
        ):
            call_command("local_kinesis", port=port)


@pytest.mark.parametrize("stream", ["a:0", "a:x", "with space:1", ":2"])
def test_a_stream_that_can_not_be_is_said(stream: str) -> None:
    with pytest.raises(CommandError, match="--stream"):
        call_command("local_kinesis", port=0, stream=[stream])


def test_half_of_the_credentials_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KINESIS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.delenv("LOCAL_KINESIS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(CommandError, match="Set both"):
        call_command("local_kinesis", port=0)


def test_keys_are_made_and_printed_when_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"LOCAL_KINESIS_{name}", raising=False)
    monkeypatch.setattr(LocalKinesisServer, "serve_forever", lambda self: None)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    printed = io.StringIO()

    call_command("local_kinesis", port=0, stream=["a:3"], stdout=printed)

    assert "http://127.0.0.1:" in printed.getvalue()
    assert "a (3 shards)" in printed.getvalue()
    assert "Secret access key: " in printed.getvalue()


def test_the_command_serves_until_it_is_stopped(kinesis_process: KinesisProcess) -> None:
    answer = kinesis_process.client().put_record(StreamName=STREAM, Data=b"{}", PartitionKey="p")
    assert answer["ShardId"].startswith("shardId-")

    process = kinesis_process.process
    assert process
    kinesis_process.stop()
    assert process.returncode == 0


def test_boto3_needs_no_more_than_the_endpoint_and_the_keys(local_kinesis: RunningKinesis) -> None:
    client = boto3.client(
        "kinesis",
        endpoint_url=local_kinesis.url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
    )
    client.put_records(StreamName=STREAM, Records=[{"Data": '{"이름":"김"}'.encode(), "PartitionKey": "p"}])
    assert local_kinesis.exported() == [{"이름": "김"}]
