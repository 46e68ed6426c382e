"""Tree → text: the one way to write a rule. Parsing it gives the same tree."""

from __future__ import annotations

import re
from typing import assert_never

from profiles.pql.syntax import (
    Altered,
    Arithmetic,
    Boolean,
    Compare,
    Condition,
    Count,
    Date,
    Every,
    Exists,
    Holds,
    Identities,
    InSegment,
    IsNull,
    Last,
    MapNotEmpty,
    Moment,
    Not,
    Now,
    Null,
    Number,
    Occurs,
    OneOf,
    Path,
    Some,
    Text,
    TextTest,
    This,
    Today,
    Truth,
    Unit,
    Value,
)

_NAME = re.compile(r"[^\W\d]\w*").fullmatch
# Where a name stands alone, these would be something else.
_RESERVED = {"not", "true", "false", "null", "now", "today"}


def unparse(condition: Condition) -> str:
    return _Writer().condition(condition)


def unparse_value(value: Value) -> str:
    return _Writer().value(value)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Writer:
    def __init__(self) -> None:
        self.variables: list[str] = []

    def condition(self, node: Condition) -> str:
        match node:
            case Some(terms):
                return " or ".join(map(self.condition, terms))
            case Every(terms):
                return " and ".join(
                    f"({self.condition(term)})" if isinstance(term, Some) else self.condition(term)
                    for term in terms
                )
            case Not(Truth() | IsNull() | MapNotEmpty() | Exists() | InSegment() as term):
                return f"not {self.condition(term)}"
            case Not(term):
                return f"not ({self.condition(term)})"
            case Truth(value):
                return self.value(value)
            case Compare(operator, left, right):
                return f"{self.value(left)} {operator} {self.value(right)}"
            case OneOf(value, choices, negated):
                words = "not in" if negated else "in"
                return f"{self.value(value)} {words} [{', '.join(map(self.value, choices))}]"
            case Holds(value, items, negated):
                words = "not in" if negated else "in"
                return f"{self.value(value)} {words} {self.value(items)}"
            case TextTest():
                return self.text_test(node)
            case IsNull(value, negated):
                return f"{'isNotNull' if negated else 'isNull'}({self.value(value)})"
            case MapNotEmpty(value):
                return f"mapNotEmpty({self.value(value)})"
            case Exists(variable, items, condition):
                source = self.value(items)
                self.variables.append(variable)
                inner = self.condition(condition)
                self.variables.pop()
                return f"exists({variable} from {source} where {inner})"
            case InSegment(segment_id):
                return f"inSegment({quoted(segment_id)})"
            case This(value, unit):
                return f"{self.value(value)} occurs {'today' if unit == 'day' else f'this {unit}'}"
            case Last(value, amount, unit):
                return f"{self.value(value)} occurs last {_span(amount, unit)}"
            case Occurs(value, comparison, amount, unit, direction, moment):
                distance = f"{comparison} {_span(amount, unit)} " if (comparison, amount) != (">", 0) else ""
                return f"{self.value(value)} occurs {distance}{direction} {self.moment(moment)}"
            case _:
                assert_never(node)

    def text_test(self, node: TextTest) -> str:
        value, argument = self.value(node.value), self.value(node.argument)
        case = ", false" if node.ignore_case else ""
        if node.function == "equals":
            return f"equals({value}, {argument}{case})"
        if node.function == "like" and not case:
            return f"{value} like {argument}"
        return f"{_receiver(node.value, value)}.{node.function}({argument}{case})"

    def moment(self, node: Moment) -> str:
        match node:
            case Now():
                return "now"
            case Today():
                return "today"
            case Date() | Path():
                return self.value(node)
            case _:
                assert_never(node)

    def value(self, node: Value) -> str:
        match node:
            case Text(value):
                return quoted(value)
            case Number(number):
                return repr(number)
            case Boolean(truth):
                return "true" if truth else "false"
            case Null():
                return "null"
            case Date(year, month, day):
                return f"date({year}, {month}, {day})"
            case Path():
                return self.path(node)
            case Identities(None):
                return "identityMap"
            case Identities(namespace):
                return f"identityMap.get({quoted(namespace or '')})"
            case Arithmetic(operator, left, right):
                return (
                    f"{self.operand(left, operator)} {operator} {self.operand(right, operator, right=True)}"
                )
            case Altered(function, value):
                return f"{_receiver(value, self.value(value))}.{function}()"
            case Count(value):
                return f"{self.value(value)}.count()"
            case _:
                assert_never(node)

    def operand(self, node: Value, operator: str, *, right: bool = False) -> str:
        text = self.value(node)
        if not isinstance(node, Arithmetic):
            return text
        inner, outer = node.operator in "*/%", operator in "*/%"
        return f"({text})" if (right and inner == outer) or inner < outer else text

    def path(self, node: Path) -> str:
        head, names = node.variable, node.names
        if head is None:
            head, *rest = names
            names = tuple(rest)
            if head.lower() in _RESERVED or head in self.variables or not _NAME(head):
                head, names = "$1", node.names
        return head + "".join(f".{name}" if _NAME(name) else f".get({quoted(name)})" for name in names)


def _receiver(node: Value, text: str) -> str:
    return f"({text})" if isinstance(node, Arithmetic) else text


def _span(amount: int, unit: Unit) -> str:
    return f"{amount} {unit}{'' if amount == 1 else 's'}"
