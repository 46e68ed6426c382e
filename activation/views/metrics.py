"""``/metrics`` for Prometheus."""

from __future__ import annotations

import ipaddress
import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from access import tokens
from activation.metrics import exposition

# What a proxy says of whom it asks for: then the other end of the connection is not who asks.
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For who has METRICS_TOKEN or an API token with *View Monitoring*; where METRICS_TOKEN is not set, also for who
    asks from this machine and through no proxy.
    """
    given = request.headers.get("Authorization", "")
    if given.removeprefix("Bearer ").startswith(tokens.PREFIX):
        try:
            tokens.authenticate(request, "activation.view_monitoring")
        except tokens.Refused as refused:
            return refused.response()
    elif settings.METRICS_TOKEN:
        if not secrets.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
            return _refused(
                401, "This needs the bearer token in METRICS_TOKEN.", {"WWW-Authenticate": "Bearer"}
            )
    elif not _is_local(request):
        return _refused(403, "Set METRICS_TOKEN, or use an API token, to ask from another machine.")
    content, content_type = exposition(request.headers.get("Accept", ""))
    return HttpResponse(content, content_type=content_type)


def _is_local(request: HttpRequest) -> bool:
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:  # a unix socket has none
        return False
    return address.is_loopback and not any(name in request.headers for name in FORWARDED)


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain", headers=headers)
