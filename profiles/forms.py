"""What people ask of the lists of profiles and segments, and a field of the schema."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from profiles import selectors
from profiles.models import IDENTITY_MAX_LENGTH, IdentityNamespace, SchemaField


class FindProfileForm(forms.Form):
    """Find a profile by an identity; in any namespace when none is chosen."""

    namespace: forms.ModelChoiceField[IdentityNamespace] = forms.ModelChoiceField(
        IdentityNamespace.objects.none(),
        required=False,
        label=_("Identity namespace"),
        to_field_name="code",
    )
    q = forms.CharField(required=False, label=_("Identity value"), max_length=IDENTITY_MAX_LENGTH)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["namespace"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = selectors.namespaces()


class SchemaFieldForm(forms.ModelForm):  # type: ignore[type-arg]
    """An own field. Whether its path can be, the service says."""

    class Meta:
        model = SchemaField
        fields = ("path", "title", "type")
        widgets = {
            "path": forms.TextInput({"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
            "title": forms.TextInput({"autocomplete": "off"}),
        }
        help_texts = {
            "path": _("Keys with dots between, e.g. _ours.shoeSize. It can't be changed later."),
            "title": _("What people call it."),
            "type": _("What stands there. An object is a group of other fields."),
        }
