"""What people say of labels, marketing actions and policies. Whether it can be, the services say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from governance import selectors
from governance.conditions import ALL, ANY, MAX_DEPTH, MAX_GROUPS, Condition, Place
from governance.models import Label, MarketingAction


class NameForm(forms.Form):
    """Name and description of a marketing action or a policy."""

    name = forms.CharField(label=_("Name"), max_length=100, widget=forms.TextInput({"autocomplete": "off"}))
    description = forms.CharField(
        label=_("Description"), required=False, max_length=2000, widget=forms.Textarea({"rows": 3})
    )


class LabelForm(NameForm):
    """A label; its code stays as it was made."""

    code = forms.CharField(
        label=_("Code"),
        max_length=20,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
        help_text=_("What fields are marked with, e.g. PARTNER-1. It can't be changed later."),
    )
    field_order = ("code", "name", "description")


class OldLabelForm(NameForm):
    """A label that is there already."""


class ActionsForm(forms.Form):
    """The marketing actions of a policy."""

    actions = forms.ModelMultipleChoiceField(
        MarketingAction.objects.none(),
        label=_("Marketing actions"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        field = cast("forms.ModelMultipleChoiceField[MarketingAction]", self.fields["actions"])
        field.queryset = MarketingAction.objects.order_by("-core", "name")


class ConsentPolicyForm(ActionsForm, NameForm):
    """A consent policy: which field must say yes, and for what."""

    field = forms.ChoiceField(
        label=_("Consent field"),
        help_text=_("Yes is y (opted in), dy (yes by default) or true. Anything else, or nothing, is no."),
        widget=forms.Select({"class": "mono"}),
    )
    field_order = ("name", "description", "field", "actions")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        groups: dict[str, list[tuple[str, str]]] = {}
        for each in selectors.consent_fields():
            choice = selectors.is_choice(each)
            word = gettext("Consents and preferences") if choice else gettext("Other fields")
            groups.setdefault(word, []).append((each.path, f"{each.path} — {each.label}"))
        choices = cast("forms.ChoiceField", self.fields["field"])
        choices.choices = [("", gettext("Choose a field")), *groups.items()]
        actions = self.fields["actions"]
        actions.required = True
        actions.error_messages["required"] = _("Choose at least one marketing action.")


class LabelsForm(forms.Form):
    """Labels to add to data, or to take from it."""

    labels = forms.ModelMultipleChoiceField(
        Label.objects.all(),
        to_field_name="code",
        error_messages={"required": _("Choose at least one label.")},
    )


# -- the condition of a policy -------------------------------------------------------------------------------------

ROOT = "group"
_NAME = re.compile(rf"{ROOT}(-\d{{1,3}}){{0,{MAX_DEPTH}}}")


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of a condition as the page shows it.

    Args:
        name: says where it is: ``group-0-2`` is the third one in the first one of the outermost.
        may_grow: a group can be added in it.
    """

    name: str
    condition: Condition
    groups: list[GroupRow]
    may_grow: bool

    @property
    def outermost(self) -> bool:
        return self.name == ROOT

    @classmethod
    def of(cls, condition: Condition) -> GroupRow:
        return cls._of(condition, ROOT, 1, condition.count() < MAX_GROUPS)

    @classmethod
    def _of(cls, condition: Condition, name: str, depth: int, room: bool) -> GroupRow:
        groups = [
            cls._of(group, f"{name}-{number}", depth + 1, room)
            for number, group in enumerate(condition.groups)
        ]
        return cls(name, condition, groups, room and depth < MAX_DEPTH)


def read_condition(data: QueryDict) -> Condition:
    """The condition as a page sends it: for each ``group`` a ``mode-…`` and some ``label-…``.

    Raises:
        ValidationError: it is none that the page could have sent.
    """
    names = [name for name in data.getlist("group") if _NAME.fullmatch(name)]
    if ROOT not in names or len(names) > MAX_GROUPS:
        raise ValidationError(_("The groups did not arrive as they were. Load the page again."))
    return _group(data, ROOT, names)


def _group(data: QueryDict, name: str, names: list[str]) -> Condition:
    inner = [each for each in names if each.rpartition("-")[0] == name]
    return Condition(
        ALL if data.get(f"mode-{name}") == ALL else ANY,
        tuple(dict.fromkeys(data.getlist(f"label-{name}"))),
        tuple(_group(data, each, names) for each in sorted(inner, key=_number)),
    )


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def place_of(name: str) -> Place | None:
    """Where the group with this name is; None for what is no name."""
    return tuple(int(number) for number in name.split("-")[1:]) if _NAME.fullmatch(name) else None
