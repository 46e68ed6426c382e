"""The forms of an upload: the file, how it is written, what its columns are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from profiles.models import Segment, Upload
from profiles.selectors import namespaces
from profiles.uploads import detect, selectors
from profiles.uploads.services import EXPIRES_AFTER, LEAST_DAYS, MOST_DAYS
from profiles.uploads.suggest import Suggestion


class SegmentField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Ids of segments are texts; what can't be one is none."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValidationError(self.error_messages["invalid_choice"], "invalid_choice", {"value": ""})
        return super().to_python(value)


class FileForm(forms.Form):
    """A file, and the segment whose members it names."""

    segment = SegmentField(
        Segment.objects.none(), required=False, label=_("Segment"), empty_label=_("A new segment")
    )
    name = forms.CharField(
        label=_("Name of the new segment"),
        max_length=255,
        required=False,
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    file = forms.FileField(
        label=_("File"),
        allow_empty_file=True,  # its size is told by the service
        max_length=None,
        widget=forms.FileInput({"accept": ".csv,.tsv,.txt,text/csv,text/plain"}),
        help_text=_(
            "A CSV with one customer a row: one column holds an identity, e.g. an email address; others may hold "
            "attributes. Up to 256 MB. Encoding and separators are found out."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["segment"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = selectors.segments()

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "segment" in cleaned and cleaned["segment"] is None and cleaned.get("name") == "":
            self.add_error("name", _("Give the new segment a name, or choose one that is there."))
        return cleaned


class ReadingForm(forms.ModelForm):  # type: ignore[type-arg]
    """How a file is written. A change is sent at once."""

    encoding = forms.ChoiceField(
        label=_("Encoding"), choices=detect.ENCODINGS, widget=forms.Select({"data-submit": ""})
    )
    delimiter = forms.ChoiceField(
        label=_("Between columns"), choices=detect.DELIMITERS, widget=forms.Select({"data-submit": ""})
    )

    class Meta:
        model = Upload
        fields = ("encoding", "delimiter", "has_header")
        widgets = {"has_header": forms.CheckboxInput({"data-submit": ""})}
        labels = {"has_header": _("The first row holds the names of the columns")}


class ColumnsForm(forms.Form):
    """What each column is, what to do, and for how long."""

    identity = forms.TypedChoiceField(label=_("Identity column"), coerce=int, widget=forms.RadioSelect)
    namespace = forms.ModelChoiceField(
        namespaces(),
        label=_("Identity namespace"),
        empty_label=_("Choose a namespace"),
        help_text=_(
            "What kind of identity the column holds. In namespaces of hashes, plain addresses and numbers are hashed."
        ),
    )
    way = forms.ChoiceField(
        label=_("What to do"), choices=Upload.Way, initial=Upload.Way.APPEND, widget=forms.RadioSelect
    )
    expires_after = forms.IntegerField(
        label=_("Days that members stay"),
        min_value=LEAST_DAYS,
        max_value=MOST_DAYS,
        help_text=_("1 to 90, counted from the last upload that names them. Then they leave the segment."),
    )

    def __init__(
        self, upload: Upload, names: Sequence[str], suggested: Suggestion, data: QueryDict | None = None
    ) -> None:
        segment = upload.segment
        initial = {
            "identity": suggested.identity_column,
            "expires_after": (segment and segment.expires_after) or EXPIRES_AFTER,
            **{f"column_{place}": path for place, path in enumerate(suggested.paths)},
        }
        super().__init__(data, initial=initial)
        field = self.fields["namespace"]
        assert isinstance(field, forms.ModelChoiceField)
        field.initial = namespaces().filter(code=suggested.namespace).first()
        identity = self.fields["identity"]
        assert isinstance(identity, forms.ChoiceField)
        identity.choices = [(place, name) for place, name in enumerate(names)]
        if segment is None:
            del self.fields["way"]
        choices: list[tuple[str, object]] = [("", _("Ignore"))]
        choices += [(field.path, f"{field.label} · {field.path}") for field in selectors.fields()]
        for place, name in enumerate(names):
            self.fields[f"column_{place}"] = forms.ChoiceField(label=name, choices=choices, required=False)

    @property
    def column_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith("column_")]

    @property
    def columns(self) -> list[str]:
        """Of a valid form, the paths of the columns."""
        return [self.cleaned_data[field.name] for field in self.column_fields]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        first: dict[str, forms.BoundField] = {}
        for field in self.column_fields:
            if (path := cleaned.get(field.name)) and first.setdefault(path, field) is not field:
                self.add_error(
                    field.name,
                    ValidationError(
                        _("“%(name)s” is written to this attribute already.") % {"name": first[path].label}
                    ),
                )
        return cleaned
