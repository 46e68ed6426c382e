from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from destinations.connectors import get
from destinations.connectors.base import ConnectorError, Delivered, Record, Refused, Result, TryAgain
from destinations.connectors.kinesis import stream
from destinations.connectors.kinesis.local.errors import ApiError
from destinations.connectors.kinesis.sender import KinesisSender
from tests.local_kinesis import KEYS, STREAM, RunningKinesis, connection_to

MIB = 1024 * 1024


@pytest.fixture
def sender(unthrottled: RunningKinesis) -> KinesisSender:
    return KinesisSender(unthrottled.connection(), STREAM)


def records(count: int, size: int = 20) -> list[Record]:
    return [Record(f"key {i}", f"{i:020}".encode().ljust(size, b".")) for i in range(count)]


def requests(server: RunningKinesis) -> list[int]:
    """How many records each PutRecords had."""
    return [len(params["Records"]) for operation, params in server.asked if operation == "PutRecords"]


def kinds(results: list[Result]) -> list[str]:
    return [type(result).__name__ for result in results]


def test_five_hundred_records_go_in_one_request(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    sent = records(500)

    results = sender.send(sent)

    assert requests(unthrottled) == [500]
    stored = {str(record.sequence): record for record in unthrottled.records()}
    for record, result in zip(sent, results, strict=True):
        assert isinstance(result, Delivered)
        assert stored[result.sequence_number].data == record.data
        assert stored[result.sequence_number].key == record.partition_key


def test_bytes_arrive_as_they_were(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    data = '{"이름":"김민준 👩‍👩‍👧 \\u0000"}'.encode() + bytes(range(256))
    sender.send([Record("고객 1", data)])
    assert [(record.key, record.data) for record in unthrottled.records()] == [("고객 1", data)]


def test_nothing_to_send_is_no_request(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    assert sender.send([]) == []
    assert unthrottled.asked == []


def test_a_request_has_at_most_ten_mebibytes(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    results = sender.send(records(25, size=1_000_000))
    assert requests(unthrottled) == [10, 10, 5]
    assert kinds(results) == ["Delivered"] * 25


def test_a_request_may_be_full_to_the_byte(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    full = [Record("k" * 24, b"x" * (MIB - 24))] * 10

    assert kinds(sender.send(full)) == ["Delivered"] * 10
    assert kinds(sender.send([*full, Record("k", b"")])) == ["Delivered"] * 11
    assert requests(unthrottled) == [10, 10, 1]


def test_more_than_five_hundred_go_in_several_requests(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    assert kinds(sender.send(records(1001))) == ["Delivered"] * 1001
    assert requests(unthrottled) == [500, 500, 1]


def test_only_what_a_shard_refused_is_to_be_tried_again(local_kinesis: RunningKinesis) -> None:
    now = time.time()
    local_kinesis.kinesis.clock = lambda: now  # within one second, however long it takes
    local_kinesis.create_stream("one", 1)
    sender = KinesisSender(local_kinesis.connection(), "one")

    results = [result for _ in range(3) for result in sender.send(records(500))]

    assert kinds(results) == ["Delivered"] * 1000 + ["TryAgain"] * 500
    throttled = results[-1]
    assert isinstance(throttled, TryAgain)
    assert throttled.code == "ProvisionedThroughputExceededException"
    assert (throttled.throttled, throttled.shard) == (True, "shardId-000000000000")
    assert throttled.message.startswith("Rate exceeded for shard shardId-000000000000 in stream one")
    assert len(local_kinesis.records("one")) == 1000


def test_every_record_has_its_own_result(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    unthrottled.fail_records(lambda key: key in ("key 1", "key 3"))
    assert kinds(sender.send(records(5))) == ["Delivered", "TryAgain", "Delivered", "TryAgain", "Delivered"]
    assert sorted(record.key for record in unthrottled.records()) == ["key 0", "key 2", "key 4"]


def test_a_record_over_the_streams_limit_alone_is_refused(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    batch = records(500)
    batch[7] = Record("large", b"x" * (MIB + 1))

    results = sender.send(batch)

    large = results.pop(7)
    assert isinstance(large, Refused)
    assert large.code == "RecordTooLarge"
    assert large.message == (
        "1,048,582 bytes with its partition key. The stream takes at most 1,048,576 bytes."
    )
    assert kinds(results) == ["Delivered"] * 499
    assert requests(unthrottled) == [499]


def test_a_large_record_goes_where_the_stream_takes_it(unthrottled: RunningKinesis) -> None:
    unthrottled.create_stream("large", 2, max_record_kib=10_240)
    sender = KinesisSender(unthrottled.connection(), "large")

    results = sender.send([*records(3), Record("large", b"x" * (9 * MIB))])

    assert kinds(results) == ["Delivered"] * 4
    assert requests(unthrottled) == [4]


def operations(server: RunningKinesis) -> list[str]:
    return [operation for operation, _ in server.asked]


def may_not_describe(server: RunningKinesis) -> None:
    server.fail_next("AccessDeniedException", operation="DescribeStreamSummary", times=1000)


def test_the_limits_are_asked_for_once_and_only_when_they_matter(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    sender.send(records(5, size=1_000_000))
    assert operations(unthrottled) == ["PutRecords"]
    for _ in range(3):
        sender.send(records(6, size=1_000_000))
    assert operations(unthrottled).count("DescribeStreamSummary") == 1


def test_the_limits_are_asked_for_again_after_a_while(
    sender: KinesisSender, unthrottled: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = [Record("large", b"x" * (2 * MIB))]
    assert kinds(sender.send(large)) == ["Refused"]
    unthrottled.kinesis.streams[STREAM].max_record_kib = 4096
    assert kinds(sender.send(large)) == ["Refused"]

    later = time.monotonic() + stream.REFRESH
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: later))
    assert kinds(sender.send(large)) == ["Delivered"]


def test_limits_that_were_lowered_meanwhile_refuse_the_large_record_alone(
    unthrottled: RunningKinesis,
) -> None:
    changed = unthrottled.create_stream("large", 2, max_record_kib=4096)
    sender = KinesisSender(unthrottled.connection(), "large")
    batch = [*records(3), Record("large", b"x" * (3 * MIB))]
    assert kinds(sender.send(batch)) == ["Delivered"] * 4

    changed.max_record_kib = 1024

    results = sender.send(batch)
    assert kinds(results) == ["Delivered"] * 3 + ["Refused"]
    assert isinstance(results[3], Refused)
    assert results[3].code == "RecordTooLarge"


def test_where_the_limits_may_not_be_asked_a_request_has_five_mebibytes(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    may_not_describe(unthrottled)
    assert kinds(sender.send(records(12, size=1_000_000))) == ["Delivered"] * 12
    assert requests(unthrottled) == [5, 5, 2]


def test_where_the_limits_may_not_be_asked_a_large_record_goes_alone_and_kinesis_judges(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    may_not_describe(unthrottled)
    unthrottled.create_stream("large", 2, max_record_kib=10_240)
    batch = [Record("large", b"x" * (MIB + 1)), *records(3)]

    taken = KinesisSender(unthrottled.connection(), "large").send(batch)
    refused = sender.send(batch)

    assert kinds(taken) == ["Delivered"] * 4
    assert kinds(refused) == ["Refused", "Delivered", "Delivered", "Delivered"]
    assert isinstance(refused[0], Refused)
    assert refused[0].message.startswith(
        "1,048,582 bytes with its partition key. 1 validation error detected"
    )
    assert requests(unthrottled) == [3, 1, 3, 1]


def test_any_number_of_records_that_are_too_large_is_no_error_of_the_destination(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    may_not_describe(unthrottled)
    assert kinds(sender.send([Record("large", b"x" * (MIB + 1))] * 20)) == ["Refused"] * 20


def test_a_record_over_ten_mebibytes_is_not_even_sent(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    (result,) = sender.send([Record("k", b"x" * (10 * MIB))])
    assert isinstance(result, Refused)
    assert (result.code, requests(unthrottled)) == ("RecordTooLarge", [])


@pytest.mark.parametrize(
    "key", ["", "k" * 257, "half a pair \ud800"], ids=["empty", "257 characters", "surrogate"]
)
def test_a_partition_key_that_can_not_be_refuses_its_record(
    key: str, sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    results = sender.send([Record("good", b"1"), Record(key, b"2"), Record("가" * 256, b"3")])

    assert kinds(results) == ["Delivered", "Refused", "Delivered"]
    assert requests(unthrottled) == [2]


def invalid_when(
    server: RunningKinesis, is_bad: Callable[[str], bool], message: str = "Value at 'records.1' is not valid"
) -> None:
    """The server finds a request not valid as a whole when a record in it is bad."""
    answer = server.answer

    def strict(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if operation == "PutRecords" and any(is_bad(record["PartitionKey"]) for record in params["Records"]):
            server.asked.append((operation, params))
            raise ApiError("ValidationException", message)
        return answer(operation, params)

    server.answer = strict  # type: ignore[method-assign]


def test_the_bad_records_of_a_refused_request_are_found_and_the_others_delivered_once(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    invalid_when(unthrottled, lambda key: key in ("key 11", "key 444"))

    results = sender.send(records(500))

    assert [place for place, result in enumerate(results) if isinstance(result, Refused)] == [11, 444]
    assert kinds(results).count("Delivered") == 498
    keys = [record.key for record in unthrottled.records()]
    assert len(keys) == len(set(keys)) == 498
    assert len(requests(unthrottled)) < 40


def test_when_every_record_is_refused_the_destination_is_at_fault(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    invalid_when(unthrottled, lambda key: True)
    with pytest.raises(ConnectorError, match="ValidationException"):
        sender.send(records(500))
    assert len(requests(unthrottled)) < 40


def test_a_refused_stream_name_is_not_the_records_fault(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    invalid_when(unthrottled, lambda key: True, "Value 'x' at 'streamName' failed to satisfy constraint")
    with pytest.raises(ConnectorError, match="streamName"):
        sender.send(records(1))


@pytest.mark.parametrize(
    "code",
    [
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "KMSThrottlingException",
        "InternalFailure",
    ],
)
def test_a_request_that_was_throttled_as_a_whole_is_to_be_tried_again(
    code: str, sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    unthrottled.fail_next(code, status=500 if code == "InternalFailure" else 400)

    results = sender.send(records(3))

    assert {(type(result), result.code) for result in results if isinstance(result, TryAgain)} == {
        (TryAgain, code)
    }
    assert kinds(results) == ["TryAgain"] * 3
    assert requests(unthrottled) == [3]  # the sender itself tries nothing again


def test_a_stream_that_is_gone_is_an_error_of_the_destination(unthrottled: RunningKinesis) -> None:
    sender = KinesisSender(unthrottled.connection(), "gone")
    with pytest.raises(ConnectorError) as caught:
        sender.send(records(3))
    assert caught.value.code == "ResourceNotFoundException"
    assert caught.value.message == "Stream gone under account 000000000000 not found."
    assert "name" in str(caught.value.hint)


@pytest.mark.parametrize("status, hint", [("CREATING", "is being created"), ("DELETING", "is being deleted")])
def test_a_stream_that_is_not_active_is_said(
    status: str, hint: str, sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    unthrottled.kinesis.streams[STREAM].status = status
    with pytest.raises(ConnectorError) as caught:
        sender.send(records(3))
    assert caught.value.code == "ResourceNotFoundException"
    assert hint in str(caught.value.hint)


def test_a_stream_that_is_being_changed_is_written_to(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    unthrottled.kinesis.streams[STREAM].status = "UPDATING"
    assert kinds(sender.send(records(3))) == ["Delivered"] * 3


def test_a_refused_key_is_an_error_of_the_destination(unthrottled: RunningKinesis) -> None:
    sender = KinesisSender(unthrottled.connection(secret_access_key="not the secret"), STREAM)
    with pytest.raises(ConnectorError) as caught:
        sender.send(records(3))
    assert caught.value.code == "InvalidSignatureException"
    assert (
        "not the secret" not in f"{caught.value!r} {caught.value} {caught.value.message} {caught.value.hint}"
    )


def test_what_was_delivered_before_the_destination_broke_is_reported(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    answer = unthrottled.answer

    def break_at_the_second(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if requests(unthrottled):
            unthrottled.fail_next("AccessDeniedException", "not any more", times=10)
        return answer(operation, params)

    unthrottled.answer = break_at_the_second  # type: ignore[method-assign]

    results = sender.send(records(30, size=1_000_000))

    assert kinds(results) == ["Delivered"] * 10 + ["TryAgain"] * 20
    assert all(result.code == "AccessDeniedException" for result in results if isinstance(result, TryAgain))
    assert len(requests(unthrottled)) == 2


def test_an_endpoint_that_is_down_is_an_error_of_the_destination(
    sender: KinesisSender, unthrottled: RunningKinesis
) -> None:
    sender.send(records(1))
    unthrottled.stop()
    with pytest.raises(ConnectorError) as caught:
        sender.send(records(1))
    assert caught.value.code == "EndpointConnectionError"


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"Records":[]}', b"<html>Welcome</html>", b"[]", b"null", b""],
    ids=["object", "none", "html", "list", "null", "empty"],
)
def test_an_answer_that_is_not_one_of_kinesis_is_an_error(body: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.recv(65536)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                sock.sendall(head.encode() + body)

        thread = threading.Thread(target=answer)
        thread.start()
        sender = KinesisSender(connection_to(f"http://127.0.0.1:{listening.getsockname()[1]}", KEYS), STREAM)
        with pytest.raises(ConnectorError) as caught:
            sender.send(records(2))
        thread.join(5)
    assert caught.value.code == "InvalidResponse"


def test_a_sender_shows_no_secret(sender: KinesisSender, unthrottled: RunningKinesis) -> None:
    assert unthrottled.keys.secret_access_key not in f"{sender!r} {sender._connection!r}"


def test_the_connector_opens_a_sender_for_the_chosen_stream(unthrottled: RunningKinesis) -> None:
    sender = get("kinesis").open_sender(unthrottled.connection(), {"stream": STREAM})
    assert kinds(sender.send(records(1))) == ["Delivered"]
    sender.close()
    assert sender.batch_size == 2000
