"""A steady 500 changes a second, through ingestion: how long until Kinesis has acknowledged the record of each."""

from __future__ import annotations

import time
from itertools import cycle, islice

from activation.export import latency
from activation.models import DataflowRun
from bench import engine, report, sink, store
from bench.report import Figure
from kinesis_admin.processes import wait_until
from profiles.ingest import Fragment, ingest
from profiles.models import Profile

CHANGES = 500  # a second
AT_ONCE = 10  # in one request of a producer
SECONDS = 20
P95, P99 = 0.3, 1.0  # seconds


def measure(records: int, rounds: int) -> None:
    """``records`` customers change in turns, for 20 s times ``rounds``."""
    store.fill(records)
    with sink.running() as url, engine.workers(2):
        whole = store.dataflow("whole", ["even", "odd"], store.to(url))
        customers = cycle(Profile.objects.values_list("pk", flat=True)[:records])
        change(customers, 2)  # for warming up
        assert wait_until(lambda: not whole.pending.exists(), seconds=30)
        before = latencies()
        began = time.perf_counter()
        changes = change(customers, SECONDS * rounds)
        rate = changes / (time.perf_counter() - began)
        assert wait_until(lambda: not whole.pending.exists(), seconds=30)
        after = latencies()
    counts = [now - then for now, then in zip(after, before or [0] * len(after), strict=True)]
    told = {percent: latency.percentile(counts, percent) or 0.0 for percent in (50, 95, 99)}
    report.show(
        f"{changes:,} changes, {rate:.0f} a second, 2 worker processes; {report.machine()}",
        [
            Figure("records they became", f"{sum(counts):,}"),
            Figure("p50, ms (20 % too much at the most)", f"{1000 * told[50]:.0f}"),
            Figure("p95", f"{1000 * told[95]:.0f}", f"{1000 * P95:.0f}", told[95] <= P95),
            Figure("p99", f"{1000 * told[99]:.0f}", f"{1000 * P99:.0f}", told[99] <= P99),
        ],
    )


def change(customers: cycle, seconds: float) -> int:  # type: ignore[type-arg]
    """Change customers at the given rate. How many changes there were."""
    began, changes = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        ingest(
            [
                Fragment(profile_id=pk, attributes={"person": {"name": {"firstName": f"Change {changes}"}}})
                for pk in islice(customers, AT_ONCE)
            ]
        )
        changes += AT_ONCE
        time.sleep(max(0.0, began + changes / CHANGES - time.perf_counter()))
    return changes


def latencies() -> list[int]:
    """Of all runs: an hour may begin meanwhile."""
    return [
        sum(column) for column in zip(*DataflowRun.objects.values_list("latencies", flat=True), strict=True)
    ]
