"""The tabs of the workspace but the accounts: Overview, Catalog, Browse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import override
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from access.guard import requires
from destinations import connectors, selectors
from destinations.connectors.base import Spec, Text
from destinations.models import Account
from destinations.selectors import Connections, Status
from destinations.views.connect import ACTIVATE, MANAGE

VIEW = "destinations.view_destination"
PAGE_SIZE = 25


# -- Overview ------------------------------------------------------------------------------------------------------


@never_cache
@requires(VIEW)
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """First steps while nothing is activated; then numbers, what needs attention, the latest runs."""
    monitors = request.user.has_perm("activation.view_monitoring")
    attention = selectors.in_need_of_attention(runs=monitors)
    context = {
        "totals": selectors.totals(),
        "attention": attention[: selectors.SHOWN],
        "more_attention": len(attention) > selectors.SHOWN,
    }
    if monitors:
        context["latest"] = selectors.latest_runs()
    return render(request, "destinations/overview.html", workspace(request, context))


# -- Catalog -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Card:
    """A destination type in the catalog."""

    spec: Spec
    available: bool
    connections: Connections


@dataclass(frozen=True, slots=True)
class Category:
    key: str
    name: Text
    count: int


@requires(VIEW)
@require_safe
def catalog(request: HttpRequest) -> HttpResponse:
    """Cards of every destination type that the registry has; of one, the right rail tells more.

    1. ``show=mine`` keeps those with a connection, ``q`` those with these words.
    2. Categories count what is left, ``category`` keeps one of them.
    """
    search = request.GET.get("q", "").strip()
    mine = request.GET.get("show") == "mine"
    there = selectors.connections()
    cards = [
        Card(spec, connectors.is_available(spec.slug), there.get(spec.slug, Connections()))
        for spec in connectors.catalog()
    ]
    found = [card for card in cards if (card.spec.slug in there or not mine) and _holds(card.spec, search)]
    categories = _categories(card.spec for card in found)
    category = request.GET.get("category", "")
    if category not in {each.key for each in categories}:
        category = ""
    context = {
        "cards": [card for card in found if category in ("", _key(card.spec.category))],
        "found": len(found),
        "categories": categories,
        "category": category,
        "q": search,
        "mine": mine,
        "selected": next((card for card in cards if card.spec.slug == request.GET.get("type")), None),
    }
    return render(request, "destinations/catalog.html", workspace(request, context))


def _holds(spec: Spec, search: str) -> bool:
    words = f"{spec.name} {spec.description} {spec.category} {spec.connection_type}".casefold()
    return all(word in words for word in search.casefold().split())


def _categories(specs: Iterable[Spec]) -> list[Category]:
    names: dict[str, Text] = {}
    counts: dict[str, int] = {}
    for spec in specs:
        key = _key(spec.category)
        names[key] = spec.category
        counts[key] = counts.get(key, 0) + 1
    return sorted((Category(key, names[key], counts[key]) for key in names), key=lambda each: str(each.name))


def _key(category: Text) -> str:
    """The same in every language: it stands in the address."""
    with override(None):
        return slugify(str(category))


# -- Browse --------------------------------------------------------------------------------------------------------


@never_cache
@requires(VIEW)
@require_safe
def browse(request: HttpRequest) -> HttpResponse:
    """All destinations, with search, filters, sorting and paging."""
    accounts = list(Account.objects.only("name").order_by("name"))
    search = request.GET.get("q", "").strip()
    status = one_of(Status.values, request.GET.get("status"))
    platform = one_of(platforms(), request.GET.get("platform"))
    account = next((each for each in accounts if str(each.pk) == request.GET.get("account")), None)
    sort = sort_of(selectors.DESTINATION_SORTS, request.GET.get("sort"))
    found = selectors.destinations(
        search=search, status=status, platform=platform, account=account, sort=sort
    )
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": selectors.destination_rows(list(page)),
        "q": search,
        "sort": sort,
        "status": status,
        "platform": platform,
        "account": account,
        "filtered": bool(status or platform or account),
        "statuses": Status.choices,
        "accounts": accounts,
    }
    return render(request, "destinations/browse.html", workspace(request, context))


# -- what the tabs share -------------------------------------------------------------------------------------------


def workspace(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What every tab shows, and the tab's own."""
    there = platforms()
    only = next(iter(there)) if len(there) == 1 else ""
    set_up = reverse("destinations:connect", args=[only]) if only else reverse("destinations:catalog")
    return {
        "platforms": there,
        "set_up_url": set_up,
        "may_activate": request.user.has_perms((MANAGE, *ACTIVATE)),
        **context,
    }


def platforms() -> dict[str, str]:
    """The names of the destination types that can be set up, by their slugs."""
    return {spec.slug: spec.name for spec in connectors.catalog() if connectors.is_available(spec.slug)}


def one_of(choices: Iterable[str], asked: str | None) -> str:
    """What was asked for; empty where there is no such choice."""
    return asked if asked in set(choices) else ""


def sort_of(sorts: Iterable[str], asked: str | None) -> str:
    """The sort that was asked for; by name where it is none of ``sorts``."""
    return asked if asked and asked.removeprefix("-") in set(sorts) else "name"
