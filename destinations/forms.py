"""The *Setup* step: what every destination has. The connector adds its own fields (for Kinesis: the stream)."""

from __future__ import annotations

import uuid
from typing import Any, Self, cast

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from destinations.connectors.base import DestinationForm
from destinations.models import Account, AlertKind, Destination
from destinations.services import Setup
from governance.models import MarketingAction
from profiles import selectors as store
from profiles.models import SchemaField

NO_KEY_TYPES = (SchemaField.Type.OBJECT, SchemaField.Type.MAP, SchemaField.Type.ARRAY)


def partition_choices(current: str = "") -> list[Any]:
    """What may decide the shard: the profile's id, an identity, or an attribute with a single value.

    Args:
        current: stays a choice even when its namespace or field is gone.
    """
    identities = [(f"identity:{n.code}", f"{n.label} ({n.code})") for n in store.namespaces()]
    fields = SchemaField.objects.exclude(type__in=NO_KEY_TYPES).order_by("path")
    attributes = [(f"attribute:{path}", path) for path in fields.values_list("path", flat=True)]
    choices: list[Any] = [
        (Destination.PARTITION_BY_PROFILE, _("Profile id")),
        (_("Value of an identity"), identities),
        (_("Value of an attribute"), attributes),
    ]
    known = {Destination.PARTITION_BY_PROFILE, *dict(identities), *dict(attributes)}
    if current and current not in known:
        value = current.partition(":")[2]
        choices.insert(1, (current, gettext("%(value)s (no longer there)") % {"value": value}))
    return choices


class SetupForm(forms.Form):
    """Name, options, partition key and marketing actions of a destination, new or edited.

    ``id`` is made with the page, so that a form that is sent twice makes one destination; ``version`` is that of the
    destination that is edited.
    """

    id = forms.UUIDField(widget=forms.HiddenInput, required=False)
    version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    name = forms.CharField(label=_("Name"), max_length=255, widget=forms.TextInput({"autocomplete": "off"}))
    description = forms.CharField(
        label=_("Description"), required=False, max_length=2000, widget=forms.Textarea({"rows": 3})
    )
    include_segment_names = forms.BooleanField(
        label=_("Include segment names"),
        required=False,
        help_text=_("Each segment membership in a record has the segment's name, too."),
    )
    include_segment_timestamps = forms.BooleanField(
        label=_("Include segment timestamps"),
        required=False,
        help_text=_("Each segment membership has the times of its creation and last change, too."),
    )
    include_delivery = forms.BooleanField(
        label=_("Include delivery details"),
        required=False,
        help_text=_(
            "Each record has a _delivery object: dataflow, profile, version, time and reason of the export. "
            "Consumers can drop duplicates and order the records of a profile by its version."
        ),
    )
    partition_key = forms.ChoiceField(
        label=_("Partition key"),
        help_text=_(
            "Records with the same key go to the same shard. Where a profile has no such value, its id is the key."
        ),
    )
    marketing_actions = forms.ModelMultipleChoiceField(
        MarketingAction.objects.all(),
        label=_("Marketing actions"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("What the data is meant for. Policies are checked against it."),
    )
    new_action_name = forms.CharField(
        label=_("Name of the marketing action"),
        required=False,
        max_length=100,
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    new_action_description = forms.CharField(
        label=_("What it is for"),
        required=False,
        max_length=500,
        widget=forms.TextInput({"autocomplete": "off"}),
    )

    alerts = forms.MultipleChoiceField(
        label=_("Tell me when"),
        choices=AlertKind.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "By the bell at the top and by e-mail. The page of the destination has more ways, and changes it."
        ),
    )

    def __init__(
        self, data: Any = None, *, destination: Destination | None = None, initial: Any = None, **kwargs: Any
    ) -> None:
        if initial is None:
            initial = _stored(destination) if destination else {"id": uuid.uuid4()}
        super().__init__(data, initial=initial, **kwargs)
        current = destination.partition_key if destination else ""
        self.partition_field.choices = partition_choices(current)
        self.action_field.queryset = MarketingAction.objects.order_by("-core", "name")

    @property
    def partition_field(self) -> forms.ChoiceField:
        return cast(forms.ChoiceField, self.fields["partition_key"])

    @property
    def action_field(self) -> forms.ModelMultipleChoiceField[MarketingAction]:
        return cast("forms.ModelMultipleChoiceField[MarketingAction]", self.fields["marketing_actions"])

    @classmethod
    def as_typed(cls, data: QueryDict, *, destination: Destination | None = None) -> Self:
        """The form as a person left it, not checked yet."""
        typed: dict[str, Any] = {name: data.get(name, "") for name in cls.base_fields}
        typed["marketing_actions"] = data.getlist("marketing_actions")
        typed["alerts"] = data.getlist("alerts")
        for name in ("include_segment_names", "include_segment_timestamps", "include_delivery"):
            typed[name] = name in data
        return cls(initial=typed, destination=destination)

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())

    def setup(self, target: DestinationForm) -> Setup:
        """What the valid form, and the connector's, say."""
        cleaned = self.cleaned_data
        return Setup(
            name=cleaned["name"],
            settings=target.target_settings(),
            description=cleaned["description"],
            include_segment_names=cleaned["include_segment_names"],
            include_segment_timestamps=cleaned["include_segment_timestamps"],
            include_delivery=cleaned["include_delivery"],
            partition_key=cleaned["partition_key"],
            marketing_actions=[action.pk for action in cleaned["marketing_actions"]],
            alerts=cleaned["alerts"],
        )


def _stored(destination: Destination) -> dict[str, Any]:
    names = (
        "id",
        "version",
        "name",
        "description",
        "include_segment_names",
        "include_segment_timestamps",
        "include_delivery",
        "partition_key",
    )
    stored = {name: getattr(destination, name) for name in names}
    return stored | {"marketing_actions": list(destination.marketing_actions.values_list("pk", flat=True))}


def target_form(
    account: Account, data: Any = None, *, destination: Destination | None = None, initial: Any = None
) -> DestinationForm:
    """The connector's own fields, for a new destination or as stored."""
    if initial is None and destination is not None:
        initial = destination.settings
    return account.type.destination_form(data, initial=initial)
