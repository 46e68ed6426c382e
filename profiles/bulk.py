"""Many rows written by one statement, past Django's models: half of the time of an ingested batch went into those.

PostgreSQL gets a column as one parameter, a JSON array: nothing else is written as fast by Python. SQLite, where nobody
is in a hurry, goes by ``bulk_create``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from django.db.models import Model
from psycopg.types.json import Jsonb

from profiles import quick_json


def insert(
    model: type[Model],
    fields: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    same: Mapping[str, Any] | None = None,
    unique: Sequence[str] = (),
    update: Sequence[str] = (),
) -> None:
    """Insert rows, or change those that are there.

    Args:
        fields: names of the columns' fields, with ``_id`` for relations. Columns that are not named here or in ``same``
            have a default in the database, or none is needed.
        rows: a value for each field. None has a null.
        same: fields that have the same value in all rows.
        unique: the fields by which a row is known that is there already.
        update: what is changed of such a row. Without it the row stays as it is.
    """
    rows = list(rows)
    if not rows:
        return
    same = same or {}
    if connection.vendor == "postgresql":
        given = dict(zip(fields, zip(*rows, strict=True), strict=True))
        # A value that all rows have is sent and read once.
        in_common = {name for name, column in given.items() if column[0] == column[-1] and _is_one(column)}
        differing = [name for name in given if name not in in_common] or [*given][:1]
        same = {**same, **{name: given[name][0] for name in given if name not in differing}}
        parameters: list[Any] = [*same.values()]
        parameters += [Jsonb(given[name], quick_json.dumps) for name in differing]
        statement = _statement(model, tuple(differing), tuple(same), tuple(unique), tuple(update))
        with _cursor() as cursor:
            cursor.execute(statement, parameters)
        return
    model._default_manager.bulk_create(
        [model(**dict(zip(fields, row, strict=True)), **same) for row in rows],
        update_conflicts=bool(update),
        ignore_conflicts=bool(unique) and not update,
        unique_fields=unique if update else None,
        update_fields=update if update else None,
    )


def _cursor() -> CursorWrapper:
    """One that sends parameters beside the statement: Django's quotes them into it, and PostgreSQL reads it all."""
    database: Any = connection
    database.ensure_connection()
    cursor = ServerBindingCursor(database.connection)  # type: ignore[call-arg]  # the stubs know psycopg 2
    return database._prepare_cursor(cursor)  # type: ignore[no-any-return]


def _is_one(column: Sequence[Any]) -> bool:
    return not isinstance(column[0], dict | list) and column.count(column[0]) == len(column)


@cache
def _statement(
    model: type[Model],
    fields: tuple[str, ...],
    same: tuple[str, ...],
    unique: tuple[str, ...],
    update: tuple[str, ...],
) -> str:
    """The parameters are the values of ``same``, then a JSON array for each of ``fields``."""
    quote = connection.ops.quote_name
    types = {name: model._meta.get_field(name).db_type(connection) for name in (*same, *fields)}
    given = [f"%s::{types[name]}" for name in same] + [f"{quote(name)}::{types[name]}" for name in fields]
    functions = ", ".join(
        f"jsonb_array_elements{'' if types[name] == 'jsonb' else '_text'}(%s::jsonb)" for name in fields
    )
    statement = (
        f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(map(quote, types))}) "  # noqa: S608  (names of ours; values are parameters)
        f"SELECT {', '.join(given)} FROM ROWS FROM ({functions}) AS given ({', '.join(map(quote, fields))})"
    )
    if unique:
        changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in update)
        found = f"UPDATE SET {changes}" if update else "NOTHING"
        statement += f" ON CONFLICT ({', '.join(map(quote, unique))}) DO {found}"
    return statement
