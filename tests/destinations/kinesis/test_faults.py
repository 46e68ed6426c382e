"""The local Kinesis fails on demand: from within the process and from another one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore import exceptions as boto
from botocore.config import Config

from destinations.connectors.kinesis.local import control
from destinations.connectors.kinesis.local.errors import ApiError
from destinations.connectors.kinesis.local.faults import Fault, Faults, Kind
from destinations.connectors.kinesis.local.signature import Keys
from tests.local_kinesis import KEYS, STREAM, KinesisProcess, RunningKinesis

Put = Callable[[str], Any]


def putting(url: str) -> Put:
    """PutRecords of one record by boto3, which waits half a second for an answer and tries once."""
    client = boto3.client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
        config=Config(proxies={}, read_timeout=0.5, retries={"total_max_attempts": 1}),
    )
    return lambda key: client.put_records(StreamName=STREAM, Records=[{"Data": b"1", "PartitionKey": key}])


@pytest.fixture
def put(unthrottled: RunningKinesis) -> Put:
    return putting(unthrottled.url)


@pytest.mark.parametrize(
    "kind, raised, taken",
    [
        (Kind.ERROR, boto.ClientError, 0),
        (Kind.PAGE, boto.ClientError, 0),
        (Kind.RESET, boto.ConnectionClosedError, 0),
        (Kind.HANG, boto.ReadTimeoutError, 0),
        (Kind.RESET_AFTER, boto.ConnectionClosedError, 1),
        (Kind.HANG_AFTER, boto.ReadTimeoutError, 1),
    ],
)
def test_a_request_fails_in_every_way(
    kind: Kind, raised: type[Exception], taken: int, put: Put, unthrottled: RunningKinesis
) -> None:
    unthrottled.faults.add(Fault(kind, times=1, status=503))

    with pytest.raises(raised):
        put("key")
    assert len(unthrottled.records()) == taken

    put("next")
    assert unthrottled.records()[-1].key == "next"


def test_an_answer_breaks_off_after_all_was_done(unthrottled: RunningKinesis) -> None:
    unthrottled.faults.add(Fault(Kind.BREAK_OFF, times=1))
    assert "Records" not in putting(unthrottled.url)("key")  # to boto3, all that came was all there was
    assert len(unthrottled.records()) == 1


def test_a_delayed_request_is_answered_later(put: Put, unthrottled: RunningKinesis) -> None:
    unthrottled.faults.add(Fault(Kind.DELAY, seconds=0.1, times=2))
    unthrottled.faults.add(Fault(Kind.DELAY, seconds=0.1, times=1))
    started = time.monotonic()
    put("key")
    assert time.monotonic() - started >= 0.2
    assert len(unthrottled.records()) == 1


def test_a_fault_is_for_one_operation_or_for_all(put: Put, unthrottled: RunningKinesis) -> None:
    unthrottled.faults.add(Fault(Kind.ERROR, "ListStreams"))
    put("key")
    unthrottled.faults.add(Fault(Kind.ERROR, "*"))
    with pytest.raises(boto.ClientError, match="InternalFailure"):
        put("key")


def test_being_cut_off_ends_by_itself(put: Put, unthrottled: RunningKinesis) -> None:
    unthrottled.faults.add(Fault(Kind.RESET, "*", lasts=0.3))
    started, failed = time.monotonic(), 0
    while True:
        try:
            put("key")
            break
        except boto.ConnectionClosedError:
            failed += 1
    assert failed > 1
    assert 0.3 <= time.monotonic() - started < 5
    assert len(unthrottled.records()) == 1


def test_cleared_faults_are_over_and_what_hangs_is_let_go(unthrottled: RunningKinesis) -> None:
    unthrottled.faults.add(Fault(Kind.DELAY, seconds=60))
    put = putting(unthrottled.url)
    with pytest.raises(boto.ReadTimeoutError):
        put("late")
    assert unthrottled.records() == []

    unthrottled.faults.clear()

    put("next")
    assert {record.key for record in unthrottled.records()} <= {"late", "next"}


def faulty(seed: int, rate: float = 0.3) -> list[bool]:
    """Which of 200 calls fail."""
    faults = Faults(seed)
    faults.add(Fault(Kind.ERROR, rate=rate))
    failed = []
    for _ in range(200):
        try:
            faults.answer("PutRecords", {}, lambda operation, params: {})
            failed.append(False)
        except ApiError:
            failed.append(True)
    return failed


def test_random_faults_come_at_their_rate_and_a_seed_brings_them_again() -> None:
    assert faulty(1) == faulty(1) != faulty(2)
    assert 40 <= sum(faulty(1)) <= 80


def test_the_seed_of_random_faults_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    with caplog.at_level(logging.WARNING):
        faults.add(Fault(Kind.ERROR))
        assert caplog.messages == []
        faults.add(Fault(Kind.RESET, rate=0.2))
    assert caplog.messages == [f"Faults at random, seed {faults.seed}"]


def test_records_fail_at_random_and_the_others_are_taken(unthrottled: RunningKinesis) -> None:
    unthrottled.faults.add(Fault(Kind.RECORDS, rate=0.5))
    entries = [{"Data": b"1", "PartitionKey": f"key {i}"} for i in range(200)]

    answer = unthrottled.client().put_records(StreamName=STREAM, Records=entries)  # type: ignore[arg-type]

    failed = {
        entry["PartitionKey"]
        for entry, row in zip(entries, answer["Records"], strict=True)
        if "ErrorCode" in row
    }
    assert answer["FailedRecordCount"] == len(failed)
    assert 60 <= len(failed) <= 140
    assert {record.key for record in unthrottled.records()} == {e["PartitionKey"] for e in entries} - failed


# --- From another process -------------------------------------------------------------------------------


def test_another_process_orders_faults_and_sees_what_was_taken(kinesis_process: KinesisProcess) -> None:
    put = putting(kinesis_process.url)
    kinesis_process.fault(Kind.HANG_AFTER, times=1)
    kinesis_process.fault(Kind.RECORDS, keys="^bad", code="InternalFailure")

    with pytest.raises(boto.ReadTimeoutError):
        put("lost answer")
    assert put("bad key")["Records"][0]["ErrorCode"] == "InternalFailure"
    assert put("good key")["FailedRecordCount"] == 0
    kinesis_process.clear_faults()
    put("bad key")

    assert [key for key, _ in kinesis_process.accepted()] == ["lost answer", "good key", "bad key"]
    assert next(kinesis_process.accepted()) == ("lost answer", b"1")


def test_the_command_takes_the_seed_of_an_earlier_run() -> None:
    running = KinesisProcess(options=("--seed=4711",))
    running.start()
    try:
        assert running.fault(Kind.ERROR, rate=0.2) == 4711
    finally:
        running.stop()


def test_accepted_records_come_in_pages(unthrottled: RunningKinesis) -> None:
    put = putting(unthrottled.url)
    for i in range(5):
        put(f"key {i}")

    def page(after: str) -> dict[str, Any]:
        return control.ask(unthrottled.url, KEYS, "Accepted", StreamName=STREAM, After=after, Limit=3)

    first = page("0")
    second = page(first["Records"][-1]["SequenceNumber"])

    keys = [row["PartitionKey"] for row in first["Records"] + second["Records"]]
    assert keys == [f"key {i}" for i in range(5)]
    assert (first["More"], second["More"]) == (True, False)


def test_who_has_not_the_key_orders_nothing(put: Put, unthrottled: RunningKinesis) -> None:
    wrong = Keys(KEYS.access_key_id, "not the secret")
    with pytest.raises(ApiError, match="InvalidSignatureException"):
        control.ask(unthrottled.url, wrong, "AddFault", kind=Kind.ERROR)
    put("key")


@pytest.mark.parametrize(
    "operation, params, code",
    [
        ("AddFault", {"kind": "earthquake"}, "ValidationException"),
        ("AddFault", {"kind": "error", "colour": "red"}, "ValidationException"),
        ("AddFault", {}, "ValidationException"),
        ("Accepted", {"StreamName": "gone"}, "ResourceNotFoundException"),
        ("Earthquake", {}, "UnknownOperationException"),
    ],
)
def test_an_order_that_can_not_be_is_said(
    operation: str, params: dict[str, Any], code: str, local_kinesis: RunningKinesis
) -> None:
    with pytest.raises(ApiError) as caught:
        control.ask(local_kinesis.url, KEYS, operation, **params)
    assert caught.value.code == code
