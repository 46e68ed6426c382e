"""The pages of an upload: the file, its columns, the report; and the uploads to a segment."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.guard import requires
from audit.spreadsheet import lines
from profiles.models import Segment, Upload
from profiles.selectors import namespaces
from profiles.uploads import detect, selectors, services
from profiles.uploads.forms import ColumnsForm, FileForm, ReadingForm
from profiles.uploads.suggest import suggest

VIEW = "profiles.view_segment"
MANAGE = "profiles.manage_segments"
PAGE_SIZE = 25
SHOWN_ROWS = 10
SHOWN_VALUES = 3  # of a column


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Take a file in, for a new segment or the one that ``?segment=`` names."""
    form = FileForm(
        request.POST or None, request.FILES or None, initial={"segment": request.GET.get("segment")}
    )
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        try:
            upload = services.receive(
                cleaned["file"],
                segment=cleaned["segment"],
                segment_name=cleaned["name"],
                by=request.user,  # type: ignore[arg-type]
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return redirect("profiles:upload_columns", upload.pk)
    return render(request, "profiles/upload_file.html", {"form": form}, status=422 if form.errors else 200)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def columns(request: HttpRequest, upload_id: uuid.UUID) -> HttpResponse:
    """Say what the columns of a draft are, and start it."""
    upload = _found(upload_id)
    if upload.state != Upload.State.DRAFT:
        return redirect("profiles:upload", upload.pk)
    rows = selectors.first_rows(upload)
    values = [row.cells for row in rows[upload.has_header :] if not row.problem]
    found = rows[0].cells[: services.MAX_COLUMNS]
    given = found if upload.has_header else [""] * len(found)
    names = [
        name.strip() or _("Column %(number)s") % {"number": number} for number, name in enumerate(given, 1)
    ]
    suggested = suggest(given, values, namespaces(), selectors.fields())
    form = ColumnsForm(upload, names, suggested, request.POST or None)
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        try:
            services.start(
                upload,
                columns=form.columns,
                identity_column=cleaned["identity"],
                namespace=cleaned["namespace"],
                way=cleaned.get("way", Upload.Way.APPEND),
                expires_after=cleaned["expires_after"],
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return redirect("profiles:upload", upload.pk)
    samples = [
        [cells[place] for cells in values if place < len(cells) and cells[place]][:SHOWN_VALUES]
        for place in range(len(names))
    ]
    context = {
        "upload": upload,
        "form": form,
        "reading": ReadingForm(instance=upload),
        "names": names,
        "rows": rows[upload.has_header :][:SHOWN_ROWS],
        "broken": sum(bool(row.problem) for row in rows),
        "looked_at": len(rows),
        "columns": list(zip(form["identity"], form.column_fields, samples, strict=True)),
    }
    return render(request, "profiles/upload_columns.html", context, status=422 if form.errors else 200)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def read_as(request: HttpRequest, upload_id: uuid.UUID) -> HttpResponse:
    """Read a draft's file in another encoding, or with other separators."""
    upload = _found(upload_id)
    form = ReadingForm(request.POST, instance=_found(upload_id))
    if form.is_valid():
        services.read_as(upload, **form.cleaned_data)
    else:
        messages.error(request, _("The file can't be read like that."))
    return redirect("profiles:upload_columns", upload.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_safe
def upload(request: HttpRequest, upload_id: uuid.UUID) -> HttpResponse:
    """How far an upload is, and what was rejected."""
    shown = _found(upload_id)
    if shown.state == Upload.State.DRAFT:
        return redirect("profiles:upload_columns", shown.pk)
    page = Paginator(selectors.rejections(shown), PAGE_SIZE).get_page(request.GET.get("page"))
    ahead = selectors.ahead_of(shown).order_by("queued_at").first() if shown.active else None
    context = {
        "upload": shown,
        "segment": shown.segment,
        "page": page,
        "ahead": ahead,
        "encoding": detect.ENCODINGS[shown.encoding],
    }
    return render(request, "profiles/upload.html", context)


@never_cache
@requires(VIEW, MANAGE)
@require_safe
def rejected(request: HttpRequest, upload_id: uuid.UUID) -> StreamingHttpResponse:
    """The rejected rows as a CSV that a spreadsheet opens in any language, and takes for nothing but text."""
    found = _found(upload_id)
    rows = selectors.rejections(found).values_list("row", "value", "reason")
    response = StreamingHttpResponse(
        lines([_("Row"), _("Value"), _("Reason")], rows.iterator()), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="rejected-rows.csv"'
    return response


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def stop(request: HttpRequest, upload_id: uuid.UUID) -> HttpResponse:
    """Drop a draft, or stop what is under way."""
    found = Upload.objects.filter(pk=upload_id).first()
    if found is None or found.state == Upload.State.DRAFT:
        if found is not None:
            services.stop(found)
        messages.info(request, _("The upload was dropped."))
        return redirect("profiles:segments")
    services.stop(found)
    return redirect("profiles:upload", found.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_safe
def uploads(request: HttpRequest, segment_id: str) -> HttpResponse:
    """The uploads to a segment, the newest first."""
    if "\0" in segment_id:
        raise Http404
    segment = get_object_or_404(Segment, pk=segment_id)
    page = Paginator(selectors.uploads_of(segment), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "profiles/uploads.html", {"segment": segment, "page": page})


def _found(upload_id: uuid.UUID) -> Upload:
    return get_object_or_404(Upload.objects.select_related("segment", "created_by"), pk=upload_id)
