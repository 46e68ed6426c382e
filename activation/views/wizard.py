"""The activation wizard: segments, attributes, review, finish."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.core.paginator import Page
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import push_url, trigger_client_event

from access.guard import requires
from activation import preview, selectors, services
from activation.forms import AttributesPost, SegmentQuery, SegmentsPost, number_of, version_of
from activation.selectors import ChosenAttribute, Selection
from activation.views.common import find_destination, is_htmx, part, person
from destinations.models import Destination
from governance.consent import policies_for
from profiles import selectors as store
from profiles.models import SchemaField

WIZARD = (
    "destinations.manage_destinations",
    "activation.activate_destinations",
    "profiles.view_profile",
    "profiles.view_segment",
)
CHOSEN_SHOWN = 10  # of the chosen segments, beside the table; the table itself can show them all
STEPS = ("segments", "attributes", "review")
SEGMENT_HEADS = (
    ("name", _("Name"), False),
    ("members", _("Members"), True),
    ("evaluated", _("Last evaluated"), False),
)


# -- Select segments -----------------------------------------------------------------------------------------------


@never_cache
@requires(*WIZARD)
@require_http_methods(["GET", "HEAD", "POST"])
def segments(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    if request.method == "POST":
        return _save_segments(request, destination)
    return _segments_page(request, Selection.of(destination), SegmentQuery.read(request.GET))


def _save_segments(request: HttpRequest, destination: Destination) -> HttpResponse:
    """1. Save the ticks of the page, whatever was pressed. 2. Do what was pressed. 3. Say what is wrong, or go on."""
    post = SegmentsPost.read(request.POST)
    by = person(request)
    problem: services.Refused | None = None
    try:
        gone = services.save_segments(
            destination=destination, version=post.version, by=by, shown=post.shown, ticked=post.ticked
        )
        if gone:
            problem = services.Refused(_gone(gone, post.names))
        if post.action == "all":
            services.add_found_segments(
                destination=destination, version=post.version, by=by, search=post.query.q
            )
        elif post.action == "none":
            services.clear_segments(destination=destination, version=post.version, by=by)
    except services.Refused as error:
        problem = error

    selection = Selection.of(destination)
    if post.action == "keep" and is_htmx(request):
        return render(
            request, "activation/_chosen.html", _chosen(selection) | _problem(problem) | {"swap": True}
        )
    if isinstance(problem, services.EditedByOther):
        return _segments_page(request, selection, post.query, problem, post)
    if post.action == "next" and problem is None:
        missing = next((p for p in selection.problems() if p.step == "segments"), None)
        if missing is None:
            return redirect("activation:attributes", destination.pk)
        problem = services.Refused(missing.message)
    if problem is not None:
        return _segments_page(request, selection, post.query, problem)
    if post.action == "save":
        return _saved(request, selection)
    if is_htmx(request):
        return push_url(_segments_page(request, selection, post.query), _segments_url(selection, post.query))
    return redirect(_segments_url(selection, post.query))


def _gone(segment_ids: Sequence[str], names: Mapping[str, str]) -> str:
    listed = ", ".join(f"“{names.get(segment_id, segment_id)}”" for segment_id in segment_ids[:5])
    return ngettext(
        "%(names)s was deleted meanwhile and can't be activated.",
        "%(count)s segments were deleted meanwhile and can't be activated: %(names)s.",
        len(segment_ids),
    ) % {"names": listed, "count": len(segment_ids)}


def _segments_url(selection: Selection, query: SegmentQuery) -> str:
    return reverse("activation:segments", args=[selection.destination.pk]) + f"?{query.urlencode()}"


def _segments_page(
    request: HttpRequest,
    selection: Selection,
    query: SegmentQuery,
    problem: services.Refused | None = None,
    unsaved: SegmentsPost | None = None,
) -> HttpResponse:
    """The step. ``unsaved``: what was refused because of somebody else's edit, and is shown as it was sent."""
    among = selection.segments() if query.chosen else None
    page = selectors.segment_page(query.page, search=query.q, sort=query.sort, among=among)
    query = query.on_page(page.number)
    shown = [segment.pk for segment in page]
    ticked: Collection[str] = selectors.chosen_among(selection.dataflow, shown)
    if unsaved is not None:
        ticked = (set(ticked) - set(unsaved.shown)) | (unsaved.ticked & set(shown))
    context = _wizard(selection, "segments") | _chosen(selection) | _problem(problem)
    context |= {
        "query": query,
        "page": page,
        "ticked": ticked,
        "there_are_segments": bool(page.paginator.count or query.q or query.chosen),
        "heads": [
            {
                "key": key,
                "label": label,
                "numeric": numeric,
                "go": query.sorted_by(key).urlencode(),
                "direction": {key: "ascending", f"-{key}": "descending"}.get(query.sort, ""),
            }
            for key, label, numeric in SEGMENT_HEADS
        ],
        "all_go": query.only_chosen(False).urlencode(),
        "chosen_go": query.only_chosen(True).urlencode(),
        "links": _page_links(page, query),
    }
    if unsaved is not None:
        context["version"] = unsaved.version
    return render(request, "activation/segments.html", context, status=422 if problem else 200)


