"""Dead letters: what was not exported and why, sent again, discarded, or downloaded."""

from __future__ import annotations

import uuid
from dataclasses import replace as changed
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

import audit
from access.guard import requires
from activation import ndjson, preview, selectors, services
from activation.forms import DiscardForm, FailureQuery, id_of
from activation.models import Dataflow, Delivery, ExportReason, FailedExport
from activation.selectors import PAGE
from activation.views.common import ask, find_destination, person, say_queued
from activation.views.controls import OPERATE
from destinations.models import Destination
from profiles.selectors import newest_first

MONITOR = "activation.view_monitoring"
SEE_PROFILES = "profiles.view_profile"


@never_cache
@requires(MONITOR)
@require_safe
def failures(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """The dead letters of a dataflow, newest first. It goes by keys, not by page numbers: there may be millions."""
    destination = find_destination(destination_id)
    dataflow = selectors.find_dataflow(destination)
    query = FailureQuery.read(request.GET)
    found = selectors.failed_exports(dataflow, query.filter)
    params = query.params()
    context = {
        "destination": destination,
        "dataflow": dataflow,
        "query": query,
        "codes": selectors.failure_codes(dataflow),
        "kinds": FailedExport.Kind.choices,
        "states": FailedExport.State.choices,
        "slice": newest_first(
            found.select_related("closed_by"),
            before=id_of(request.GET.get("before", "")),
            after=id_of(request.GET.get("after", "")),
            size=PAGE,
        ),
        "found": found.order_by().count(),
        "params": f"{urlencode(params)}&" if params else "",
        "may_act": query.filter.state == FailedExport.State.OPEN and request.user.has_perm(OPERATE),
    }
    return render(request, "activation/failures.html", context)


@never_cache
@requires(MONITOR, SEE_PROFILES)
@require_safe
def failure(request: HttpRequest, failure_id: int) -> HttpResponse:
    """One dead letter: the answer that it got, and the record as it would be built now."""
    shown = get_object_or_404(
        FailedExport.objects.select_related("run__dataflow__destination__account", "closed_by"), pk=failure_id
    )
    dataflow = shown.run.dataflow
    context = {
        "failure": shown,
        "destination": dataflow.destination,
        "built": preview.record_now(dataflow, shown.profile_id),
        "delivery": Delivery.objects.filter(
            dataflow=dataflow, profile=shown.profile_id, delivered_at__gte=shown.created_at
        )
        .exclude(reason=ExportReason.UNSURE)
        .first(),
    }
    return render(request, "activation/failure.html", context)


@never_cache
@requires(MONITOR, OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def replay(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Queue the chosen ones again."""
    destination = find_destination(destination_id)
    query = FailureQuery.read(request.POST if request.method == "POST" else request.GET)
    chosen = _chosen(request, destination, query)
    if request.method != "POST":
        return ask(request, "activation/ask_replay_failures.html", chosen)
    replayed = services.replay_failures(
        destination=destination, failures=chosen["failures"], by=person(request)
    )
    if replayed.failures:
        say_queued(request, replayed)
    else:
        _say_none_is_open(request, query)
    return redirect(_back(destination, query))


@never_cache
@requires(MONITOR, OPERATE)
@require_http_methods(["GET", "HEAD", "POST"])
def discard(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Close the chosen ones with a word why."""
    destination = find_destination(destination_id)
    query = FailureQuery.read(request.POST if request.method == "POST" else request.GET)
    chosen = _chosen(request, destination, query)
    form = DiscardForm(request.POST if request.method == "POST" else None)
    if request.method != "POST":
        return ask(request, "activation/ask_discard_failures.html", chosen | {"form": form})
    if not form.is_valid():
        return ask(request, "activation/ask_discard_failures.html", chosen | {"form": form}, status=422)
    closed = services.discard_failures(
        destination=destination,
        failures=chosen["failures"],
        note=form.cleaned_data["note"],
        by=person(request),
    )
    if closed:
        text = ngettext(
            "%(count)s failed export was discarded.", "%(count)s failed exports were discarded.", closed
        )
        messages.success(request, text % {"count": number_format(closed, force_grouping=True)})
    else:
        _say_none_is_open(request, query)
    return redirect(_back(destination, query))


@never_cache
@requires(MONITOR)
@require_safe
def download(request: HttpRequest, destination_id: uuid.UUID) -> StreamingHttpResponse:
    """The chosen ones as NDJSON; all that the filter finds where none is chosen."""
    destination = find_destination(destination_id)
    dataflow = get_object_or_404(Dataflow, destination=destination)
    query = FailureQuery.read(request.GET)
    wanted = query.selection if query.chosen else query.filter
    audit.record("failures.downloaded", destination, after={"filter": dict(query.params())})
    lines = ndjson.lines(dataflow, wanted, records=request.user.has_perm(SEE_PROFILES))
    response = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    name = f"failed-exports-{timezone.now():%Y%m%dT%H%M%SZ}.ndjson"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


# -- what is chosen ------------------------------------------------------------------------------------------------


def _chosen(request: HttpRequest, destination: Destination, query: FailureQuery) -> dict[str, Any]:
    """The chosen ones that are open, and how many of which codes. None that came after they were counted."""
    dataflow = selectors.find_dataflow(destination)
    wanted = changed(
        query.selection, state=FailedExport.State.OPEN, up_to=id_of(request.POST.get("up_to", ""))
    )
    failures = selectors.failed_exports(dataflow, wanted)
    groups = selectors.failures_by_code(failures)
    return {
        "destination": destination,
        "dataflow": dataflow,
        "query": query,
        "failures": failures,
        "groups": groups,
        "count": sum(group.count for group in groups),
        "up_to": wanted.up_to or max((group.newest for group in groups), default=0),
        "cancel_url": _back(destination, query),
    }


def _say_none_is_open(request: HttpRequest, query: FailureQuery) -> None:
    if query.everything or query.chosen:
        messages.info(request, _("None of them is open any more: they were replayed or discarded already."))
    else:
        messages.info(request, _("Nothing was chosen."))


def _back(destination: Destination, query: FailureQuery) -> str:
    """The list, as it was filtered."""
    params = query.params()
    return reverse("activation:failures", args=[destination.pk]) + (f"?{urlencode(params)}" if params else "")
