"""Where ``/`` leads: to the first page that a person may see."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache

PAGES = (
    ("profiles.view_profile", "profiles:profiles"),
    ("profiles.view_segment", "profiles:segments"),
    ("profiles.view_inlet", "profiles:inlets"),
    ("access.view_people", "access:people"),
)


@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """The destinations; for who may not see those, something else, and at last their own account."""
    user = request.user
    if not user.is_authenticated or user.has_perm("destinations.view_destination"):
        return redirect("destinations:overview")
    pages = (page for right, page in PAGES if user.has_perm(right))
    return redirect(next(pages, "account_change_password"))
