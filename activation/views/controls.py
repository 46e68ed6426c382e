"""What operators do with a dataflow: each asks before it acts, with the numbers of the moment."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from access.guard import requires
from activation import selectors, services
from activation.backlog import Dropped, backlog
from activation.forms import LanesForm, ReplayForm, moment_of
from activation.views.common import ask, find_destination, person, say_queued, to_destination
from destinations.models import Destination

OPERATE = "activation.activate_destinations"


@requires(OPERATE)
@require_POST
def enable(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    try:
        awake = services.enable(destination=destination)
    except services.Refused as error:
        messages.error(request, error.message)
        return to_destination(request, destination)
    if awake is None:
        messages.info(request, _("It is enabled already."))
    elif awake:
        messages.success(request, _("Enabled: the export goes on."))
    else:
        messages.warning(request, _("Enabled: the export goes on when the workers are back."))
    return to_destination(request, destination)


@requires(OPERATE)
@require_POST
def disable(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    try:
        stopped = services.disable(destination=destination)
    except services.Refused as error:
        messages.error(request, error.message)
        return to_destination(request, destination)
    if stopped:
        messages.success(request, _("Disabled: what changes from now on waits until it is enabled again."))
    else:
        messages.info(request, _("It is disabled already."))
    return to_destination(request, destination)


@never_cache
@requires(OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def drain(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Deliver what waits, then disable."""
    destination = find_destination(destination_id)
    if request.method != "POST":
        return ask(request, "activation/ask_drain.html", _now(destination))
    try:
        draining = services.drain(destination=destination)
    except services.Refused as error:
        messages.error(request, error.message)
        return redirect(destination)
    if draining is None:
        messages.info(request, _("It is being drained already."))
    elif draining:
        messages.success(request, _("Draining: it is disabled once what waits is delivered."))
    else:
        messages.success(request, _("Nothing was waiting: it is disabled."))
    return redirect(destination)


@never_cache
@requires(OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def purge(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Drop what waits."""
    destination = find_destination(destination_id)
    if request.method != "POST":
        return ask(request, "activation/ask_purge.html", _now(destination))
    dropped = services.purge(destination=destination, by=person(request))
    text = ngettext(
        "%(count)s record was dropped: it will not be sent.",
        "%(count)s records were dropped: they will not be sent.",
        dropped.count,
    )
    _say_dropped(request, dropped, text)
    return redirect(destination)


@never_cache
@requires(OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def cancel_backfill(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Drop what waits of backfills and replays."""
    destination = find_destination(destination_id)
    if request.method != "POST":
        return ask(request, "activation/ask_cancel_backfill.html", _now(destination))
    dropped = services.cancel_backfill(destination=destination, by=person(request))
    text = ngettext(
        "Stopped: %(count)s record will not be sent.",
        "Stopped: %(count)s records will not be sent.",
        dropped.count,
    )
    _say_dropped(request, dropped, text)
    return redirect(destination)


def _say_dropped(request: HttpRequest, dropped: Dropped, text: str) -> None:
    if dropped.count:
        messages.success(request, text % {"count": number_format(dropped.count, force_grouping=True)})
    if dropped.kept:
        kept = ngettext(
            "%(count)s last record stays: it says of a person who withdrew consent that they left.",
            "%(count)s last records stay: they say of people who withdrew consent that they left.",
            dropped.kept,
        )
        messages.info(request, kept % {"count": number_format(dropped.kept, force_grouping=True)})
    elif not dropped.count:
        messages.info(request, _("Nothing was waiting."))


@never_cache
@requires(OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def lanes(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Change how many workers may deliver at once."""
    destination = find_destination(destination_id)
    if request.method != "POST":
        now = _now(destination)
        count = now["dataflow"].lane_count if now["dataflow"] else None
        return ask(request, "activation/ask_lanes.html", now | {"form": LanesForm(initial={"count": count})})
    form = LanesForm(request.POST)
    if not form.is_valid():
        return ask(request, "activation/ask_lanes.html", _now(destination) | {"form": form}, status=422)
    try:
        changed = services.set_lanes(
            destination=destination, count=form.cleaned_data["count"], by=person(request)
        )
    except services.Refused as error:
        messages.error(request, error.message)
        return redirect(destination)
    if changed:
        messages.success(request, _("The lanes were changed. The export goes on."))
    else:
        messages.info(request, _("It has so many lanes already."))
    return redirect(destination)


@never_cache
@requires(OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def replay(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Send again. 1. What: all members, or what was exported in a period. 2. How many that is. POST sends."""
    destination = find_destination(destination_id)
    posted = request.method == "POST"
    data = request.POST if posted else request.GET
    form = (
        ReplayForm(data) if posted or "which" in data else ReplayForm(initial={"which": ReplayForm.MEMBERS})
    )
    if posted and form.is_valid():
        try:
            replayed = services.replay(
                destination=destination, period=form.period, seen=moment_of(data, "seen"), by=person(request)
            )
        except services.Refused as error:
            messages.error(request, error.message)
        else:
            say_queued(request, replayed)
        return redirect(destination)
    context = _now(destination) | {"form": form}
    if not form.is_bound:
        return render(request, "activation/replay.html", context)
    if not form.is_valid():
        return render(request, "activation/replay.html", context, status=422)
    dataflow = context["dataflow"]
    counted = selectors.to_replay(dataflow, form.period).count() if dataflow else 0
    return render(request, "activation/replay.html", context | {"expected": counted, "period": form.period})


def _now(destination: Destination) -> dict[str, Any]:
    dataflow = selectors.find_dataflow(destination)
    return {"destination": destination, "dataflow": dataflow, "waiting": backlog(dataflow)}
