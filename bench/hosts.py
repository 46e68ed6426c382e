"""One worker of one process, one of two, and two workers of one, as on two hosts: who shares lanes needs no more than
the database and Redis.
"""

from __future__ import annotations

from bench import engine, export, report, sink, store


def measure(records: int, rounds: int) -> None:
    store.fill(records)
    with sink.running() as url:
        whole = store.dataflow("whole", ["even", "odd"], store.to(url))
        engine.queue([whole])
        ready = engine.ready_records(whole)
        rows = []
        for name, processes in {
            "one host, one process": (1,),
            "one host, two processes": (2,),
            "two hosts, one process each": (1, 1),
        }.items():
            measured = export.run(whole, ready, url, rounds, *processes)
            python = sum(spent for program, spent in measured.spent.items() if program.startswith("worker"))
            rows.append(
                (
                    name,
                    f"{measured.rate:,.0f}",
                    f"{python:.0f}",
                    f"{measured.spent['PostgreSQL']:.0f}",
                    f"{measured.spent['redis']:.1f}",
                )
            )
    report.table(
        f"{records:,} waiting; {report.machine()}",
        ("workers", "records/s", "µs of Python", "of PostgreSQL", "of Redis"),
        rows,
    )
