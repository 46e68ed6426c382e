"""The rows of a lane that are due, each read together with the profile that it is about."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import orjson
from django.db import connection
from django.utils import timezone

from activation.export.lanes import Lease
from activation.export.records import Reader, Row, as_uuid


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A row of the outbox as it was read.

    Args:
        queued: when, in seconds since 1970.
        due: not before, in a form that the database compares exactly.
    """

    id: int
    profile_id: uuid.UUID
    generation: int
    attempts: int
    queued: float
    reason: str
    bulk: bool
    due: float | str = 0.0


class Claims:
    """Takes what is due of a lane: changes of the moment first, then what was queued by the many."""

    def __init__(self, lease: Lease) -> None:
        self._first: float | str = 0.0
        self._of: list[Any] = [str(lease.dataflow_id), *lease.slots]
        # Seconds are read faster than a datetime; SQLite compares the text that it keeps.
        if connection.vendor == "postgresql":
            self._queued = "date_part('epoch', e.created_at)"
            self._due, self._at = "date_part('epoch', e.available_at)", "to_timestamp(%s)"
            self._among = "= ANY (%s::bigint[])"
        else:
            self._of[0], self._first = lease.dataflow_id.hex, ""
            self._queued = "(julianday(e.created_at) - 2440587.5) * 86400"
            self._due, self._at = "e.available_at", "%s"
            self._among = "IN (SELECT value FROM json_each(%s))"
        self._passed: tuple[float | str, int] = (self._first, 0)

    def next(self, reader: Reader, most: int, under_way: Collection[int]) -> list[tuple[Claim, Row]]:
        """Up to ``most`` rows, the longest due first, and what the reader makes snapshots of. Two queries at most.

        A row and its profile are read by one statement: as one moment had both.

        Args:
            under_way: ids of rows that are not wanted.
        """
        found = self._read(reader, most, under_way, bulk=False)
        if len(found) < most:
            found += self._read(reader, most - len(found), under_way, bulk=True)
        return found

    def passed(self, claim: Claim) -> None:
        """Go on behind a bulk row: what was sent before it stays in the index until it is vacuumed."""
        self._passed = (claim.due, claim.id)

    def _read(
        self, reader: Reader, most: int, under_way: Collection[int], *, bulk: bool
    ) -> list[tuple[Claim, Row]]:
        columns, params = reader.columns()
        sql = (
            f"SELECT {columns}, e.id, e.generation, e.attempts, {self._queued}, e.reason, {self._due}"  # noqa: S608
            " FROM (SELECT * FROM activation_pendingexport WHERE dataflow_id = %s AND slot BETWEEN %s AND %s"
            " AND bulk = %s AND available_at <= %s"
            f" AND (available_at, id) > ({self._at}, %s) AND NOT id {self._among}"
            " ORDER BY available_at, id LIMIT %s) e"
            " JOIN profiles_profile p ON p.id = e.profile_id ORDER BY e.available_at, e.id"
        )
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        after = self._passed if bulk else (self._first, 0)
        ids = (
            array(under_way) if connection.vendor == "postgresql" else orjson.dumps(list(under_way)).decode()
        )
        with connection.cursor() as cursor:
            cursor.execute(sql, [*params, *self._of, bulk, now, *after, ids, most])
            rows = cursor.fetchall()
        return [
            (Claim(row_id, as_uuid(row[0]), generation, attempts, queued, reason, bulk, due), row)
            for *row, row_id, generation, attempts, queued, reason, due in rows
        ]


def array(values: Iterable[object]) -> str:
    """Numbers, or hexadecimal ids, as PostgreSQL writes an array: a tenth of the time that psycopg takes for a list."""
    return "{" + ",".join(map(str, values)) + "}"
