"""The same on SQLite, with one worker."""

from __future__ import annotations

from bench import engine, export, report, sink, store
from bench.report import Figure

RATE = 10_000


def measure(records: int, rounds: int) -> None:
    store.fill(records)
    with sink.running() as url:
        whole = store.dataflow("whole", ["even", "odd"], store.to(url))
        engine.queue([whole])
        measured = export.run(whole, engine.ready_records(whole), url, rounds, 1)
    report.show(
        f"{records:,} waiting, SQLite; {report.machine()}",
        [
            Figure(
                "records/s, 1 worker process", f"{measured.rate:,.0f}", f"{RATE:,}", measured.rate >= RATE
            ),
            Figure(
                f"of a bare put_records loop ({measured.floor:,.0f}/s)",
                f"{measured.rate / measured.floor:.2f}",
            ),
        ],
    )
    export.show_spent(measured)
