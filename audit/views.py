"""The pages *Audit*. (Pages stand above everything: unlike the rest of this app they use what ``profiles`` has.)"""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from access.guard import requires
from audit import forms, selectors
from audit.actions import ACTIONS
from audit.export import FORMATS
from audit.keys import first_key_at
from audit.models import Entry
from audit.trail import record
from profiles.selectors import newest_first

VIEW = "audit.view_entry"
EXPORT = "audit.export_entry"
PAGE_SIZE = 50


@never_cache
@requires(VIEW)
@require_safe
def entries(request: HttpRequest) -> HttpResponse:
    """The trail, newest first. It goes by keys, not by page numbers: there may be millions."""
    wanted = forms.read(request.GET)
    context = {
        "wanted": wanted,
        "filtered": bool(forms.params(wanted)),
        "actions": sorted(
            ((key, action.label) for key, action in ACTIONS.items()), key=lambda pair: str(pair[1])
        ),
        "params": forms.query(wanted),
        "slice": newest_first(
            selectors.entries(wanted),
            before=_key(request.GET.get("before", "")),
            after=_key(request.GET.get("after", "")),
            size=PAGE_SIZE,
        ),
    }
    return render(request, "audit/entries.html", context)


@never_cache
@requires(VIEW)
@require_safe
def entry(request: HttpRequest, entry_id: uuid.UUID) -> HttpResponse:
    """One act, with before → after."""
    return render(request, "audit/entry.html", {"entry": get_object_or_404(Entry, pk=entry_id)})


@never_cache
@requires(VIEW, EXPORT)
@require_safe
def export(request: HttpRequest, format: str) -> StreamingHttpResponse:
    """What the filters find, as a file. That somebody took it is recorded first, and in the file, too."""
    if format not in FORMATS:
        raise Http404
    write, content_type = FORMATS[format]
    wanted = forms.read(request.GET)
    record("audit.exported", after={"format": format} | forms.params(wanted))
    found = selectors.entries(wanted).filter(pk__lt=first_key_at(timezone.now()))
    response = StreamingHttpResponse(write(selectors.oldest_first(found)), content_type=content_type)
    name = f"audit-{timezone.now():%Y%m%dT%H%M%SZ}.{format}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _key(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
