"""The trail as a file: CSV for people with spreadsheets, NDJSON for programs; both made while they are sent."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from typing import Any

import orjson

from audit.models import Entry

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
    """A head and a line an entry, in UTF-8 with a mark: spreadsheets need it."""
    writer = csv.writer(_Echo())
    yield "\ufeff".encode() + writer.writerow(COLUMNS)
    for entry in entries:
        row = _row(entry) | {"changes": orjson.dumps(entry.changes).decode() if entry.changes else ""}
        yield writer.writerow([harmless(row[name]) for name in COLUMNS])


def as_ndjson(entries: Iterable[Entry]) -> Iterator[bytes]:
    """One JSON object a line."""
    for entry in entries:
        yield orjson.dumps(_row(entry), option=orjson.OPT_APPEND_NEWLINE)


FORMATS: dict[str, tuple[Callable[[Iterable[Entry]], Iterator[bytes]], str]] = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "ndjson": (as_ndjson, "application/x-ndjson"),
}


def harmless(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe goes before what would begin one.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _row(entry: Entry) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in COLUMNS}
    row["id"] = str(entry.pk)
    row["at"] = entry.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return row


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> bytes:
        return text.encode()
