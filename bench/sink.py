"""A Kinesis that takes everything at once: what is measured against it is ours alone.

It answers PutRecords, and ListShards for those who ask; it checks no signature and parses next to nothing: a request
has as many records as it has partition keys. ``python -m bench.sink`` prints its port and serves until it is ended;
``GET /`` tells how many records it took.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.request import urlopen

SHARD = "shardId-000000000000"
SEQUENCE = "49590338271490256608559692538361571095921575989136588898"


@cache
def answer(records: int) -> bytes:
    rows = [{"SequenceNumber": SEQUENCE, "ShardId": SHARD}] * records
    return http(json.dumps({"FailedRecordCount": 0, "Records": rows}).encode())


def http(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


SHARDS = http(
    json.dumps(
        {
            "Shards": [
                {
                    "ShardId": SHARD,
                    "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)},
                    "SequenceNumberRange": {"StartingSequenceNumber": SEQUENCE},
                }
            ]
        }
    ).encode()
)


class Sink(asyncio.Protocol):
    """One connection."""

    taken = 0  # of all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._parts: list[bytes] = []
        self._missing = 0  # bytes of the request; 0: its head has not come yet

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        request = b"".join(self._parts)
        head, end, body = request.partition(b"\r\n\r\n")
        if not end:
            self._parts, self._missing = [request], 0
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(body) < length:
            self._parts, self._missing = [request], length - len(body)
            return
        self._parts, self._missing = [], 0
        if head.startswith(b"GET"):
            self._transport.write(http(str(Sink.taken).encode()))
            return
        if b"ListShards" in head:
            self._transport.write(SHARDS)
            return
        records = body.count(b'"PartitionKey"')
        Sink.taken += records
        self._transport.write(answer(records))


@contextmanager
def running() -> Iterator[str]:
    """The sink in a process of its own. Its URL."""
    command = [sys.executable, "-m", "bench.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def taken(url: str) -> int:
    """How many records the sink took so far."""
    with urlopen(url) as answer:
        return int(answer.read())


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
