"""Who a person is and what they may: allauth's password check, and our rights."""

from __future__ import annotations

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from access.roles import with_implied


class Backend(AuthenticationBackend):  # type: ignore[misc]
    """A right brings along what it is useless without: who may manage destinations sees them."""

    def get_all_permissions(self, user_obj: AbstractBaseUser | AnonymousUser, obj: Any = None) -> set[str]:
        if not user_obj.is_active or user_obj.is_anonymous or obj is not None:
            return set()
        cached: set[str] | None = getattr(user_obj, "_rights", None)
        if cached is None:
            cached = user_obj._rights = with_implied(super().get_all_permissions(user_obj))  # type: ignore[attr-defined]
        return cached
