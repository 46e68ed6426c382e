"""Sends ready-made bytes with another library, run by the Python of its own environment: ``peers_send.py LIBRARY URL
RECORDS BYTES`` prints the seconds it took.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

LIMITLESS = 1_000_000  # a shard: the sink has no limits, and theirs are not what is measured


async def async_kinesis(url: str, records: list[tuple[str, bytes]]) -> None:
    from kinesis import Producer, StringProcessor  # type: ignore[import-not-found]

    texts = [(key, data.decode()) for key, data in records]
    producer: Any = Producer(
        "bench",
        endpoint_url=url,
        region_name="us-east-1",
        processor=StringProcessor(),
        skip_describe_stream=True,
        put_rate_limit_per_shard=LIMITLESS,
        put_bandwidth_limit_per_shard=LIMITLESS,
    )
    async with producer:
        for key, text in texts:
            await producer.put(text, partition_key=key)
        await producer.flush()


async def aiokpl(url: str, records: list[tuple[str, bytes]], *, aggregated: bool = False) -> None:
    from aiokpl.config import Config  # type: ignore[import-not-found]
    from aiokpl.producer import Producer  # type: ignore[import-not-found]

    config = Config(
        region="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIABENCH",
        aws_secret_access_key="not checked",
        aggregation_enabled=aggregated,
        rate_limit_records_per_sec_per_shard=float(LIMITLESS),
        rate_limit_bytes_per_sec_per_shard=1024.0 * LIMITLESS,
    )
    async with Producer(config) as producer:
        outcomes = [
            await producer.put_record(stream="bench", partition_key=key, data=data) for key, data in records
        ]
        await producer.flush()
        for outcome in outcomes:
            await outcome.wait()


async def aiokpl_aggregated(url: str, records: list[tuple[str, bytes]]) -> None:
    await aiokpl(url, records, aggregated=True)


def main() -> None:
    library, url, count, size = sys.argv[1:]
    records = [(f"key {number}", b"x" * int(size)) for number in range(int(count))]
    began = time.perf_counter()
    asyncio.run(globals()[library](url, records))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
