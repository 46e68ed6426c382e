"""The pages that make and change segments.

A rule is made in the builder or written as text, each beside the other, and beside an estimate of who is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from access.guard import requires
from profiles import selectors, services
from profiles.models import Segment
from profiles.segmentation.builder import Bench, Sources
from profiles.segmentation.estimate import estimate
from profiles.segmentation.forms import SegmentForm

VIEW = "profiles.view_segment"
MANAGE = "profiles.manage_segments"
AROUND = 60  # characters of a rule that are shown before and after a mistake


@dataclass(frozen=True, slots=True)
class Mistake:
    """The line of a rule that holds a mistake, cut around it."""

    message: str
    before: str = ""
    at: str = ""
    after: str = ""


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Make a rule; make a segment of it, or a draft."""
    bench = _bench(request)
    instance = Segment(origin=Segment.Origin.SEGMENTATION)
    if not _saves(request):
        return _form_page(request, _as_typed(request, instance, bench), bench)
    form = _form(request, instance, bench)
    if form.is_valid():
        cleaned = form.cleaned_data
        live = request.POST.get("action") != "draft"
        if live and not cleaned["rule"].strip():
            form.add_error("rule", _("Say who is in the segment, or save it as a draft."))
            return _form_page(request, form, bench)
        try:
            made = services.create_segment(
                name=cleaned["name"],
                description=cleaned["description"],
                origin=Segment.Origin.SEGMENTATION,
                rule=cleaned["rule"],
                state=Segment.State.LIVE if live else Segment.State.DRAFT,
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            said = (
                _("“%(name)s” is live. Every customer is asked now.") if live else _("“%(name)s” was saved.")
            )
            messages.success(request, said % {"name": made.name})
            return redirect("profiles:segment", made.pk)
    return _form_page(request, form, bench)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, segment_id: str) -> HttpResponse:
    """Change a segment; ``action=live`` makes it live, too."""
    edited, instance = _found(segment_id), _found(segment_id)
    bench = _bench(request, edited)
    if not _saves(request):
        return _form_page(request, _as_typed(request, instance, bench), bench, edited)
    form = _form(request, instance, bench)
    if form.is_valid():
        cleaned = form.cleaned_data
        try:
            services.edit_segment(
                edited,
                name=cleaned["name"],
                description=cleaned["description"],
                rule=cleaned.get("rule", edited.rule),
                version=cleaned["version"],
                publish=request.POST.get("action") == "live",
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": edited.name})
            return redirect("profiles:segment", edited.pk)
    return _form_page(request, form, bench, edited)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def show_estimate(request: HttpRequest) -> HttpResponse:
    """Who would be in a segment with this rule; fetched while it is written."""
    return render(request, "profiles/_estimate.html", _estimated(request, request.POST.get("rule", "")))


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def publish(request: HttpRequest, segment_id: str) -> HttpResponse:
    """Make a draft live, or an archived segment again."""
    found = _found(segment_id)
    try:
        services.publish_segment(found)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("profiles:segment_edit", found.pk)
    messages.success(request, _("“%(name)s” is live. Every customer is asked now.") % {"name": found.name})
    return redirect("profiles:segment", found.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def archive(request: HttpRequest, segment_id: str) -> HttpResponse:
    found = _found(segment_id)
    try:
        services.archive_segment(found)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, _("“%(name)s” was archived.") % {"name": found.name})
    return redirect("profiles:segment", found.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def duplicate(request: HttpRequest, segment_id: str) -> HttpResponse:
    """Make a draft with the same rule, and edit it."""
    found = _found(segment_id)
    name = _("Copy of %(name)s") % {"name": found.name}
    made = services.duplicate_segment(found, name=name[: services.NAME_MAX_LENGTH])
    messages.success(request, _("“%(name)s” is a draft with the same rule.") % {"name": made.name})
    return redirect("profiles:segment_edit", made.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, segment_id: str) -> HttpResponse:
    """Say what goes; POST deletes."""
    found = _found(segment_id)
    if request.method == "POST":
        try:
            services.delete_segment(found)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
            return redirect("profiles:segment", segment_id)
        messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
        return redirect("profiles:segments")
    return render(request, "profiles/segment_delete.html", {"segment": found})


def _found(segment_id: str) -> Segment:
    if "\0" in segment_id:
        raise Http404
    return get_object_or_404(Segment, pk=segment_id)


def _bench(request: HttpRequest, segment: Segment | None = None) -> Bench | None:
    """The builder and the text of the rule; None for a segment whose rule is not ours to change."""
    if segment is not None and segment.origin != Segment.Origin.SEGMENTATION:
        return None
    sources = Sources(segment.pk if segment else "", request.user.has_perm("profiles.view_profile"))
    if request.method == "POST":
        return Bench.posted(request.POST, sources, complain=_saves(request))
    return Bench.stored(segment.rule if segment else "", sources)


def _saves(request: HttpRequest) -> bool:
    """The form is sent to be kept; else it is sent to be shown again, with what a button of the builder changes."""
    asks = getattr(request, "htmx", False) or "do" in request.POST or request.POST.get("action") == "estimate"
    return request.method == "POST" and not asks


def _form(request: HttpRequest, instance: Segment, bench: Bench | None) -> SegmentForm:
    data = request.POST.copy()
    if bench is not None:
        data["rule"] = bench.text
    form = SegmentForm(data, instance=instance)
    if bench is not None and bench.problem:
        form.add_error("rule", bench.problem)
    return form


def _as_typed(request: HttpRequest, instance: Segment, bench: Bench | None) -> SegmentForm:
    rule = {"rule": bench.text} if bench is not None else {}
    return SegmentForm(initial=request.POST.dict() | rule, instance=instance)


def _form_page(
    request: HttpRequest, form: SegmentForm, bench: Bench | None, segment: Segment | None = None
) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "segment": segment, "bench": bench}
    if request.POST.get("action") == "estimate" and bench is not None:  # without JavaScript
        context |= _estimated(request, bench.text)
    response = render(request, "profiles/segment_form.html", context, status=422 if form.errors else 200)
    if bench is not None and bench.changed and getattr(request, "htmx", False):
        trigger_client_event(response, "rule-changed", {}, after="settle")
    return response


def _estimated(request: HttpRequest, text: str) -> dict[str, Any]:
    """Six queries with members that are shown to those who may see profiles."""
    if not text.strip():
        return {}
    try:
        found = estimate(services.check_rule(text, request.POST.get("segment", "")))
    except ValidationError as error:
        return {"mistake": _mistake(error, text)}
    rows = (
        selectors.profile_rows(list(found.profiles)) if request.user.has_perm("profiles.view_profile") else []
    )
    return {"estimate": found, "rows": rows}


def _mistake(error: ValidationError, text: str) -> Mistake:
    [message] = error.messages
    [single] = error.error_dict["rule"] if hasattr(error, "error_dict") else [error]
    position = (single.params or {}).get("position")
    if position is None:
        return Mistake(message)
    begin = max(text.rfind("\n", 0, position) + 1, position - AROUND)
    end = text.find("\n", position)
    end = min(len(text) if end < 0 else end, position + AROUND)
    return Mistake(message, text[begin:position], text[position : position + 1], text[position + 1 : end])
