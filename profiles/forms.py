"""What people ask of the lists of profiles and segments."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from profiles import selectors
from profiles.models import IDENTITY_MAX_LENGTH, IdentityNamespace


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
