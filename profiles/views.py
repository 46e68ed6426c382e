"""The pages Profiles, Segments and Schema. What people change of the first two, the admin and other pages change."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import TextChoices
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from access.guard import requires
from profiles import graph, selectors, services
from profiles.forms import FindProfileForm, SchemaFieldForm
from profiles.models import Profile, Segment, SegmentMembership
from profiles.segmentation import counts

PAGE_SIZE = 25
DAYS_IN_A_ROW = 7  # of the list of segments
FOUND_AT_MOST = 50  # profiles with one identity value, in several namespaces


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _choice(choices: type[TextChoices], value: str | None) -> str:
    return value if value in choices.values else ""


@requires("profiles.view_profile")
@require_safe
def profiles(request: HttpRequest) -> HttpResponse:
    """Find a profile by identity; else the newest ones.

    1. One that is found is shown at once.
    2. The list goes by keys, not by page numbers: it may be a million profiles long.
    """
    form = FindProfileForm(request.GET)
    searched = form.is_valid() and form.cleaned_data["q"].strip()
    context: dict[str, Any] = {"form": form, "searched": searched, "namespaces": list(selectors.namespaces())}
    if searched:
        namespace = form.cleaned_data["namespace"]
        found = list(selectors.profiles_named(searched, namespace and namespace.pk)[:FOUND_AT_MOST])
        if len(found) == 1:
            return redirect("profiles:profile", found[0].pk)
        context["namespace"] = namespace
    elif form.is_valid():
        page = selectors.newest_first(
            Profile.objects.all(),
            before=_uuid(request.GET.get("before", "")),
            after=_uuid(request.GET.get("after", "")),
            size=PAGE_SIZE,
        )
        found = list(page.rows)
        context["slice"] = page
    else:
        found = []
    context["rows"] = selectors.profile_rows(found)
    return render(request, "profiles/profiles.html", context)


@requires("profiles.view_profile")
@require_safe
def profile(request: HttpRequest, profile_id: uuid.UUID) -> HttpResponse:
    """A profile: attributes, identities, memberships; where it was exported is fetched from activation.

    The id of a merged one leads to the one that stayed.
    """
    shown = selectors.find_profile(profile_id)
    if shown is None:
        raise Http404
    if shown.pk != profile_id:
        return redirect("profiles:profile", shown.pk)
    links, merged = selectors.links_of(shown)
    context = {
        "profile": shown,
        "written": selectors.last_written(shown),
        "name": selectors.display_name(shown.attributes),
        "links": links,
        "merged": merged,
        "graph": graph.drawing(links, merged),
        "memberships": selectors.memberships_of(shown),
    }
    return render(request, "profiles/profile.html", context)


@requires("profiles.view_segment")
@require_safe
def segments(request: HttpRequest) -> HttpResponse:
    """All segments, with search, filters, sorting and paging."""
    search = request.GET.get("q", "").strip()
    sort = request.GET.get("sort", "")
    if sort.removeprefix("-") not in selectors.SEGMENT_SORTS:
        sort = "name"
    state = _choice(Segment.State, request.GET.get("state"))
    origin = _choice(Segment.Origin, request.GET.get("origin"))
    found = selectors.segments(search=search, sort=sort, state=state, origin=origin)
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    days = counts.days_of([segment.pk for segment in page], DAYS_IN_A_ROW)
    context = {
        "page": page,
        "rows": [(segment, [day.members for day in days[segment.pk]]) for segment in page],
        "q": search,
        "sort": sort,
        "state": state,
        "states": Segment.State.choices,
        "origin": origin,
        "origins": Segment.Origin.choices,
        "filtered": search or state or origin,
    }
    return render(request, "profiles/segments.html", context)


@requires("profiles.view_segment")
@require_safe
def segment(request: HttpRequest, segment_id: str) -> HttpResponse:
    """A segment: its numbers by the day, details, members (for those who may see profiles); where it is activated is
    fetched.
    """
    if "\0" in segment_id:
        raise Http404
    shown = get_object_or_404(Segment.objects.select_related("evaluation"), pk=segment_id)
    days = counts.days_of([shown.pk])[shown.pk]
    status = _choice(SegmentMembership.Status, request.GET.get("status"))
    search = request.GET.get("q", "").strip()
    params = {name: value for name, value in (("status", status), ("q", search)) if value}
    by_status = selectors.status_counts(shown)
    context: dict[str, Any] = {
        "segment": shown,
        "members": days[-1].members,
        "joined": sum(day.realized for day in days),
        "left": sum(day.exited for day in days),
        "days": [(day.date, (day.realized, day.exited)) for day in days],
        "series": [(_("Qualified"), "accent"), (_("Exited"), "notice")],
        "counted": selectors.COUNTED,
        "statuses": [
            (choice.value, choice.label, by_status[choice.value]) for choice in SegmentMembership.Status
        ],
        "status": status,
        "q": search,
        "params": f"{urlencode(params)}&" if params else "",
    }
    if request.user.has_perm("profiles.view_profile"):
        page = selectors.latest_members(
            shown,
            status=status,
            search=search,
            before=request.GET.get("before", ""),
            after=request.GET.get("after", ""),
            size=PAGE_SIZE,
        )
        rows = selectors.profile_rows([membership.profile for membership in page.rows])
        context["slice"] = page
        context["rows"] = list(zip(page.rows, rows, strict=True))
    return render(request, "profiles/segment.html", context)


@requires("profiles.view_segment")
@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The union schema as a tree, with the labels of the fields."""
    search = request.GET.get("q", "").strip()
    fields = list(selectors.schema_fields(search))
    context = {
        "tree": selectors.schema_tree(fields, selectors.labels_by_path()),
        "leaves": sum(field.type != field.Type.OBJECT for field in fields),
        "unknown": selectors.unknown_paths().count(),
        "q": search,
    }
    return render(request, "profiles/schema.html", context)


@requires("profiles.view_segment")
@require_safe
def schema_unknown(request: HttpRequest) -> HttpResponse:
    """Paths that came in and are not in the schema: kept, and offered for adding."""
    search = request.GET.get("q", "").strip()
    page = Paginator(selectors.unknown_paths(search), PAGE_SIZE).get_page(request.GET.get("page"))
    unknown = selectors.unknown_paths().count() if search else page.paginator.count
    return render(request, "profiles/schema_unknown.html", {"page": page, "unknown": unknown, "q": search})


@never_cache
@requires("profiles.view_segment", "profiles.manage_schema")
@require_http_methods(["GET", "HEAD", "POST"])
def schema_add(request: HttpRequest) -> HttpResponse:
    """Add an own field; ``?path=`` and ``?type=`` fill the form for a path that came in."""
    path = request.GET.get("path", "")
    initial = {"path": path, "type": request.GET.get("type", ""), "title": _title(path)}
    form = SchemaFieldForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            added = services.add_field(**form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("%(path)s is in the schema now.") % {"path": added.path})
            return redirect("profiles:schema_unknown" if path else "profiles:schema")
    status = 422 if form.errors else 200
    return render(request, "profiles/schema_add.html", {"form": form}, status=status)


def _title(path: str) -> str:
    """A title to begin with: ``_ours.shoeSize`` is probably called “Shoe size”."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+", " ", path.rpartition(".")[2]).split()
    return " ".join(words).capitalize()
