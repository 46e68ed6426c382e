"""What a dataflow does and did: live numbers and hourly runs, and the parts on the pages of profiles and segments."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from activation import selectors
from activation.backlog import backlog
from activation.export import latency
from activation.models import DataflowRun
from activation.views.common import find_destination, page_links, part
from profiles.access import requires
from profiles.models import Profile, Segment

PERCENTILES = (50, 95, 99)  # of the time from queueing to acknowledgement


@never_cache
@requires("activation.view_monitoring")
@require_safe
def runs(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """The hourly runs, with live numbers: a part of the Destination page, and a page of its own."""
    destination = find_destination(destination_id)
    dataflow = selectors.find_dataflow(destination)
    page = selectors.run_page(dataflow, request.GET.get("page"))
    context = {
        "destination": destination,
        "dataflow": dataflow,
        "status": selectors.status_of(dataflow, ran=page.paginator.count > 0),
        "waiting": backlog(dataflow),
        "page": page,
        "here": request.get_full_path(),
    } | page_links(request, page)
    return part(request, "activation/_runs.html", context, title=destination.name, tabs=True)


@never_cache
@requires("activation.view_monitoring")
@require_safe
def run(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    found = get_object_or_404(DataflowRun.objects.select_related("dataflow__destination__account"), pk=run_id)
    context = {
        "run": found,
        "destination": found.dataflow.destination,
        "groups": selectors.failure_groups(found),
        "latency": [(percent, latency.percentile(found.latencies, percent)) for percent in PERCENTILES],
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
