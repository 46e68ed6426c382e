"""The rate limit of an inlet, counted in Redis."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kinesis_admin.processes import wait_until
from profiles.inlets import limit, services
from profiles.models import Inlet
from tests.profiles.inlets.conftest import Producer, entity
from tests.services import RedisServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def slow(settings: Any, monkeypatch: pytest.MonkeyPatch, inlet: Inlet) -> Inlet:
    """An inlet that takes two requests in a window, which has just begun."""
    settings.INLET_REQUESTS_PER_SECOND = 2
    monkeypatch.setattr(limit, "WINDOW", 1)
    wait_until(lambda: time.time() % 1 < 0.2, seconds=2)
    return inlet


def test_who_posts_too_often_is_told_when_to_come_again(redis_server: RedisServer, slow: Inlet) -> None:
    producer = Producer(slow)
    assert [producer.message(entity()).status for _time in range(3)] == [200, 200, 429]
    answer = producer.batch(entity())
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "1"
    # Another inlet has an allowance of its own, and strangers use up nobody's.
    other, token = services.create_inlet(name="Till", protected=True)
    assert [Producer(other).message(entity()).status for _time in range(3)] == [401] * 3
    assert Producer(other, token).message(entity()).status == 200
    assert wait_until(lambda: producer.message(entity()).status == 200, seconds=5)


def test_while_redis_is_away_everything_goes_on_and_it_is_not_asked_each_time(
    redis_server: RedisServer, slow: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer(slow)
    redis_server.stop()
    assert [producer.message(entity()).status for _time in range(4)] == [200] * 4
    redis_server.start()
    assert limit._Away.until > time.monotonic()
    assert [producer.message(entity()).status for _time in range(4)] == [200] * 4
    monkeypatch.setattr(limit._Away, "until", 0.0)
    assert [producer.message(entity()).status for _time in range(3)][-1] == 429


def test_without_a_limit_redis_is_not_asked(settings: Any, inlet: Inlet) -> None:
    settings.INLET_REQUESTS_PER_SECOND = 0
    assert limit.seconds_to_wait(inlet.pk) == 0
    assert limit._Away.until == 0.0
