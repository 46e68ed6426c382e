"""Who may see a view: signed out leads to the sign-in page, a missing right to a 403 page that names it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django_htmx.http import HttpResponseClientRefresh

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def requires(*permissions: str) -> Callable[[View[P]], View[P]]:
    """Let a view through only for a signed-in person with every one of ``permissions``.

    Args:
        permissions: as ``app.codename``; with none, being signed in is enough.

    Returns:
        A decorator for views. The view it makes carries the rights as ``view.permissions``, so that a test can
        see that no view was forgotten.

    Raises:
        PermissionDenied: from the view; its text lists the missing rights, for the 403 page.
    """

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                if getattr(request, "htmx", False):
                    # A part of a page asks (some do so every few seconds): the sign-in page does not belong into it.
                    return HttpResponseClientRefresh()
                return redirect_to_login(request.get_full_path())
            missing = [permission for permission in permissions if not request.user.has_perm(permission)]
            if missing:
                raise PermissionDenied(" ".join(missing))
            return view(request, *args, **kwargs)

        guarded.permissions = permissions  # type: ignore[attr-defined]
        return cast(View[P], guarded)

    return decorate
