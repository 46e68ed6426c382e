"""Writes records to a stream: PutRecords within its limits, with a result for every record.

It neither waits nor tries again: it says of each record whether it was taken, may be tried later or never
will be, and the export engine acts on it. Limits: botocore's service model and
https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from ..base import Connection, ConnectorError, Delivered, Record, Refused, Result, TryAgain
from .client import make_client
from .errors import TRANSIENT
from .put_records import PutRecords
from .stream import MAX_RECORD, NOT_ACTIVE, UNKNOWN, USUAL_RECORD, USUAL_REQUEST, Limits, Summary, describe

MAX_RECORDS = 500  # of one request
MAX_PARTITION_KEY = 256  # characters

# The request as a whole is not valid: perhaps for one record in it.
_INVALID = frozenset({"ValidationException", "InvalidArgumentException", "SerializationException", "HTTP413"})
# So many records refused one by one, and none taken: then it is not the records.
_NOT_THE_RECORDS = 8


class KinesisSender:
    """Writes to one stream. Not shared between threads."""

    batch_size: ClassVar[int] = MAX_RECORDS

    def __init__(self, connection: Connection, stream: str) -> None:
        """
        Raises:
            ConnectorError: no client can be made of the connection (endpoint URL not allowed any more).
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
            size = _size(record)
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
        return [result or TryAgain("NotSent", "Not sent: an earlier request failed.") for result in results]

    def _limits(self, sizes: Collection[int]) -> Limits:
        """The stream's own, asked for where these records need more than every stream takes."""
        if max(sizes, default=0) <= USUAL_RECORD and sum(sizes) <= USUAL_REQUEST:
            return UNKNOWN
        return self._summary.limits()

    def _send_all(
        self, records: Sequence[Record], requests: list[list[int]], results: list[Result | None]
    ) -> None:
        delivered, refused = False, 0
        while requests:
            places = requests.pop(0)
            try:
                answers = self._put([records[place] for place in places])
            except ConnectorError as error:
                if error.code in TRANSIENT:
                    answers = [TryAgain(error.code, error.message)] * len(places)
                elif error.code in _INVALID and "'stream" not in error.message:
                    if len(places) > 1:
                        middle = len(places) // 2
                        requests[:0] = [places[:middle], places[middle:]]
                        continue
                    refused += not _is_large(records[places[0]])
                    if refused == _NOT_THE_RECORDS and not delivered:
                        raise
                    answers = [_refusal(records[places[0]], error)]
                elif delivered:
                    for place in [*places, *(place for request in requests for place in request)]:
                        results[place] = TryAgain(error.code, error.message)
                    return
                else:
                    raise self._explained(error) from None
            for place, answer in zip(places, answers, strict=True):
                results[place] = answer
                delivered = delivered or isinstance(answer, Delivered)

    def _put(self, records: list[Record]) -> list[Result]:
        # Whatever fails a single record is of passing nature: ProvisionedThroughputExceededException or
        # InternalFailure.
        return [
            Delivered(row["ShardId"], row["SequenceNumber"])
            if "SequenceNumber" in row and "ShardId" in row
            else TryAgain(row.get("ErrorCode") or "InternalFailure", row.get("ErrorMessage") or "")
            for row in self._put_records(records)
        ]

    def _explained(self, error: ConnectorError) -> ConnectorError:
        """Kinesis does not find a stream that is being made or deleted: say which it is, if it may be asked."""
        if error.code == "ResourceNotFoundException":
            with suppress(ConnectorError):
                status = describe(self._connection, self._client, self._stream).status
                return ConnectorError(error.code, error.message, NOT_ACTIVE.get(status, error.hint))
        return error

    def close(self) -> None:
        self._client.close()


def _size(record: Record) -> int | None:
    """Bytes of data and partition key, as Kinesis counts; None where the partition key can't be one."""
    if not 1 <= len(record.partition_key) <= MAX_PARTITION_KEY:
        return None
    try:
        return len(record.data) + len(record.partition_key.encode())
    except UnicodeEncodeError:
        return None


def _is_large(record: Record) -> bool:
    return (_size(record) or 0) > USUAL_RECORD


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


def _refusal(record: Record, error: ConnectorError) -> Refused:
    if _is_large(record) or error.code == "HTTP413":
        return _too_large(_size(record) or 0, error.message)
    return Refused(error.code, error.message)
