"""The trail as a file: CSV for people with spreadsheets, NDJSON for programs; both made while they are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from typing import Any

import orjson

from audit.models import Entry
from audit.spreadsheet import lines

COLUMNS = (
    "id",
    "at",
    "actor",
    "actor_id",
    "action",
    "object_type",
    "object_id",
    "object_name",
    "changes",
    "ip",
    "request_id",
    "place",
)


def as_csv(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A head and a line an entry."""
    rows = (
        _row(entry) | {"changes": orjson.dumps(entry.changes).decode() if entry.changes else ""}
        for entry in entries
    )
    return lines(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))


def as_ndjson(entries: Iterable[Entry]) -> Iterator[bytes]:
    """One JSON object a line."""
    for entry in entries:
        yield orjson.dumps(_row(entry), option=orjson.OPT_APPEND_NEWLINE)


FORMATS: dict[str, tuple[Callable[[Iterable[Entry]], Iterator[bytes]], str]] = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "ndjson": (as_ndjson, "application/x-ndjson"),
}


def _row(entry: Entry) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in COLUMNS}
    row["id"] = str(entry.pk)
    row["at"] = entry.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return row
