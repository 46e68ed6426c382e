"""/healthz and /readyz."""

from __future__ import annotations

import time

import pytest
from django.test import Client

from kinesis_admin.processes import Program, wait_until
from tests.services import RedisServer


def test_the_process_is_healthy_without_a_database(client: Client) -> None:
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.content == b"ok"


@pytest.mark.django_db
def test_without_redis_it_is_not_ready_and_says_so_at_once(client: Client) -> None:
    started = time.monotonic()

    response = client.get("/readyz")

    assert time.monotonic() - started < 2
    assert response.status_code == 503
    assert response.json() == {"database": "ok", "redis": "unreachable", "worker": "unknown"}


@pytest.mark.django_db
def test_without_a_worker_it_is_not_ready(client: Client, redis_server: RedisServer) -> None:
    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"database": "ok", "redis": "ok", "worker": "no heartbeat"}


def test_with_a_worker_it_is_ready_again_after_an_outage_of_redis(
    client: Client, redis_server: RedisServer, celery_worker: Program
) -> None:
    assert client.get("/readyz").status_code == 200

    redis_server.stop()
    assert client.get("/readyz").status_code == 503

    redis_server.start()
    assert wait_until(lambda: client.get("/readyz").status_code == 200, seconds=30)


@pytest.mark.parametrize("url", ["/healthz", "/readyz"])
def test_health_is_only_asked(client: Client, url: str) -> None:
    assert client.post(url).status_code == 405
