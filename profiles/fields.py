"""A field and a lookup of our own."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.lookups import In
from django.db.models.sql.compiler import SQLCompiler

from profiles import quick_json

FEW = 50  # texts that are sent as an array of PostgreSQL's, which psycopg writes; more as JSON


class LongJSONField(models.JSONField):
    """JSON of some length in rows that are read and written many at once."""

    def get_placeholder(self, value: Any, compiler: Any, connection: BaseDatabaseWrapper) -> str:
        # Django would send rows to PostgreSQL as an array a column, and psycopg escapes every quotation mark in an
        # array by itself, in Python. With a placeholder of the field's own each value is sent by itself.
        return "%s"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        if isinstance(value, str) and value.startswith("{"):
            return quick_json.loads(value)
        return super().from_db_value(value, expression, connection)

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


@models.Field.register_lookup
@models.ForeignObject.register_lookup
class Among(In):
    """``among``: ``in`` for a great many values. PostgreSQL gets them as one array, not each as a parameter.

    ``filter(profile__among=keys)``: primary keys for relations; no queryset.
    """

    lookup_name = "among"

    def get_prep_lookup(self) -> list[Any]:
        return list(self.rhs)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        if not self.rhs:
            raise EmptyResultSet
        values: str | list[Any] = self.rhs
        type_ = self.lhs.output_field.db_type(connection)
        # psycopg would write each by itself, and quote it.
        if type_ == "uuid":
            values = f"{{{','.join([value.hex for value in self.rhs])}}}"
        elif type_ == "bigint":
            values = f"{{{','.join(map(str, self.rhs))}}}"
        column, params = self.process_lhs(compiler, connection)
        if type_.startswith("varchar") and len(self.rhs) > FEW:
            texts = f"ARRAY(SELECT jsonb_array_elements_text(%s::jsonb))::{type_}[]"
            return f"{column} = ANY({texts})", [*params, quick_json.dumps(self.rhs).decode()]
        return f"{column} = ANY(%s::{type_}[])", [*params, values]
