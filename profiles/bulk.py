"""Many rows written by one statement, past Django's models: half of the time of an ingested batch went into those.

PostgreSQL gets a column as one parameter. SQLite, where nobody is in a hurry, goes by ``bulk_create``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import JSONField, Model

from profiles import quick_json


def insert(
    model: type[Model],
    fields: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    unique: Sequence[str] = (),
    update: Sequence[str] = (),
) -> None:
    """Insert rows, or change those that are there.

    Args:
        fields: names of the columns' fields, with ``_id`` for relations. Columns beside them have a default in the
            database, or none is needed.
        rows: a value for each field. None has a null.
        unique: the fields by which a row is known that is there already.
        update: what is changed of such a row. Without it the row stays as it is.
    """
    rows = list(rows)
    if not rows:
        return
    if connection.vendor == "postgresql":
        columns = [
            quick_json.dumps(column).decode() if json else list(column)
            for column, json in zip(zip(*rows, strict=True), _json(model, tuple(fields)), strict=True)
        ]
        with connection.cursor() as cursor:
            cursor.execute(_statement(model, tuple(fields), tuple(unique), tuple(update)), columns)
        return
    model._default_manager.bulk_create(
        [model(**dict(zip(fields, row, strict=True))) for row in rows],
        update_conflicts=bool(update),
        ignore_conflicts=bool(unique) and not update,
        unique_fields=unique if update else None,
        update_fields=update if update else None,
    )


@cache
def _json(model: type[Model], fields: tuple[str, ...]) -> list[bool]:
    return [isinstance(model._meta.get_field(name), JSONField) for name in fields]


@cache
def _statement(
    model: type[Model], fields: tuple[str, ...], unique: tuple[str, ...], update: tuple[str, ...]
) -> str:
    quote = connection.ops.quote_name
    columns = ", ".join(map(quote, fields))
    values = ", ".join(
        "jsonb_array_elements(%s::jsonb)"
        if json
        else f"unnest(%s::{model._meta.get_field(name).db_type(connection)}[])"
        for name, json in zip(fields, _json(model, fields), strict=True)
    )
    found = (
        f"INSERT INTO {quote(model._meta.db_table)} ({columns}) SELECT * FROM ROWS FROM ({values}) AS given"  # noqa: S608  (names of ours)
    )
    if unique:
        changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in update)
        found += f" ON CONFLICT ({', '.join(map(quote, unique))}) DO {f'UPDATE SET {changes}' if update else 'NOTHING'}"
    return found
