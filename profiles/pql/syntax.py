"""The syntax tree of a rule. Everything else in this package reads it; only parse.py makes it from text.

A node is a *value* (something a profile has or a rule says) or a *condition* (something that is so or is not). What a
value is, a profile says at run time, but for those that say it themselves: their :class:`Kind`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal, TypeAlias

Comparison: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
Unit: TypeAlias = Literal["minute", "hour", "day", "week", "month", "year"]

COMPARISONS: tuple[Comparison, ...] = ("=", "!=", "<", "<=", ">", ">=")
UNITS: tuple[Unit, ...] = ("minute", "hour", "day", "week", "month", "year")


class Kind(StrEnum):
    """What a value is. JSON has no dates: a field is ``ANY``, and is read as a date beside a date."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    NULL = "null"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A part of a rule.

    Args:
        at: the character of the rule where it begins, from 0. Nodes that say the same are equal.
    """

    at: int = field(default=0, compare=False, repr=False)


# --- Values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text(Node):
    kind: ClassVar = Kind.TEXT
    value: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    kind: ClassVar = Kind.NUMBER
    value: int | float


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    kind: ClassVar = Kind.BOOLEAN
    value: bool


@dataclass(frozen=True, slots=True)
class Null(Node):
    kind: ClassVar = Kind.NULL


@dataclass(frozen=True, slots=True)
class Date(Node):
    """``date(2020, 3, 14)``: the first moment of the day, in UTC."""

    kind: ClassVar = Kind.TIME
    year: int
    month: int
    day: int


@dataclass(frozen=True, slots=True)
class Path(Node):
    """``person.name.firstName``, or ``X.field`` within ``exists(X from …)``. ``map.get("key")`` is one name more.

    Args:
        names: the keys, from the outside in. Empty: the variable itself.
        variable: whose they are; None: the profile's.
    """

    kind: ClassVar = Kind.ANY
    names: tuple[str, ...]
    variable: str | None = None

    @property
    def dotted(self) -> str:
        return ".".join((self.variable, *self.names) if self.variable else self.names)


@dataclass(frozen=True, slots=True)
class Identities(Node):
    """``identityMap.get("Email")``: the profile's identities in a namespace as a list of ``{"id": "…"}``.

    Null when there are none. Without a namespace: ``identityMap`` itself, null when the profile has no identity at all.
    """

    kind: ClassVar = Kind.ANY
    namespace: str | None


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    kind: ClassVar = Kind.NUMBER
    operator: Literal["+", "-", "*", "/", "%"]
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Altered(Node):
    """``a.toLowerCase()``, ``a.toUpperCase()``, ``a.trim()``."""

    kind: ClassVar = Kind.TEXT
    function: Literal["toLowerCase", "toUpperCase", "trim"]
    value: Value


@dataclass(frozen=True, slots=True)
class Count(Node):
    """``path.count()``: how many a list holds; null when it is no list."""

    kind: ClassVar = Kind.NUMBER
    value: Path | Identities


Constant: TypeAlias = Text | Number | Boolean | Date
Value: TypeAlias = Constant | Null | Path | Identities | Arithmetic | Altered | Count

# --- Conditions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Every(Node):
    """``a and b and …``: two or more, none of them ``Every``."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some(Node):
    """``a or b or …``: two or more, none of them ``Some``."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    term: Condition


@dataclass(frozen=True, slots=True)
class Truth(Node):
    """A value as a condition: it is ``true``."""

    value: Path | Boolean


@dataclass(frozen=True, slots=True)
class Compare(Node):
    operator: Comparison
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class OneOf(Node):
    """``a in ["x", "y"]``: constants of one kind, one or more."""

    value: Value
    choices: tuple[Constant, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Holds(Node):
    """``"x" in path``: a list of the profile holds the value."""

    value: Value
    items: Path | Identities
    negated: bool = False


@dataclass(frozen=True, slots=True)
class TextTest(Node):
    """``a.startsWith("x")`` and its like. The argument of ``like`` and ``matches`` is a :class:`Text`."""

    function: Literal["startsWith", "endsWith", "contains", "doesNotContain", "equals", "like", "matches"]
    value: Value
    argument: Value
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class IsNull(Node):
    value: Value
    negated: bool = False


@dataclass(frozen=True, slots=True)
class MapNotEmpty(Node):
    value: Path | Identities


@dataclass(frozen=True, slots=True)
class Exists(Node):
    """``exists(X from path where …)``: the condition is so for one of the list at least."""

    variable: str
    items: Path | Identities
    condition: Condition


@dataclass(frozen=True, slots=True)
class InSegment(Node):
    segment_id: str


@dataclass(frozen=True, slots=True)
class Now(Node):
    """The moment of the evaluation."""


@dataclass(frozen=True, slots=True)
class Today(Node):
    """The first moment of the day of the evaluation, in UTC."""


Moment: TypeAlias = Now | Today | Date | Path


@dataclass(frozen=True, slots=True)
class This(Node):
    """``path occurs this month``: in the calendar's month, in UTC. ``occurs today`` is this day."""

    value: Value
    unit: Unit


@dataclass(frozen=True, slots=True)
class Last(Node):
    """``path occurs last 7 days``: not after now, and at most so long before."""

    value: Value
    amount: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Occurs(Node):
    """``path occurs <= 3 days before now``: how long before a moment (or after it) compares so with three days.

    ``=``, ``<`` and ``<=`` are false on the moment's other side. ``occurs before now`` is ``> 0 days before now``.
    """

    value: Value
    comparison: Comparison
    amount: int
    unit: Unit
    direction: Literal["before", "after"]
    moment: Moment


Condition: TypeAlias = (
    Every | Some | Not | Truth | Compare | OneOf | Holds | TextTest | IsNull | MapNotEmpty | Exists | InSegment
    | This | Last | Occurs
)  # fmt: skip
