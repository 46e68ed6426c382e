"""Tells the trail who makes the request, and records what a signed-in person was refused."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from audit.origin import acting
from audit.trail import record


class AuditMiddleware:
    """Stands behind the middleware that knows the person, and the one that gives the request its id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with acting(request):
            response = self._get_response(request)
            # Who is not signed in is sent to sign in; producers are counted by their inlets.
            if response.status_code == 403 and request.user.is_authenticated:
                missing = getattr(request, "refused_for", "")
                record("access.refused", name=f"{request.method} {request.path}", after={"missing": missing})
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        if isinstance(exception, PermissionDenied):
            request.refused_for = str(exception)  # type: ignore[attr-defined]
