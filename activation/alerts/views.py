"""The bell with its panel, everything that one was told, and what one wants to be told of a destination."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.guard import requires
from activation.alerts import selectors, services
from activation.alerts.forms import SubscriptionForm
from activation.forms import id_of
from activation.views.common import find_destination, is_htmx, person
from profiles.selectors import newest_first

VIEW = "destinations.view_destination"
MONITOR = "activation.view_monitoring"
MANAGE = "destinations.manage_destinations"
PAGE_SIZE = 25
IN_PANEL = 5


@never_cache
@requires(VIEW)
@require_safe
def alerts(request: HttpRequest) -> HttpResponse:
    """What one was told, newest first; ``?unread=1``: what one has not read."""
    unread = request.GET.get("unread") == "1"
    page = newest_first(
        selectors.notices(person(request), unread=unread),
        before=id_of(request.GET.get("before", "")),
        after=id_of(request.GET.get("after", "")),
        size=PAGE_SIZE,
    )
    context = {
        "slice": page,
        "lines": [selectors.Line(notice) for notice in page.rows],
        "unread": unread,
        "count": selectors.count_unread(person(request)),
        "params": "unread=1&" if unread else "",
    }
    return render(request, "activation/alerts.html", context)


@never_cache
@requires(VIEW)
@require_safe
def bell(request: HttpRequest) -> HttpResponse:
    """The bell and its panel: a part of every page, which asks again by itself. Nothing new: what is open stays."""
    if not is_htmx(request):
        return redirect("activation:alerts")
    count = selectors.count_unread(person(request))
    newest = list(selectors.notices(person(request)).order_by("-pk")[:IN_PANEL])
    state = f"{newest[0].pk if newest else 0}-{count}"
    if request.GET.get("state") == state:
        return HttpResponse(status=204)
    context = {
        "lines": [selectors.Line(notice) for notice in newest],
        "count": count,
        "many": count == selectors.MANY,
        "state": state,
    }
    return render(request, "activation/_bell.html", context)


@requires(VIEW)
@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """Everything up to ``up_to`` is read: what came since was not seen."""
    services.mark_read(user=person(request), up_to=id_of(request.POST.get("up_to", "")) or 0)
    return redirect("activation:alerts")


@sensitive_post_parameters("webhook_secret")
@never_cache
@requires(VIEW, MONITOR)
@require_http_methods(["GET", "HEAD", "POST"])
def subscription(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """What one wants to be told of a destination."""
    destination = find_destination(destination_id)
    user = person(request)
    stored = selectors.subscription_of(destination, user)
    form = SubscriptionForm(
        request.POST if request.method == "POST" else None,
        stored=stored,
        webhook=request.user.has_perm(MANAGE),
        email=getattr(user, "email", ""),
    )
    if form.is_bound and form.is_valid():
        services.subscribe(destination=destination, user=user, wishes=form.wishes())
        if form.cleaned_data["kinds"]:
            messages.success(request, _("Saved: you are told when it happens."))
        else:
            messages.success(request, _("Saved: you are told nothing of this destination."))
        return redirect(destination)
    context = {"destination": destination, "form": form, "stored": stored}
    return render(request, "activation/subscription.html", context, status=422 if form.errors else 200)
