"""What people fill in: the account (*Authentication*) and the stream (*Setup*)."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from ..base import AccountForm, Connection, DestinationForm
from . import regions
from .endpoint import EndpointNotAllowed, allowed_endpoint

STREAM_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00a0"  # characters that come along when one copies from a page


def masked(access_key_id: str) -> str:
    """What may be shown of an access key ID, e.g. ``AKIA…7Q4X``."""
    return f"{access_key_id[:4]}…{access_key_id[-4:]}" if len(access_key_id) >= 12 else "…"


class PastedField(forms.CharField):
    """A line that is pasted: what surrounds it goes, seen or not, and nothing else than visible ASCII may be
    in it.
    """

    def to_python(self, value: Any) -> str:
        text = (super().to_python(value) or "").strip(_UNSEEN + " \t\r\n")
        if any(not "!" <= char <= "~" for char in text):
            raise forms.ValidationError(
                _(
                    "There are spaces or other characters in it that don't belong there. Copy it again "
                    "from AWS."
                ),
                "characters",
            )
        return text


class KinesisAccountForm(AccountForm):
    """Credentials of AWS. When an account is edited, credentials left blank are kept: all of them, or none."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"secret_access_key", "session_token"})

    access_key_id = PastedField(
        label=_("Access key ID"),
        max_length=128,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )
    secret_access_key = PastedField(
        label=_("Secret access key"),
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
    )
    session_token = PastedField(
        label=_("Session token"),
        required=False,
        max_length=8192,
        help_text=_("Only for temporary credentials. They expire, and the export stops then."),
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    region = forms.ChoiceField(
        label=_("Region"), choices=lambda: [("", _("Choose a region")), *regions.choices()]
    )
    endpoint_url = forms.CharField(
        label=_("Endpoint URL"),
        required=False,
        max_length=255,
        help_text=_("Leave it empty for AWS."),
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: Any = None, *, stored: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(data, stored=stored, **kwargs)
        if not settings.KINESIS_ENDPOINT_HOSTS:
            del self.fields["endpoint_url"]
        if self._stored("secret_access_key"):
            for name in ("access_key_id", "secret_access_key"):
                self.fields[name].required = False
            self.fields["access_key_id"].widget.attrs["placeholder"] = masked(self._stored("access_key_id"))
            self.fields["access_key_id"].help_text = _("Leave both keys empty to keep those that are stored.")

    def _stored(self, name: str) -> str:
        return self.stored.credentials.get(name, "") if self.stored else ""

    def clean_access_key_id(self) -> str:
        key: str = self.cleaned_data["access_key_id"]
        if key and not re.fullmatch(r"\w{16,128}", key, re.ASCII):
            raise forms.ValidationError(
                _(
                    "This is not an access key ID. One looks like AKIAIOSFODNN7EXAMPLE: capital letters "
                    "and digits, usually 20."
                )
                if not re.fullmatch(r"[A-Za-z0-9/+=]{40}", key)
                else _("This looks like a secret access key. The access key ID is the shorter of the two."),
                "access_key_id",
            )
        return key

    def clean_endpoint_url(self) -> str:
        url: str = self.cleaned_data["endpoint_url"]
        if not url:
            return ""
        try:
            return allowed_endpoint(url)
        except EndpointNotAllowed as error:
            raise forms.ValidationError(str(error.reason), "endpoint_url") from None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        key, secret, token = (
            cleaned.get(name, "") for name in ("access_key_id", "secret_access_key", "session_token")
        )
        if not secret:  # then something is stored: a new account requires it
            if key and key != self._stored("access_key_id"):
                self.add_error(
                    "secret_access_key",
                    _("Enter the secret access key that belongs to the new access key ID."),
                )
            elif token:
                self.add_error(
                    "secret_access_key",
                    _("Enter the secret access key that belongs to the new session token."),
                )
            elif self.stored and _origin(cleaned.get("endpoint_url")) != _origin(
                self.stored.settings.get("endpoint_url")
            ):
                self.add_error(
                    "secret_access_key",
                    _(
                        "The endpoint has changed. Enter the secret access key again: what is stored is "
                        "not sent to another host."
                    ),
                )
        elif (key or self._stored("access_key_id")).startswith("ASIA") and not token:
            self.add_error(
                "session_token",
                _("An access key ID that starts with ASIA is temporary and needs its session token."),
            )
        return cleaned

    def connection(self) -> Connection:
        """See :meth:`AccountForm.connection`. A session token is kept with the keys it was stored with, and
        goes with them.
        """
        cleaned = self.cleaned_data
        credentials = {
            "access_key_id": cleaned["access_key_id"] or self._stored("access_key_id"),
            "secret_access_key": cleaned["secret_access_key"] or self._stored("secret_access_key"),
            "session_token": cleaned["session_token"]
            if cleaned["secret_access_key"]
            else self._stored("session_token"),
        }
        kept = {"region": cleaned["region"], "endpoint_url": cleaned.get("endpoint_url", "")}
        return Connection(
            {name: value for name, value in credentials.items() if value},
            {k: v for k, v in kept.items() if v},
        )


def _origin(url: str | None) -> tuple[str, str]:
    parts = urlsplit(url or "")
    return parts.scheme, parts.netloc


class KinesisDestinationForm(DestinationForm):
    """The stream: chosen from ``targets``, or typed where the account may not list them."""

    target_field: ClassVar[str] = "stream"

    stream = forms.CharField(
        label=_("Stream"),
        help_text=_("A data stream in the account and region."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )

    aggregate = forms.BooleanField(
        label=_("Aggregate records (KPL)"),
        required=False,
        help_text=_(
            "Packs the records of a shard together, as the Kinesis Producer Library does. Consumers have to take "
            "them apart: the KCL and Firehose do, Lambda with AWS's library. Packed records share a sequence "
            "number, each with its place in it. Needs kinesis:ListShards."
        ),
    )

    def clean_stream(self) -> str:
        stream: str = self.cleaned_data["stream"]
        if not STREAM_NAME.fullmatch(stream):
            raise forms.ValidationError(
                _(
                    "A stream's name has up to 128 letters (a–z, A–Z), digits, underscores, hyphens and "
                    "periods."
                ),
                "characters",
            )
        if self.targets is not None:
            target = next((target for target in self.targets if target.name == stream), None)
            if target is None:
                raise forms.ValidationError(
                    _("There is no stream “%(stream)s” in this account and region."),
                    "missing",
                    {"stream": stream},
                )
            if target.status == "DELETING":
                raise forms.ValidationError(
                    _("The stream “%(stream)s” is being deleted."), "deleting", {"stream": stream}
                )
        return stream

    def target_settings(self) -> dict[str, Any]:
        settings = {"stream": self.cleaned_data["stream"]}
        return settings | {"aggregate": True} if self.cleaned_data["aggregate"] else settings
