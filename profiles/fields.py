"""A field of our own."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class LongJSONField(models.JSONField):
    """JSON of some length in rows that are written many at once.

    Django sends such rows to PostgreSQL as an array a column, and psycopg escapes every quotation mark in an array by
    itself, in Python. With a placeholder of the field's own each value is sent by itself: a quarter more profiles a
    second.
    """

    def get_placeholder(self, value: Any, compiler: Any, connection: BaseDatabaseWrapper) -> str:
        return "%s"

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
