"""Other libraries that write to Kinesis, which are given ready-made bytes; ours reads, builds and settles besides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import engine, export, report, sink, store
from bench.report import Figure

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / "var" / "peers"  # they pin an older botocore than ours
LIBRARIES = {"async_kinesis": 3.5, "aiokpl": 5.0, "aiokpl_aggregated": None}  # how many times as fast as they
SENT = 20_000  # by each of them


def measure(records: int, rounds: int) -> None:
    python = _install()
    store.fill(records)
    with sink.running() as url:
        whole = store.dataflow("whole", ["even", "odd"], store.to(url))
        engine.queue([whole])
        ready = engine.ready_records(whole)
        size = sum(len(record.data) for record in ready) // records
        theirs = {name: SENT / _seconds(python, name, url, size) for name in LIBRARIES}
        ours = export.run(whole, ready, url, rounds, 2)
    figures = [
        Figure("records/s, ours with 2 worker processes", f"{ours.rate:,.0f}"),
        Figure("a bare put_records loop", f"{ours.floor:,.0f}"),
        Figure("… that does not check parameters", f"{ours.unchecked:,.0f}"),
    ]
    for name, least in LIBRARIES.items():
        times = ours.rate / theirs[name]
        figures.append(
            Figure(
                f"{name.replace('_', '-')}: ours is {times:.1f} times as fast",
                f"{theirs[name]:,.0f}",
                f"{least} times" if least else "",
                times >= least if least else None,
            )
        )
    report.show(f"{size:,} bytes a record; {report.machine()}", figures)


def _install() -> Path:
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(HERE / "peers.txt")]
    subprocess.run(install, check=True)
    return python


def _seconds(python: Path, library: str, url: str, size: int) -> float:
    keys = {"AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "not checked"}
    command = [str(python), str(HERE / "peers_send.py"), library, url, str(SENT), str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **keys})
    return float(done.stdout)
