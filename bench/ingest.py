"""How fast customers come in, beside a bare INSERT … ON CONFLICT of the same JSON in the same run.

Over HTTP (gunicorn, two producers), by ``import_profiles``, and in rules: one asked of the whole store, all asked of what
was written. The store has live rules and live dataflows, which get their outbox rows; nobody delivers them meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.request import urlopen

import psycopg
from django.conf import settings
from django.db import connection

from bench import customers, store
from kinesis_admin.processes import Program, free_port, wait_until
from profiles.inlets import services
from profiles.models import Profile, Segment, SegmentMembership

ROOT = Path(__file__).resolve().parent.parent
BATCH = 200


# --- The floor


def floor(batches: Sequence[Sequence[tuple[str, str]]]) -> float:
    """Seconds that psycopg takes to write these rows (key, JSON) by INSERT … ON CONFLICT, a transaction a batch."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        database.execute("CREATE TABLE IF NOT EXISTS floor (key text PRIMARY KEY, data jsonb)")
        database.commit()
        started = time.perf_counter()
        for batch in batches:
            with database.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO floor VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET data = excluded.data", batch
                )
            database.commit()
        return time.perf_counter() - started


# --- HTTP


@contextmanager
def web(processes: int) -> Iterator[str]:
    """The product's web server. Its host and port."""
    port = free_port()
    environment = {"PORT": str(port), "WEB_CONCURRENCY": str(processes), "INLET_REQUESTS_PER_SECOND": "0"}
    command = ["gunicorn", "--config", "python:kinesis_admin.gunicorn", "kinesis_admin.wsgi"]
    server = Program(
        "web",
        [sys.executable, "-m", *command],
        env={**os.environ, **environment, "LOG_LEVEL": "INFO"},
        log_folder=Path(settings.VAR_DIR) / "log",
    )

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz"):
                return True
        except OSError:
            return False

    try:
        assert wait_until(answers, seconds=60), server.last_lines
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


def produce(host: str, path: str, bodies: Sequence[bytes]) -> list[float]:
    """Post these one after the other. Seconds that each took."""
    connected = HTTPConnection(host, timeout=60)
    spent = []
    for body in bodies:
        started = time.perf_counter()
        connected.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connected.getresponse()
        told = answer.read()
        spent.append(time.perf_counter() - started)
        assert answer.status == 207 and b'"status"' not in told, told[:500]
    return spent


def posted(host: str, batches: Sequence[Sequence[dict[str, Any]]], producers: int) -> tuple[float, list[float]]:
    """Post batches of entities by so many producers at once. Seconds of it all, and of each batch."""
    inlet = services.create_inlet(name=f"bench {time.time()}", protected=False)[0]
    path = f"/collection/batch/{inlet.pk}"
    bodies = [json.dumps({"messages": list(map(customers.message, batch))}).encode() for batch in batches]
    parts = [bodies[place::producers] for place in range(producers)]
    with ProcessPoolExecutor(producers) as pool:
        list(pool.map(len, parts))  # the processes are there
        started = time.perf_counter()
        answers = list(pool.map(produce, [host] * producers, [path] * producers, parts))
        return time.perf_counter() - started, [each for part in answers for each in part]


def batches_of(
    tell: Callable[[int, random.Random], dict[str, Any]], store_size: int, count: int, seed: int
) -> list[list[dict[str, Any]]]:
    """Batches about customers of whom each is told once."""
    dice = random.Random(seed)
    numbers = dice.sample(range(store_size), count)
    told = [tell(number, dice) for number in numbers]
    return [told[start : start + BATCH] for start in range(0, count, BATCH)]


def rows(batches: Sequence[Sequence[dict[str, Any]]]) -> list[list[tuple[str, str]]]:
    return [
        [(entity["identityMap"]["CRMID"][0]["id"], json.dumps(entity)) for entity in batch] for batch in batches
    ]


# --- Import


def imported(batches: Sequence[Sequence[dict[str, Any]]]) -> tuple[float, int]:
    """Seconds of ``import_profiles``, as it runs in the terminal, and the most memory that it took, in MiB."""
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        for batch in batches:
            file.writelines(f"{json.dumps(entity)}\n" for entity in batch)
        file.flush()
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "manage.py", "import_profiles", file.name], cwd=ROOT, check=True, capture_output=True
        )
        return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
