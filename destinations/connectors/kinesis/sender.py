"""Writes records to a stream: PutRecords within its limits, with a result for every record.

It neither waits nor tries again: it says of each record whether it was taken, may be tried later or never
will be, and the export engine acts on it. Limits: botocore's service model and
https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import ClassVar, cast

from ..base import Connection, Delivered, Record, Refused, Result, TryAgain
from .client import make_client
from .errors import KinesisError
from .failures import Answer, failure
from .put_records import PutRecords
from .shards import ShardMap
from .stream import MAX_RECORD, UNKNOWN, USUAL_RECORD, USUAL_REQUEST, Limits, Summary, describe

MAX_RECORDS = 500  # of one request
MAX_PARTITION_KEY = 256  # characters

# So many records refused one by one, and none taken: then it is not the records.
_NOT_THE_RECORDS = 8


class KinesisSender:
    """Writes to one stream. Not shared between threads."""

    # Several requests: what a batch costs besides its records is spread over more of them.
    batch_size: ClassVar[int] = 4 * MAX_RECORDS

    def __init__(self, connection: Connection, stream: str) -> None:
        """
        Raises:
            KinesisError: no client can be made of the connection (endpoint URL not allowed any more).
        """
        self._connection = connection
        self._stream = stream
        self._client = make_client(connection, validate=False, connections=1)
        self._put_records = PutRecords(connection, self._client, stream)
        self._summary = Summary(connection, self._client, stream)

    def send(self, records: Sequence[Record]) -> list[Result]:
        """See :meth:`destinations.connectors.base.Sender.send`."""
        results: list[Result | None] = [None] * len(records)
        sizes: dict[int, int] = {}  # bytes of each record that can be sent, by its place in ``records``
        for place, record in enumerate(records):
            size = size_of(record)
            if size is None:
                results[place] = Refused(
                    "InvalidPartitionKey",
                    f"A partition key has 1 to {MAX_PARTITION_KEY} Unicode characters; this one has "
                    f"{len(record.partition_key)}.",
                )
            else:
                sizes[place] = size
        limits = self._limits(sizes.values())
        for place in [place for place, size in sizes.items() if size > (limits.record or MAX_RECORD)]:
            results[place] = _too_large(
                sizes.pop(place), f"The stream takes at most {limits.record or MAX_RECORD:,} bytes."
            )
        self._send_all(records, _requests(sizes, limits), results)
        return cast("list[Result]", results)

    def _limits(self, sizes: Collection[int]) -> Limits:
        """The stream's own, asked for where these records need more than every stream takes."""
        if max(sizes, default=0) <= USUAL_RECORD and sum(sizes) <= USUAL_REQUEST:
            return UNKNOWN
        return self._summary.limits()

    def _send_all(
        self, records: Sequence[Record], requests: list[list[int]], results: list[Result | None]
    ) -> None:
        """Send request after request, until one fails as a whole: what is left would take its time in vain.

        Raises:
            KinesisError: the destination as a whole can't be written to, and no record was taken.
        """
        refused = 0
        while requests:
            places = requests.pop(0)
            try:
                answers = self._put([records[place] for place in places])
            except KinesisError as error:
                if error.answer is Answer.BISECT and len(places) > 1:
                    middle = len(places) // 2
                    requests[:0] = [places[:middle], places[middle:]]
                    continue
                if error.answer is Answer.BISECT:
                    refused += not _is_large(records[places[0]])
                    if refused < _NOT_THE_RECORDS or _reached(results):
                        results[places[0]] = _refusal(records[places[0]], error)
                        continue
                if error.answer not in (Answer.THROTTLED, Answer.AGAIN) and not _reached(results):
                    raise self._explained(error) from None
                for place in places:
                    results[place] = again(error.code, error.message, error.answer)
                for place in chain.from_iterable(requests):
                    results[place] = replace(
                        again(error.code, error.message, error.answer), maybe_taken=False
                    )
                return
            for place, answer in zip(places, answers, strict=True):
                results[place] = answer

    def _put(self, records: list[Record]) -> list[Result]:
        return [
            Delivered(row["ShardId"], row["SequenceNumber"])
            if "SequenceNumber" in row and "ShardId" in row
            else _failed(row)
            for row in self._put_records(records)
        ]

    def _explained(self, error: KinesisError) -> KinesisError:
        """Kinesis does not find a stream that is being made or deleted: say which it is, if it may be asked."""
        if error.code == "ResourceNotFoundException":
            with suppress(KinesisError):
                status = describe(self._connection, self._client, self._stream).status
                if status in ("CREATING", "DELETING"):
                    return KinesisError(error.code, f"{error.message} ({status})")
        return error

    def shards(self) -> ShardMap:
        """The stream's shards as they are now.

        Raises:
            KinesisError: the stream is not there, or the account may not ask.
        """
        try:
            return ShardMap(self._connection, self._client, self._stream)
        except KinesisError as error:
            raise self._explained(error) from None

    def ignores_keys(self) -> bool:
        """Whether the stream says that it spreads records by itself."""
        target = self._summary.target()
        return target is not None and target.ignores_keys

    def close(self) -> None:
        self._client.close()


def size_of(record: Record) -> int | None:
    """Bytes of data and partition key, as Kinesis counts; None where the partition key can't be one."""
    if not 1 <= len(record.partition_key) <= MAX_PARTITION_KEY:
        return None
    try:
        return len(record.data) + len(record.partition_key.encode())
    except UnicodeEncodeError:
        return None


def _reached(results: Iterable[Result | None]) -> bool:
    """Whether a request got as far as the stream."""
    return any(isinstance(result, (Delivered, TryAgain)) for result in results)


def _failed(row: Mapping[str, str]) -> TryAgain:
    """The answer for a record that failed in a request that did not. What fails so is of passing nature."""
    code, message = row.get("ErrorCode") or "InternalFailure", row.get("ErrorMessage") or ""
    return again(code, message, failure(code, message, status=500).answer)


def again(code: str, message: str, answer: Answer) -> TryAgain:
    """The answer for a record that was sent, and failed for now or with the destination as a whole."""
    throttled = answer is Answer.THROTTLED
    shard = re.search(r"shardId-\d+", message) if throttled else None
    return TryAgain(code, message, throttled, shard[0] if shard else "", answer is Answer.AGAIN)


def _is_large(record: Record) -> bool:
    return (size_of(record) or 0) > USUAL_RECORD


def _requests(sizes: Mapping[int, int], limits: Limits) -> list[list[int]]:
    """Which records go together, by their place. One that only Kinesis can judge goes alone, after the others:
    its refusal is then about nothing else.
    """
    together: list[list[int]] = []
    alone: list[list[int]] = []
    room = 0
    for place, size in sizes.items():
        if size > (limits.record or USUAL_RECORD):
            alone.append([place])
        elif not together or size > room or len(together[-1]) == MAX_RECORDS:
            together.append([place])
            room = limits.request - size
        else:
            together[-1].append(place)
            room -= size
    return together + alone


def _too_large(size: int, reason: str) -> Refused:
    return Refused("RecordTooLarge", f"{size:,} bytes with its partition key. {reason}")


def _refusal(record: Record, error: KinesisError) -> Refused:
    if _is_large(record) or error.code == "HTTP413":
        return _too_large(size_of(record) or 0, error.message)
    return Refused(error.code, error.message)
