"""What a stream tells of itself, where the account may ask: ``kinesis:DescribeStreamSummary``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..base import Connection, Target
from .client import call
from .errors import KinesisError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MIB = 1024 * 1024
USUAL_RECORD = MIB  # bytes of data and partition key that every stream takes in a record
USUAL_REQUEST = 5 * MIB  # and in a request
MAX_RECORD = 10 * MIB  # bytes of the largest record that a stream can be set to take
MAX_REQUEST = 10 * MIB
REFRESH = 300.0  # seconds that an answer, or a refusal to answer, is believed


def describe(connection: Connection, client: KinesisClient, stream: str) -> Target:
    """The stream with all that its summary says.

    Raises:
        KinesisError: there is none, or the account may not ask.
    """
    answer = call(connection, client.describe_stream_summary, "StreamDescriptionSummary", StreamName=stream)
    about = answer["StreamDescriptionSummary"]
    mode = about.get("StreamModeDetails", {}).get("StreamMode", "")
    shards = about.get("OpenShardCount")
    target = Target(
        stream,
        status=about.get("StreamStatus", ""),
        mode=mode,
        shards=shards,
        retention_hours=about.get("RetentionPeriodHours"),
        max_record_bytes=about["MaxRecordSizeInKiB"] * 1024 if about.get("MaxRecordSizeInKiB") else None,
        ignores_keys=about.get("RecordDistributionStrategy") == "AUTO",
    )
    if shards and mode != "ON_DEMAND":
        target = replace(target, records_per_second=shards * 1000, bytes_per_second=shards * MIB)
    return target


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of data and partition keys that the stream takes.

    Args:
        record: in a record; None where the stream may not be asked, so that only Kinesis knows.
        request: in a request.
    """

    record: int | None
    request: int


UNKNOWN = Limits(None, USUAL_REQUEST)


class Summary:
    """A stream's summary, asked for when it is first needed and again after :data:`REFRESH`."""

    def __init__(self, connection: Connection, client: KinesisClient, stream: str) -> None:
        self._connection = connection
        self._client = client
        self._stream = stream
        self._target: Target | None = None
        self._until = 0.0

    def target(self) -> Target | None:
        """None where the account may not ask, or no answer came."""
        if time.monotonic() >= self._until:
            try:
                self._target = describe(self._connection, self._client, self._stream)
            except KinesisError:
                self._target = None
            self._until = time.monotonic() + REFRESH
        return self._target

    def limits(self) -> Limits:
        target = self.target()
        if target is None or target.max_record_bytes is None:
            return UNKNOWN
        return Limits(min(target.max_record_bytes, MAX_RECORD), MAX_REQUEST)
