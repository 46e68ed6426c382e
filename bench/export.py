"""How fast what waits is delivered, beside a bare loop of boto3 in the same run, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from activation.models import Dataflow
from bench import cpu, engine, report, sink, store
from bench.report import Figure
from destinations.connectors.base import Record

RATE = 20_000  # records a second
OF_THE_FLOOR = 0.5
PYTHON = 50.0  # µs of CPU a record
MEMORY = 250.0  # MB of a worker process


class Measured(NamedTuple):
    """Of some rounds.

    Args:
        rate: records a second, the median.
        floor: of the bare loop.
        unchecked: of the same with boto3's checks of parameters switched off.
        spent: µs of CPU a record by program; ``worker`` is all that Python takes.
        memory: MB of the largest worker process.
    """

    rate: float
    floor: float
    unchecked: float
    spent: dict[str, float]
    memory: float


def measure(records: int, rounds: int) -> None:
    store.fill(records)
    with sink.running() as url:
        whole = store.dataflow("whole", ["even", "odd"], store.to(url))
        engine.queue([whole])
        ready = engine.ready_records(whole)
        two = run(whole, ready, url, rounds, 2)
        engine.queue([whole])
        steps = engine.steps(whole)
    size = sum(len(record.data) for record in ready) / records
    report.show(
        f"{records:,} waiting, {size:,.0f} bytes each, PostgreSQL; {report.machine()}",
        [
            Figure("records/s, 2 worker processes", f"{two.rate:,.0f}", f"{RATE:,}", two.rate >= RATE),
            Figure(
                f"of a bare put_records loop ({two.floor:,.0f}/s)",
                f"{two.rate / two.floor:.2f}",
                f"{OF_THE_FLOOR}",
                two.rate / two.floor >= OF_THE_FLOOR,
            ),
            Figure(
                f"… that does not check parameters ({two.unchecked:,.0f}/s)",
                f"{two.rate / two.unchecked:.2f}",
            ),
            Figure(
                "µs of Python CPU a record",
                f"{two.spent['worker 1']:.0f}",
                f"{PYTHON:.0f}",
                two.spent["worker 1"] <= PYTHON,
            ),
            Figure("MB of a worker process", f"{two.memory:.0f}", f"{MEMORY:.0f}", two.memory < MEMORY),
        ],
    )
    show_spent(two)
    together = sum(spent for name, spent in steps.items() if name != engine.BESIDE)
    report.table(
        "One process without Celery: seconds, not CPU",
        ("step", "µs a record", "share"),
        [
            (name, f"{1e6 * spent / records:.1f}", f"{spent / together:.0%}")
            for name, spent in sorted({**steps, "together": together}.items(), key=lambda item: -item[1])
        ],
    )


def run(dataflow: Dataflow, ready: Sequence[Record], url: str, rounds: int, *processes: int) -> Measured:
    """Deliver all members with such workers, by turns with the bare loops. The first round is for warming up."""
    rates, floors, unchecked = [], [], []
    with engine.workers(*processes) as pids:
        for _ in range(rounds + 1):
            floors.append(len(ready) / engine.floor(dataflow, ready))
            unchecked.append(len(ready) / engine.floor(dataflow, ready, validated=False))
            engine.queue([dataflow])
            before, taken = cpu.seconds(pids), sink.taken(url)
            rates.append(len(ready) / engine.delivered([dataflow], len(ready)))
            after = cpu.seconds(pids)
            assert sink.taken(url) == taken + len(ready), "Not each record was sent once"
        spent = {name: 1e6 * (after[name] - before[name]) / len(ready) for name in pids}
        memory = max(cpu.most_memory(pid) for name, pid in pids.items() if name.startswith("worker"))
    return Measured(median(rates[1:]), median(floors[1:]), median(unchecked[1:]), spent, memory)


def show_spent(measured: Measured) -> None:
    """What binds where all cores are used: the sum is what a record takes of them."""
    together = sum(measured.spent.values())
    report.table(
        "CPU a record, by program",
        ("program", "µs"),
        [
            *((name, f"{spent:.1f}") for name, spent in measured.spent.items()),
            ("together", f"{together:.1f}"),
        ],
    )
