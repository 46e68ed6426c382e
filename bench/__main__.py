"""``make bench``, or one part of it: ``python -m bench export --records 200000 --rounds 3``.

Each part is a process with a database of its own, and shows its figures beside what they should be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import tests.environment  # noqa: F401  (first: keys, folders and the endpoint's host, before Django reads its settings)
from kinesis_admin.processes import CannotRun
from tests.postgres import private_postgres


class Part(NamedTuple):
    """A module with ``measure(records: int, rounds: int) -> None``, called when Django is there and the database is
    empty.

    Args:
        records: unless ``--records`` says otherwise.
    """

    module: str
    what: str
    records: int = 50_000
    database: str = "postgresql"


PARTS = {
    "export": Part("bench.export", "what waits, to a sink that answers at once: PostgreSQL", records=200_000),
    "sqlite": Part("bench.sqlite", "the same on SQLite, with one worker", database="sqlite"),
    "peers": Part("bench.peers", "other libraries, with ready-made bytes", records=200_000),
    "backlog": Part("bench.backlog", "many that wait against a few: rate and memory", records=300_000),
    "latency": Part("bench.latency", "a steady 500 changes a second", records=5_000),
    "throttled": Part(
        "bench.throttled", "a stream of 2 shards that is offered more than it takes", records=80_000
    ),
    "many": Part("bench.many", "200 dataflows, of which one is dead and one throttled", records=50_000),
    "ingest": Part("bench.ingest", "customers that come in, and rules", records=200_000),
    "million": Part(
        "bench.million", "a file of new customers, a rule, its activation; pages meanwhile", records=100_000
    ),
    "review": Part("bench.review", "policies at Review, with many customers", records=1_000_000),
    "hosts": Part("bench.hosts", "one worker, and two of them side by side", records=100_000),
}

# As it is installed, but for memory, and for what newer values are compressed with. What is committed is on the disk.
POSTGRES = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "jit": "off",
    "default_toast_compression": "lz4",
}


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of an empty database."""
    if kind == "postgresql":
        with private_postgres(POSTGRES) as url:
            yield url
    else:
        with tempfile.TemporaryDirectory(prefix="ka-bench-") as folder:
            yield f"sqlite:///{Path(folder) / 'db.sqlite3'}"


def run(part: Part, records: int, rounds: int) -> None:
    import django
    from django.core.management import call_command

    os.environ.update(DJANGO_SETTINGS_MODULE="kinesis_admin.settings", LOG_LEVEL="WARNING")
    with database(part.database) as url:
        os.environ["DATABASE_URL"] = url
        django.setup()
        call_command("migrate", verbosity=0)
        import_module(part.module).measure(records, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.partition("\n")[0],
        epilog="\n".join(f"{name:>10}  {part.what}" for name, part in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all of them, in this order")
    parser.add_argument("--records", type=int, help="instead of what each part takes")
    parser.add_argument("--rounds", type=int, default=1, help="of each measurement; default 1")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    chosen = options.parts or list(PARTS)
    if len(chosen) == 1:
        part = PARTS[chosen[0]]
        try:
            run(part, options.records or part.records, options.rounds)
        except CannotRun as error:
            print(error)
            return 1
        return 0
    common = [f"--rounds={options.rounds}"] + ([f"--records={options.records}"] if options.records else [])
    return max(subprocess.call([sys.executable, "-m", "bench", name, *common]) for name in chosen)


if __name__ == "__main__":
    sys.exit(main())
