"""A stream of 2 shards, which takes 2,000 records a second, is offered 5,000: how much of it is used, and how often a
record is sent.
"""

from __future__ import annotations

import time

from activation import tasks
from activation.export import lanes, outbox
from activation.models import Dataflow
from bench import engine, report, store
from bench.report import Figure
from profiles.models import Profile
from tests.local_kinesis import KinesisProcess

TAKES = 2000  # records a second; the local Kinesis limits as Kinesis does
OFFERED = 5000
LEARNING = 3.0  # seconds
USED, TIMES = 0.95, 1.2


def measure(records: int, rounds: int) -> None:
    """``records`` are offered, once; ``rounds`` changes nothing."""
    store.fill(records)
    kinesis = KinesisProcess(streams=("bench:2",))
    kinesis.start()
    try:
        with engine.workers(2):
            # Small ones, so that it is the number that binds and not the bytes.
            names = ["person.name.firstName", "person.name.lastName"]
            dataflow = store.dataflow("whole", ["even", "odd"], kinesis.connection(), attributes=names)
            used = offer(dataflow, records)
            sent = engine.counted([dataflow], "activated", "attempts")
    finally:
        kinesis.stop()
    times = sent["attempts"] / sent["activated"]
    report.show(
        f"2 shards, offered {OFFERED:,} records/s; {report.machine()}",
        [
            Figure("of what the stream takes", f"{used:.0%}", f"{USED:.0%}", used >= USED),
            Figure("times that a record is sent", f"{times:.2f}", f"{TIMES}", times <= TIMES),
        ],
    )


def offer(dataflow: Dataflow, records: int) -> float:
    """Queue changes at the given rate. How much of the stream was used meanwhile, but for the first seconds."""
    began = swept = time.perf_counter()
    learned: tuple[float, int] | None = None
    everybody = list(Profile.objects.values_list("pk", flat=True)[:records])
    step = OFFERED // 5
    for queued in range(step, records + 1, step):
        outbox.queue((dataflow.pk, pk, "attribute") for pk in everybody[queued - step : queued])
        outbox.wake_lanes(lanes.every_lane([dataflow.pk]))
        time.sleep(max(0.0, began + queued / OFFERED - time.perf_counter()))
        now = time.perf_counter()
        if now - swept > 5:
            swept = now
            tasks.sweep()
        if learned is None and now - began > LEARNING:
            learned = now, engine.counted([dataflow], "activated")["activated"]
    assert learned, "Too few records"
    # What waits by now keeps the stream busy for as long again.
    time.sleep(records / OFFERED / 2)
    at, before = learned
    taken = engine.counted([dataflow], "activated")["activated"] - before
    return taken / (time.perf_counter() - at) / TAKES
