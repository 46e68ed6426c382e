"""A rule's tree → the builder's parts, and a row → its condition. The one is the other's inverse, part for part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from django.utils.translation import gettext as _

from profiles.models import SchemaField
from profiles.pql import Rule
from profiles.pql.syntax import (
    COMPARISONS,
    Boolean,
    Compare,
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
    Last,
    MapNotEmpty,
    Moment,
    Not,
    Now,
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
from profiles.segmentation.builder.operators import OPERATORS
from profiles.segmentation.builder.parts import MAX_DEPTH, MAX_ROWS, MAX_VALUE, Group, Mode, Part, Row

IDENTITY_MAP, MEMBERSHIP = "identityMap", "segmentMembership"
ENTRY = "x"  # what an entry of a list is called in the rules made here
IDENTITY = "i"  # an identity, in a row that asks for one


class TooRich(Exception):
    """The builder can't show this rule; the message, for people, says why."""

    @classmethod
    def of(cls, node: Condition) -> TooRich:
        return cls(_("It has no form for this part: %(part)s") % {"part": Rule(node, "")})


# --- Parts → tree --------------------------------------------------------------------------------------------------


def combine(mode: Mode, terms: Sequence[Condition]) -> Condition:
    """The condition that a group is; of one term at least."""
    kind = Every if mode in ("all", "not-all") else Some
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, kind) else (term,))]
    condition = kind(tuple(flat)) if len(flat) > 1 else flat[0]
    return Not(condition) if mode in ("none", "not-all") else condition


def each(source: str, variable: str, condition: Condition) -> Condition:
    """The condition that a group over the entries of a list is."""
    return Exists(variable, _reference(source, "", ""), condition)


def condition_of(operator: str, said: Mapping[str, Any], variable: str = "") -> Condition:
    """What a row asks.

    Args:
        operator: a key of OPERATORS but ``each``.
        said: the cleaned inputs of its form: every one that the operator needs, and ``subject`` and ``below``.
        variable: of the entry that it is about, without a subject.
    """
    if operator.endswith("member"):
        condition: Condition = InSegment(said["value"])
        return Not(condition) if operator == "not member" else condition
    if operator.startswith("some "):
        asked = {**said, "subject": "", "below": "id"}
        found = condition_of(f"text {operator.removeprefix('some ')}", asked, IDENTITY)
        return Exists(IDENTITY, _reference(said["subject"], "", ""), found)
    subject = _reference(said["subject"], said["below"], variable)
    kind, _space, name = operator.partition(" ")
    value: Any = said.get("value")
    match kind, name:
        case (("known" | "unknown"), ""):
            return IsNull(subject, kind == "known")
        case "filled", "":
            return MapNotEmpty(subject)
        case "count", "":
            return Compare(said["comparison"], Count(subject), Number(value))
        case (("holds" | "lacks"), _):
            return Holds(_constant(value), subject, kind == "lacks")
        case "text", "=" if said["case"]:
            return TextTest("equals", subject, Text(value), ignore_case=True)
        case (("text" | "number" | "day" | "truth"), ("in" | "not in")):
            return OneOf(subject, tuple(map(_constant, value)), name == "not in")
        case (("text" | "number" | "day" | "truth"), _) if name in COMPARISONS:
            return Compare(name, subject, _constant(value))
        case "text", _:
            return TextTest(name, subject, Text(value), said["case"])  # type: ignore[arg-type]
    match kind:
        case "true":
            return Truth(subject)  # type: ignore[arg-type]  # what is no field, check refuses
        case "this":
            return This(subject, said["unit"])
        case "last":
            return Last(subject, said["amount"], said["unit"])
        case "before" | "after":
            return Occurs(subject, ">", 0, "day", kind, _moment(said))
        case _:
            distance = said["comparison"], said["amount"], said["unit"], said["direction"]
            return Occurs(subject, *distance, _moment(said))


def _reference(subject: str, below: str, variable: str) -> Path | Identities:
    first, dot, namespace = subject.partition(".")
    if first == IDENTITY_MAP:
        return Identities(namespace if dot else None)
    names = tuple(name for path in (subject, below) if path for name in path.split("."))
    return Path(names, None if subject else variable)


def _constant(value: Any) -> Constant:
    match value:
        case bool():
            return Boolean(value)
        case str():
            return Text(value)
        case date():
            return Date(value.year, value.month, value.day)
        case _:
            return Number(value)


def _moment(said: Mapping[str, Any]) -> Moment:
    match said["moment"]:
        case "now":
            return Now()
        case "today":
            return Today()
        case _:
            return Date(said["day"].year, said["day"].month, said["day"].day)


# --- Tree → parts --------------------------------------------------------------------------------------------------


def parts_of(tree: Condition, fields: Mapping[str, str]) -> Group:
    """The builder's form of a rule.

    Args:
        fields: types of the schema's fields by paths: what stands below a map has an input of its own.

    Raises:
        TooRich: the builder can't show it.
    """
    root = _Reader(fields).group(tree)
    if root.depth > MAX_DEPTH:
        raise TooRich(_("Its groups are nested deeper than %(limit)s levels.") % {"limit": MAX_DEPTH})
    if sum(1 for _row in root.rows()) > MAX_ROWS:
        raise TooRich(_("It has more than %(limit)s conditions.") % {"limit": MAX_ROWS})
    return root


