"""``make bench``, or ``python -m bench --records 20000 --rounds 3``: how fast what waits is delivered.

On a PostgreSQL of its own, with a real Redis and real Celery workers, to a sink that answers at once. Every figure
stands beside that of a bare boto3 loop in the same run: the ratio is what can be compared between machines.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

import tests.environment  # noqa: F401  (first: keys, folders and the endpoint's host, before Django reads its settings)
from kinesis_admin.processes import CannotRun
from tests.postgres import private_postgres

Setting = tuple[int, int]  # worker processes, dataflows

console = Console()

# As it is installed, but for memory: what is committed is on the disk.
POSTGRES = {"shared_buffers": "256MB", "max_wal_size": "4GB"}


@contextmanager
def sink() -> Iterator[str]:
    """The sink in a process of its own. Its URL."""
    command = [sys.executable, "-m", "bench.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def taken(sink_url: str) -> int:
    """How many records the sink took so far."""
    with urlopen(sink_url) as answer:
        return int(answer.read())


def run(records: int, rounds: int) -> None:
    import django
    from django.core.management import call_command

    os.environ.update(DJANGO_SETTINGS_MODULE="kinesis_admin.settings", LOG_LEVEL="WARNING")
    django.setup()
    from bench import export, store

    with sink() as url, console.status("") as status:

        def say(text: str) -> None:
            status.update(f"{text} …")

        say("An empty database")
        call_command("migrate", verbosity=0)
        say(f"{records:,} customers")
        store.fill(records)
        whole = store.dataflow("whole", ["even", "odd"], url)
        halves = [store.dataflow(f"half {name}", [name], url) for name in ("even", "odd")]
        assert export.queue([whole]) == records
        ready = export.ready_records(whole)

        say("Step by step")
        by_step = []
        for _ in range(rounds):
            export.queue([whole])
            by_step.append(export.steps(whole))
        seconds: dict[Setting, list[tuple[float, float]]] = {}  # of ours and of the floor, by turns
        for processes, dataflows in ((1, [whole]), (2, [whole]), (2, halves)):
            measured = seconds.setdefault((processes, len(dataflows)), [])
            with export.workers(processes):
                for number in range(rounds + 1):
                    say(
                        f"Worker processes: {processes}, dataflows: {len(dataflows)}, round {number} of {rounds}"
                    )
                    floor = export.floor(whole, ready)
                    expected = taken(url) + export.queue(dataflows)
                    measured.append((export.delivered(dataflows), floor))
                    assert taken(url) == expected, "Not each record was sent once"
            del measured[0]  # for warming up

    size = sum(len(record.data) for record in ready) / records
    console.print(
        f"\n{records:,} records of {size:,.0f} bytes, the median of {rounds} rounds; {_machine()}\n"
    )
    show_export(records, seconds)
    show_steps(records, sorted(by_step, key=lambda steps: sum(steps.values()))[rounds // 2])


def show_export(records: int, seconds: Mapping[Setting, Sequence[tuple[float, float]]]) -> None:
    table = Table(title="From the outbox to settled", title_justify="left")
    for column in ("worker processes", "dataflows", "records/s", "µs a record", "floor¹", "of the floor"):
        table.add_column(column, justify="right")
    for (processes, dataflows), rounds in seconds.items():
        ours, floor = (median(column) for column in zip(*rounds, strict=True))
        table.add_row(
            str(processes),
            str(dataflows),
            f"{records / ours:,.0f}",
            f"{1e6 * ours / records:.0f}",
            f"{records / floor:,.0f}",
            f"{floor / ours:.0%}",
        )
    console.print(table)
    console.print("¹ records/s of a bare loop of put_records over ready-made bytes, by turns with ours\n")


def show_steps(records: int, steps: Mapping[str, float]) -> None:
    table = Table(title="Where the time goes: one process without Celery", title_justify="left")
    table.add_column("step")
    for column in ("µs a record", "share"):
        table.add_column(column, justify="right")
    from bench.export import BESIDE

    whole = sum(spent for name, spent in steps.items() if name != BESIDE)
    for name, spent in sorted(steps.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{1e6 * spent / records:.1f}", f"{spent / whole:.0%}")
    table.add_row("together", f"{1e6 * whole / records:.1f}", "", style="bold")
    console.print(table)


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {sys.version.split()[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000, help="that wait; default 20000")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; default 3")
    options = parser.parse_args()
    try:
        with private_postgres(POSTGRES) as url:
            os.environ["DATABASE_URL"] = url
            run(options.records, options.rounds)
    except CannotRun as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
