from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from destinations.connectors import get
from destinations.connectors.base import ConnectorError, ReadRecord
from destinations.connectors.kinesis import reader
from destinations.connectors.kinesis.local import LocalKinesis
from tests.local_kinesis import STREAM, RunningKinesis


def fill(
    kinesis: LocalKinesis, count: int, *, at: float | None = None, first: int = 0, stream: str = STREAM
) -> None:
    """Put ``count`` records, as if at another time."""
    clock = kinesis.clock
    if at is not None:
        kinesis.clock = lambda: at
    for start in range(first, first + count, 500):
        numbers = range(start, min(start + 500, first + count))
        client_records: list[Any] = [
            {
                "Data": base64.b64encode(json.dumps({"number": number}).encode()).decode(),
                "PartitionKey": f"key {number}",
            }
            for number in numbers
        ]
        kinesis.perform("PutRecords", {"StreamName": stream, "Records": client_records})
    kinesis.clock = clock


def numbers(records: list[ReadRecord]) -> list[int]:
    return [json.loads(record.data)["number"] for record in records]


def read(server: RunningKinesis, limit: int = 20, stream: str = STREAM) -> list[ReadRecord]:
    return get("kinesis").read_newest(server.connection(), {"stream": stream}, limit)


def test_the_newest_of_ten_thousand_are_shown_within_seconds(unthrottled: RunningKinesis) -> None:
    fill(unthrottled.kinesis, 10_000)
    started = time.monotonic()

    records = read(unthrottled)

    assert time.monotonic() - started < 5
    assert numbers(records) == list(range(9_999, 9_979, -1))


def test_a_record_shows_where_it_is_and_when_it_came(unthrottled: RunningKinesis) -> None:
    before = datetime.now(UTC)
    row = unthrottled.client().put_record(
        StreamName=STREAM, Data='{"number": 1, "이름": "김"}'.encode(), PartitionKey="키"
    )

    (record,) = read(unthrottled)

    assert record.data == '{"number": 1, "이름": "김"}'.encode()
    assert (record.partition_key, record.shard, record.sequence_number) == (
        "키",
        row["ShardId"],
        row["SequenceNumber"],
    )
    assert abs((record.arrived_at - before).total_seconds()) < 5
    assert record.arrived_at.tzinfo == UTC


@pytest.mark.parametrize("age", [0, 8, 100, 3000, 60_000, 86_000], ids=lambda age: f"{age} s")
def test_older_records_are_found_too(age: int, unthrottled: RunningKinesis) -> None:
    now = time.time()
    fill(unthrottled.kinesis, 700, at=now - age - 1, first=0)
    fill(unthrottled.kinesis, 5, at=now - age, first=700)
    assert numbers(read(unthrottled, limit=10)) == list(range(704, 694, -1))


def test_what_several_stretches_of_time_hold_is_put_together(unthrottled: RunningKinesis) -> None:
    now = time.time()
    ages = [80_000, 7000, 7000, 900, 100, 100, 20, 6, 1]
    for number, age in enumerate(ages):
        fill(unthrottled.kinesis, 1, at=now - age, first=number)

    assert numbers(read(unthrottled, limit=100)) == list(reversed(range(len(ages))))
    assert numbers(read(unthrottled, limit=3)) == [8, 7, 6]


def test_an_empty_stream_has_nothing_to_show(local_kinesis: RunningKinesis) -> None:
    started = time.monotonic()
    assert read(local_kinesis) == []
    assert time.monotonic() - started < 5


def test_all_of_many_shards_are_read(unthrottled: RunningKinesis) -> None:
    unthrottled.create_stream("wide", 24)
    fill(unthrottled.kinesis, 300, stream="wide")
    assert numbers(read(unthrottled, limit=100, stream="wide")) == list(range(299, 199, -1))