class _Reader:
    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        self.variable = ""

    def group(self, node: Condition) -> Group:
        match node:
            case Every(terms):
                return Group("all", [self.part(term) for term in terms])
            case Some(terms):
                return Group("any", [self.part(term) for term in terms])
            case Not(InSegment()):
                return Group("all", [self.part(node)])
            case Not(Some(terms)):
                return Group("none", [self.part(term) for term in terms])
            case Not(Every(terms)):
                return Group("not-all", [self.part(term) for term in terms])
            case Not(term):
                return Group("none", [self.part(term)])
            case _:
                return Group("all", [self.part(node)])

    def part(self, node: Condition) -> Part:
        match node:
            case Not(InSegment(segment_id)):
                return self.row(node, MEMBERSHIP, "not member", value=_plain(node, segment_id))
            case Every() | Some() | Not():
                return self.group(node)
            case Exists():
                return self.exists(node)
            case _:
                return self.condition(node)

    def exists(self, node: Exists) -> Part:
        if self.variable:
            raise TooRich.of(node)
        source = ".".join(filter(None, self.subject(node, node.items)))
        self.variable = node.variable
        try:
            group = self.group(node.condition)
        finally:
            self.variable = ""
        match node, group:
            case Exists(variable=name, items=Identities(str())), Group("all", [Row() as row]) if (
                name == IDENTITY
            ):
                some = row.operator.replace("text ", "some ", 1)
                if not row.subject and row.below == "id" and some in OPERATORS and some.startswith("some "):
                    return Row({**row.data, "subject": source, "below": "", "operator": some})
        group.source, group.variable = source, node.variable
        return group

    def condition(self, node: Condition) -> Row:
        match node:
            case InSegment(segment_id):
                return self.row(node, MEMBERSHIP, "member", value=_plain(node, segment_id))
            case Truth(Path() as path):
                return self.row(node, path, "true")
            case Compare(comparison, Count(value), Number(number)):
                return self.row(node, value, "count", comparison=comparison, value=repr(number))
            case Compare(comparison, Path() as path, constant):
                kind, said = self.constant(node, constant)
                return self.row(node, path, f"{kind} {comparison}", value=said)
            case OneOf(Path() as path, choices, negated):
                kinds, values = zip(*(self.constant(node, choice) for choice in choices), strict=True)
                name = f"{kinds[0]} {'not in' if negated else 'in'}"
                return self.row(node, path, name, value="\n".join(values))
            case Holds(Text() | Number() as constant, items, negated):
                kind, said = self.constant(node, constant)
                return self.row(node, items, f"{'lacks' if negated else 'holds'} {kind}", value=said)
            case TextTest("equals", Path() as path, Text(text), True):
                return self.row(node, path, "text =", value=_plain(node, text), case="on")
            case TextTest(function, Path() as path, Text(text), ignore_case) if function != "equals":
                case = {"case": "on"} if ignore_case else {}
                return self.row(node, path, f"text {function}", value=_plain(node, text), **case)
            case IsNull(Path() | Identities() as value, negated):
                return self.row(node, value, "known" if negated else "unknown")
            case MapNotEmpty(value):
                return self.row(node, value, "filled")
            case This(Path() as path, unit):
                return self.row(node, path, "this", unit=unit)
            case Last(Path() as path, amount, unit):
                return self.row(node, path, "last", amount=str(amount), unit=unit)
            case Occurs(Path() as path, ">", 0, "day", direction, moment):
                return self.row(node, path, direction, **self.moment(node, moment))
            case Occurs(Path() as path, comparison, amount, unit, direction, moment):
                distance = {"comparison": comparison, "amount": str(amount), "unit": unit}
                direct = {"direction": direction, **self.moment(node, moment)}
                return self.row(node, path, "distance", **distance, **direct)
            case _:
                raise TooRich.of(node)

    def row(self, node: Condition, subject: Path | Identities | str, operator: str, **said: str) -> Row:
        if operator not in OPERATORS:
            raise TooRich.of(node)
        path, below = (subject, "") if isinstance(subject, str) else self.subject(node, subject)
        return Row({"subject": path, "below": below, "operator": operator, **said})

    def subject(self, node: Condition, value: Path | Identities) -> tuple[str, str]:
        if isinstance(value, Identities):
            if value.namespace is None:
                return IDENTITY_MAP, ""
            return f"{IDENTITY_MAP}.{_plain(node, value.namespace)}", ""
        for name in value.names:
            if "." in name or name != _plain(node, name):
                raise TooRich.of(node)
        if value.variable is not None:
            if value.variable != self.variable:
                raise TooRich.of(node)
            return "", ".".join(value.names)
        if value.names[0] in (IDENTITY_MAP, MEMBERSHIP):
            raise TooRich.of(node)
        for end in range(len(value.names) - 1, 0, -1):
            above = ".".join(value.names[:end])
            if self.fields.get(above) == SchemaField.Type.MAP:
                return above, ".".join(value.names[end:])
        return ".".join(value.names), ""

    def constant(self, node: Condition, constant: Value) -> tuple[str, str]:
        match constant:
            case Text(text):
                return "text", _plain(node, text)
            case Number(number):
                return "number", repr(number)
            case Boolean(truth):
                return "truth", "true" if truth else "false"
            case Date(year, month, day):
                return "day", date(year, month, day).isoformat()
            case _:
                raise TooRich.of(node)

    def moment(self, node: Condition, moment: Moment) -> dict[str, str]:
        match moment:
            case Now():
                return {"moment": "now"}
            case Today():
                return {"moment": "today"}
            case Date():
                return {"moment": "day", "day": self.constant(node, moment)[1]}
            case _:
                raise TooRich.of(node)


def _plain(node: Condition, text: str) -> str:
    """A text as an input of a page keeps it: in one line, with nothing around it."""
    if not text or len(text) > MAX_VALUE or text != text.strip() or re.search(r"[\x00-\x1f]", text):
        raise TooRich.of(node)
    return text
