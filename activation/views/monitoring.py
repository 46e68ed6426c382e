"""What a dataflow does and did: live numbers and hourly runs, and the parts on the pages of profiles and segments."""

from __future__ import annotations

import uuid
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRefresh

from activation import selectors
from activation.export import latency
from activation.live import capacity, live
from activation.models import Dataflow, DataflowRun
from activation.views.common import find_destination, is_htmx, page_links, part
from profiles.access import requires
from profiles.models import Profile, Segment


@never_cache
@requires("activation.view_monitoring")
@require_safe
def runs(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """The hourly runs, with live numbers: a part of the Destination page, and a page of its own.

    The part asks again by itself, and says in its address what it saw: looks at the counts, for the rate, and the
    state. When that is another one, the page around it shows what is over: it is loaded again.
    """
    destination = find_destination(destination_id)
    dataflow = selectors.find_dataflow(destination)
    state = dataflow.state if dataflow else ""
    if is_htmx(request) and request.GET.get("state", state) != state:
        return HttpResponseClientRefresh()
    page = selectors.run_page(dataflow, request.GET.get("page"))
    now = live(dataflow, list(page), request.GET.get("looks", "")) if page.number == 1 else None
    # Beside nothing else, it has the controls that stand elsewhere on the destination's page.
    alone = not is_htmx(request) or "alone" in request.GET
    again = {"state": state, "looks": now.pulse.looks} | ({"alone": 1} if alone else {}) if now else {}
    context = {
        "destination": destination,
        "dataflow": dataflow,
        "live": now,
        "status": selectors.status_of(dataflow, ran=page.paginator.count > 0),
        "open_failures": selectors.count_open_failures(dataflow),
        "page": page,
        "alone": alone,
        "again": f"{request.path}?{urlencode(again)}" if again else "",
    } | page_links(request, page)
    return part(request, "activation/_runs.html", context, title=destination.name, tabs=True)


@never_cache
@requires("activation.view_monitoring")
@require_safe
def stream_capacity(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """What the stream takes, beside what waits. Asks the other side, so it is a part of its own: it may take 10 s."""
    destination = find_destination(destination_id)
    dataflow = get_object_or_404(
        Dataflow.objects.select_related("destination__account"), destination=destination
    )
    context = {"destination": destination, "capacity": capacity(dataflow)}
    return part(request, "activation/_capacity.html", context, title=gettext("What the stream takes"))


@never_cache
@requires("activation.view_monitoring")
@require_safe
def run(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    found = get_object_or_404(DataflowRun.objects.select_related("dataflow__destination__account"), pk=run_id)
    context = {
        "run": found,
        "destination": found.dataflow.destination,
        "groups": selectors.failure_groups(found),
        "latency": latency.percentiles(found.latencies),
    }
    return render(request, "activation/run.html", context)


@never_cache
@requires("destinations.view_destination")
@require_safe
def activation_data(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """What is live: mapped segments and attributes."""
    destination = find_destination(destination_id)
    dataflow = selectors.find_dataflow(destination)
    page = selectors.mapped_segment_page(dataflow, request.GET.get("page"))
    attribute_page = selectors.mapped_attribute_page(dataflow, request.GET.get("attributes"))
    context = {
        "destination": destination,
        "dataflow": dataflow,
        "page": page,
        "attribute_page": attribute_page,
        "segment_links": page_links(request, page),
        "attribute_links": page_links(request, attribute_page, "attributes"),
    }
    return part(request, "activation/_activation_data.html", context, title=destination.name, tabs=True)


@never_cache
@requires("profiles.view_profile", "destinations.view_destination")
@require_safe
def profile_exports(request: HttpRequest, profile_id: uuid.UUID) -> HttpResponse:
    """Which dataflows exported a profile last: a part of the profile's page."""
    profile = get_object_or_404(Profile.objects.only("pk"), pk=profile_id)
    context = {"profile": profile, "exports": selectors.profile_exports(profile.pk)}
    return part(request, "activation/_profile_exports.html", context, title=gettext("Exports of the profile"))


@never_cache
@requires("profiles.view_segment", "destinations.view_destination")
@require_safe
def segment_activations(request: HttpRequest, segment_id: str) -> HttpResponse:
    """Where a segment is activated: a part of the segment's page."""
    segment = get_object_or_404(Segment, pk=segment_id)
    rows = selectors.segment_activations(segment.pk)
    context = {
        "segment": segment,
        "rows": [
            {
                "mapping": row,
                "destination": row.dataflow.destination,
                "status": selectors.status_of(row.dataflow, ran=True),
            }
            for row in rows
        ],
    }
    return part(request, "activation/_segment_activations.html", context, title=segment.name)
