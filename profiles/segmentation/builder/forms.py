"""The HTML forms of the builder's parts, and the parts that a posted form says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, TypeAlias

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from profiles.models import SchemaField
from profiles.pql import PQLError, Rule, parse
from profiles.pql.moments import MOST
from profiles.pql.syntax import COMPARISONS, Condition, Unit
from profiles.segmentation.builder import operators
from profiles.segmentation.builder.operators import OPERATORS
from profiles.segmentation.builder.parts import (
    MAX_DEPTH,
    MAX_ROWS,
    MAX_VALUE,
    MODES,
    Group,
    Part,
    Place,
    Row,
)
from profiles.segmentation.builder.sources import Sources
from profiles.segmentation.builder.tree import combine, condition_of, each

ROOT = "r"  # what the names of the builder's inputs begin with
LINES_MAX_LENGTH = 10_000  # characters: a rule has no more

PartForm: TypeAlias = "RowForm | GroupForm"

UNITS: dict[Unit, Any] = {
    "minute": gettext_lazy("minutes"),
    "hour": gettext_lazy("hours"),
    "day": gettext_lazy("days"),
    "week": gettext_lazy("weeks"),
    "month": gettext_lazy("months"),
    "year": gettext_lazy("years"),
}
THIS: dict[Unit, Any] = {
    "minute": pgettext_lazy("in this", "minute"),
    "hour": pgettext_lazy("in this", "hour"),
    "day": pgettext_lazy("in this", "day (today)"),
    "week": pgettext_lazy("in this", "week"),
    "month": pgettext_lazy("in this", "month"),
    "year": pgettext_lazy("in this", "year"),
}
COMPARED = {
    "=": gettext_lazy("exactly"),
    "!=": gettext_lazy("not exactly"),
    "<": gettext_lazy("less than"),
    "<=": gettext_lazy("at most"),
    ">": gettext_lazy("more than"),
    ">=": gettext_lazy("at least"),
}
DIRECTIONS = {
    "before": pgettext_lazy("in time", "before"),
    "after": pgettext_lazy("in time", "after"),
}
MOMENTS = {
    "now": gettext_lazy("now"),
    "today": gettext_lazy("today, 00:00 UTC"),
    "day": gettext_lazy("the day …"),
}
MODE_LABELS = {
    "all": gettext_lazy("all of these are so"),
    "any": gettext_lazy("at least one of these is so"),
    "none": gettext_lazy("none of these is so"),
    "not-all": gettext_lazy("not all of these are so"),
}


class NumberField(forms.CharField):
    """A number as rules have it: whole, or with a fraction."""

    widget = forms.NumberInput({"step": "any"})

    def clean(self, value: Any) -> int | float | None:
        text = super().clean(value)
        return _number(text) if text else None


def _number(text: str) -> int | float:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        raise forms.ValidationError(_("“%(text)s” is no number."), params={"text": text})
    if math.isinf(float(text)):
        raise forms.ValidationError(_("This number is too large."))
    return int(text) if text.removeprefix("-").isdigit() else float(text)


def _date(text: str) -> date:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        message = _("“%(text)s” is no day. Write it as 2020-03-14.")
        raise forms.ValidationError(message, params={"text": text}) from None


def _text(text: str) -> str:
    if len(text) > MAX_VALUE:
        message = _("A value has %(limit)s characters at most; this one has %(length)s.")
        raise forms.ValidationError(message, params={"limit": MAX_VALUE, "length": len(text)})
    return text


class DayField(forms.CharField):
    widget = forms.DateInput({"type": "date"})

    def clean(self, value: Any) -> date | None:
        text = super().clean(value)
        return _date(text) if text else None


class LinesField(forms.CharField):
    """Several values, one a line; None without any."""

    widget = forms.Textarea({"rows": 3})

    def __init__(self, read: Callable[[str], Any], **kwargs: Any) -> None:
        super().__init__(max_length=LINES_MAX_LENGTH, **kwargs)
        self.read = read

    def clean(self, value: Any) -> list[Any] | None:
        lines = (line.strip() for line in super().clean(value).split("\n"))
        return [self.read(line) for line in lines if line] or None


class TextField(forms.CharField):
    def clean(self, value: Any) -> str:
        return _text(super().clean(value))


def _choice(labels: Mapping[Any, Any]) -> Callable[[], forms.Field]:
    return lambda: forms.ChoiceField(choices=list(labels.items()), required=False)


# What operators ask for: its name in the form, and its field.
INPUTS: dict[str, tuple[str, Callable[[], forms.Field]]] = {
    "text": ("value", lambda: TextField(required=False)),
    "texts": ("value", lambda: LinesField(_text, required=False)),
    "number": ("value", lambda: NumberField(required=False)),
    "numbers": ("value", lambda: LinesField(_number, required=False)),
    "date": ("value", lambda: DayField(required=False)),
    "dates": ("value", lambda: LinesField(_date, required=False)),
    "truth": (
        "value",
        lambda: forms.TypedChoiceField(
            choices=[("true", gettext_lazy("true")), ("false", gettext_lazy("false"))],
            coerce=lambda text: text == "true",
            empty_value=None,
            required=False,
        ),
    ),
    "segment": ("value", lambda: forms.ChoiceField(required=False)),
    "case": (
        "case",
        lambda: forms.BooleanField(label=gettext_lazy("whether in capitals or not"), required=False),
    ),
    "comparison": ("comparison", _choice({key: COMPARED[key] for key in COMPARISONS})),
    "amount": (
        "amount",
        lambda: forms.IntegerField(min_value=0, max_value=max(MOST.values()), required=False),
    ),
    "unit": ("unit", _choice(UNITS)),
    "direction": ("direction", _choice(DIRECTIONS)),
    "moment": ("moment", _choice(MOMENTS)),
    "day": ("day", lambda: DayField(required=False)),
}
LABELS = {
    "subject": gettext_lazy("Field of condition %(number)s"),
    "below": gettext_lazy("Key of condition %(number)s"),
    "operator": gettext_lazy("Operator of condition %(number)s"),
    "value": gettext_lazy("Value of condition %(number)s"),
    "comparison": gettext_lazy("Comparison of condition %(number)s"),
    "amount": gettext_lazy("Amount of condition %(number)s"),
    "unit": gettext_lazy("Unit of condition %(number)s"),
    "direction": gettext_lazy("Before or after, condition %(number)s"),
    "moment": gettext_lazy("Moment of condition %(number)s"),
    "day": gettext_lazy("Day of condition %(number)s"),
}
# What a select that was not there before says.
BEGINNINGS = {"comparison": ">=", "unit": "day", "direction": "before", "moment": "now", "truth": "true"}


class _PartForm(forms.Form):
    """What groups and rows have in common.

    ``number`` tells them apart for people, ``address`` for the buttons. ``focus`` is the button that takes the focus.
    """

    def __init__(self, data: Mapping[str, str], place: Place, sources: Sources, complain: bool) -> None:
        prefix = _prefix(place)
        super().__init__({f"{prefix}-{name}": value for name, value in data.items()}, prefix=prefix)
        self.place, self.sources, self.complain = place, sources, complain
        self.number = ".".join(str(index + 1) for index in place)
        self.address = "-".join(map(str, place))
        self.focus = ""

    def take_focus(self, control: str) -> None:
        if control in self.fields:
            self.fields[control].widget.attrs["autofocus"] = True
        else:
            self.focus = control


class RowForm(_PartForm):
    """A condition. What is wrong with it stands at it; what is missing, too, when ``complain`` says so.

    ``found`` is the condition as it stands in a rule, also when it does not fit the schema; None until it is finished.
    """

    type = "row"

    def __init__(self, row: Row, place: Place, sources: Sources, *, variable: str, complain: bool) -> None:
        self.row, self.variable = row, variable
        self.found: Condition | None = None
        self._settle(sources)
        super().__init__(row.data, place, sources, complain)
        self.errors_id = f"{self.prefix}-errors"
        self._build()
        self.full_clean()

    def _settle(self, sources: Sources) -> None:
        """Bring what the row says into the shape that its operator asks for."""
        data = self.row.data
        if not self.begun:
            return
        if self.row.operator not in OPERATORS:
            data["operator"] = operators.default(sources.type(self.row.subject, self.row.below))
        for kind in self.operator.inputs:
            name, _factory = INPUTS[kind]
            if kind in BEGINNINGS and not data.get(name):
                data[name] = BEGINNINGS[kind]
            if kind in ("text", "number", "date"):
                data[name] = data.get(name, "").strip().partition("\n")[0]

    def _build(self) -> None:
        def add(name: str, field: forms.Field) -> None:
            field.label = field.label or str(LABELS[name]) % {"number": self.number}
            field.widget.attrs["aria-describedby"] = self.errors_id
            self.fields[name] = field

        add("subject", forms.CharField(required=False, max_length=MAX_VALUE, widget=forms.HiddenInput))
        if not self.begun:
            return
        if self.has_below:
            add("below", TextField(required=False))
        subject_type = self.sources.type(self.row.subject, self.row.below)
        add("operator", forms.ChoiceField(choices=operators.choices(subject_type, self.row.operator)))
        for kind in self.operator.inputs:
            name, factory = INPUTS[kind]
            field = factory()
            if kind == "segment":
                nothing = ("", gettext_lazy("Choose a segment"))
                field.choices = [nothing, *self.sources.segments(self.row.data.get("value", ""))]  # type: ignore[attr-defined]
            elif kind == "unit" and self.row.operator == "this":
                field.choices = list(THIS.items())  # type: ignore[attr-defined]
            elif kind == "text" and self.suggestions:
                field.widget.attrs["list"] = f"{self.prefix}-known"
            elif kind == "day" and self.row.data.get("moment") != "day":
                continue
            add(name, field)

    # What the page shows

    @property
    def begun(self) -> bool:
        """A field is chosen: one of the profile, or one of the entry that the group is about."""
        return bool(self.row.subject or self.variable)

    @property
    def operator(self) -> operators.Operator:
        return OPERATORS[self.row.operator]

    @property
    def has_below(self) -> bool:
        return not self.row.subject or self.sources.type(self.row.subject) == SchemaField.Type.MAP

    @property
    def label(self) -> str:
        return self.sources.label(self.row.subject) if self.row.subject else ""

    @property
    def inputs(self) -> Iterator[forms.BoundField]:
        """What the operator asks for."""
        return (self[name] for name in self.fields if name not in ("subject", "below", "operator"))

    @property
    def suggestions(self) -> list[str]:
        return self.sources.values(self.row.subject)

    @property
    def takes_lines(self) -> bool:
        return "texts" in self.operator.inputs if self.begun else False

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.row.data.get("value", "").split("\n")]

    # What it says

    def clean(self) -> dict[str, Any]:
        """Build the condition; have it read and checked as the part of a rule that it is."""
        said = self.cleaned_data
        if self.errors:
            return said
        if not self.begun:
            self._miss("subject", _("Choose a field, or remove this condition."))
            return said
        said.setdefault("below", "")
        for name in self.fields:
            if name not in ("subject", "below", "case") and said.get(name) in (None, ""):
                self._miss(name, _("This is missing. Fill it in, or remove this condition."))
                return said
        condition = condition_of(self.row.operator, said, self.variable)
        text = str(Rule(condition, ""))
        if self.variable:
            text = f"exists({self.variable} from entries where {text})"
        try:
            parse(text)
            self.found = condition
            Rule(condition, "").check(self.sources.schema, segment_id=self.sources.segment_id)
        except PQLError as error:
            name = "value" if "value" in self.fields else "operator"
            self.add_error(name, error.message.replace("%", "%%"))
        return said

    def _miss(self, name: str, message: str) -> None:
        if self.complain:
            self.add_error(name, message)


class GroupForm(_PartForm):
    """A group, and the forms of what is in it."""

    mode = forms.ChoiceField(choices=list(MODE_LABELS.items()))
    source = forms.CharField(required=False, widget=forms.HiddenInput)
    variable = forms.CharField(required=False, widget=forms.HiddenInput)

    type = "group"

    def __init__(
        self, group: Group, place: Place, sources: Sources, *, variable: str, complain: bool
    ) -> None:
        self.group = group
        said = {"mode": group.mode, "source": group.source, "variable": group.variable}
        super().__init__(said, place, sources, complain)
        which = _("Group %(number)s: how many have to be so") % {"number": self.number}
        self.fields["mode"].label = which if place else _("How many have to be so")
        inner = group.variable or variable
        self.children: list[PartForm] = [
            form_of(part, (*place, index), sources, variable=inner, complain=complain)
            for index, part in enumerate(group.items)
        ]
        self.full_clean()
        # The condition that it is; None while something in it is not finished.
        self.found = self._found()

    @property
    def label(self) -> str:
        return self.sources.label(self.group.source)

    @property
    def word(self) -> str:
        """What stands between two of its parts."""
        return _("and") if self.group.mode in ("all", "not-all") else _("or")

    @property
    def takes_groups(self) -> bool:
        return len(self.place) + 1 < MAX_DEPTH

    def _found(self) -> Condition | None:
        terms = [child.found for child in self.children if child.found is not None]
        if self.complain and not self.children:
            self.add_error("mode", _("This group is empty. Add a condition, or remove the group."))
        if not terms or len(terms) < len(self.children):
            return None
        condition = combine(self.group.mode, terms)
        if not self.group.source:
            return condition
        found = each(self.group.source, self.group.variable, condition)
        try:
            parse(str(Rule(found, ""))).check(self.sources.schema)
        except PQLError as error:
            if not any(form.errors for child in self.children for form in all_forms(child)):
                self.add_error("mode", error.message.replace("%", "%%"))
        return found


def all_forms(form: PartForm) -> Iterator[PartForm]:
    """The form, and all those within it, as they stand in the page."""
    yield form
    if isinstance(form, GroupForm):
        for child in form.children:
            yield from all_forms(child)


def form_of(part: Part, place: Place, sources: Sources, *, variable: str = "", complain: bool) -> PartForm:
    kind: Any = GroupForm if isinstance(part, Group) else RowForm
    form: PartForm = kind(part, place, sources, variable=variable, complain=complain)
    return form


def read(data: Mapping[str, str], place: Place = ()) -> Group:
    """The parts that a posted form says. What goes beyond the limits, too: bench.py says so."""
    prefix = _prefix(place)
    mode = data.get(f"{prefix}-mode", "")
    group = Group(
        mode=next((known for known in MODES if known == mode), "all"),
        source=data.get(f"{prefix}-source", ""),
        variable=data.get(f"{prefix}-variable", ""),
    )
    for index in range(MAX_ROWS + 1):
        child = f"{prefix}-{index}"
        if f"{child}-mode" in data and len(place) <= MAX_DEPTH:
            group.items.append(read(data, (*place, index)))
        elif f"{child}-subject" in data:
            names = ("subject", "below", "operator", *{name for name, _field in INPUTS.values()})
            said = {name: data[f"{child}-{name}"] for name in names if f"{child}-{name}" in data}
            group.items.append(Row({name: text.replace("\r\n", "\n") for name, text in said.items() if text}))
        else:
            break
    return group


def _prefix(place: Place) -> str:
    return "-".join((ROOT, *map(str, place)))
