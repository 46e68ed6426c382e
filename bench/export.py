"""How fast what waits is delivered, beside a bare loop of boto3 in the same run, and where the time goes."""

from __future__ import annotations

from statistics import median

from bench import engine, report, sink, store
from bench.report import Figure

RATE = 20_000  # records a second
OF_THE_FLOOR = 0.5


def measure(records: int, rounds: int) -> None:
    store.fill(records)
    with sink.running() as url:
        whole = store.dataflow("whole", ["even", "odd"], url)
        assert engine.queue([whole]) == records
        ready = engine.ready_records(whole)
        figures = []
        for processes in (1, 2):
            ours, floor = [], []
            with engine.workers(processes):
                for number in range(rounds + 1):  # the first is for warming up
                    floor.append(engine.floor(whole, ready))
                    expected = sink.taken(url) + (engine.queue([whole]) if number else records)
                    ours.append(engine.delivered([whole]))
                    assert sink.taken(url) == expected, "Not each record was sent once"
            engine.queue([whole])
            rate, bare = records / median(ours[1:]), records / median(floor[1:])
            least = processes == 2
            figures += [
                Figure(
                    f"records/s, {processes} worker processes",
                    f"{rate:,.0f}",
                    f"{RATE:,}" if least else "",
                    rate >= RATE if least else None,
                ),
                Figure(
                    f"of a bare put_records loop ({bare:,.0f}/s)",
                    f"{rate / bare:.2f}",
                    f"{OF_THE_FLOOR}" if least else "",
                    rate / bare >= OF_THE_FLOOR if least else None,
                ),
            ]
        steps = engine.steps(whole)
    size = sum(len(record.data) for record in ready) / records
    report.show(f"{records:,} waiting, {size:,.0f} bytes each, PostgreSQL; {report.machine()}", figures)
    together = sum(spent for name, spent in steps.items() if name != engine.BESIDE)
    report.table(
        "Where the time goes: one process without Celery",
        ("step", "µs a record", "share"),
        [
            (name, f"{1e6 * spent / records:.1f}", f"{spent / together:.0%}")
            for name, spent in sorted({**steps, "together": together}.items(), key=lambda item: -item[1])
        ],
    )
