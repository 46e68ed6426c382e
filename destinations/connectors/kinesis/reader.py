"""Reads back the newest records of a stream, for people to look at.

A shard can only be read forwards, from a point in time. So the last seconds of all shards are read first;
where that gives too few records, the stretch of time before it, six times as long, and so on back to the
oldest. Time, memory and the number of requests are bounded whatever the stream holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from heapq import nlargest
from itertools import chain
from typing import Any

from django.utils.translation import gettext

from ..base import Connection, ConnectorError, ReadRecord
from .aggregation import decode
from .client import call, make_client
from .errors import KinesisError
from .failures import Answer

TIME_LIMIT = 4.5  # seconds, after which no further request is made; with the last answer's limit: within 10 s
FIRST_STRETCH = timedelta(seconds=5)  # at full speed 5 MB a shard: one answer
GROWTH = 6
FURTHEST = timedelta(hours=24)  # before that: from the oldest record there is
PAUSE = 0.22  # seconds: a shard answers five reads a second
THREADS = 4  # an answer may hold 10 MB


def read_newest(
    connection: Connection, stream: str, limit: int, *, sleep: Callable[[float], None] = time.sleep
) -> list[ReadRecord]:
    """The newest records over all shards, newest first, aggregated ones taken apart.

    Args:
        connection: the account.
        stream: the stream's name.
        limit: how many at most.
        sleep: waits so many seconds when a shard was asked too often.

    Raises:
        ConnectorError: in AWS's words, when nothing was found and a request failed or the time was up.
    """
    reading = _Reading(connection, stream, limit, sleep)
    shards = reading.shards()
    end: datetime | None = None
    stretch = FIRST_STRETCH
    threads = max(1, min(THREADS, len(shards)))
    with ThreadPoolExecutor(threads, thread_name_prefix="kinesis-read") as pool:
        while True:
            start = reading.now - stretch if stretch < FURTHEST else None
            list(pool.map(partial(reading.read, start=start, end=end), shards))
            if len(reading.found) >= limit or start is None or reading.failed:
                break
            end, stretch = start, stretch * GROWTH
    reading.client.close()
    if reading.failed and not reading.found:
        raise reading.failed
    newest = nlargest(limit, reading.found.values(), key=_age)
    return nlargest(limit, chain.from_iterable(map(_unpacked, newest)), key=_age)


def _age(record: ReadRecord) -> tuple[datetime, int, int]:
    return record.arrived_at, int(record.sequence_number), record.sub_sequence or 0


def _unpacked(record: ReadRecord) -> list[ReadRecord]:
    """The records in an aggregated one, whoever packed it; any other as it is."""
    packed = decode(record.data)
    if packed is None:
        return [record]
    return [
        replace(record, partition_key=each.partition_key, data=each.data, sub_sequence=number)
        for number, each in enumerate(packed)
    ]


class _Reading:
    def __init__(
        self, connection: Connection, stream: str, limit: int, sleep: Callable[[float], None]
    ) -> None:
        self.connection = connection
        self.stream = stream
        self.limit = limit
        self.sleep = sleep
        self.client = make_client(connection, connections=THREADS)
        self.now = datetime.now(UTC)
        self.ends_at = time.monotonic() + TIME_LIMIT
        self.found: dict[tuple[str, str], ReadRecord] = {}
        self.failed: ConnectorError | None = None
        self.lock = threading.Lock()

    def time_is_up(self) -> bool:
        return time.monotonic() >= self.ends_at

    def shards(self) -> list[str]:
        """The ids of all shards. Notes Kinesis's own time: ours may differ, and it refuses a time in the
        future.
        """
        answer = call(self.connection, self.client.list_shards, "Shards", StreamName=self.stream)
        ids = [shard["ShardId"] for shard in answer["Shards"]]
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        with suppress(ValueError, TypeError):
            self.now = parsedate_to_datetime(date).replace(tzinfo=UTC)  # HTTP's dates are in GMT
        while answer.get("NextToken") and not self.time_is_up():
            answer = call(self.connection, self.client.list_shards, "Shards", NextToken=answer["NextToken"])
            ids += [shard["ShardId"] for shard in answer["Shards"]]
        return ids

    def read(self, shard: str, start: datetime | None, end: datetime | None) -> None:
        """Read a stretch of a shard: from ``start`` (None: the oldest) to ``end`` (None: the newest),
        keeping the newest ``limit``.
        """
        where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if start:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start}
        kept: list[dict[str, Any]] = []  # in the shard's order
        failed: ConnectorError | None = None
        try:
            answer = self._ask(
                self.client.get_shard_iterator,
                "ShardIterator",
                StreamName=self.stream,
                ShardId=shard,
                **where,
            )
            iterator = answer["ShardIterator"]
            while iterator:
                answer = self._ask(self.client.get_records, "Records", ShardIterator=iterator)
                rows = answer["Records"]
                inside = [row for row in rows if end is None or row["ApproximateArrivalTimestamp"] < end]
                kept = (kept + inside)[-self.limit :]
                behind = timedelta(milliseconds=answer.get("MillisBehindLatest", 0))
                # The end is reached, or on a busy stream what came since we began.
                reached = rows[-1]["ApproximateArrivalTimestamp"] if rows else self.now - behind
                if not behind or reached >= (end or self.now + timedelta(seconds=1)):
                    break
                iterator = answer.get("NextShardIterator")
        except ConnectorError as error:
            failed = error  # e.g. a shard that is gone by now: no reason to show nothing of the others
        with self.lock:
            self.found.update(((shard, row["SequenceNumber"]), _record(shard, row)) for row in kept)
            self.failed = self.failed or failed

    def _ask(self, method: Callable[..., Any], member: str, **params: Any) -> dict[str, Any]:
        """Call, waiting where reads are throttled: others may read too. Raises ConnectorError, also when the
        time is up.
        """
        failed = ConnectorError(
            "ReadTimeout",
            gettext("The stream could not be read in the time that is given to it."),
            gettext("Try again; check the network if it stays so."),
        )
        while not self.time_is_up():
            try:
                return call(self.connection, method, member, **params)
            except KinesisError as error:
                if error.answer not in (Answer.THROTTLED, Answer.AGAIN):
                    raise
                failed = error
            self.sleep(PAUSE)
        raise failed


def _record(shard: str, row: dict[str, Any]) -> ReadRecord:
    return ReadRecord(
        shard=shard,
        sequence_number=row["SequenceNumber"],
        partition_key=row["PartitionKey"],
        arrived_at=row["ApproximateArrivalTimestamp"].astimezone(UTC),
        data=row["Data"],
    )
