"""The form of a segment."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from profiles.models import Segment


class SegmentForm(forms.ModelForm):  # type: ignore[type-arg]
    """Name, description and rule. Whether the rule can be, its service says when it is saved."""

    # Of the rule that the page showed: what somebody else saved since is not overwritten.
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Segment
        fields = ("name", "description", "rule")
        widgets = {
            "name": forms.TextInput({"autocomplete": "off"}),
            "description": forms.Textarea({"rows": 2}),
            "rule": forms.Textarea(
                {"rows": 8, "class": "mono", "spellcheck": "false", "autocapitalize": "off"}
            ),
        }
        help_texts = {
            "rule": _(
                'Conditions over fields of the schema, e.g. homeAddress.countryCode = "KR" and loyalty.points > 1000.'
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.rule_version
        if self.instance.origin != Segment.Origin.SEGMENTATION:
            del self.fields["rule"]

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())
