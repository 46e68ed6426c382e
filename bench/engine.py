"""The engine as the parts use it: real workers, what waits, each step by itself, and the floor beneath it."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from botocore.config import Config
from django.conf import settings
from django.db import connection
from django.db.models import Sum

from activation import tasks
from activation.export import delivery, lanes, outbox
from activation.export.claims import Claims
from activation.export.records import Builder, Layout, Reader
from activation.export.settle import settle
from activation.export.ways import open_way
from activation.models import Dataflow, DataflowRun, Lane, PendingExport
from bench import cpu
from destinations.connectors.base import Record
from destinations.connectors.kinesis.sender import KinesisSender
from kinesis_admin import health
from kinesis_admin.processes import Program, redis_command, wait_until

ROOT = Path(__file__).resolve().parent.parent
BATCH = 500
LONGEST = 900.0  # seconds that anything may take
BESIDE = "send, beside the others"


def ready_records(dataflow: Dataflow) -> list[Record]:
    """What the dataflow would send, built beforehand."""
    builder = Builder(Layout.of(dataflow))
    ids = list(PendingExport.objects.filter(dataflow=dataflow).values_list("profile_id", flat=True))
    reader = Reader()
    built: list[Record] = []
    for start in range(0, len(ids), BATCH):
        snapshots = reader.read(ids[start : start + BATCH]).values()
        built += [one for one in map(builder.build, snapshots) if isinstance(one, Record)]
    assert len(built) == len(ids)
    return built


def floor(dataflow: Dataflow, ready: Sequence[Record], *, validated: bool = True) -> float:
    """Seconds that a bare loop of boto3's ``put_records`` takes for ready-made bytes.

    Args:
        validated: boto3 checks the parameters of each request, as it does unless it is told not to.
    """
    account = dataflow.destination.account.connection()
    client = boto3.client(
        "kinesis",
        region_name=account.settings["region"],
        endpoint_url=account.settings["endpoint_url"],
        aws_access_key_id=account.credentials["access_key_id"],
        aws_secret_access_key=account.credentials["secret_access_key"],
        config=Config(parameter_validation=validated),
    )
    started = time.perf_counter()
    for start in range(0, len(ready), BATCH):
        entries: Any = [
            {"Data": record.data, "PartitionKey": record.partition_key}
            for record in ready[start : start + BATCH]
        ]
        answer = client.put_records(StreamName="bench", Records=entries)
        assert answer["FailedRecordCount"] == 0
    return time.perf_counter() - started


@contextmanager
def workers(*processes: int) -> Iterator[dict[str, int]]:
    """Redis, and Celery workers, as on so many hosts, with so many processes each.

    Returns:
        The process id of each program; PostgreSQL's, too.
    """
    log_folder = Path(settings.VAR_DIR) / "log"
    env = {**os.environ, "LOG_LEVEL": "INFO"}  # as in production
    path = Path(settings.REDIS_URL.removeprefix("unix://"))
    programs = [Program("redis", redis_command(path), env=env, log_folder=log_folder)]
    try:
        assert wait_until(path.exists, seconds=10), "Redis does not start"
        for number, concurrency in enumerate(processes, 1):
            command = [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "kinesis_admin",
                "--workdir",
                str(ROOT),
                "worker",
            ]
            options = [f"--concurrency={concurrency}", f"--hostname=bench{number}@%h"]
            options += ["--without-gossip", "--without-mingle"]
            programs.append(Program(f"worker {number}", [*command, *options], env=env, log_folder=log_folder))
            health.redis_client().delete(health.HEARTBEAT_KEY)
            started = wait_until(lambda: bool(health.redis_client().exists(health.HEARTBEAT_KEY)), seconds=60)
            assert started, "The worker does not start:\n" + "\n".join(programs[-1].last_lines)
        yield {program.name: program.process.pid for program in programs} | _postgresql()
    finally:
        for program in reversed(programs):
            program.stop()


def _postgresql() -> dict[str, int]:
    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return {"PostgreSQL": cpu.parent(cursor.fetchone()[0])}


def queue(dataflows: Sequence[Dataflow]) -> int:
    """Have every member wait, as *Finish* does it, until :func:`delivered`. How many rows that are."""
    enable(dataflows, False)
    queued = sum(
        outbox.backfill(dataflow, list(dataflow.segments.values_list("pk", flat=True)))
        for dataflow in dataflows
    )
    settle_down()
    return queued


def enable(dataflows: Sequence[Dataflow], enabled: bool = True) -> None:
    """A message of before may still be on its way to a worker: what is disabled waits all the same."""
    state = Dataflow.State.ENABLED if enabled else Dataflow.State.DISABLED
    Dataflow.objects.filter(pk__in=[dataflow.pk for dataflow in dataflows]).update(state=state)


def settle_down() -> None:
    """What the database would do in the background, sooner or later: not while something is measured."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE activation_pendingexport, activation_delivery")
            cursor.execute("CHECKPOINT")
        else:
            cursor.execute("ANALYZE")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def delivered(dataflows: Sequence[Dataflow], records: int) -> float:
    """Seconds from the first message until so many records are delivered and settled.

    Asks the runs, which are exact: it costs less than to look for what waits.
    """
    started = time.perf_counter()
    expected = counted(dataflows, "activated")["activated"] + records
    enable(dataflows)
    outbox.wake_lanes(lanes.every_lane([dataflow.pk for dataflow in dataflows]), again=True)
    wait_for(dataflows, expected)
    return time.perf_counter() - started


def wait_for(dataflows: Sequence[Dataflow], activated: int) -> None:
    """Until their runs count so many records. Sweeps meanwhile, as beat does."""
    started = swept = time.perf_counter()
    while counted(dataflows, "activated")["activated"] < activated:
        time.sleep(0.02)
        now = time.perf_counter()
        assert now - started < LONGEST, "It does not end"
        if now - swept > 5:
            swept = now
            tasks.sweep()


def counted(dataflows: Sequence[Dataflow], *numbers: str) -> Mapping[str, int]:
    """What their runs count, added up."""
    sums = DataflowRun.objects.filter(dataflow__in=dataflows).aggregate(
        **{name: Sum(name) for name in numbers}
    )
    return {name: sums[name] or 0 for name in numbers}


def steps(dataflow: Dataflow) -> dict[str, float]:
    """Seconds of one delivery in this process, by step. ``rest`` is what is not one of them; :data:`BESIDE` is beside
    the others.
    """
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    work = delivery._Delivery
    open_way(dataflow.destination)  # as workers have it open
    enable([dataflow])
    with (
        patch.object(delivery, "SLICE", LONGEST),
        patch.object(lanes, "take", timed("take the lane", lanes.take)),
        patch.object(work, "_dataflow", timed("look at the dataflow", work._dataflow)),
        patch.object(work, "_open", timed("open", work._open)),
        patch.object(Claims, "next", timed("claim and read", Claims.next)),
        patch.object(work, "_build", timed("build", work._build)),
        patch.object(work, "_land", timed("wait for the answer", work._land)),
        patch.object(KinesisSender, "send", timed(BESIDE, KinesisSender.send)),
        patch.object(delivery, "settle", timed("settle", settle)),
    ):
        started = time.perf_counter()
        for number in range(dataflow.lane_count):
            delivery.deliver(dataflow.pk, number)
        whole = time.perf_counter() - started
    assert not PendingExport.objects.exists()
    return {**spent, "rest": whole - sum(spent.values()) + spent[BESIDE]}


def quiet() -> None:
    """Until no worker has a lane."""
    assert wait_until(lambda: not Lane.objects.exclude(token=None).exists(), seconds=30)
