"""Whether a rule fits the schema: its fields exist, and what it asks of them fits their types."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, assert_never

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from profiles.models import RESERVED_KEYS, IdentityNamespace, SchemaField, Segment
from profiles.pql.errors import PQLError
from profiles.pql.parse import parse, suggestion
from profiles.pql.reads import reads
from profiles.pql.syntax import (
    Altered,
    Arithmetic,
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
    Not,
    Null,
    Number,
    Occurs,
    OneOf,
    Path,
    Some,
    Text,
    TextTest,
    This,
    Truth,
    Value,
)
from profiles.pql.unparse import unparse_value
from profiles.pql.values import namespace_key

# What a value can be by the schema: a kind of a constant, or what only profiles have. None: the schema does not say.
Type: TypeAlias = str
TEXT, NUMBER, BOOLEAN, TIME, LIST, MAP, GROUP = "text", "number", "boolean", "time", "list", "map", "group"

_BY_FIELD: dict[str, Type] = {
    SchemaField.Type.STRING: TEXT,
    SchemaField.Type.INTEGER: NUMBER,
    SchemaField.Type.NUMBER: NUMBER,
    SchemaField.Type.BOOLEAN: BOOLEAN,
    SchemaField.Type.DATE: TIME,
    SchemaField.Type.DATE_TIME: TIME,
    SchemaField.Type.ARRAY: LIST,
    SchemaField.Type.MAP: MAP,
    SchemaField.Type.OBJECT: GROUP,
}
_WORDS: dict[Type, str | Promise] = {
    TEXT: gettext_lazy("a text"),
    NUMBER: gettext_lazy("a number"),
    BOOLEAN: gettext_lazy("true or false"),
    TIME: gettext_lazy("a date"),
    LIST: gettext_lazy("a list"),
    MAP: gettext_lazy("a map"),
    GROUP: gettext_lazy("a group of fields"),
}


@dataclass(frozen=True)
class Schema:
    """What rules can speak of.

    Args:
        fields: types of :class:`profiles.models.SchemaField` by paths.
        segments: rules by ids of segments; empty for those without one.
        namespaces: codes of identity namespaces.
    """

    fields: Mapping[str, str]
    segments: Mapping[str, str]
    namespaces: Collection[str]

    @classmethod
    def stored(cls) -> Schema:
        """As the database has it now; three queries."""
        return cls(
            fields=dict(SchemaField.objects.order_by().values_list("path", "type")),
            segments=dict(Segment.objects.order_by().values_list("pk", "rule")),
            namespaces=set(IdentityNamespace.objects.order_by().values_list("code", flat=True)),
        )


def check(tree: Condition, text: str, schema: Schema, segment_id: str = "") -> None:
    """Refuse a rule that does not fit.

    Args:
        tree: of the rule.
        text: the rule as it was written: errors point into it.
        segment_id: the segment whose rule it is, or will be. No circle may lead back to it.

    Raises:
        PQLError: the first thing that does not fit.
    """
    _Checker(text, schema, segment_id).condition(tree)


class _Checker:
    def __init__(self, text: str, schema: Schema, segment_id: str) -> None:
        self.text = text
        self.schema = schema
        self.segment_id = segment_id
        self.namespaces = {namespace_key(code) for code in schema.namespaces}

    def refuse(self, node: Condition | Value, message: str) -> NoReturn:
        raise PQLError(message, self.text, node.at)

    def condition(self, node: Condition) -> None:
        match node:
            case Every(terms) | Some(terms):
                for term in terms:
                    self.condition(term)
            case Not(term):
                self.condition(term)
            case Truth(value):
                self.expect(value, BOOLEAN)
            case Compare():
                self.compare(node)
            case OneOf(value, choices):
                for choice in choices:
                    self.alike(value, choice)
            case Holds(value, items):
                self.expect(items, LIST)
                self.single(value)
            case TextTest(_function, value, argument):
                self.expect(value, TEXT)
                self.expect(argument, TEXT)
            case IsNull(value):
                self.type(value)
            case MapNotEmpty(value):
                self.expect(value, MAP, GROUP)
            case Exists(_variable, items, condition):
                self.expect(items, LIST)
                self.condition(condition)
            case InSegment():
                self.in_segment(node)
            case This(value) | Last(value):
                self.expect(value, TIME)
            case Occurs():
                self.expect(node.value, TIME)
                if isinstance(node.moment, Path):
                    self.expect(node.moment, TIME)
            case _:
                assert_never(node)

    # Types

    def type(self, node: Value) -> Type | None:
        match node:
            case Text() | Number() | Boolean() | Date():
                return str(node.kind)
            case Null():
                return None
            case Path():
                return self.path(node)
            case Identities(None):
                return MAP
            case Identities(namespace):
                if namespace_key(namespace or "") not in self.namespaces:
                    message = _("There is no identity namespace %(code)s.") % {"code": namespace}
                    self.refuse(node, message + suggestion(namespace or "", self.schema.namespaces))
                return LIST
            case Arithmetic(sign, left, right):
                self.expect(left, NUMBER)
                self.expect(right, NUMBER)
                if sign in "/%" and isinstance(right, Number) and right.value == 0:
                    self.refuse(right, _("Nothing can be divided by zero."))
                return NUMBER
            case Altered(_function, value):
                self.expect(value, TEXT)
                return TEXT
            case Count(value):
                self.expect(value, LIST)
                return NUMBER
            case _:
                assert_never(node)

    def path(self, node: Path) -> Type | None:
        if node.variable is not None:
            return None
        if node.names[0] in RESERVED_KEYS:
            self.refuse(node, _("Ask for a segment with %(example)s.") % {"example": 'inSegment("id")'})
        if known := self.schema.fields.get(node.dotted):
            return _BY_FIELD[known]
        self.check_unnamed(node)
        return None

    def check_unnamed(self, node: Path) -> None:
        """What the schema does not name must be data below a map."""
        for end in range(len(node.names) - 1, 0, -1):
            above = ".".join(node.names[:end])
            type_above = _BY_FIELD.get(self.schema.fields.get(above, ""))
            if type_above == MAP:
                return
            if type_above == LIST:
                message = _("%(path)s is a list. Ask for its members with %(example)s.")
                example = f"exists(x from {above} where x.{node.names[end]} = …)"
                self.refuse(node, message % {"path": above, "example": example})
        message = _("There is no field %(path)s in the schema.") % {"path": node.dotted}
        self.refuse(node, message + suggestion(node.dotted, self.schema.fields))

    def expect(self, node: Value, *wanted: Type) -> None:
        found = self.type(node)
        if found is not None and found not in wanted:
            self.refuse(
                node,
                _("%(value)s is %(found)s. Expected here: %(wanted)s.")
                % {"value": unparse_value(node), "found": _WORDS[found], "wanted": _WORDS[wanted[0]]},
            )

    def single(self, node: Value) -> Type | None:
        """The type of something that can be compared at all."""
        found = self.type(node)
        if found in (LIST, MAP, GROUP):
            self.refuse(
                node,
                _("%(value)s is %(found)s and can't be compared.")
                % {"value": unparse_value(node), "found": _WORDS[found or ""]},
            )
        return found

    def compare(self, node: Compare) -> None:
        found = self.alike(node.left, node.right)
        if found == BOOLEAN and node.operator not in ("=", "!="):
            self.refuse(node, _("What is true or false is compared with = or != only."))
        if found == TIME and not isinstance(node.left, Date) and not isinstance(node.right, Date):
            first, second = unparse_value(node.left), unparse_value(node.right)
            example = f"{first} occurs before {second}"
            self.refuse(node, _("Compare two dates of a profile with %(example)s.") % {"example": example})

    def alike(self, left: Value, right: Value) -> Type | None:
        """The type of two values that can be compared; None where the schema does not say."""
        first, second = self.single(left), self.single(right)
        if first is None or second is None:
            return first or second
        if first != second:
            self.refuse_pair(left, right, first, second)
        return first

    def refuse_pair(self, left: Value, right: Value, first: Type, second: Type) -> NoReturn:
        # What the rule says can be corrected, what the profile has can't.
        wrong = left if isinstance(left, Constant) and not isinstance(right, Constant) else right
        message = _("This compares %(first)s with %(second)s.")
        message %= {"first": _WORDS[first], "second": _WORDS[second]}
        if TIME in (first, second):
            message += " " + _("A day is written so: %(example)s.") % {"example": "date(2020, 3, 14)"}
        self.refuse(wrong, message)

    # Segments

    def in_segment(self, node: InSegment) -> None:
        if node.segment_id not in self.schema.segments:
            self.refuse(node, _("There is no segment with the id %(id)s.") % {"id": node.segment_id})
        if self.segment_id and (way := self.way_back(node.segment_id)):
            message = _("The segment would refer to itself: %(way)s.")
            self.refuse(node, message % {"way": " → ".join([self.segment_id, *way])})

    def way_back(self, first: str) -> Sequence[str]:
        """The segments that lead from this one to the rule's own; empty when none do."""
        ways, seen = [[first]], {first}
        while ways:
            way = ways.pop()
            if way[-1] == self.segment_id:
                return way
            asked = self.asked_by(way[-1]) - seen
            seen |= asked
            ways += [[*way, segment_id] for segment_id in sorted(asked)]
        return ()

    def asked_by(self, segment_id: str) -> frozenset[str]:
        try:
            return reads(parse(self.schema.segments.get(segment_id, ""))).segments
        except PQLError:  # none, or one from a time with other rules for rules
            return frozenset()
