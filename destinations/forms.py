"""The forms of the connect screens that every destination type has; the connector adds its own fields."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from destinations.models import Destination
from destinations.services import Setup
from governance.models import MarketingAction
from profiles.models import IdentityNamespace, SchemaField

# Values of these types can be a key; objects, lists and maps can't.
_KEY_TYPES = (
    SchemaField.Type.STRING,
    SchemaField.Type.INTEGER,
    SchemaField.Type.NUMBER,
    SchemaField.Type.BOOLEAN,
    SchemaField.Type.DATE,
    SchemaField.Type.DATE_TIME,
)


class SetupForm(forms.Form):
    """The *Setup* step without the fields of the connector."""

    id = forms.UUIDField(widget=forms.HiddenInput, required=False)
    version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    name = forms.CharField(label=_("Name"), max_length=255)
    description = forms.CharField(
        label=_("Description"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )
    include_segment_names = forms.BooleanField(
        label=_("Include segment names"),
        required=False,
        help_text=_("Each membership in a record also tells the segment's name."),
    )
    include_segment_timestamps = forms.BooleanField(
        label=_("Include segment timestamps"),
        required=False,
        help_text=_(
            "Each membership also tells when the segment, and its mapping here, were created and updated."
        ),
    )
    partition_key = forms.ChoiceField(
        label=_("Partition key"),
        choices=lambda: partition_key_choices(),
        initial=Destination.PARTITION_BY_PROFILE,
        help_text=_(
            "Decides the shard. Records with the same key stay in order. A profile that has no such value goes by its id."
        ),
    )
    marketing_actions = forms.ModelMultipleChoiceField(
        label=_("Marketing actions"),
        queryset=MarketingAction.objects.all(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("What the exported data will be used for."),
    )

    @classmethod
    def new(cls) -> SetupForm:
        """Empty, with the id that the destination will have: however often it is sent, it is one destination."""
        return cls(initial={"id": uuid.uuid4()})

    @classmethod
    def editing(cls, destination: Destination) -> SetupForm:
        """Filled in."""
        names = (
            "version",
            "name",
            "description",
            "include_segment_names",
            "include_segment_timestamps",
            "partition_key",
        )
        initial: dict[str, Any] = {name: getattr(destination, name) for name in names}
        return cls(initial=initial | {"marketing_actions": list(destination.marketing_actions.all())})

    def setup(self, settings: dict[str, Any]) -> Setup:
        """What the valid form says, with the connector's settings."""
        cleaned = self.cleaned_data
        return Setup(
            name=cleaned["name"],
            settings=settings,
            description=cleaned["description"],
            include_segment_names=cleaned["include_segment_names"],
            include_segment_timestamps=cleaned["include_segment_timestamps"],
            partition_key=cleaned["partition_key"],
            marketing_actions=list(cleaned["marketing_actions"]),
        )


def partition_key_choices() -> list[tuple[Any, Any]]:
    """The profile's id, an identity of each namespace, an attribute of each path."""
    namespaces = IdentityNamespace.objects.values_list("code", "name")
    fields = SchemaField.objects.filter(type__in=_KEY_TYPES).exclude(path__startswith="segmentMembership")
    return [
        (Destination.PARTITION_BY_PROFILE, _("Profile id")),
        (_("Identity"), [(f"identity:{code}", f"{code} · {name}") for code, name in namespaces]),
        (
            _("Attribute (has to be mapped)"),
            [(f"attribute:{path}", path) for path in fields.values_list("path", flat=True)],
        ),
    ]


class MarketingActionForm(forms.ModelForm[MarketingAction]):
    """*Create your own*."""

    class Meta:
        model = MarketingAction
        fields = ("name", "description")
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}  # noqa: RUF012
