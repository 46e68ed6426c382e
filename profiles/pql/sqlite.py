"""Rules in SQLite's words. What it has no words for, Python's functions of values.py and moments.py do inside of it.

Needs SQLite 3.38 for ``->``.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from profiles.models import Identity, IdentityNamespace
from profiles.pql import moments, values
from profiles.pql.sql import Dialect, Json, Sql, param, sql
from profiles.pql.syntax import Kind, Unit


def register(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Give a new connection the functions; a receiver of Django's ``connection_created``."""
    if connection.vendor != "sqlite":
        return
    functions: dict[str, tuple[int, Callable[..., Any]]] = {
        "pql_number": (1, _number),
        "pql_time": (1, moments.instant),
        "pql_shift": (3, _shift),
        "pql_calculate": (3, values.calculate),
        "pql_case": (2, _in_case),
        "pql_like": (2, _like),
        "pql_matches": (3, _matches),
    }
    for name, (count, function) in functions.items():
        connection.connection.create_function(name, count, function, deterministic=True)


def _number(written: str | None) -> float | None:
    # As Python reads JSON: SQLite itself does not round all digits alike in all its versions.
    return float(written) if written is not None and written[0] in "-0123456789" else None


def _shift(moment: int | None, amount: int, unit: Unit) -> int | None:
    return None if moment is None else moments.shift(moment, amount, unit)


def _in_case(case: values.Case, text: str | None) -> str | None:
    return None if text is None else values.in_case(case, text)


_like_compiled = lru_cache(values.like)
_regex_compiled = lru_cache(values.regex)


def _like(pattern: str, text: str | None) -> bool | None:
    return None if text is None else _like_compiled(pattern)(text)


def _matches(pattern: str, ignore_case: int, text: str | None) -> bool | None:
    return None if text is None else _regex_compiled(pattern, ignore_case=bool(ignore_case))(text)


class _SqliteJson(Json):
    """A value by its type (as ``json_type`` tells it), as a value of SQL, and as JSON text."""

    __slots__ = ()

    @property
    @abstractmethod
    def type(self) -> Sql: ...

    @property
    @abstractmethod
    def value(self) -> Sql: ...

    @property
    @abstractmethod
    def json(self) -> Sql: ...

    def text(self) -> Sql:
        return sql("(CASE {} WHEN 'text' THEN {} END)", self.type, self.value)

    def number(self) -> Sql:
        return sql("pql_number({})", self.json)

    def boolean(self) -> Sql:
        return sql("(CASE {} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END)", self.type)

    def time(self) -> Sql:
        return sql("pql_time({})", self.text())

    def length(self) -> Sql:
        return sql(
            "(CASE {} WHEN 'array' THEN CAST(json_array_length({}) AS REAL) END)", self.type, self.value
        )

    def present(self) -> Sql:
        return sql("({} <> 'null')", self.type)

    def is_list(self) -> Sql:
        return sql("({} = 'array')", self.type)

    def is_filled_map(self) -> Sql:
        return sql("({} = 'object' AND {} <> '{{}}')", self.type, self.value)

    def any_item(self, alias: str, condition: Callable[[Json], Sql]) -> Sql:
        return sql(
            f"EXISTS (SELECT 1 FROM json_each(CASE {{}} WHEN 'array' THEN {{}} END) AS {alias} WHERE {{}})",  # noqa: S608
            self.type,
            self.value,
            condition(Item(alias)),
        )


@dataclass(frozen=True, slots=True)
class Member(_SqliteJson):
    """What a JSON text has at a path."""

    document: Sql
    path: str

    def _of(self, template: str) -> Sql:
        return sql(template, self.document, param(self.path))

    @property
    def type(self) -> Sql:
        return self._of("json_type({}, {})")

    @property
    def value(self) -> Sql:
        return self._of("json_extract({}, {})")

    @property
    def json(self) -> Sql:
        return self._of("({} -> {})")

    def child(self, name: str) -> Json:
        return Member(self.document, self.path + _label(name))


@dataclass(frozen=True, slots=True)
class Item(_SqliteJson):
    """A row of ``json_each``."""

    alias: str

    @property
    def type(self) -> Sql:
        return Sql(f"{self.alias}.type")

    @property
    def value(self) -> Sql:
        return Sql(f"{self.alias}.value")

    @property
    def json(self) -> Sql:
        # Only what SQLite itself may have rounded is looked up as it is written: in a long list that takes time.
        template = (
            "(CASE WHEN {0}.type = 'integer' AND typeof({0}.value) = 'integer' THEN CAST({0}.value AS TEXT)"
            " WHEN {0}.type IN ('integer', 'real') THEN {0}.json -> {0}.fullkey"
            " WHEN {0}.type IN ('array', 'object') THEN {0}.value END)"
        )
        return sql(template, Sql(self.alias))

    def child(self, name: str) -> Json:
        document = Sql(f"(CASE {self.alias}.type WHEN 'object' THEN {self.alias}.value END)")
        return Member(document, "$" + _label(name))


def _label(name: str) -> str:
    # Django writes the texts of JSON in ASCII, and SQLite compares keys as they are written.
    return f".{json.dumps(name)}"


class SQLite(Dialect):
    has_regex = True

    def attributes(self) -> Json:
        return Member(self.column, "$")

    def identities(self, namespace: str | None) -> Json:
        if namespace is None:
            made = f"json_group_object({self.table(IdentityNamespace, 'code')}, 1)"
        else:
            made = f"json_group_array(json_object('id', {self.table(Identity, 'value')}))"
        found = sql(f"(SELECT {made} {{}} HAVING count(*) > 0)", self.identities_from(namespace))
        return Member(found, "$")

    def null(self, kind: Kind) -> Sql:
        return Sql("NULL")

    def string(self, value: str) -> Sql:
        return param(value)

    def double(self, value: float) -> Sql:
        return param(value)

    def moment(self, value: int) -> Sql:
        return param(value)

    def shifted(self, moment: Sql, amount: int, unit: Unit) -> Sql:
        return sql("pql_shift({}, {}, {})", moment, param(amount), param(unit))

    def calculated(self, sign: str, left: Sql, right: Sql) -> Sql:
        return sql("pql_calculate({}, {}, {})", param(sign), left, right)

    def in_case(self, case: values.Case, text: Sql) -> Sql:
        return sql("pql_case({}, {})", param(case), text)

    def ascii_lower(self, text: Sql) -> Sql:
        return sql("lower({})", text)

    def trimmed(self, text: Sql) -> Sql:
        return sql("trim({}, {})", text, param(values.SPACES))

    def starts_with(self, text: Sql, part: Sql) -> Sql:
        return sql("(substr({0}, 1, length({1})) = {1})", text, part)

    def ends_with(self, text: Sql, part: Sql) -> Sql:
        # Counted from the front: from the end, 0 characters would be all of them.
        ending = "substr({0}, length({0}) - length({1}) + 1)"
        return sql(f"(length({{0}}) >= length({{1}}) AND {ending} = {{1}})", text, part)

    def contains(self, text: Sql, part: Sql) -> Sql:
        return sql("(instr({}, {}) > 0)", text, part)

    def like(self, text: Sql, pattern: str) -> Sql:
        return sql("pql_like({}, {})", param(pattern), text)

    def matches(self, text: Sql, pattern: str, *, ignore_case: bool) -> Sql:
        return sql("pql_matches({}, {}, {})", param(pattern), param(int(ignore_case)), text)
