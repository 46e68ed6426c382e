"""The request that the sender makes, against the one that boto3 makes and against moto, which knows neither."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from destinations.connectors.base import Connection, ConnectorError, Delivered, Record, TryAgain
from destinations.connectors.kinesis.client import make_client
from destinations.connectors.kinesis.put_records import PutRecords
from destinations.connectors.kinesis.sender import KinesisSender
from tests.local_kinesis import KEYS, STREAM, RunningKinesis, connection_to
from tests.moto_server import running_moto

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MANY_KINDS = [
    Record("key", b"{}"),
    Record("고객 1", '{"이름":"김민준 👩‍👩‍👧"}'.encode()),
    Record('quo"te\\ \n\u2028', b""),
    Record("k" * 256, bytes(range(256)) * 10),
    Record("key", b"{}"),
]


@pytest.fixture(scope="module")
def moto() -> Iterator[Connection]:
    with running_moto() as url:
        yield connection_to(url, KEYS)


def sent_by(client: KinesisClient, records: list[Record], *, plain: bool) -> Any:
    """The request as it would leave, by boto3 alone or by the sender."""
    left: list[Any] = []

    def stop(request: Any, **event: Any) -> None:
        left.append(request)
        raise ConnectionResetError

    client.meta.events.register("before-send", stop)
    if plain:
        entries = [{"Data": record.data, "PartitionKey": record.partition_key} for record in records]
        with pytest.raises(ConnectionResetError):
            client.put_records(StreamName=STREAM, Records=entries)  # type: ignore[arg-type]
    else:
        with pytest.raises(ConnectorError):
            PutRecords(connection_to("http://127.0.0.1:1", KEYS), client, STREAM)(records)
    return left[0]


@pytest.mark.parametrize("token", ["", "a-session-token"])
def test_the_request_is_the_one_that_boto3_makes(token: str) -> None:
    connection = connection_to("http://127.0.0.1:1", KEYS, session_token=token)

    ours, theirs = (
        sent_by(make_client(connection, validate=False), MANY_KINDS, plain=plain) for plain in (False, True)
    )

    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    assert json.loads(ours.body) == json.loads(theirs.body)
    of_their_own = {"Authorization", "X-Amz-Date", "amz-sdk-invocation-id", "Content-Length"}
    names = set(theirs.headers)
    assert set(ours.headers) == names
    for name in names - of_their_own:
        assert ours.headers[name] == theirs.headers[name]
    assert ours.headers["Content-Length"] == str(len(ours.body))


def test_moto_has_the_bytes_that_were_sent(moto: Connection) -> None:
    client = make_client(moto)
    client.create_stream(StreamName=STREAM, ShardCount=3)
    sender = KinesisSender(moto, STREAM)

    results = sender.send(MANY_KINDS * 100)

    stored: dict[tuple[str, str], tuple[str, bytes]] = {}
    for shard in client.list_shards(StreamName=STREAM)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for row in client.get_records(ShardIterator=iterator)["Records"]:
            stored[shard["ShardId"], row["SequenceNumber"]] = (row["PartitionKey"], row["Data"])
    assert len(stored) == 500
    for record, result in zip(MANY_KINDS * 100, results, strict=True):
        assert isinstance(result, Delivered)
        assert stored[result.shard, result.sequence_number] == (record.partition_key, record.data)


def test_a_stream_that_moto_does_not_have_is_an_error_in_its_words(moto: Connection) -> None:
    with pytest.raises(ConnectorError, match="ResourceNotFoundException: Stream gone under account"):
        KinesisSender(moto, "gone").send(MANY_KINDS)


def test_every_request_has_its_own_body(unthrottled: RunningKinesis) -> None:
    sender = KinesisSender(unthrottled.connection(), STREAM)
    unthrottled.fail_next("InternalFailure", status=500)

    (failed,) = sender.send([Record("first", b"1")])
    sender.send([Record("second", b"2")])

    assert isinstance(failed, TryAgain)
    assert [(record.key, record.data) for record in unthrottled.records()] == [("second", b"2")]


@pytest.mark.parametrize("token", ["", "another-token"])
def test_a_session_token_is_sent_and_has_to_be_right(token: str, unthrottled: RunningKinesis) -> None:
    unthrottled.keys = KEYS.__class__(KEYS.access_key_id, KEYS.secret_access_key, "the-token")

    KinesisSender(unthrottled.connection(session_token="the-token"), STREAM).send([Record("k", b"1")])
    with pytest.raises(ConnectorError, match="UnrecognizedClientException"):
        KinesisSender(unthrottled.connection(session_token=token), STREAM).send([Record("k", b"2")])

    assert [record.data for record in unthrottled.records()] == [b"1"]


def test_an_answer_that_breaks_off_is_a_closed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"FailedRecordCount":0,"Rec')

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        connection = connection_to(f"http://127.0.0.1:{listening.getsockname()[1]}", KEYS)
        with pytest.raises(ConnectorError) as caught:
            PutRecords(connection, make_client(connection, validate=False), STREAM)([Record("k", b"1")])
        thread.join(5)
    assert caught.value.code == "ConnectionClosed"
