"""API tokens: what they look like, and who a request with one comes from."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.translation import override
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from access.models import ApiToken

PREFIX = "ka_"  # so that who scans repositories for secrets knows ours
USED_EVERY = timedelta(minutes=1)  # last use is written no more often

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def new_token() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token. It is 256 random bits: nothing slower than SHA-256 is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class Refused(Exception):
    """Why a request with a token is not answered: an HTTP status and words for who wrote the program."""

    def __init__(self, status: int, title: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(title)
        self.status, self.title, self.headers = status, title, headers or {}

    def response(self) -> JsonResponse:
        """As RFC 9457 wants it."""
        told = {"type": "about:blank", "status": self.status, "title": self.title}
        return JsonResponse(
            told, status=self.status, headers=self.headers, content_type="application/problem+json"
        )


def authenticate(request: HttpRequest, *rights: str) -> ApiToken:
    """Make ``request`` the token's owner's, with no more rights than the token's scopes.

    Args:
        rights: what the request needs, as ``app.codename``.

    Returns:
        The token.

    Raises:
        Refused: there is no token, it is unknown or expired, its owner was deactivated (401), a right is lacking
            (403), or it comes too often (429).
    """
    scheme, _space, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Refused(401, "An API token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
    found = ApiToken.objects.select_related("owner").filter(digest=digest(secret.strip())).first()
    if found is None or found.expired or not found.owner.is_active:
        raise Refused(
            401, "The API token is unknown or expired.", {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        )
    if not _in_time(found):
        raise Refused(429, "This API token is used too often.", {"Retry-After": "60"})
    owner = found.owner
    _restrict(owner, set(found.scopes))
    request.user = owner
    missing = [right for right in rights if not owner.has_perm(right)]
    if missing:
        request.refused_for = " ".join(missing)  # type: ignore[attr-defined]
        raise Refused(
            403,
            f"The API token may not do this. What it lacks: {', '.join(missing)}.",
            {"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
        )
    now = timezone.now()
    if found.last_used_at is None or now - found.last_used_at > USED_EVERY:
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found


def token_required(*rights: str) -> Callable[[View[P]], View[P]]:
    """Let a view of an API through only with a token that has every one of ``rights``.

    Returns:
        A decorator for views. No cookie counts there, so none needs protection against forgery; refusals are JSON.
    """

    def decorate(view: View[P]) -> View[P]:
        @csrf_exempt
        @never_cache
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            with override("en"):
                try:
                    authenticate(request, *rights)
                except Refused as refused:
                    return refused.response()
                return view(request, *args, **kwargs)

        return cast(View[P], guarded)

    return decorate


def _restrict(owner: User, scopes: set[str]) -> None:
    """For this request the owner has those of their rights that are in the scopes; nobody is a superuser."""
    owner._rights = owner.get_all_permissions() & scopes  # type: ignore[attr-defined]
    owner.is_superuser = False


def _in_time(token: ApiToken) -> bool:
    """Whether the token may be used once more this minute."""
    most = settings.API_REQUESTS_PER_MINUTE
    key = f"api:{token.pk}:{int(time.time() // 60)}"
    return not most or cache.add(key, 1, 120) or cache.incr(key) <= most
