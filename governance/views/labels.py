"""The page of labels, and the page that labels many fields, or segments, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from access.guard import requires
from governance import selectors, services
from governance.enforcement import Violated, Violation
from governance.forms import LabelForm, LabelsForm, NameForm, OldLabelForm
from governance.models import Label
from governance.views.common import MANAGE_LABELS, PAGE_SIZE, VIEW, add_errors, ask_to_delete, form_page
from profiles.models import SchemaField, Segment


@never_cache
@requires(VIEW)
@require_safe
def labels(request: HttpRequest) -> HttpResponse:
    search = request.GET.get("q", "").strip()
    page = Paginator(selectors.labels(search), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "governance/labels.html", {"page": page, "q": search})


@never_cache
@requires(VIEW, MANAGE_LABELS)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, LabelForm(request.POST or None), None)


@never_cache
@requires(VIEW, MANAGE_LABELS)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, label_id: int) -> HttpResponse:
    label = _own(label_id)
    initial = {"name": label.name, "description": label.description}
    return _form(request, OldLabelForm(request.POST or None, initial=initial), label)


@never_cache
@requires(VIEW, MANAGE_LABELS)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, label_id: int) -> HttpResponse:
    """Say what happens; POST deletes. What a policy speaks of stays."""
    label = _own(label_id)
    page = {
        "name": label.code,
        "text": _("Fields and segments that are marked with it are not marked any more."),
        "cancel_url": reverse("governance:labels"),
        "parent": _("Labels"),
    }
    if request.method != "POST":
        return ask_to_delete(request, **page)
    try:
        services.delete_label(label)
    except ValidationError as error:
        return ask_to_delete(request, **page, refused=error.messages)
    messages.success(request, _("“%(name)s” was deleted.") % {"name": label.code})
    return redirect("governance:labels")


def _own(label_id: int) -> Label:
    label = Label.objects.filter(pk=label_id, kind=Label.Kind.OWN).first()
    if label is None:
        raise Http404
    return label


def _form(request: HttpRequest, form: NameForm, label: Label | None) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            if label:
                saved = services.edit_label(label, **form.cleaned_data)
            else:
                saved = services.create_label(**form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": saved.code})
            return redirect("governance:labels")
    return form_page(
        request,
        form,
        title=_("Edit label %(code)s") % {"code": label.code} if label else _("Create label"),
        button=_("Save") if label else _("Create label"),
        cancel_url=reverse("governance:labels"),
        parent=_("Labels"),
    )


# -- labelling data ------------------------------------------------------------------------------------------------


@never_cache
@requires("profiles.view_segment", MANAGE_LABELS)
@require_http_methods(["GET", "HEAD", "POST"])
def label_fields(request: HttpRequest) -> HttpResponse:
    """Label the fields of ``field`` (paths). POST without ``action`` asks which labels, as many paths need a body."""
    paths = (request.POST if request.method == "POST" else request.GET).getlist("field")
    rows = list(SchemaField.objects.filter(path__in=[path for path in paths if "\0" not in path]))
    if not rows:
        messages.info(request, _("Choose the fields to label first."))
        return redirect("profiles:schema")
    names = [(row.path, row.label) for row in rows]
    return _label(request, rows, names, "field", _("Schema"), reverse("profiles:schema"))


@never_cache
@requires("profiles.view_segment", MANAGE_LABELS)
@require_http_methods(["GET", "HEAD", "POST"])
def label_segments(request: HttpRequest) -> HttpResponse:
    """Label the segments of ``segment`` (ids)."""
    keys = (request.POST if request.method == "POST" else request.GET).getlist("segment")
    rows = list(Segment.objects.filter(pk__in=[key for key in keys if "\0" not in key]).order_by("name"))
    if not rows:
        raise Http404
    back = reverse("profiles:segment", args=[rows[0].pk]) if len(rows) == 1 else reverse("profiles:segments")
    names = [(row.pk, row.name) for row in rows]
    return _label(request, rows, names, "segment", _("Segments"), back)


def _label(
    request: HttpRequest,
    rows: Sequence[SchemaField] | Sequence[Segment],
    names: list[tuple[str, str]],
    parameter: str,
    parent: str,
    back: str,
) -> HttpResponse:
    """Add labels (``action=add``) or remove them (``remove``); else ask which.

    Args:
        names: key and words of each row, which has ``parameter`` in the form.
    """
    action = request.POST.get("action", "")
    problem, violations = "", list[Violation]()
    if action in ("add", "remove"):
        form = LabelsForm(request.POST)
        if form.is_valid():
            chosen = list(form.cleaned_data["labels"])
            try:
                (services.add_labels if action == "add" else services.remove_labels)(rows, chosen)
            except Violated as violated:
                violations = violated.violations
            except ValidationError as error:
                problem = " ".join(error.messages)
            else:
                messages.success(request, _said(action, chosen, len(rows)))
                return redirect(back)
        else:
            problem = " ".join(str(error) for errors in form.errors.values() for error in errors)
    context: dict[str, Any] = {
        "names": names,
        "parameter": parameter,
        "parent": parent,
        "cancel_url": back,
        "kinds": selectors.label_kinds(_on_rows(rows)),
        "ticked": request.POST.getlist("labels"),
        "problem": problem,
        "violations": violations,
    }
    return render(request, "governance/apply.html", context, status=422 if problem or violations else 200)


def _on_rows(rows: Sequence[SchemaField] | Sequence[Segment]) -> list[Label]:
    """Every label, with ``on_rows``: how many of the rows have it. Two queries."""
    through = Label.segments.through if isinstance(rows[0], Segment) else Label.fields.through
    column = "segment" if isinstance(rows[0], Segment) else "schemafield"
    found = through._default_manager.filter(**{f"{column}__in": [row.pk for row in rows]})
    keys = list(found.values_list("label", flat=True))
    labels = list(Label.objects.all())
    for label in labels:
        label.on_rows = keys.count(label.pk)  # type: ignore[attr-defined]
    return labels


def _said(action: str, labels: list[Label], count: int) -> str:
    codes = ", ".join(label.code for label in labels)
    if action == "add":
        said = ngettext("%(codes)s was added.", "%(codes)s were added to all %(count)s.", count)
    else:
        said = ngettext("%(codes)s was removed.", "%(codes)s were removed from all %(count)s.", count)
    return said % {"codes": codes, "count": count}
