"""What the views of people, roles and tokens share."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.models import User
from django.http import HttpRequest

VIEW = "access.view_people"
MANAGE = "access.manage_people"
PAGE_SIZE = 25


def actor(request: HttpRequest) -> User:
    """Who asks: a view that calls this lets nobody in who is not signed in."""
    return cast(User, request.user)
