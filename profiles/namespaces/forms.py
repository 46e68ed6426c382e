"""The form of an identity namespace."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from profiles.models import IdentityNamespace


class NamespaceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Name and type; the code of a new one."""

    class Meta:
        model = IdentityNamespace
        fields = ("code", "name", "type")
        widgets = {
            "code": forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
            "name": forms.TextInput({"autocomplete": "off"}),
        }
        help_texts = {
            "code": _(
                "As producers write it in an identityMap, e.g. LoyaltyCard. It can't be changed later."
            ),
            "name": _("What it is called here, e.g. Number of the loyalty card."),
            "type": _("What kind of thing its identities name."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            del self.fields["code"]

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        if IdentityNamespace.objects.filter(code__iexact=code).exists():
            raise ValidationError(_("There is a namespace with this code already."))
        return code

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())
