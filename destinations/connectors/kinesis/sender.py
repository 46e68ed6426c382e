"""Writes records to a stream: PutRecords within its limits, with a result for every record.

It neither waits nor tries again: it says of each record whether it was taken, may be tried later or never
will be, and the export engine acts on it. Limits: botocore's service model and
https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..base import Connection, ConnectorError, Delivered, Record, Refused, Result, TryAgain
from .client import make_client
from .errors import TRANSIENT
from .put_records import PutRecords

MAX_RECORDS = 500  # of one request
MAX_REQUEST = 10 * 1024 * 1024  # bytes of data and partition keys of one request
MAX_RECORD = 10 * 1024 * 1024  # bytes of data and partition key, whatever the stream's own limit
USUAL_RECORD = 1024 * 1024  # bytes: the limit of a stream that nobody changed
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
        self._client = make_client(connection, validate=False, connections=1)
        self._put_records = PutRecords(connection, self._client, stream)

    def send(self, records: Sequence[Record]) -> list[Result]:
        """See :meth:`destinations.connectors.base.Sender.send`.

        A record over the usual 1 MiB goes in a request of its own: a stream may take up to 10 MiB, and when
        it does not, the refusal is about this record alone.
        """
        results: list[Result | None] = [None] * len(records)
        requests: list[list[int]] = []  # the records of each request, by their place in ``records``
        room = 0
        for place, record in enumerate(records):
            try:
                size = len(record.data) + len(record.partition_key.encode())
            except UnicodeEncodeError:
                size = -1
            if size < 0 or not 1 <= len(record.partition_key) <= MAX_PARTITION_KEY:
                results[place] = Refused(
                    "InvalidPartitionKey",
                    f"A partition key has 1 to {MAX_PARTITION_KEY} Unicode characters; this one has "
                    f"{len(record.partition_key)}.",
                )
            elif size > MAX_RECORD:
                results[place] = _too_large(size, f"Kinesis takes at most {MAX_RECORD:,} bytes.")
            elif size > USUAL_RECORD:
                requests.insert(0, [place])
            elif not requests or size > room or len(requests[-1]) == MAX_RECORDS:
                requests.append([place])
                room = MAX_REQUEST - size
            else:
                requests[-1].append(place)
                room -= size
        self._send_all(records, requests, results)
        return [result or TryAgain("NotSent", "Not sent: an earlier request failed.") for result in results]

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
                    refused += 1
                    if refused == _NOT_THE_RECORDS and not delivered:
                        raise
                    answers = [_refusal(records[places[0]], error)]
                elif delivered:
                    for place in [*places, *(place for request in requests for place in request)]:
                        results[place] = TryAgain(error.code, error.message)
                    return
                else:
                    raise
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

    def close(self) -> None:
        self._client.close()


def _too_large(size: int, reason: str) -> Refused:
    return Refused("RecordTooLarge", f"{size:,} bytes with its partition key. {reason}")


def _refusal(record: Record, error: ConnectorError) -> Refused:
    size = len(record.data) + len(record.partition_key.encode())
    if size > USUAL_RECORD or error.code == "HTTP413":
        return _too_large(size, error.message)
    return Refused(error.code, error.message)
