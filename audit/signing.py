"""Who signs in and out, as Django's own signals tell it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest

from audit.trail import record


def signed_in(user: Any, **_: Any) -> None:
    record("session.signed_in", user, by=user)


def signed_out(user: Any, **_: Any) -> None:
    if user is not None:
        record("session.signed_out", user, by=user)


def failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Somebody did not get in. A name that nobody has is not kept: people type passwords there."""
    if request is None:  # no page: a check of a password by a program
        return
    users = get_user_model()
    name = str(credentials.get(users.USERNAME_FIELD, ""))
    known = (
        users._default_manager.filter(**{users.USERNAME_FIELD: name}).first() if "\0" not in name else None
    )
    record("session.refused", known)


def code_failed(user: Any, authenticator: Any, **_: Any) -> None:
    """The password was right, and the second step was not."""
    record("session.refused", user, after={"second_step": authenticator.type})


def step_added(user: Any, authenticator: Any, **_: Any) -> None:
    record("user.second_step_added", user, after={"second_step": authenticator.type})


def step_removed(user: Any, authenticator: Any, **_: Any) -> None:
    record("user.second_step_removed", user, {"second_step": authenticator.type})


def codes_made(user: Any, **_: Any) -> None:
    record("user.recovery_codes_made", user)
