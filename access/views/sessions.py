"""One's own sessions: allauth lists them and ends all others; here is how one of them ends."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from access.guard import requires
from access.views.common import actor


@never_cache
@requires()
@require_POST
def end(request: HttpRequest, session_id: int) -> HttpResponse:
    """Sign oneself out there. Others' sessions are as if they were not."""
    get_object_or_404(UserSession, pk=session_id, user=actor(request)).end()
    messages.success(request, _("The session was signed out."))
    return redirect("usersessions_list")
