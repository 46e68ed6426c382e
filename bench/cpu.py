"""What programs took of the processor and of memory, from ``/proc``."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def seconds(programs: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU that each program has used so far: the process, its children, and those that ended."""
    return {name: sum(map(_seconds, _family(pid))) for name, pid in programs.items()}


def most_memory(pid: int) -> float:
    """MB that the largest process of a program had at its largest: resident, shared pages included."""
    return max(
        int(found[1]) / 1024
        for each in _family(pid)
        if (found := re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{each}/status").read_text()))
    )


def parent(pid: int) -> int:
    return int(_fields(pid)[1])


def _family(pid: int) -> Iterator[int]:
    children = defaultdict(list)
    for each in Path("/proc").glob("[0-9]*"):
        try:
            children[parent(int(each.name))].append(int(each.name))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it ended
    wanted = [pid]
    while wanted:
        found = wanted.pop()
        yield found
        wanted += children[found]


def _seconds(pid: int) -> float:
    try:
        return sum(map(int, _fields(pid)[11:15])) / TICK
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _fields(pid: int) -> list[str]:
    """Those of ``/proc/PID/stat`` behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
