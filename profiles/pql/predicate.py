"""Tree → a Python function of one profile: for data that streams in. Compiled once, then called a million times.

Every node becomes a closure; what is known beforehand (constants, patterns, sets, how two kinds compare) is worked out
when it is made. values.py and moments.py say what the closures compute with.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, assert_never

from profiles.pql import moments, values
from profiles.pql.moments import EPOCH, instant
from profiles.pql.syntax import (
    Altered,
    Arithmetic,
    Boolean,
    Compare,
    Comparison,
    Condition,
    Constant,
    Count,
    Date,
    Every,
    Exists,
    Holds,
    Identities,
    InSegment,
    IsNull,
    Kind,
    Last,
    MapNotEmpty,
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
    Value,
)


@dataclass(slots=True)
class Subject:
    """One profile as rules see it.

    Args:
        attributes: its XDM tree.
        identities: values by :func:`profiles.pql.values.namespace_key` of their namespaces' codes.
        segments: ids of the segments that it is in (realized or existing).
        now: when this is asked; aware. Share one object in a batch: what follows from it is kept.
        bound: variables of ``exists``; for the predicate itself.
    """

    attributes: Mapping[str, Any]
    identities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    segments: Collection[str] = frozenset()
    now: datetime = EPOCH
    bound: Mapping[str, Any] = field(default_factory=dict)


Predicate: TypeAlias = Callable[[Subject], bool]
Reader: TypeAlias = Callable[[Subject], Any]

_COMPARE: dict[Comparison, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# How to see what a profile holds as a value of a kind; None where it is none.
_AS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: values.text,
    Kind.NUMBER: values.number,
    Kind.BOOLEAN: values.boolean,
    Kind.TIME: instant,
}


def compile_condition(node: Condition) -> Predicate:
    """The function that says whether ``node`` is so. It never raises for what a profile holds."""
    match node:
        case Every(terms):
            return _every([compile_condition(term) for term in terms])
        case Some(terms):
            return _some([compile_condition(term) for term in terms])
        case Not(term):
            denied = compile_condition(term)
            return lambda subject: not denied(subject)
        case Truth(value):
            read = _reader(value)
            return lambda subject: read(subject) is True
        case Compare(comparison, left, right):
            return _compare(comparison, left, right)
        case OneOf():
            return _one_of(node)
        case Holds():
            return _holds(node)
        case TextTest():
            return _text_test(node)
        case IsNull(value, negated):
            read = _reader(value)
            if negated:
                return lambda subject: read(subject) is not None
            return lambda subject: read(subject) is None
        case MapNotEmpty(value):
            read = _reader(value)
            return lambda subject: type(found := read(subject)) is dict and bool(found)
        case Exists():
            return _exists(node)
        case InSegment(segment_id):
            return lambda subject: segment_id in subject.segments
        case This() | Last():
            return _in_period(node)
        case Occurs():
            return _occurs(node)
        case _:
            assert_never(node)


def _every(terms: list[Predicate]) -> Predicate:
    if len(terms) == 2:
        first, second = terms
        return lambda subject: first(subject) and second(subject)

    def test(subject: Subject) -> bool:
        for term in terms:  # noqa: SIM110  (a generator costs more than all the rest)
            if not term(subject):
                return False
        return True

    return test


def _some(terms: list[Predicate]) -> Predicate:
    if len(terms) == 2:
        first, second = terms
        return lambda subject: first(subject) or second(subject)

    def test(subject: Subject) -> bool:
        for term in terms:  # noqa: SIM110
            if term(subject):
                return True
        return False

    return test


# --- Values --------------------------------------------------------------------------------------------------------


def _reader(node: Value) -> Reader:
    """Reads a value as the profile holds it; None is null."""
    match node:
        case Text() | Number() | Boolean() | Date():
            known = constant(node)
            return lambda subject: known
        case Null():
            return lambda subject: None
        case Path(names, variable):
            return _path(names) if variable is None else _bound_path(variable, names)
        case Identities(namespace):
            return _identities(namespace)
        case Arithmetic(sign, left, right):
            first, second = _typed(left, Kind.NUMBER), _typed(right, Kind.NUMBER)
            return lambda subject: values.calculate(sign, first(subject), second(subject))
        case Altered(function, value):
            return _altered(function, _typed(value, Kind.TEXT))
        case Count(value):
            read = _reader(value)
            return lambda subject: float(len(found)) if type(found := read(subject)) is list else None
        case _:
            assert_never(node)


def constant(node: Constant) -> Any:
    """What a constant is when values of its kind are compared."""
    match node:
        case Number(number):
            return float(number)
        case Date():
            return moments.from_date(node)
        case Text(value) | Boolean(value):
            return value


def _typed(node: Value, kind: Kind) -> Reader:
    """Reads a value as one of a kind; null when it is of another."""
    read = _reader(node)
    if node.kind == kind:
        return read
    if node.kind != Kind.ANY:
        return lambda subject: None
    convert = _AS[kind]
    return lambda subject: convert(read(subject))


def _path(names: Sequence[str]) -> Reader:
    if len(names) == 1:
        [name] = names
        return lambda subject: subject.attributes.get(name)
    if len(names) == 2:
        outer, inner = names
        return lambda subject: (
            found.get(inner) if type(found := subject.attributes.get(outer)) is dict else None
        )
    first, *others = names

    def read(subject: Subject) -> Any:
        value = subject.attributes.get(first)
        for name in others:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value

    return read


def _bound_path(variable: str, names: Sequence[str]) -> Reader:
    def read(subject: Subject) -> Any:
        value = subject.bound[variable]
        for name in names:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value

    return read


def _identities(namespace: str | None) -> Reader:
    if namespace is None:
        return lambda subject: {key: found for key, found in subject.identities.items() if found} or None
    key = values.namespace_key(namespace)
    return lambda subject: [{"id": value} for value in subject.identities.get(key, ())] or None


def _altered(function: str, read: Reader) -> Reader:
    if function == "trim":
        return lambda subject: None if (value := read(subject)) is None else value.strip(values.SPACES)
    case: values.Case = "lower" if function == "toLowerCase" else "upper"
    return lambda subject: None if (value := read(subject)) is None else values.in_case(case, value)


# --- Comparing -----------------------------------------------------------------------------------------------------


def compared_as(left: Kind, right: Kind, *, ordered: bool) -> tuple[Kind, ...]:
    """The kinds as which two values are compared: that of the one that says it; none when they do not fit.

    Two fields are compared as whatever both of them hold; there are no dates among them, JSON has none.
    """
    kinds: tuple[Kind, ...]
    if Kind.NULL in (left, right):
        kinds = ()
    elif left == right == Kind.ANY:
        kinds = (Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)
    elif Kind.ANY in (left, right) or left == right:
        kinds = (right if left == Kind.ANY else left,)
    else:
        kinds = ()
    return tuple(kind for kind in kinds if not ordered or kind != Kind.BOOLEAN)


def _compare(comparison: Comparison, left: Value, right: Value) -> Predicate:
    kinds = compared_as(left.kind, right.kind, ordered=comparison not in ("=", "!="))
    compare = _COMPARE[comparison]
    if len(kinds) == 1 and isinstance(right, Constant):
        read, known = _typed(left, kinds[0]), constant(right)
        return lambda subject: (value := read(subject)) is not None and compare(value, known)
    ways = [(_typed(left, kind), _typed(right, kind)) for kind in kinds]

    def test(subject: Subject) -> bool:
        for read, read_other in ways:
            value = read(subject)
            if value is not None:
                other = read_other(subject)
                return other is not None and bool(compare(value, other))
        return False

    return test


def _one_of(node: OneOf) -> Predicate:
    kind = node.choices[0].kind
    choices = frozenset(constant(choice) for choice in node.choices)
    read = _typed(node.value, kind)
    if node.negated:
        return lambda subject: (value := read(subject)) is not None and value not in choices
    return lambda subject: read(subject) in choices


def _holds(node: Holds) -> Predicate:
    kinds = compared_as(node.value.kind, Kind.ANY, ordered=False)
    read_items, negated = _reader(node.items), node.negated
    ways = [(_typed(node.value, kind), _AS[kind]) for kind in kinds]

    def test(subject: Subject) -> bool:
        items = read_items(subject)
        if type(items) is not list:
            return False
        for read, convert in ways:
            value = read(subject)
            if value is not None:
                return any(convert(item) == value for item in items) is not negated
        return False

    return test


# --- Texts ---------------------------------------------------------------------------------------------------------

_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "equals": operator.eq,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
    "doesNotContain": lambda value, part: part not in value,
}


def _text_test(node: TextTest) -> Predicate:
    read = _typed(node.value, Kind.TEXT)
    fold: Callable[[str], str] = values.fold if node.ignore_case else lambda value: value
    if node.function in ("like", "matches"):
        describes = pattern(node)
        return lambda subject: (value := read(subject)) is not None and describes(value)
    test = _TEXT_TESTS[node.function]
    if isinstance(node.argument, Text):
        known = fold(node.argument.value)
        if node.ignore_case:
            return lambda subject: (value := read(subject)) is not None and test(fold(value), known)
        return lambda subject: (value := read(subject)) is not None and test(value, known)
    read_argument = _typed(node.argument, Kind.TEXT)
    return lambda subject: (
        (value := read(subject)) is not None
        and (argument := read_argument(subject)) is not None
        and test(fold(value), fold(argument))
    )


def pattern(node: TextTest) -> values.TextPredicate:
    """What ``like`` or ``matches`` asks of a text."""
    assert isinstance(node.argument, Text)
    if node.function == "matches":
        return values.regex(node.argument.value, ignore_case=node.ignore_case)
    if not node.ignore_case:
        return values.like(node.argument.value)
    describes = values.like(values.fold(node.argument.value))
    return lambda value: describes(values.fold(value))


# --- Lists ---------------------------------------------------------------------------------------------------------


def _exists(node: Exists) -> Predicate:
    read_items, condition, variable = _reader(node.items), compile_condition(node.condition), node.variable

    def test(subject: Subject) -> bool:
        items = read_items(subject)
        if type(items) is not list:
            return False
        bound = dict(subject.bound)
        inner = Subject(subject.attributes, subject.identities, subject.segments, subject.now, bound)
        for item in items:
            bound[variable] = item
            if condition(inner):
                return True
        return False

    return test


# --- Time ----------------------------------------------------------------------------------------------------------


def _in_period(node: This | Last) -> Predicate:
    read = _typed(node.value, Kind.TIME)
    bounds = _by_now(lambda now: moments.period(node, now))

    def test(subject: Subject) -> bool:
        at = read(subject)
        if at is None:
            return False
        first, last = bounds(subject)
        return bool(first <= at <= last)

    return test


def _occurs(node: Occurs) -> Predicate:
    read = _typed(node.value, Kind.TIME)
    amount, to_shifted, to_named = moments.on_the_axis(node)
    unit = node.unit
    compare = _COMPARE[to_shifted]
    near = _COMPARE[to_named] if to_named else None

    def around(named: int | None) -> tuple[int, int] | None:
        return None if named is None else (moments.shift(named, amount, unit), named)

    moment = node.moment
    if isinstance(moment, Path):
        read_moment = _typed(moment, Kind.TIME)
        at_moment: Reader = lambda subject: around(read_moment(subject))  # noqa: E731
    else:
        at_moment = _by_now(lambda now: around(named_moment(moment, now)))

    def test(subject: Subject) -> bool:
        at = read(subject)
        if at is None:
            return False
        both = at_moment(subject)
        if both is None:
            return False
        shifted, named = both
        return compare(at, shifted) and (near is None or near(at, named))

    return test


def named_moment(node: Now | Today | Date, now: int) -> int:
    match node:
        case Now():
            return now
        case Today():
            return moments.start_of_day(now)
        case Date():
            return moments.from_date(node)


def _by_now(compute: Callable[[int], Any]) -> Reader:
    """What follows from the time of evaluation; kept for as long as the same one is asked about."""
    kept: tuple[datetime, Any] | None = None

    def read(subject: Subject) -> Any:
        nonlocal kept
        now = subject.now
        last = kept
        if last is not None and last[0] is now:
            return last[1]
        result = compute(moments.from_datetime(now))
        kept = (now, result)
        return result

    return read
