from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis, RedisError

from activation.export import outbox
from kinesis_admin.celery import app
from kinesis_admin.processes import Program, redis_command, wait_until
from tests.local_kinesis import RunningKinesis

from .exporting import Told


@pytest.fixture(scope="session")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for what the outbox keeps there, so that nobody needs to listen at ``settings.REDIS_URL``."""
    folder = tmp_path_factory.mktemp("redis")
    program = Program(
        "redis", redis_command(folder / "redis.sock"), env=os.environ, log_folder=folder / "log"
    )
    client = Redis(unix_socket_path=str(folder / "redis.sock"))

    def answers() -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False

    assert wait_until(answers, seconds=10), "Redis does not start"
    yield client
    client.close()
    program.stop()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, own_redis: Redis) -> Told:
    """Redis is there, and no worker. The messages that are sent."""
    messages = Told()

    def take(task: str, args: list[Any], countdown: float | None = None) -> None:
        assert task == "activation.tasks.deliver"
        dataflow_id, number = args
        assert (type(dataflow_id), type(number)) == (str, int)
        lane = uuid.UUID(dataflow_id), number
        if countdown is None:
            messages.append(lane)
        else:
            messages.later.append((lane, countdown))

    own_redis.flushall()
    monkeypatch.setattr(outbox, "_redis", lambda: own_redis)
    monkeypatch.setattr(app, "send_task", take)
    return messages


@pytest.fixture
def kinesis(local_kinesis: RunningKinesis) -> RunningKinesis:
    """A stream that takes everything at once."""
    local_kinesis.kinesis.enforce_throughput = False
    return local_kinesis
