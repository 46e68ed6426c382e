"""How often an inlet may be posted to. Counted in Redis, for all web processes together."""

from __future__ import annotations

import math
import time
from functools import cache

import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

WINDOW = 10  # seconds
PATIENCE = 0.25  # seconds that a request waits for Redis
RECOVERY = 5.0  # seconds without asking, after it did not answer


class _Away:
    """Redis did not answer, and is not asked before this moment (monotonic)."""

    until = 0.0


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=None)


def seconds_to_wait(inlet_id: str) -> int:
    """Count a request to an inlet.

    Returns:
        0 if it may go on; else after how many seconds it may come again. While Redis is away everything goes on: the
        limit is there to be fair, not to lose data.
    """
    most = settings.INLET_REQUESTS_PER_SECOND * WINDOW
    if not most or time.monotonic() < _Away.until:
        return 0
    now = time.time()
    window = int(now // WINDOW)
    key = f"kinesis-admin:inlet:{inlet_id}:{window}"
    try:
        with _client(settings.REDIS_URL).pipeline() as pipe:
            pipe.incr(key)
            pipe.expire(key, 2 * WINDOW)
            count = int(pipe.execute()[0])
    except redis.RedisError as error:
        _Away.until = time.monotonic() + RECOVERY
        log.warning("inlets_not_limited", error=type(error).__name__)
        return 0
    return 0 if count <= most else math.ceil((window + 1) * WINDOW - now) or 1