def test_a_clock_of_ours_that_is_wrong_does_no_harm(
    unthrottled: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The points in time are those of Kinesis: what lies in its future it refuses."""
    fill(unthrottled.kinesis, 30)

    class Fast(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(time.time() + 280, tz)

    monkeypatch.setattr(reader, "datetime", Fast)
    assert numbers(read(unthrottled, limit=5)) == [29, 28, 27, 26, 25]


def test_a_shard_that_others_read_is_waited_for(unthrottled: RunningKinesis) -> None:
    fill(unthrottled.kinesis, 10)
    unthrottled.fail_next("ProvisionedThroughputExceededException", operation="GetRecords", times=3)
    waited: list[float] = []

    records = reader.read_newest(unthrottled.connection(), STREAM, 5, sleep=waited.append)

    assert numbers(records) == [9, 8, 7, 6, 5]
    assert waited


def test_time_is_bounded(unthrottled: RunningKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "TIME_LIMIT", 0.3)
    fill(unthrottled.kinesis, 10)
    unthrottled.fail_next("ProvisionedThroughputExceededException", operation="GetRecords", times=10_000)
    with pytest.raises(ConnectorError, match="ProvisionedThroughputExceededException"):
        read(unthrottled)


@pytest.mark.parametrize("operation", ["ListShards", "GetShardIterator", "GetRecords"])
def test_what_the_account_may_not_do_is_said_in_the_words_of_aws(
    operation: str, local_kinesis: RunningKinesis
) -> None:
    message = f"User: x is not authorized to perform: kinesis:{operation}"
    local_kinesis.fail_next("AccessDeniedException", message, operation=operation, times=100)
    with pytest.raises(ConnectorError) as caught:
        read(local_kinesis)
    assert (caught.value.code, caught.value.message) == ("AccessDeniedException", message)
    assert f"Allow kinesis:{operation}" in str(caught.value.hint)


def test_a_stream_that_is_gone_is_said(local_kinesis: RunningKinesis) -> None:
    with pytest.raises(ConnectorError, match="ResourceNotFoundException"):
        read(local_kinesis, stream="gone")


def test_one_shard_that_fails_hides_nothing_of_the_other(unthrottled: RunningKinesis) -> None:
    fill(unthrottled.kinesis, 50)
    unthrottled.fail_next("ResourceNotFoundException", operation="GetShardIterator")
    shards = {record.shard for record in read(unthrottled, limit=100)}
    assert len(shards) == 1


def test_when_time_ran_out_an_empty_answer_is_not_shown_as_an_empty_stream(
    unthrottled: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(unthrottled.kinesis, 10)
    monkeypatch.setattr(reader, "TIME_LIMIT", -1.0)
    with pytest.raises(ConnectorError, match="ReadTimeout"):
        read(unthrottled)


def test_what_was_read_before_a_failure_is_shown(unthrottled: RunningKinesis) -> None:
    fill(unthrottled.kinesis, 5, at=time.time() - 2)
    asked: list[str] = []
    answer = unthrottled.answer

    def fail_later(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        asked.append(operation)
        if asked.count("GetShardIterator") > 2:
            unthrottled.fail_next("AccessDeniedException", operation=operation)
        return answer(operation, params)

    unthrottled.answer = fail_later  # type: ignore[method-assign]

    assert numbers(read(unthrottled, limit=20)) == [4, 3, 2, 1, 0]


def test_a_busy_stream_is_not_chased(unthrottled: RunningKinesis) -> None:
    """What comes while one reads belongs to the next look."""
    answer = unthrottled.answer
    reads: list[str] = []

    def busy(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if operation == "GetRecords":
            reads.append(operation)
            now = time.time() + 2
            fill(unthrottled.kinesis, 3, at=now, first=len(reads) * 3)
            return {**answer(operation, {**params, "Limit": 1}), "MillisBehindLatest": 1}
        return answer(operation, params)

    unthrottled.answer = busy  # type: ignore[method-assign]
    started = time.monotonic()

    assert len(read(unthrottled, limit=1)) == 1
    assert time.monotonic() - started < 2
    assert len(reads) <= 6
