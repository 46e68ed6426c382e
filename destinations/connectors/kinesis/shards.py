"""Which shard a partition key belongs to, by Kinesis's own rule: the MD5 of the key, and the range of each shard."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from ..base import Connection
from .client import call

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


class ShardMap:
    """The shards of a stream as they are when they are asked for: ``kinesis:ListShards``."""

    def __init__(self, connection: Connection, client: KinesisClient, stream: str) -> None:
        """
        Raises:
            KinesisError: there is no such stream, or the account may not ask.
        """
        self._ranges: dict[str, tuple[int, int]] = {}  # from and to, of closed shards too
        starts: list[tuple[int, str]] = []
        where: dict[str, Any] = {"StreamName": stream}
        while where:
            answer = call(connection, client.list_shards, "Shards", **where)
            for shard in answer["Shards"]:
                span = shard["HashKeyRange"]
                self._ranges[shard["ShardId"]] = int(span["StartingHashKey"]), int(span["EndingHashKey"])
                if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
                    starts.append((int(span["StartingHashKey"]), shard["ShardId"]))
            where = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        starts.sort()
        self._starts = [start for start, _ in starts]
        self._ids = [shard for _, shard in starts]

    def shard_of(self, partition_key: str) -> str:
        """The open shard that a record with this key goes to; empty where there is none, as in a stream in the
        making.
        """
        place = bisect_right(self._starts, hash_of(partition_key))
        return self._ids[place - 1] if place else ""

    def holds(self, shard: str, partition_key: str) -> bool:
        """Whether the key is in the shard's range. False for a shard that is not known."""
        low, high = self._ranges.get(shard, (1, 0))
        return low <= hash_of(partition_key) <= high


def hash_of(partition_key: str) -> int:
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest())
