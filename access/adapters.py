"""How allauth does things here: nobody signs up, second factors are stored encrypted, refusals are in our words."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib.auth.signals import user_login_failed
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from access.keys import keys

# What allauth says on our pages: its own Korean lacks some of it.
WORDS = (
    _("A new set of recovery codes has been generated."),
    _("Authenticator app activated."),
    _("Authenticator app deactivated."),
    _("Backup key"),
    _("Incorrect code."),
    _("Master key"),
    _("Password successfully changed."),
    _("Password successfully set."),
    _("Security key added."),
    _("Security key removed."),
    _("Signed out of all other sessions."),
    _("Use a security key"),
    _("Use authenticator app or code"),
    _("Use your password"),
    _("You must type the same password each time."),
)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": _("Check both and try again. Capitals count."),
        "email_password_mismatch": _("Check both and try again. Capitals count."),
        "too_many_login_attempts": _("Too many failed attempts. Wait five minutes and try again."),
        "enter_current_password": _("This is not your current password."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Who waits, because of too many failures, is not asked for the password; once a minute, the trail says so."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            if cache.add(f"told:{self._get_login_attempts_cache_key(request, **credentials)}", 1, 60):
                user_login_failed.send(sender=__name__, credentials=credentials, request=request)
            raise

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """That somebody signed in or out, they see."""
        if message_template in ("account/messages/logged_in.txt", "account/messages/logged_out.txt"):
            return
        super().add_message(request, level, message_template, *args, **kwargs)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """The secrets of authenticator apps and recovery codes, encrypted with ``CREDENTIAL_KEYS``."""

    def encrypt(self, text: str) -> str:
        return keys().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return keys().decrypt(encrypted_text).decode()


class SingleSignOnAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """The provider says who somebody is; who has an account here, an administrator says."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False
