"""Rules in PostgreSQL's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from profiles.models import Identity, IdentityNamespace
from profiles.pql import values
from profiles.pql.moments import DATE_TIME, DAY
from profiles.pql.sql import Dialect, Json, Sql, param, sql
from profiles.pql.syntax import Kind, Unit

# From here on an integer rounds to no double. A cast would raise.
TOO_LARGE = 2**1024 - 2**970

TYPES = {Kind.TEXT: "text", Kind.NUMBER: "float8", Kind.BOOLEAN: "boolean", Kind.TIME: "timestamp"}

BLOCK = 128  # characters


def given(expression: Sql, template: str, *parts: Sql) -> Sql:
    """What ``template`` says about ``it``, the expression: computed once, however often it is mentioned.

    OFFSET keeps the planner from writing the expression into each of these places.
    """
    return sql(f"(SELECT {template} FROM (SELECT {{}} AS it OFFSET 0) AS given)", *parts, expression)  # noqa: S608


@dataclass(frozen=True, slots=True)
class Jsonb(Json):
    value: Sql

    def child(self, name: str) -> Json:
        return Jsonb(sql("({} -> {}::text)", self.value, param(name)))

    def text(self) -> Sql:
        text = given(self.value, "CASE jsonb_typeof(it) WHEN 'string' THEN it #>> '{{}}' END")
        return sql('({} COLLATE "C")', text)

    def number(self) -> Sql:
        return given(
            self.value,
            "CASE jsonb_typeof(it) WHEN 'number' THEN"
            f" CASE WHEN abs(it::numeric) < {TOO_LARGE} THEN it::float8"
            " WHEN it::numeric > 0 THEN 'Infinity'::float8 ELSE '-Infinity'::float8 END END",
        )

    def boolean(self) -> Sql:
        return sql("(CASE {} WHEN 'true'::jsonb THEN TRUE WHEN 'false'::jsonb THEN FALSE END)", self.value)

    def time(self) -> Sql:
        # A moment is a timestamp in UTC. PostgreSQL rounds a fraction, and the rule is to cut it.
        pattern = DATE_TIME.replace("{", "{{").replace("}", "}}")
        return given(
            sql("({} #>> '{{}}') COLLATE \"C\"", self.value),
            f"CASE WHEN it !~ '{pattern}' THEN NULL ELSE"
            " (CASE WHEN length(it) = 10 THEN it || 'T00:00:00Z'"
            " WHEN length(it) > 27 THEN regexp_replace(it, '([.][0-9]{{6}})[0-9]+', '\\1')"
            " ELSE it END)::timestamptz AT TIME ZONE 'UTC' END",
        )

    def length(self) -> Sql:
        return given(self.value, "CASE jsonb_typeof(it) WHEN 'array' THEN jsonb_array_length(it)::float8 END")

    def present(self) -> Sql:
        return sql("({} <> 'null'::jsonb)", self.value)

    def is_list(self) -> Sql:
        return sql("(jsonb_typeof({}) = 'array')", self.value)

    def is_filled_map(self) -> Sql:
        return given(self.value, "jsonb_typeof(it) = 'object' AND it <> '{{}}'::jsonb")

    def any_item(self, alias: str, condition: Callable[[Json], Sql]) -> Sql:
        items = given(self.value, "CASE jsonb_typeof(it) WHEN 'array' THEN it END")
        return sql(
            f"EXISTS (SELECT 1 FROM jsonb_array_elements({{}}) AS {alias}(it) WHERE {{}})",  # noqa: S608
            items,
            condition(Jsonb(Sql(f"{alias}.it"))),
        )


class PostgreSQL(Dialect):
    has_regex = False  # its regular expressions are others

    def attributes(self) -> Json:
        return Jsonb(self.column)

    def identities(self, namespace: str | None) -> Json:
        if namespace is None:
            made = f"jsonb_object_agg({self.table(IdentityNamespace, 'code')}, true)"
        else:
            made = f"jsonb_agg(jsonb_build_object('id', {self.table(Identity, 'value')}))"
        return Jsonb(sql(f"(SELECT {made} {{}})", self.identities_from(namespace)))

    def null(self, kind: Kind) -> Sql:
        return Sql(f"NULL::{TYPES[kind]}")

    def string(self, value: str) -> Sql:
        return sql("{}::text", param(value))

    def double(self, value: float) -> Sql:
        return sql("{}::float8", param(value))

    def moment(self, value: int) -> Sql:
        days, time = divmod(value, DAY)
        return sql(
            "(TIMESTAMP '1970-01-01' + make_interval(days => {}, secs => {}))",
            param(days),
            param(time / 1_000_000),
        )

    def shifted(self, moment: Sql, amount: int, unit: Unit) -> Sql:
        name = "mins" if unit == "minute" else f"{unit}s"
        return sql(f"({{}} + make_interval({name} => {{}}))", moment, param(amount))

    def calculated(self, sign: str, left: Sql, right: Sql) -> Sql:
        fits = "(abs({0}) BETWEEN {1} AND {2} OR {0} = 0)"
        conditions = [fits.format(name, values.SMALLEST, values.LARGEST) for name in ("a", "b")]
        result = f"a {sign} b"
        if sign in "/%":
            conditions.append("b <> 0")
        if sign == "%":
            whole = f"({{0}} = trunc({{0}}) AND abs({{0}}) <= {values.LARGEST_WHOLE})"
            conditions += [whole.format(name) for name in ("a", "b")]
            result = "(a::bigint %% b::bigint)::float8"
        return sql(
            f"(SELECT CASE WHEN {' AND '.join(conditions)} THEN {result} END"  # noqa: S608
            " FROM (SELECT {} AS a, {} AS b OFFSET 0) AS given)",
            left,
            right,
        )

    def in_case(self, case: values.Case, text: Sql) -> Sql:
        # translate() looks at every letter of its list for every character: it is spared those who have no use for it.
        ascii_case = "upper" if case == "upper" else "lower"
        letters, changed = alphabet(case)
        result = given(
            text,
            f"CASE WHEN octet_length(it) = length(it) OR it !~ {{}} THEN {ascii_case}(it)"
            " ELSE translate(it, {}, {}) END",
            param(f"[{blocks(letters)}]"),
            self.string(letters),
            self.string(changed),
        )
        return sql('({} COLLATE "C")', result)

    def ascii_lower(self, text: Sql) -> Sql:
        return sql('lower({} COLLATE "C")', text)

    def trimmed(self, text: Sql) -> Sql:
        return sql("btrim({}, {})", text, self.string(values.SPACES))

    def starts_with(self, text: Sql, part: Sql) -> Sql:
        return sql("starts_with({}, {})", text, part)

    def ends_with(self, text: Sql, part: Sql) -> Sql:
        return sql("(right({0}, length({1})) = {1})", text, part)

    def contains(self, text: Sql, part: Sql) -> Sql:
        return sql("(strpos({}, {}) > 0)", text, part)

    def like(self, text: Sql, pattern: str) -> Sql:
        return sql("({} LIKE {} ESCAPE '')", text, self.string(pattern))

    def matches(self, text: Sql, pattern: str, *, ignore_case: bool) -> Sql:
        raise NotImplementedError


@cache
def alphabet(case: values.Case) -> tuple[str, str]:
    """The letters that a case changes, and what they become, in the same order."""
    table = values.case_table(case)
    return "".join(map(chr, table)), "".join(table.values())


@cache
def blocks(letters: str) -> str:
    """Ranges of characters, as a regular expression has them in brackets, with all these letters beyond ASCII."""
    numbers = sorted({ord(letter) // BLOCK for letter in letters if not letter.isascii()})
    ranges = ""
    for _distance, members in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _place, number in members]
        ranges += f"{chr(run[0] * BLOCK)}-{chr((run[-1] + 1) * BLOCK - 1)}"
    return ranges
