"""What the workers need goes away, or fails now and then in every way that it can."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, connections

from activation.models import Dataflow, FailedExport
from destinations.connectors.kinesis.failures import Answer
from destinations.connectors.kinesis.local.faults import Kind
from kinesis_admin.processes import Program, wait_until
from profiles.models import Segment
from tests.activation.export.exporting import error, sendings
from tests.destinations.kinesis.test_failures import LINES
from tests.elsewhere import Elsewhere
from tests.factories import SegmentFactory
from tests.local_kinesis import KinesisProcess
from tests.postgres import binary, private_postgres, unprivileged_user
from tests.services import StartWorker

from .proving import (
    Crash,
    arrived,
    chance,
    destination_at,
    finish,
    members,
    progress,
    prove,
    rename,
    size,
    swept,
    under_way,
)

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

CUSTOMERS = 3000
CUT_OFF = size("FAULTS_CUT_OFF", 60, on_sqlite=5)  # seconds


# -- PostgreSQL -----------------------------------------------------------------------------------------------------


class OwnPostgres:
    """A server that this test alone uses, so that it may be restarted."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("ALTER SYSTEM SET synchronous_commit = on")
            server.execute("SELECT pg_reload_conf()")
            row = server.execute("SHOW data_directory").fetchone()
            assert row is not None
            self._data = Path(row[0])

    def restart(self) -> None:
        """As an operator does it: sessions are cut off."""
        self._control("restart", "-m", "fast", "-w", "-l", str(self._data / "restarted.log"))

    def stop(self) -> None:
        self._control("stop", "-m", "fast", "-w")

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [binary("pg_ctl"), "-D", str(self._data), *arguments],
            check=True,
            capture_output=True,
            user=unprivileged_user() if os.getuid() == 0 else None,
            cwd="/",
            timeout=60,
        )


@contextmanager
def switched_to(url: str) -> Iterator[None]:
    """Have Django, and the workers that are started, use another database: made and emptied here."""
    ours = connection.settings_dict
    parts = psycopg.conninfo.conninfo_to_dict(url)
    before = dict(ours)
    _let_go()
    ours.update(HOST=parts["host"], PORT=parts["port"], USER=parts["user"], PASSWORD="", NAME=parts["dbname"])
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        _let_go()
        ours.update(before)


def _let_go() -> None:
    connections.close_all()
    connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture
def own_postgres(transactional_db: None) -> Iterator[OwnPostgres]:
    with private_postgres() as url:
        server = OwnPostgres(url)
        try:
            with switched_to(url):
                yield server
        finally:
            server.stop()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server")
def test_a_postgresql_that_is_restarted_loses_nothing(
    own_postgres: OwnPostgres, kinesis_process: KinesisProcess, start_worker: StartWorker
) -> None:
    everyone = SegmentFactory.create(id="everyone")
    profiles = members(everyone, CUSTOMERS)
    start_worker(concurrency=2)
    dataflow = finish(destination_at(kinesis_process), everyone, queued=CUSTOMERS)
    crashes = []
    for number in range(2):
        assert under_way(dataflow, least=500 * (number + 1))
        own_postgres.restart()
        connections.close_all()
        crashes.append(Crash(dataflow))
        rename(profiles[number * 10 : (number + 1) * 10], f"changed after restart {number}")

    assert swept(dataflow, seconds=60)

    prove(dataflow, arrived(kinesis_process), crashes=crashes)


# -- Kinesis --------------------------------------------------------------------------------------------------------


def test_a_kinesis_that_is_cut_off_gets_everything_once_it_is_back(
    kinesis_process: KinesisProcess, everyone: Segment, celery_worker: Program
) -> None:
    profiles = members(everyone, CUSTOMERS)
    dataflow = finish(destination_at(kinesis_process), everyone, queued=CUSTOMERS)
    assert under_way(dataflow, least=500)
    kinesis_process.fault(Kind.RESET, operation="*", lasts=CUT_OFF)
    back = time.monotonic() + CUT_OFF
    assert wait_until(lambda: error(dataflow) == "ConnectionClosed", seconds=10)
    rename(profiles[:20] + profiles[-20:], "changed meanwhile")

    assert not swept(dataflow, seconds=back - time.monotonic() - 1)
    assert error(dataflow) == "ConnectionClosed"
    assert swept(dataflow, seconds=60)

    assert error(dataflow) == ""
    prove(dataflow, arrived(kinesis_process))
    # It was not asked at full speed for all that time.
    assert sendings(dataflow)["retries"] < 4 * 2 * 500 + CUT_OFF * 25


def fail_at_random(kinesis: KinesisProcess, *, rate: float) -> None:
    """From now on this share of the requests fails, each time in another way of those that the table knows."""
    answers = [
        {"kind": Kind.ERROR, "code": line.code, "message": line.message, "status": line.status}
        for line in LINES
        if line.happens is None and line.answer is not Answer.BISECT
    ]
    ways: list[dict[str, Any]] = [
        *answers,
        *({"kind": Kind.PAGE, "status": status} for status in (429, 502, 504)),
        *({"kind": kind} for kind in (Kind.RESET, Kind.RESET_AFTER, Kind.BREAK_OFF)),
        # Five seconds each: not too often.
        *({"kind": kind, "times": 2} for kind in (Kind.HANG, Kind.HANG_AFTER)),
    ]
    # One of a batch that is not valid; and records that fail by themselves.
    kinesis.fault(Kind.ERROR, code="ValidationException", message="a record is too long", times=1)
    for code in ("ProvisionedThroughputExceededException", "InternalFailure"):
        kinesis.fault(Kind.RECORDS, code=code, rate=rate, times=5)
    each = 1 - (1 - rate) ** (1 / len(ways))
    for way in ways:
        seed = kinesis.fault(rate=each, **way)
    sys.stderr.write(f"{len(ways)} ways to fail, seed of the local Kinesis: {seed}\n")


def test_every_failure_there_is_mixed_at_one_fifth_while_lanes_are_split_anew(
    wide_kinesis: KinesisProcess, everyone: Segment, start_worker: StartWorker
) -> None:
    random = chance()
    profiles = members(everyone, CUSTOMERS)
    start_worker(concurrency=2)
    fail_at_random(wide_kinesis, rate=0.2)
    dataflow = finish(destination_at(wide_kinesis), everyone, queued=CUSTOMERS, lane_count=2)
    enough = threading.Event()

    def change(name: str, chosen: Random) -> None:
        for number in count():
            if enough.wait(0.05):
                return
            rename(chosen.sample(profiles, 10), f"{name} {number}")

    def exported(least: int) -> bool:
        swept(dataflow, seconds=0, held=False)
        return progress(dataflow) >= least

    people = [Elsewhere(partial(change, name, Random(random.random()))) for name in ("a", "b")]
    try:
        assert wait_until(lambda: exported(CUSTOMERS // 2), seconds=60, every=0.2)
        Dataflow.objects.update(lane_count=8)
        assert wait_until(lambda: exported(CUSTOMERS * 3 // 2), seconds=60, every=0.2)
    finally:
        enough.set()
    for person in people:
        person.join()
    assert swept(dataflow, seconds=60, held=False)

    assert not FailedExport.objects.exists()
    prove(dataflow, arrived(wide_kinesis))
    counted = sendings(dataflow)
    assert min(counted["retries"], counted["throttled"], counted["duplicates"]) > 0
