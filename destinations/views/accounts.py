"""Accounts: the list, other credentials for one, deleting one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from access.guard import requires
from destinations import selectors, services
from destinations.connectors.base import AccountForm, Check
from destinations.fields import KeyLost
from destinations.models import Account
from destinations.views.connect import MANAGE, shown_settings
from destinations.views.workspace import PAGE_SIZE, VIEW, one_of, platforms, sort_of, workspace


@never_cache
@requires(VIEW)
@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    """All accounts, with search, sorting and paging."""
    search = request.GET.get("q", "").strip()
    platform = one_of(platforms(), request.GET.get("platform"))
    sort = sort_of(selectors.ACCOUNT_SORTS, request.GET.get("sort"))
    found = selectors.accounts(search=search, platform=platform, sort=sort)
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": [(row, _settings(row.account)) for row in selectors.account_rows(list(page))],
        "q": search,
        "sort": sort,
        "platform": platform,
    }
    return render(request, "destinations/accounts.html", workspace(request, context))


@sensitive_post_parameters()
@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, account_id: uuid.UUID) -> HttpResponse:
    """Other credentials, settings or another name; or (``action=test``) a test of what is stored."""
    account = get_object_or_404(Account, pk=account_id)
    if request.method != "POST":
        return _edit_page(request, account, _form(account))
    if request.POST.get("action") == "test":
        return _test(request, account)
    return _save(request, account)


def _test(request: HttpRequest, account: Account) -> HttpResponse:
    try:
        checks = services.test_account(account)
    except services.NotConnected as error:
        return _edit_page(request, account, _form(account), refused=error.checks)
    except KeyLost:  # as the page says by itself
        return _edit_page(request, account, _form(account))
    account.refresh_from_db(fields=["connected_at"])
    return _edit_page(request, account, _form(account), checks=checks)


@sensitive_variables("form", "connection")
def _save(request: HttpRequest, account: Account) -> HttpResponse:
    form = _form(account, request.POST)
    if not form.is_valid():
        return _edit_page(request, account, form)
    connection = form.connection()
    try:
        connected = services.edit_account(
            account=account, seen=_seen(request), name=form.cleaned_data["name"], connection=connection
        )
    except services.NotConnected as error:
        return _edit_page(request, account, form, refused=error.checks)
    except services.EditedByOther as error:
        return _edit_page(request, account, form, stale=error.message)
    except services.Refused as refused:
        form.add_error(refused.field or None, refused.message)
        return _edit_page(request, account, form)
    tested = bool(connected.checks)
    said = (
        _("Account “%(name)s” is connected and was saved.") if tested else _("Account “%(name)s” was saved.")
    )
    messages.success(request, said % {"name": connected.account.name})
    return redirect("destinations:accounts")


@sensitive_variables("data", "stored")
def _form(account: Account, data: Any = None) -> AccountForm:
    """The form with everything but the secrets; where those can't be read, all of them are asked for again."""
    kind = account.type
    try:
        stored = account.connection()
    except KeyLost:
        return kind.account_form(data, initial={"name": account.name, **account.settings})
    return kind.account_form.for_editing(account.name, stored, data)


def _seen(request: HttpRequest) -> datetime:
    """The ``updated_at`` that the page showed; what is no moment was never one."""
    try:
        moment = parse_datetime(request.POST.get("seen", ""))
    except ValueError:
        moment = None
    return moment or datetime.min.replace(tzinfo=UTC)


def _edit_page(
    request: HttpRequest,
    account: Account,
    form: AccountForm,
    *,
    checks: Sequence[Check] = (),
    refused: Sequence[Check] = (),
    stale: str = "",
) -> HttpResponse:
    """
    Args:
        checks: what was found of the credentials that are stored.
        refused: what the other side said of them, or of what was entered.
        stale: somebody else saved meanwhile.
    """
    context = {
        "account": account,
        "settings": _settings(account),
        "form": form,
        "seen": request.POST.get("seen") or account.updated_at.isoformat(),
        "lost": not account.credentials.readable,
        "checks": checks,
        "refused": refused,
        "stale": stale,
        "destinations": list(selectors.destinations_of(account)),
        "policy": account.type.permissions_needed(account.settings),
    }
    wrong = refused or stale or form.errors
    return render(request, "destinations/account_edit.html", context, status=422 if wrong else 200)


@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, account_id: uuid.UUID) -> HttpResponse:
    """Say what would be deleted, or what stands in the way; POST deletes."""
    account = Account.objects.filter(pk=account_id).first()
    if request.method == "POST":
        try:
            services.delete_account(account_id)
        except services.Refused:
            pass  # the page names what uses it
        else:
            if account is None:
                messages.info(request, _("The account was deleted already."))
            else:
                messages.success(request, _("“%(name)s” was deleted.") % {"name": account.name})
            return redirect("destinations:accounts")
    if account is None:
        raise Http404
    context = {"account": account, "destinations": list(selectors.destinations_of(account))}
    return render(
        request, "destinations/account_delete.html", context, status=422 if request.method == "POST" else 200
    )


def _settings(account: Account) -> list[tuple[Any, Any]]:
    return shown_settings(account.type, account.settings)
