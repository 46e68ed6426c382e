"""The form of an inlet."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from profiles import selectors
from profiles.models import IdentityNamespace, Inlet, SchemaField

OPEN, PROTECTED = "open", "token"


class InletForm(forms.ModelForm):  # type: ignore[type-arg]
    """An inlet that is edited. A default identity is a namespace and a path, or neither."""

    class Meta:
        model = Inlet
        fields = ("name", "namespace", "identity_path", "normalise")
        widgets = {
            "name": forms.TextInput({"autocomplete": "off"}),
            "identity_path": forms.TextInput({"list": "identity-paths", "spellcheck": "false"}),
        }
        labels = {"normalise": _("Hash plain addresses and phone numbers")}
        help_texts = {
            "name": _("Where the messages come from, e.g. Web shop."),
            "namespace": _("Of messages that come without an identityMap."),
            "identity_path": _(
                "The field that holds that identity, e.g. personalEmail.address. Leave both empty where every "
                "message has an identityMap."
            ),
            "normalise": _(
                "In Email_LC_SHA256, Phone_SHA256 and Phone_SHA256_E.164, what is no hash yet is put in order and "
                "hashed. Else it is kept as it comes."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["namespace"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = selectors.namespaces()
        field.empty_label = str(_("None"))
        self.paths = SchemaField.objects.filter(
            type__in=[SchemaField.Type.STRING, SchemaField.Type.INTEGER]
        ).values_list("path", flat=True)

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())

    def clean_identity_path(self) -> str:
        path: str = self.cleaned_data["identity_path"].strip()
        if path and (not all(path.split(".")) or any(char.isspace() for char in path)):
            raise ValidationError(_("A path is keys with dots between, e.g. _ours.shoeSize, without spaces."))
        return path

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        namespace: IdentityNamespace | None = cleaned.get("namespace")
        path = cleaned.get("identity_path")
        if namespace and path == "":
            self.add_error("identity_path", _("Say where the identity stands, or choose no namespace."))
        if path and "namespace" in cleaned and namespace is None:
            self.add_error(
                "namespace", _("Say in which namespace the identity is, or leave the field empty.")
            )
        return cleaned


class NewInletForm(InletForm):
    """A new inlet: who may post to it is decided here."""

    access = forms.ChoiceField(
        label=_("Who may post"),
        choices=[
            (PROTECTED, _("Whoever has its token")),
            (OPEN, _("Whoever knows its address")),
        ],
        initial=PROTECTED,
        widget=forms.RadioSelect,
        help_text=_("A token can be asked for later, too. An inlet that asks for one is not opened again."),
    )
