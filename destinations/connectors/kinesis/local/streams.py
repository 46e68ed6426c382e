"""The streams of the local Kinesis, in memory: shards, their limits, and the operations on them.

Every operation takes the parameters of the API as JSON has them (``Data`` in base64) and returns the answer
in the same form. The limits and codes are those of https://docs.aws.amazon.com/kinesis/latest/APIReference/;
moto judges them in the tests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import ApiError, not_satisfied

ACCOUNT = "000000000000"
RETENTION_HOURS = 24
ITERATOR_LIFETIME = 300  # seconds
MIB = 1024 * 1024
MAX_REQUEST = 10 * MIB
READ_BYTES = 10 * MIB  # of one GetRecords
RECORD_OVERHEAD = 400  # bytes that Python needs for a record beside its data, measured roughly
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_FIRST_SEQUENCE = 496 * 10**53  # 56 digits, as Kinesis has them

Params = dict[str, Any]


class Bucket:
    """A token bucket that fills within a second. What is larger than it may be taken when it is full, and is
    then owed.
    """

    def __init__(self, per_second: float, now: float) -> None:
        self.per_second = per_second
        self.tokens = per_second
        self.at = now

    def can_take(self, amount: float, now: float) -> bool:
        self.tokens = min(self.per_second, self.tokens + max(0.0, now - self.at) * self.per_second)
        self.at = max(self.at, now)
        return self.tokens >= min(amount, self.per_second)

    def take(self, amount: float) -> None:
        self.tokens -= amount


class Stored(NamedTuple):
    sequence: int
    arrived: float  # seconds since the epoch
    key: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data) + len(self.key.encode())


class Shard:
    def __init__(
        self, number: int, low: int, high: int, now: float, reads_per_second: float, parent: str = ""
    ) -> None:
        self.parent = parent
        self.closed = False  # split: it is read and not written any more
        self.id = f"shardId-{number:012d}"
        self.low = low
        self.high = high
        self.records: list[Stored] = []
        self.first = 0  # index of the oldest that is still kept
        self.last_sequence = _FIRST_SEQUENCE + number
        self.by_count = Bucket(1000, now)
        self.by_bytes = Bucket(MIB, now)
        self.reads = Bucket(reads_per_second, now)

    def drop_oldest(self) -> Stored:
        oldest = self.records[self.first]
        self.records[self.first] = oldest._replace(data=b"")  # free at once; the list is cut now and then
        self.first += 1
        if self.first > 1024 and self.first * 2 > len(self.records):
            del self.records[: self.first]
            self.first = 0
        return oldest

    def place(self, sequence: int) -> int:
        """The index of the first record from ``sequence`` on."""
        return bisect_left(self.records, sequence, lo=self.first, key=lambda record: record.sequence)


@dataclass
class Stream:
    name: str
    region: str
    shards: list[Shard]
    created: float
    mode: str = "PROVISIONED"
    status: str = "ACTIVE"
    max_record_kib: int = 1024
    distribution: str = ""  # AUTO: spread over the shards, whatever the keys; on-demand streams only

    @property
    def arn(self) -> str:
        return f"arn:aws:kinesis:{self.region}:{ACCOUNT}:stream/{self.name}"

    @property
    def open_shards(self) -> list[Shard]:
        return [shard for shard in self.shards if not shard.closed]

    def shard_of(self, hash_key: int) -> Shard:
        if self.distribution == "AUTO":
            return min(self.open_shards, key=lambda shard: shard.last_sequence)
        return next(shard for shard in self.open_shards if shard.low <= hash_key <= shard.high)


@dataclass
class LocalKinesis:
    """All streams. Thread-safe: one operation at a time.

    Args:
        region: what ARNs name and signatures are checked for.
        max_memory: bytes for all records; the oldest go when there are more.
        clock: seconds since the epoch.
        reads_per_second: GetRecords calls that each shard answers in a second; Kinesis has 5.
        enforce_throughput: whether a shard refuses more than 1,000 records and 1 MiB a second.
    """

    region: str = "us-east-1"
    max_memory: int = 256 * MIB
    clock: Callable[[], float] = time.time
    reads_per_second: float = 5
    enforce_throughput: bool = True
    streams: dict[str, Stream] = field(default_factory=dict)
    memory: int = 0
    _sequence: int = field(default=0, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _order: deque[Shard] = field(default_factory=deque, repr=False)  # the shard of every record, oldest first

    def __post_init__(self) -> None:
        self._operations: dict[str, Callable[[Params], Params]] = {
            "CreateStream": self._create_stream,
            "DeleteStream": self._delete_stream,
            "ListStreams": self._list_streams,
            "DescribeStream": self._describe_stream,
            "DescribeStreamSummary": self._describe_stream_summary,
            "ListShards": self._list_shards,
            "SplitShard": self._split_shard,
            "PutRecord": self._put_record,
            "PutRecords": self._put_records,
            "GetShardIterator": self._get_shard_iterator,
            "GetRecords": self._get_records,
        }

    def perform(self, operation: str, params: Params) -> Params:
        """Perform an operation of the API.

        Raises:
            ApiError: as Kinesis answers.
        """
        method = self._operations.get(operation)
        if method is None:
            raise ApiError("UnknownOperationException", f"The local Kinesis has no {operation}.")
        try:
            with self._lock:
                return method(params)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise ApiError("SerializationException", "A member is missing or of the wrong type.") from None

    # --- Without HTTP, for commands and tests ----------------------------------------------------------

    def create_stream(
        self,
        name: str,
        shards: int = 1,
        *,
        mode: str = "PROVISIONED",
        max_record_kib: int = 1024,
        distribution: str = "",
    ) -> Stream:
        """Make a stream that is active at once.

        Raises:
            ApiError: there is one already, or the name or number is not valid.
        """
        if not _NAME.fullmatch(name):
            raise not_satisfied(name, "streamName", "satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
        if not 1 <= shards <= 10_000:
            raise not_satisfied(shards, "shardCount", "have value greater than or equal to 1")
        if not 1024 <= max_record_kib <= 10_240:
            raise not_satisfied(max_record_kib, "maxRecordSizeInKiB", "have value between 1024 and 10240")
        if distribution == "AUTO" and mode != "ON_DEMAND":
            raise ApiError("InvalidArgumentException", "Only an on-demand stream distributes records itself.")
        with self._lock:
            if name in self.streams:
                raise ApiError(
                    "ResourceInUseException", f"Stream {name} under account {ACCOUNT} already exists."
                )
            now = self.clock()
            bounds = [2**128 * i // shards for i in range(shards + 1)]
            stream = Stream(
                name,
                self.region,
                [Shard(i, bounds[i], bounds[i + 1] - 1, now, self.reads_per_second) for i in range(shards)],
                now,
                mode=mode,
                max_record_kib=max_record_kib,
                distribution=distribution,
            )
            self.streams[name] = stream
            return stream

    def delete_stream(self, name: str) -> None:
        with self._lock:
            stream = self._stream({"StreamName": name})
            del self.streams[name]
            gone = set(map(id, stream.shards))
            self._order = deque(shard for shard in self._order if id(shard) not in gone)
            self.memory -= sum(r.size + RECORD_OVERHEAD for s in stream.shards for r in s.records[s.first :])

    def records(self, name: str) -> list[Stored]:
        """All that a stream holds, in the order of arrival."""
        with self._lock:
            stream = self._stream({"StreamName": name})
            return sorted(r for shard in stream.shards for r in shard.records[shard.first :])

    # --- Operations ------------------------------------------------------------------------------------

    def _stream(self, params: Params, *, usable: bool = False) -> Stream:
        name = params.get("StreamName")
        arn = params.get("StreamARN")
        if name is None and arn is not None:
            name = arn.rpartition(":stream/")[2]
        if name is None:
            raise ApiError("InvalidArgumentException", "Either StreamName or StreamARN is required.")
        if not _NAME.fullmatch(name):
            raise not_satisfied(name, "streamName", "satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
        stream = self.streams.get(name)
        if (
            stream is None
            or (arn is not None and stream.arn != arn)
            or (usable and stream.status not in ("ACTIVE", "UPDATING"))
        ):
            raise ApiError("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")
        return stream

    def _create_stream(self, params: Params) -> Params:
        mode = (params.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
        shards = params.get("ShardCount") or (4 if mode == "ON_DEMAND" else None)
        if shards is None:
            raise not_satisfied(None, "shardCount", "not be null")
        self.create_stream(
            params["StreamName"],
            shards,
            mode=mode,
            max_record_kib=params.get("MaxRecordSizeInKiB") or 1024,
            distribution=params.get("RecordDistributionStrategy") or "",
        )
        return {}

    def _delete_stream(self, params: Params) -> Params:
        self.delete_stream(self._stream(params).name)
        return {}

    def _list_streams(self, params: Params) -> Params:
        limit = params.get("Limit", 100)
        if not 1 <= limit <= 10_000:
            raise not_satisfied(limit, "limit", "have value between 1 and 10000")
        after = params.get("ExclusiveStartStreamName") or ""
        if params.get("NextToken"):
            after = _read_token(params["NextToken"], "ExpiredNextTokenException")["after"]
        names = [name for name in sorted(self.streams) if name > after]
        page = names[: min(limit, 100)]
        more = len(names) > len(page)
        answer: Params = {
            "StreamNames": page,
            "HasMoreStreams": more,
            "StreamSummaries": [
                {
                    "StreamName": name,
                    "StreamARN": self.streams[name].arn,
                    "StreamStatus": self.streams[name].status,
                    "StreamModeDetails": {"StreamMode": self.streams[name].mode},
                    "StreamCreationTimestamp": self.streams[name].created,
                }
                for name in page
            ],
        }
        if more:
            answer["NextToken"] = _token(after=page[-1])
        return answer

    def _about(self, stream: Stream) -> Params:
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "StreamStatus": stream.status,
            "StreamModeDetails": {"StreamMode": stream.mode},
            "RetentionPeriodHours": RETENTION_HOURS,
            "StreamCreationTimestamp": stream.created,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
        }

    def _describe_stream(self, params: Params) -> Params:
        stream = self._stream(params)
        limit = params.get("Limit", 100)
        if not 1 <= limit <= 10_000:
            raise not_satisfied(limit, "limit", "have value between 1 and 10000")
        rest = [s for s in stream.shards if s.id > (params.get("ExclusiveStartShardId") or "")]
        page = rest[:limit]
        return {
            "StreamDescription": {
                **self._about(stream),
                "Shards": [_about_shard(shard) for shard in page],
                "HasMoreShards": len(rest) > len(page),
            }
        }

    def _describe_stream_summary(self, params: Params) -> Params:
        stream = self._stream(params)
        summary = {
            **self._about(stream),
            "OpenShardCount": len(stream.open_shards),
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": stream.max_record_kib,
        }
        if stream.mode == "ON_DEMAND":
            summary["RecordDistributionStrategy"] = stream.distribution or "USER_PARTITION_KEY"
        return {"StreamDescriptionSummary": summary}

    def _list_shards(self, params: Params) -> Params:
        after = params.get("ExclusiveStartShardId") or ""
        limit = params.get("MaxResults", 1000)
        if params.get("NextToken"):
            if params.get("StreamName"):
                raise ApiError(
                    "InvalidArgumentException", "NextToken and StreamName cannot be provided together."
                )
            token = _read_token(params["NextToken"], "ExpiredNextTokenException")
            after = token["after"]
            params = {"StreamName": token["stream"]}
        stream = self._stream(params)
        rest = [s for s in stream.shards if s.id > after]
        page = rest[:limit]
        answer: Params = {"Shards": [_about_shard(shard) for shard in page]}
        if len(rest) > len(page):
            answer["NextToken"] = _token(stream=stream.name, after=page[-1].id)
        return answer

    def _split_shard(self, params: Params) -> Params:
        stream = self._stream(params, usable=True)
        parent = self._shard(stream, params["ShardToSplit"])
        start = int(params["NewStartingHashKey"])
        if parent.closed or not parent.low < start <= parent.high:
            raise ApiError("InvalidArgumentException", f"{parent.id} can't be split at {start}.")
        parent.closed = True
        for low, high in ((parent.low, start - 1), (start, parent.high)):
            stream.shards.append(
                Shard(len(stream.shards), low, high, self.clock(), self.reads_per_second, parent.id)
            )
        return {}

    def _put_record(self, params: Params) -> Params:
        stream = self._stream(params, usable=True)
        key, data, hash_key = _check_record(stream, params, "")
        if len(data) + len(key.encode()) > stream.max_record_kib * 1024:
            raise _too_long("data", stream)
        answer = self._write(stream, key, data, hash_key)
        if "ErrorCode" in answer:
            raise ApiError(answer["ErrorCode"], answer["ErrorMessage"])
        return {**answer, "EncryptionType": "NONE"}

    def _put_records(self, params: Params) -> Params:
        entries = params["Records"]
        if not entries:
            raise not_satisfied("[]", "records", "have length greater than or equal to 1")
        if len(entries) > 500:
            raise not_satisfied(None, "records", "have length less than or equal to 500")
        stream = self._stream(params, usable=True)
        records = []
        total = 0
        for number, entry in enumerate(entries, 1):
            key, data, hash_key = _check_record(stream, entry, f"records.{number}.member.")
            size = len(data) + len(key.encode())
            if size > stream.max_record_kib * 1024:
                raise _too_long(f"records.{number}.member.data", stream)
            total += size
            records.append((key, data, hash_key))
        if total > MAX_REQUEST:
            raise ApiError("InvalidArgumentException", f"Records size exceeds {MAX_REQUEST // MIB} MB limit")
        answers = [self._write(stream, *record) for record in records]
        return {
            "FailedRecordCount": sum("ErrorCode" in answer for answer in answers),
            "Records": answers,
            "EncryptionType": "NONE",
        }

    def _write(self, stream: Stream, key: str, data: bytes, hash_key: int) -> Params:
        shard = stream.shard_of(hash_key)
        now = self.clock()
        size = len(data) + len(key.encode())
        if self.enforce_throughput and stream.mode == "PROVISIONED":
            if not (shard.by_count.can_take(1, now) and shard.by_bytes.can_take(size, now)):
                return {
                    "ErrorCode": "ProvisionedThroughputExceededException",
                    "ErrorMessage": _rate_exceeded(stream, shard),
                }
            shard.by_count.take(1)
            shard.by_bytes.take(size)
        # One count for all shards: records of a stream sort by it in the order of arrival.
        self._sequence = max(self._sequence + 1, _FIRST_SEQUENCE + (int(now * 1000) << 40))
        sequence = shard.last_sequence = self._sequence
        shard.records.append(Stored(sequence, now, key, data))
        self._order.append(shard)
        self.memory += size + RECORD_OVERHEAD
        self._forget(now)
        return {"ShardId": shard.id, "SequenceNumber": str(sequence)}

    def _forget(self, now: float) -> None:
        """Drop what is older than the retention, and the oldest while there is too much."""
        while self._order:
            oldest = self._order[0].records[self._order[0].first]
            if self.memory <= self.max_memory and oldest.arrived >= now - RETENTION_HOURS * 3600:
                return
            self._order.popleft().drop_oldest()
            self.memory -= oldest.size + RECORD_OVERHEAD

    def _get_shard_iterator(self, params: Params) -> Params:
        stream = self._stream(params)
        shard = self._shard(stream, params["ShardId"])
        kind = params["ShardIteratorType"]
        if kind == "TRIM_HORIZON":
            position = 0
        elif kind == "LATEST":
            position = shard.last_sequence + 1
        elif kind == "AT_TIMESTAMP":
            if params.get("Timestamp") is None:
                raise ApiError(
                    "InvalidArgumentException", "Must specify timestamp for AT_TIMESTAMP iterator type."
                )
            stamp = float(params["Timestamp"])
            if stamp > self.clock() + 1:
                raise ApiError("InvalidArgumentException", f"The timestamp {stamp} is in the future.")
            at = bisect_left(shard.records, stamp, lo=shard.first, key=lambda record: record.arrived)
            position = shard.records[at].sequence if at < len(shard.records) else shard.last_sequence + 1
        elif kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            try:
                position = int(params["StartingSequenceNumber"]) + (kind == "AFTER_SEQUENCE_NUMBER")
            except (KeyError, TypeError, ValueError):
                raise ApiError(
                    "InvalidArgumentException", f"StartingSequenceNumber is not valid for {kind}."
                ) from None
        else:
            raise not_satisfied(
                kind,
                "shardIteratorType",
                "satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, "
                "TRIM_HORIZON]",
            )
        return {"ShardIterator": self._iterator(stream, shard, position)}

    def _get_records(self, params: Params) -> Params:
        limit = params.get("Limit", 10_000)
        if not 1 <= limit <= 10_000:
            raise not_satisfied(limit, "limit", "have value between 1 and 10000")
        token = _read_token(params["ShardIterator"], "InvalidArgumentException")
        now = self.clock()
        if now - token["issued"] > ITERATOR_LIFETIME:
            raise ApiError(
                "ExpiredIteratorException", "Iterator expired. Iterators live five minutes; get a new one."
            )
        stream = self._stream({"StreamName": token["stream"]})
        if stream.created != token["created"]:
            raise ApiError(
                "ResourceNotFoundException", f"Stream {stream.name} under account {ACCOUNT} not found."
            )
        shard = self._shard(stream, token["shard"])
        if math.isfinite(self.reads_per_second):
            if not shard.reads.can_take(1, now):
                raise ApiError(
                    "ProvisionedThroughputExceededException",
                    _rate_exceeded(stream, shard),
                )
            shard.reads.take(1)
        self._forget(now)
        position = int(token["position"])
        start = end = shard.place(position)
        size = 0
        while (
            end < len(shard.records) and end - start < limit and size + shard.records[end].size <= READ_BYTES
        ):
            size += shard.records[end].size
            end += 1
        if start < end:
            position = shard.records[end - 1].sequence + 1
        behind = now - shard.records[end].arrived if end < len(shard.records) else 0.0
        answer: Params = {
            "Records": [
                {
                    "SequenceNumber": str(record.sequence),
                    "ApproximateArrivalTimestamp": round(record.arrived, 3),
                    "Data": base64.b64encode(record.data).decode(),
                    "PartitionKey": record.key,
                    "EncryptionType": "NONE",
                }
                for record in shard.records[start:end]
            ],
            "MillisBehindLatest": max(int(behind * 1000), 1) if end < len(shard.records) else 0,
        }
        if not shard.closed or end < len(shard.records):
            answer["NextShardIterator"] = self._iterator(stream, shard, position)
        return answer

    def _shard(self, stream: Stream, shard_id: str) -> Shard:
        for shard in stream.shards:
            if shard.id == shard_id:
                return shard
        raise ApiError(
            "ResourceNotFoundException",
            f"Could not find shard {shard_id} in stream {stream.name} under account {ACCOUNT}.",
        )

    def _iterator(self, stream: Stream, shard: Shard, position: int) -> str:
        return _token(
            stream=stream.name,
            created=stream.created,
            shard=shard.id,
            position=str(position),
            issued=self.clock(),
        )


def _check_record(stream: Stream, entry: Params, at: str) -> tuple[str, bytes, int]:
    """The partition key, the data and the hash key that picks the shard."""
    key = entry.get("PartitionKey")
    if not isinstance(key, str) or not key:
        raise not_satisfied("", f"{at}partitionKey", "have length greater than or equal to 1")
    if len(key) > 256:
        raise not_satisfied(key, f"{at}partitionKey", "have length less than or equal to 256")
    try:
        data = base64.b64decode(entry["Data"], validate=True)
    except (binascii.Error, TypeError):
        raise ApiError("SerializationException", "Data is not base64.") from None
    explicit = entry.get("ExplicitHashKey")
    if explicit is None:
        return key, data, int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest())
    if not re.fullmatch(r"0|[1-9]\d{0,38}", explicit) or int(explicit) >= 2**128:
        raise ApiError(
            "InvalidArgumentException",
            f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value "
            f"was {explicit}",
        )
    return key, data, int(explicit)


def _rate_exceeded(stream: Stream, shard: Shard) -> str:
    return f"Rate exceeded for shard {shard.id} in stream {stream.name} under account {ACCOUNT}."


def _too_long(at: str, stream: Stream) -> ApiError:
    return not_satisfied(None, at, f"have length less than or equal to {stream.max_record_kib * 1024}")


def _about_shard(shard: Shard) -> Params:
    about: Params = {
        "ShardId": shard.id,
        "HashKeyRange": {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high)},
        "SequenceNumberRange": {"StartingSequenceNumber": str(_FIRST_SEQUENCE + int(shard.id[-12:]))},
    }
    if shard.parent:
        about["ParentShardId"] = shard.parent
    if shard.closed:
        about["SequenceNumberRange"]["EndingSequenceNumber"] = str(shard.last_sequence)
    return about


def _token(**values: Any) -> str:
    return base64.b64encode(json.dumps(values).encode()).decode()


def _read_token(token: str, code: str) -> Params:
    try:
        values: Params = json.loads(base64.b64decode(token, validate=True))
    except (ValueError, TypeError):
        raise ApiError(
            code, "Invalid ShardIterator." if code.startswith("InvalidArg") else "Invalid NextToken."
        ) from None
    return values
