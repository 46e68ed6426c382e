"""Is it alive, is it ready: ``/healthz`` for the process, ``/readyz`` for all that the product needs to do its work."""

from __future__ import annotations

import time
from functools import cache

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

log = structlog.get_logger(__name__)

HEARTBEAT_KEY = "kinesis-admin:worker-heartbeat"
HEARTBEAT_EVERY = 3.0  # seconds
HEARTBEAT_TTL = 10  # seconds; two missed beats are forgiven


@cache
def _client(url: str) -> redis.Redis:
    # One attempt and short timeouts: whoever asks whether Redis is there wants the answer now.
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=None)


def redis_client() -> redis.Redis:
    """A client of the Redis in ``REDIS_URL`` that gives up after a second."""
    return _client(settings.REDIS_URL)


def beat() -> None:
    """Say that a worker lives. Redis being away is no error here: the worker is about to notice by itself."""
    try:
        redis_client().set(HEARTBEAT_KEY, int(time.time()), ex=HEARTBEAT_TTL)
    except redis.RedisError as error:
        log.warning("heartbeat_failed", error=type(error).__name__)


def checks() -> dict[str, str]:
    """The state of ``database``, ``redis`` and ``worker``: ``ok``, or in a word or two what is wrong.

    The words say nothing about hosts or users: anybody may ask for them.
    """
    found = {"database": "ok", "redis": "ok", "worker": "ok"}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.warning("readyz_database", error=type(error).__name__)
        found["database"] = "unreachable"
    try:
        if not redis_client().exists(HEARTBEAT_KEY):
            found["worker"] = "no heartbeat"
    except redis.RedisError as error:
        log.warning("readyz_redis", error=type(error).__name__)
        found["redis"] = "unreachable"
        found["worker"] = "unknown"
    return found


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nothing of anybody else."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database, Redis and a worker are there, else 503; JSON either way."""
    found = checks()
    response = JsonResponse(found, status=200 if all(word == "ok" for word in found.values()) else 503)
    # An answer, not a failure: no error in the log and no mail to ADMINS each time somebody asks.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