def _page_links(page: Page[Any], query: SegmentQuery) -> list[dict[str, Any]]:
    entries = page.paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1)
    return [
        {"number": entry, "go": query.on_page(entry).urlencode() if isinstance(entry, int) else ""}
        for entry in entries
    ]


def _chosen(selection: Selection) -> dict[str, Any]:
    count = selection.segment_count()
    return {
        "chosen_count": count,
        "chosen": list(selection.segments().order_by("name", "pk")[:CHOSEN_SHOWN]) if count else [],
        "chosen_more": max(0, count - CHOSEN_SHOWN),
        "destination": selection.destination,
        "version": selection.version,
    }


# -- Select attributes ---------------------------------------------------------------------------------------------


@never_cache
@requires(*WIZARD)
@require_http_methods(["GET", "HEAD", "POST"])
def attributes(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    if request.method == "POST":
        return _save_attributes(request, destination)
    selection = Selection.of(destination)
    return _unfinished(request, selection, "attributes") or _attributes_page(request, selection)


def _save_attributes(request: HttpRequest, destination: Destination) -> HttpResponse:
    post = AttributesPost.read(request.POST)
    before = Selection.of(destination)
    was = {a.field.path for a in before.attributes()}
    try:
        services.save_attributes(
            destination=destination, version=post.version, by=person(request), choices=post.choices
        )
    except services.Refused as error:
        response = _attributes_page(request, before, error, post)
        if is_htmx(request) and post.added:
            # The dialog that it was added from covers what the page says.
            trigger_client_event(response, "toast", {"text": error.message, "variant": "error"})
        return response

    selection = Selection.of(destination)
    if post.action == "next":
        missing = next((p for p in selection.problems() if p.step == "attributes"), None)
        if missing is not None:
            return _attributes_page(request, selection, services.Refused(missing.message))
        return redirect("activation:review", destination.pk)
    if post.action == "save":
        return _saved(request, selection)
    if is_htmx(request):
        response = _attributes_page(request, selection)
        if post.added:
            new = len({path for path in post.added if path not in was})
            text = ngettext("%(n)s field was added.", "%(n)s fields were added.", new) % {"n": new}
            toast = (
                {"text": text, "variant": "success"}
                if new
                else {"text": gettext("It is in the list already."), "variant": "info"}
            )
            trigger_client_event(response, "toast", toast)
        return trigger_client_event(response, "draft-saved", {}, after="settle")
    url = reverse("activation:attributes", args=[destination.pk])
    return redirect(f"{url}?add=1" if post.action in ("tree", "add", "paste") else url)


def _attributes_page(
    request: HttpRequest,
    selection: Selection,
    problem: services.Refused | None = None,
    unsaved: AttributesPost | None = None,
) -> HttpResponse:
    rows = selection.attributes()
    if unsaved is not None:
        rows = _as_sent(unsaved)
    context = _wizard(selection, "attributes") | _problem(problem)
    context |= {
        "rows": rows,
        "tree": [] if is_htmx(request) else store.schema_tree(store.schema_fields()),
        "in_list": {row.field.path for row in rows},
        "show_tree": request.GET.get("add") == "1" or bool(unsaved and unsaved.action == "paste"),
        "pasted": unsaved.pasted if unsaved else "",
        "most": services.MAX_ATTRIBUTES,
        "recommended": selectors.RECOMMENDED,
        "partition": selectors.partition_attribute(selection.destination),
    }
    if unsaved is not None:
        context["version"] = unsaved.version
    return render(request, "activation/attributes.html", context, status=422 if problem else 200)


def _as_sent(post: AttributesPost) -> list[ChosenAttribute]:
    """The rows of a refused save, without those that only the refusal is about: what was just added, and what is not
    in the schema.
    """
    just_added = set(post.added)
    choices = [choice for choice in post.choices if choice.path not in just_added][: services.MAX_ATTRIBUTES]
    fields = {f.path: f for f in SchemaField.objects.filter(path__in=[choice.path for choice in choices])}
    return [ChosenAttribute(fields[c.path], c.mandatory, c.hashed) for c in choices if c.path in fields]


@never_cache
@requires(*WIZARD)
@require_safe
def sample(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """The record of a real member, as the draft would have it exported."""
    selection = Selection.of(find_destination(destination_id))
    context = {
        "destination": selection.destination,
        "selection": selection,
        "sample": preview.sample(selection, number_of(request.GET, "place", 10_000)),
    }
    return part(request, "activation/_sample.html", context, title=gettext("Sample record"))


# -- Review and Finish ---------------------------------------------------------------------------------------------


@never_cache
@requires(*WIZARD)
@require_safe
def review(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    selection = Selection.of(find_destination(destination_id))
    return _unfinished(request, selection, "review") or _review_page(request, selection)


def _review_page(
    request: HttpRequest, selection: Selection, problem: services.Refused | None = None
) -> HttpResponse:
    destination = selection.destination
    page = selectors.segment_page(request.GET.get("page"), among=selection.segments())
    added = list(selection.added_segments().values_list("pk", flat=True)) if selection.is_live else []
    actions = list(destination.marketing_actions.all())
    context = _wizard(selection, "review") | _problem(problem)
    context |= {
        "violations": selection.violations(),
        "marketing_actions": actions,
        "consent_policies": policies_for([action.pk for action in actions]),
        "page": page,
        "segment_count": selection.segment_count(),
        "rows": selection.attributes(),
        "backfill": selectors.backfill(selection.added_segments()) if selection.is_draft else None,
        "added": set(added),
        "added_count": len(added),
        "removed_segments": list(selection.removed_segments().order_by("name")),
        "attribute_changes": selection.attribute_changes(),
    }
    return render(request, "activation/review.html", context, status=422 if problem else 200)


@never_cache
@requires(*WIZARD)
@require_safe
def estimate(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    """What the backfill means for the stream. Asks the other side, so it is a part of its own: it may take 10 s."""
    selection = Selection.of(find_destination(destination_id))
    context = {"destination": selection.destination, "estimate": preview.estimate(selection)}
    return part(request, "activation/_estimate.html", context, title=gettext("What it means for the stream"))


@never_cache
@requires(*WIZARD)
@require_POST
def finish(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    if request.POST.get("action") == "save":
        return _saved(request, Selection.of(destination))
    try:
        finished = services.finish(
            destination=destination,
            version=version_of(request.POST),
            by=person(request),
            segments=number_of(request.POST, "segments"),
            attributes=number_of(request.POST, "attributes"),
        )
    except services.NothingToFinish as error:
        messages.info(request, error.message)
        return redirect(destination)
    except services.EditedByOther as error:
        return _review_page(request, Selection.of(destination), error)
    except services.Forbidden as error:
        return _review_page(request, Selection.of(destination), error)
    except services.Refused as error:
        messages.error(request, error.message)
        return redirect(f"activation:{error.step or 'review'}", destination.pk)
    _say_what_happens(request, finished)
    return redirect(destination)


def _say_what_happens(request: HttpRequest, finished: services.Finished) -> None:
    count = {"count": number_format(finished.queued, force_grouping=True)}
    if not finished.queued:
        # Nothing waits, so it does not matter whether the workers were told.
        messages.success(request, _("The changes are live. From now on, changes of profiles are exported."))
    elif finished.awake:
        text = ngettext(
            "Activated: %(count)s record is on its way.",
            "Activated: %(count)s records are on their way.",
            finished.queued,
        )
        messages.success(request, text % count)
    else:
        text = ngettext(
            "Activated: %(count)s record is queued. The export starts when the workers are back.",
            "Activated: %(count)s records are queued. The export starts when the workers are back.",
            finished.queued,
        )
        messages.warning(request, text % count)


@requires(*WIZARD)
@require_POST
def discard(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    try:
        services.discard(destination=destination, version=version_of(request.POST), by=person(request))
    except services.EditedByOther as error:
        return _review_page(request, Selection.of(destination), error)
    messages.success(request, _("The changes were discarded. What is live goes on as it was."))
    return redirect(destination)


# -- what the steps share ------------------------------------------------------------------------------------------


def _wizard(selection: Selection, step: str) -> dict[str, Any]:
    """What the frame of a step needs."""
    destination = selection.destination
    urls = {key: reverse(f"activation:{key}", args=[destination.pk]) for key in STEPS}
    place = STEPS.index(step)
    edit_url = reverse("destinations:edit", args=[destination.pk])
    return {
        "destination": destination,
        "selection": selection,
        "version": selection.version,
        "cancel_url": destination.get_absolute_url(),
        "back_url": urls[STEPS[place - 1]] if place else "" if selection.is_live else edit_url,
        "step_links": {key: urls[key] for key in STEPS[:place]}
        | ({} if selection.is_live else {"setup": edit_url}),
        # Who edits what is live has long passed the first two steps.
        "only_steps": " ".join(STEPS) if selection.is_live else "",
    }


def _problem(problem: services.Refused | None) -> dict[str, Any]:
    return {"problem": problem, "edited": problem if isinstance(problem, services.EditedByOther) else None}


def _unfinished(request: HttpRequest, selection: Selection, step: str) -> HttpResponse | None:
    """A redirect to the first step that lacks something, for who comes to a later one."""
    for problem in selection.problems():
        if STEPS.index(problem.step) < STEPS.index(step):
            messages.error(request, problem.message)
            return redirect(f"activation:{problem.step}", selection.destination.pk)
    return None


def _saved(request: HttpRequest, selection: Selection) -> HttpResponse:
    if selection.is_draft:
        messages.success(request, _("Saved as a draft: nothing is exported by it until you finish."))
    return redirect(selection.destination)
