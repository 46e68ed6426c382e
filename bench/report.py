"""How figures are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

console = Console(width=None if sys.stdout.isatty() else 120)


class Figure(NamedTuple):
    """One line of what is promised.

    Args:
        least: what it should be; empty where it is only told.
        met: None where nothing is promised.
    """

    what: str
    measured: str
    least: str = ""
    met: bool | None = None


def show(title: str, figures: Iterable[Figure]) -> None:
    table(
        title,
        ("what", "measured", "should be", ""),
        [(f.what, f.measured, f.least, {True: "yes", False: "NO", None: ""}[f.met]) for f in figures],
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The first column is words, the others are numbers."""
    drawn = Table()
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="right" if place else "left")
    for row in rows:
        drawn.add_row(*row)
    console.print(f"\n{title}", drawn, sep="\n", highlight=False)


def machine() -> str:
    """What it ran on, and what else ran there meanwhile."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {sys.version.split()[0]}"
