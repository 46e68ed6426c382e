"""Real servers for tests: Redis and Celery workers as processes, on the test's own database.

Fixtures (tests/conftest.py offers them everywhere); a test that uses one is marked ``worker`` by itself:

``redis_server``
    a running Redis at ``settings.REDIS_URL``; ``.stop()`` and ``.start()`` make an outage. Without this fixture nobody
    listens there.
``start_worker``
    starts a worker and waits until it takes tasks: ``worker = start_worker()``. ``worker.kill()`` is kill -9 of it and
    its children, ``worker.stop()`` a warm shutdown. The test's data is committed (``transactional_db``), so the worker
    sees it.
``celery_worker``
    one that runs already.
``web_port``
    where gunicorn serves the product on the test's database.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis
from django.conf import settings
from django.db import connection

from kinesis_admin import health
from kinesis_admin.processes import Program, free_port, redis_command, wait_until

FIXTURES = {"redis_server", "start_worker", "celery_worker", "web_port"}
ROOT = Path(__file__).resolve().parent.parent


class RedisServer:
    """A Redis on the socket in ``settings.REDIS_URL``; each start is an empty one."""

    def __init__(self) -> None:
        self.url = settings.REDIS_URL
        self.path = Path(self.url.removeprefix("unix://"))
        self._program: Program | None = None

    def start(self) -> None:
        self._program = Program(
            "redis", redis_command(self.path), env=os.environ, log_folder=Path(settings.VAR_DIR) / "log"
        )
        assert wait_until(self._answers, seconds=10), "Redis does not start"

    def _answers(self) -> bool:
        try:
            return bool(health.redis_client().ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()
            self.path.unlink(missing_ok=True)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


def database_url() -> str:
    """The test's database as a value for the ``DATABASE_URL`` of another process."""
    ours = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{ours['NAME']}"
    return f"postgres://{ours['USER']}:{ours['PASSWORD']}@{ours['HOST']}:{ours['PORT']}/{ours['NAME']}"


StartWorker = Callable[..., Program]


@pytest.fixture
def start_worker(transactional_db: None, redis_server: RedisServer) -> Iterator[StartWorker]:
    workers: list[Program] = []

    def start(*, concurrency: int = 1, env: Mapping[str, str] | None = None) -> Program:
        health.redis_client().delete(health.HEARTBEAT_KEY)
        name = f"worker-{len(workers) + 1}"
        worker = Program(
            name,
            [
                *(sys.executable, "-m", "celery", "-A", "kinesis_admin", "--workdir", str(ROOT), "worker"),
                *("--concurrency", str(concurrency), "--hostname", f"{name}@test"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            env={**os.environ, "DATABASE_URL": database_url(), **(env or {})},
            log_folder=Path(settings.VAR_DIR) / "log",
        )
        workers.append(worker)
        alive = wait_until(
            lambda: not worker.alive or bool(health.redis_client().exists(health.HEARTBEAT_KEY)), seconds=30
        )
        assert alive and worker.alive, "The worker does not start:\n" + "\n".join(worker.last_lines)
        return worker

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture
def celery_worker(start_worker: StartWorker) -> Program:
    return start_worker()


@pytest.fixture
def web_port(transactional_db: None) -> Iterator[int]:
    """gunicorn on the test's database."""
    port = free_port()
    server = Program(
        "web",
        [
            *(sys.executable, "-m", "gunicorn", "--chdir", str(ROOT)),
            *("--config", "python:kinesis_admin.gunicorn", "kinesis_admin.wsgi"),
        ],
        env={**os.environ, "DATABASE_URL": database_url(), "PORT": str(port), "WEB_CONCURRENCY": "1"},
        log_folder=Path(settings.VAR_DIR) / "log",
    )

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    assert wait_until(lambda: not server.alive or answers(), seconds=30) and server.alive, server.last_lines
    yield port
    server.stop()
