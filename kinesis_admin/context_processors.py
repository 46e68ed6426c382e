"""What every page knows."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def environment(request: HttpRequest) -> dict[str, str]:
    """The name on the badge in the top bar (``production``, ``staging``); empty for none."""
    return {"environment_name": settings.ENVIRONMENT_NAME}
