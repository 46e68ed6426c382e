"""A destination: its details and controls, its runs and mapped data, the records in its stream, and its deletion."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from access.guard import requires
from destinations import services, viewer
from destinations.connectors.base import ConnectorError, Text
from destinations.fields import KeyLost
from destinations.models import Destination
from destinations.views import connect
from governance.consent import policies_for

VIEW = "destinations.view_destination"
MANAGE = "destinations.manage_destinations"


@dataclass(frozen=True, slots=True)
class Tab:
    """What the page shows of a destination: a part with a view of its own, and the rights that it needs beyond
    seeing the destination.
    """

    key: str
    label: Text
    view: str
    rights: tuple[str, ...] = ()


TABS = (
    Tab("runs", gettext_lazy("Dataflow runs"), "activation:runs", ("activation.view_monitoring",)),
    Tab("data", gettext_lazy("Activation data"), "activation:activation_data"),
    # The records hold what the profiles do.
    Tab("stream", gettext_lazy("Stream viewer"), "destinations:stream", ("profiles.view_profile",)),
)
STREAM = TABS[-1]


@never_cache
@requires(VIEW)
@require_safe
def destination(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Its page. ``?tab=`` runs, data or stream; what a tab holds is a part that HTMX loads."""
    return _page(request, _find(destination_id), _tab(request))


@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    return connect.edit_setup(request, _find(destination_id))


@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Say what stops and what is lost; POST deletes."""
    found = Destination.objects.filter(pk=destination_id).select_related("account", "dataflow").first()
    if request.method == "POST":
        services.delete_destination(destination_id)
        if found is None:
            messages.info(request, _("The destination was deleted already."))
        else:
            messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
        return redirect("destinations:browse")
    if found is None:
        raise Http404
    return render(request, "destinations/destination_delete.html", {"destination": found, **_lost(found)})


# -- the stream viewer ---------------------------------------------------------------------------------------------


@never_cache
@requires(VIEW, *STREAM.rights)
@require_safe
def stream(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """The newest records: a part that asks again by itself, and the destination's page around it for everybody else.

    Asks the other side, so it may take 10 s.
    """
    found = _find(destination_id)
    part = _stream(request.GET, found)
    if not request.htmx:  # type: ignore[attr-defined]
        return _page(request, found, STREAM, part)
    if part["again"] and part["again"] == request.get_full_path():
        # Nothing new: what is open, selected or focused stays as it is.
        return HttpResponse(status=204)
    return render(request, "destinations/_stream.html", part)


def _stream(query: QueryDict, destination: Destination) -> dict[str, Any]:
    """What the part shows. ``again`` is the address that is asked next, every so many seconds."""
    part: dict[str, Any] = {"destination": destination, "records": [], "every": 0, "again": ""}
    try:
        records = viewer.newest_records(destination)
    except ConnectorError as error:
        kind, account = destination.type, destination.account
        return part | {
            "error": error,
            "policy": kind.permissions_needed(account.settings, destination.target),
        }
    except KeyLost:
        return part | {"lost": True}
    now = int(timezone.now().timestamp())
    since = min(_number(query.get("since", ""), now), now)
    part |= {"records": records, "every": _pace(now - since), "first": "since" not in query}
    if part["every"]:
        again = QueryDict(mutable=True)
        again["since"], again["every"] = str(since), str(part["every"])
        again["seen"] = viewer.fingerprint(records)
        part["again"] = f"{reverse('destinations:stream', args=[destination.pk])}?{again.urlencode()}"
    return part


def _pace(watched: int) -> int:
    """Seconds until the next look, after ``watched`` seconds of looking; 0: no more, until somebody asks.

    A shard answers five reads a second, to all who read it together.
    """
    return 2 if watched < 60 else 10 if watched < 600 else 0


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else otherwise


# -- what several views need ---------------------------------------------------------------------------------------


def _find(destination_id: uuid.UUID) -> Destination:
    found = Destination.objects.filter(pk=destination_id)
    destination = found.select_related("account", "created_by", "dataflow").first()
    if destination is None:
        raise Http404
    return destination


def _tab(request: HttpRequest) -> Tab:
    """The tab that is asked for, else the first that the person may see."""
    asked = next((tab for tab in TABS if tab.key == request.GET.get("tab")), None)
    if asked and not request.user.has_perms(asked.rights):
        raise PermissionDenied(" ".join(asked.rights))
    return asked or next(tab for tab in TABS if request.user.has_perms(tab.rights))


def _page(
    request: HttpRequest, destination: Destination, tab: Tab, part: dict[str, Any] | None = None
) -> HttpResponse:
    """The page on a tab. ``part``: what the tab shows, where it is there already."""
    kind = destination.type
    actions = list(destination.marketing_actions.all())
    context = {
        "destination": destination,
        "tabs": [
            {"label": each.label, "key": each.key, "current": each == tab}
            for each in TABS
            if request.user.has_perms(each.rights)
        ],
        "may_activate": request.user.has_perms((*connect.ACTIVATE, MANAGE)),
        "tab": tab,
        "part_url": reverse(tab.view, args=[destination.pk]),
        "part": part is not None,
        "target_label": kind.destination_form.base_fields[kind.destination_form.target_field].label,
        "account_settings": connect.shown_settings(kind, destination.account.settings),
        "marketing_actions": actions,
        "consent_policies": policies_for([action.pk for action in actions]),
        **_lost(destination),
    }
    return render(request, "destinations/destination.html", context | (part or {}))


def _lost(destination: Destination) -> dict[str, Any]:
    """How much is activated to it, and how much waits: what would be gone with it."""
    dataflow = getattr(destination, "dataflow", None)
    if dataflow is None or dataflow.finished_at is None:
        return {"dataflow": dataflow, "live": False, "ran": False}
    return {
        "dataflow": dataflow,
        "live": True,
        "segments": dataflow.mapped_segments.count(),
        "attributes": dataflow.mapped_attributes.count(),
        "waiting": dataflow.pending.count(),
        "ran": dataflow.runs.exists(),
    }
