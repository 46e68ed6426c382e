"""What can be asked of a field, by its type: the table that the builder's forms and trees go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from profiles.models import SchemaField

SEGMENT, IDENTITY, UNKNOWN = "segment", "identity", ""  # types that no field of the schema has


@dataclass(frozen=True, slots=True)
class Operator:
    """A way to ask.

    Args:
        label: follows the name of the field.
        inputs: what else has to be said, in the order of reading; forms.py has them by name.
    """

    label: str | Promise
    inputs: tuple[str, ...] = ()


_TESTS: dict[str, str | Promise] = {
    "contains": _("contains"),
    "doesNotContain": _("does not contain"),
    "startsWith": _("starts with"),
    "endsWith": _("ends with"),
    "like": _("looks like (% and _ stand for any)"),
    "matches": _("matches the regular expression"),
}
_SOME = ("contains", "startsWith", "endsWith", "like", "matches")
_TEXT = {
    "text =": Operator(_("is"), ("text", "case")),
    "text !=": Operator(_("is not"), ("text",)),
    "text in": Operator(_("is one of"), ("texts",)),
    "text not in": Operator(_("is none of"), ("texts",)),
    **{f"text {test}": Operator(label, ("text", "case")) for test, label in _TESTS.items()},
}
_NUMBER = {
    "number =": Operator(_("equals"), ("number",)),
    "number !=": Operator(_("does not equal"), ("number",)),
    "number >": Operator(_("is more than"), ("number",)),
    "number >=": Operator(_("is at least"), ("number",)),
    "number <": Operator(_("is less than"), ("number",)),
    "number <=": Operator(_("is at most"), ("number",)),
    "number in": Operator(_("is one of the numbers"), ("numbers",)),
    "number not in": Operator(_("is none of the numbers"), ("numbers",)),
}
_TRUTH = {
    "true": Operator(_("is true")),
    "truth =": Operator(_("is"), ("truth",)),
    "truth !=": Operator(_("is not"), ("truth",)),
}
_TIME = {
    "last": Operator(_("is in the last"), ("amount", "unit")),
    "this": Operator(_("is in this"), ("unit",)),
    "before": Operator(_("is before"), ("moment", "day")),
    "after": Operator(_("is after"), ("moment", "day")),
    "distance": Operator(
        _("is … before or after"), ("comparison", "amount", "unit", "direction", "moment", "day")
    ),
}
_DAY = {
    "day =": Operator(_("is the day"), ("date",)),
    "day !=": Operator(_("is not the day"), ("date",)),
    "day >=": Operator(_("is on or after"), ("date",)),
    "day <": Operator(_("is before the day"), ("date",)),
    "day >": Operator(_("is after the beginning of"), ("date",)),
    "day <=": Operator(_("is not after the beginning of"), ("date",)),
    "day in": Operator(_("is one of the days"), ("dates",)),
    "day not in": Operator(_("is none of the days"), ("dates",)),
}
_KNOWN = {"known": Operator(_("has a value")), "unknown": Operator(_("has no value"))}
_LIST = {
    "holds text": Operator(_("holds the text"), ("text",)),
    "lacks text": Operator(_("does not hold the text"), ("text",)),
    "holds number": Operator(_("holds the number"), ("number",)),
    "lacks number": Operator(_("does not hold the number"), ("number",)),
    "count": Operator(_("has so many entries:"), ("comparison", "number")),
    "each": Operator(_("has an entry for which …")),  # makes a group of the row
}
_IDENTITY = {
    "some =": Operator(_("has one that is"), ("text", "case")),
    "some in": Operator(_("has one of these"), ("texts",)),
    **{
        f"some {test}": Operator(format_lazy(_("has one that {test}"), test=_TESTS[test]), ("text", "case"))
        for test in _SOME
    },
}
_MAP = {"filled": Operator(_("is not empty"))}
_SEGMENT = {
    "member": Operator(pgettext_lazy("a customer", "is a member of"), ("segment",)),
    "not member": Operator(pgettext_lazy("a customer", "is not a member of"), ("segment",)),
}

OPERATORS: dict[str, Operator] = {
    **_TEXT, **_NUMBER, **_TRUTH, **_TIME, **_DAY, **_KNOWN, **_LIST, **_IDENTITY, **_MAP, **_SEGMENT,
}  # fmt: skip

_SCALARS: dict[str | Promise, tuple[str, ...]] = {
    _("Text"): tuple(_TEXT),
    _("Number"): tuple(_NUMBER),
    _("True or false"): ("true", "truth ="),
    _("Date"): (*_TIME, "day =", "day >="),
}
# What is offered of a type. An operator of a rule that was written as text is offered beside these.
_BY_TYPE: dict[str, tuple[str, ...]] = {
    SchemaField.Type.STRING: (*_TEXT, *_KNOWN),
    SchemaField.Type.INTEGER: (*_NUMBER, *_KNOWN),
    SchemaField.Type.NUMBER: (*_NUMBER, *_KNOWN),
    SchemaField.Type.BOOLEAN: ("truth =", *_KNOWN),
    SchemaField.Type.DATE: (*_TIME, "day =", "day >=", *_KNOWN),
    SchemaField.Type.DATE_TIME: (*_TIME, "day >=", *_KNOWN),
    SchemaField.Type.ARRAY: (*_LIST, *_KNOWN),
    SchemaField.Type.OBJECT: ("filled", *_KNOWN),
    SEGMENT: tuple(_SEGMENT),
    IDENTITY: ("known", "unknown", *_IDENTITY, "count"),
}

Choices = list[tuple[str | Promise, str | Promise | list[tuple[str, str | Promise]]]]


def default(type: str) -> str:
    """The operator that a field begins with."""
    if type == SchemaField.Type.MAP:
        return "filled"
    return _BY_TYPE[type][0] if type in _BY_TYPE else "text ="


def choices(type: str, current: str) -> Choices:
    """Operators for a field of this type, the current one among them, for a select. In groups when all can be meant."""
    found: Choices = []
    if type in _BY_TYPE:
        offered: Sequence[str] = _BY_TYPE[type]
        found = [(key, OPERATORS[key].label) for key in offered]
    else:
        any_type = (*_MAP, *_KNOWN) if type == SchemaField.Type.MAP else tuple(_KNOWN)
        offered = [*any_type, *(key for keys in _SCALARS.values() for key in keys)]
        found = [(key, OPERATORS[key].label) for key in any_type]
        found += [(group, [(key, OPERATORS[key].label) for key in keys]) for group, keys in _SCALARS.items()]
    if current in OPERATORS and current not in offered:
        found.append((current, OPERATORS[current].label))
    return found
