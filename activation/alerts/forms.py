"""What a person wants to be told of a destination, and how."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from activation.alerts.services import Wishes
from activation.alerts.webhook import NotAllowed, check_url
from activation.models import Subscription
from destinations.models import AlertKind


class SubscriptionForm(forms.Form):
    """Without the right to manage destinations there is no webhook: it makes this server call others."""

    kinds = forms.MultipleChoiceField(
        label=_("Tell me when"),
        choices=AlertKind.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("A trouble is told once, and once more when it is over. None: you are told nothing."),
    )
    by_email = forms.BooleanField(label=_("By e-mail, too"), required=False)
    webhook_url = forms.CharField(
        label=_("Webhook URL"),
        required=False,
        max_length=500,
        help_text=_("Each alert is posted there as JSON, too. Empty: none."),
        widget=forms.TextInput({"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
    )
    webhook_secret = forms.CharField(
        label=_("Webhook secret"),
        required=False,
        min_length=16,
        max_length=200,
        help_text=_(
            "At least 16 characters. Every message is signed with it: HMAC-SHA256 of X-Timestamp, a dot and the body."
        ),
        widget=forms.PasswordInput({"autocomplete": "new-password", "spellcheck": "false"}),
    )

    def __init__(self, data: Any = None, *, stored: Subscription | None, webhook: bool, email: str) -> None:
        """
        Args:
            webhook: the person may have one.
            email: where mail to them goes.
        """
        initial = (
            {name: getattr(stored, name) for name in ("kinds", "by_email", "webhook_url")}
            if stored
            else {"by_email": True}
        )
        # Nothing goes to an address that there is not.
        initial["by_email"] = initial["by_email"] and bool(email)
        super().__init__(data, initial=initial)
        self._stored = stored
        if email:
            self.fields["by_email"].help_text = email
        else:
            self.fields["by_email"].disabled = True
            self.fields["by_email"].help_text = _("Your account has no e-mail address.")
        if not webhook:
            del self.fields["webhook_url"], self.fields["webhook_secret"]
        elif self._has_secret:
            self.fields["webhook_secret"].help_text = _("Leave it empty to keep the one that is stored.")

    @property
    def _has_secret(self) -> bool:
        return self._stored is not None and bool(self._stored.webhook_url)

    def clean_webhook_url(self) -> str:
        url: str = self.cleaned_data["webhook_url"].strip()
        if url:
            try:
                check_url(url)
            except NotAllowed as refused:
                raise forms.ValidationError(str(refused)) from None
        return url

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        typed = cleaned.get("webhook_secret") or "webhook_secret" in self.errors
        if cleaned.get("webhook_url") and not typed and not self._has_secret:
            problem = _("Enter a secret: without one nobody can tell who sent a message.")
            self.add_error("webhook_secret", problem)
        return cleaned

    def wishes(self) -> Wishes:
        """What the valid form says. Without the right to a webhook, the one that is stored stays."""
        cleaned = self.cleaned_data
        kept = self._stored.webhook_url if self._stored else ""
        return Wishes(
            kinds=cleaned["kinds"],
            by_email=cleaned["by_email"],
            webhook_url=cleaned.get("webhook_url", kept),
            webhook_secret=cleaned.get("webhook_secret", ""),
        )
