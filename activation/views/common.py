"""What the views share."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.paginator import Page
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.utils.formats import number_format
from django.utils.translation import ngettext
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from activation.services import Replayed
from destinations.models import Destination


def find_destination(destination_id: uuid.UUID) -> Destination:
    return get_object_or_404(Destination.objects.select_related("account"), pk=destination_id)


def is_htmx(request: HttpRequest) -> bool:
    """HTMX asks, for a part."""
    details: HtmxDetails = request.htmx  # type: ignore[attr-defined]
    return bool(details) and not details.boosted


def person(request: HttpRequest) -> AbstractBaseUser:
    user = request.user
    assert isinstance(user, AbstractBaseUser)  # `requires` lets nobody else through
    return user


def to_destination(request: HttpRequest, destination: Destination) -> HttpResponse:
    url = destination.get_absolute_url()
    return HttpResponseClientRedirect(url) if is_htmx(request) else HttpResponseRedirect(url)


def part(
    request: HttpRequest, template: str, context: dict[str, Any], *, title: str, tabs: bool = False
) -> HttpResponse:
    """A part for HTMX; a whole page around it for everybody else."""
    if is_htmx(request):
        return render(request, template, context)
    return render(
        request, "activation/part.html", context | {"part": template, "title": title, "show_tabs": tabs}
    )


def ask(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Ask before something is done: in the page's dialog for HTMX, on a page of its own for everybody else.

    Args:
        template: extends ``frame``, which is one of the two.
    """
    frame = "activation/ask_dialog.html" if is_htmx(request) else "activation/ask.html"
    return render(request, template, context | {"frame": frame}, status=status)


def say_queued(request: HttpRequest, replayed: Replayed) -> None:
    """Say what a replay queued, and when it goes."""
    count = {"count": number_format(replayed.queued, force_grouping=True)}
    if not replayed.enabled:
        text = ngettext(
            "%(count)s record is queued. It is sent once the destination is enabled.",
            "%(count)s records are queued. They are sent once the destination is enabled.",
            replayed.queued,
        )
        messages.warning(request, text % count)
    elif not replayed.awake:
        text = ngettext(
            "%(count)s record is queued. It is sent when the workers are back.",
            "%(count)s records are queued. They are sent when the workers are back.",
            replayed.queued,
        )
        messages.warning(request, text % count)
    else:
        text = ngettext(
            "%(count)s record is on its way again.",
            "%(count)s records are on their way again.",
            replayed.queued,
        )
        messages.success(request, text % count)


def page_links(request: HttpRequest, page: Page[Any], name: str = "page") -> dict[str, Any]:
    """Addresses for the pagination of a part: whole ones, as it may stand in another page."""

    def url(number: int) -> str:
        query = request.GET.copy()
        query[name] = str(number)
        return f"{request.path}?{query.urlencode()}"

    entries = page.paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1)
    return {
        "links": [
            {"number": entry, "url": url(entry) if isinstance(entry, int) else ""} for entry in entries
        ],
        "previous_url": url(page.number - 1) if page.has_previous() else "",
        "next_url": url(page.number + 1) if page.has_next() else "",
    }
