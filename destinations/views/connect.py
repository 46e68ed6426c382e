"""The connect wizard: *Authentication* (an account, tested for real) and *Setup* (where to write, and how)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import push_url

from destinations import connectors, services
from destinations.connectors.base import Check, Connector, ConnectorError, Target
from destinations.fields import KeyLost
from destinations.forms import SetupForm, target_form
from destinations.models import Account, Destination
from governance.services import create_marketing_action
from profiles.access import requires

MANAGE = "destinations.manage_destinations"
ACTIVATE = ("activation.activate_destinations", "profiles.view_profile", "profiles.view_segment")
SEARCHED_FROM = 8  # rows in a list that gets a search box


# -- Authentication ------------------------------------------------------------------------------------------------


@sensitive_post_parameters()
@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def authentication(request: HttpRequest, connector: str) -> HttpResponse:
    """Choose an account or connect a new one. *Next* is there once the other side has answered."""
    kind = _available(connector)
    if request.method == "POST":
        if request.POST.get("mode") == "existing":
            return _test_existing(request, kind)
        return _connect_new(request, kind)
    accounts = _accounts(kind)
    chosen = request.GET.get("account", "")
    new = request.GET.get("mode") == "new" or not accounts
    form = kind.account_form() if new else None
    return _authentication_page(request, kind, form=form, chosen=chosen, id=uuid.uuid4())


def _test_existing(request: HttpRequest, kind: Connector) -> HttpResponse:
    chosen = request.POST.get("account", "")
    account = next((row for row in _accounts(kind) if str(row.pk) == chosen), None)
    if account is None:
        return _authentication_page(request, kind, problem=_("Choose an account."))
    try:
        checks = services.test_account(account)
    except KeyLost:
        return _authentication_page(request, kind, chosen=chosen, lost=account)
    except services.NotConnected as error:
        return _authentication_page(
            request, kind, chosen=chosen, checks=error.checks, failed=True, settings=account.settings
        )
    return _connected(request, kind, account, checks)


@sensitive_variables("form", "connection")
def _connect_new(request: HttpRequest, kind: Connector) -> HttpResponse:
    form = kind.account_form(request.POST)
    page_id = _uuid(request.POST.get("id", "")) or uuid.uuid4()
    if not form.is_valid():
        return _authentication_page(request, kind, form=form, id=page_id)
    connection = form.connection()
    try:
        connected = services.connect_account(
            id=page_id,
            connector=kind.spec.slug,
            name=form.cleaned_data["name"],
            connection=connection,
            by=request.user if request.user.is_authenticated else None,
        )
    except services.NotConnected as error:
        return _authentication_page(
            request,
            kind,
            form=form,
            id=page_id,
            checks=error.checks,
            failed=True,
            settings=connection.settings,
        )
    except services.Refused as refused:
        form.add_error(refused.field or None, refused.message)
        fresh = page_id if refused.field else uuid.uuid4()
        return _authentication_page(request, kind, form=form, id=fresh)
    return _connected(request, kind, connected.account, connected.checks)


def _connected(
    request: HttpRequest, kind: Connector, account: Account, checks: Sequence[Check]
) -> HttpResponse:
    response = _authentication_page(
        request, kind, account=account, checks=checks, chosen=str(account.pk), settings=account.settings
    )
    # Whoever comes back finds the account, and not an empty form.
    address = reverse("destinations:connect", args=[kind.spec.slug])
    return push_url(response, f"{address}?account={account.pk}")


def _authentication_page(
    request: HttpRequest,
    kind: Connector,
    *,
    form: forms.Form | None = None,
    id: uuid.UUID | None = None,
    account: Account | None = None,
    chosen: str = "",
    checks: Sequence[Check] = (),
    failed: bool = False,
    lost: Account | None = None,
    problem: str = "",
    settings: Mapping[str, Any] | None = None,
) -> HttpResponse:
    accounts = _accounts(kind)
    if account is None and chosen and settings is None:
        settings = next((row.settings for row in accounts if str(row.pk) == chosen), None)
    context = {
        "kind": kind,
        "mode": "existing" if form is None else "new",
        "form": form,
        "id": id,
        "accounts": accounts,
        "searched": len(accounts) >= SEARCHED_FROM,
        "account": account,
        "account_settings": shown_settings(kind, account.settings) if account else [],
        "chosen": chosen,
        "checks": checks,
        "failed": failed,
        "lost": lost,
        "problem": problem,
        "policy": kind.permissions_needed(settings or {}),
        "cancel_url": reverse("destinations:catalog"),
        "next_url": reverse("destinations:setup", args=[kind.spec.slug, account.pk]) if account else "",
    }
    wrong = failed or lost or problem or (form is not None and form.errors)
    return render(request, "destinations/connect.html", context, status=422 if wrong else 200)


def shown_settings(kind: Connector, settings: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """The settings of an account with the labels that its form has."""
    fields = kind.account_form.base_fields
    return [(fields[name].label, value) for name, value in settings.items() if name in fields]


def _accounts(kind: Connector) -> list[Account]:
    return list(Account.objects.filter(connector=kind.spec.slug).order_by("name"))


def _available(slug: str) -> Connector:
    try:
        return connectors.get(slug)
    except KeyError:
        raise Http404 from None


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


# -- Setup ---------------------------------------------------------------------------------------------------------


@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def setup(request: HttpRequest, connector: str, account_id: uuid.UUID) -> HttpResponse:
    """*Create destination*, then *Save & exit* to its page or *Next* to its segments."""
    _available(connector)
    account = get_object_or_404(Account, pk=account_id, connector=connector)
    page = _SetupPage(request, account)
    if request.method == "POST" and (destination := page.save()):
        if request.POST.get("action") == "next" and request.user.has_perms(ACTIVATE):
            return redirect("activation:segments", destination.pk)
        return redirect(destination)
    connect_url = reverse("destinations:connect", args=[connector])
    context = page.context() | {
        "cancel_url": reverse("destinations:catalog"),
        "back_url": f"{connect_url}?account={account.pk}",
        "step_links": {"authentication": f"{connect_url}?account={account.pk}"},
        "may_activate": request.user.has_perms(ACTIVATE),
    }
    return render(request, "destinations/setup.html", context, status=page.status)


def edit_setup(request: HttpRequest, destination: Destination) -> HttpResponse:
    """The same fields for a destination that is there. The caller has checked the permission."""
    page = _SetupPage(request, destination.account, destination)
    if request.method == "POST" and page.save():
        return redirect(destination)
    context = page.context() | {"cancel_url": destination.get_absolute_url()}
    return render(request, "destinations/edit.html", context, status=page.status)


class _SetupPage:
    """The fields of Setup, as sent or as they begin, and what came of sending them."""

    def __init__(
        self, request: HttpRequest, account: Account, destination: Destination | None = None
    ) -> None:
        self.request = request
        self.account = account
        self.destination = destination
        self.problem = ""
        self.stale = False
        self.lost = False
        self.status = 200
        self.form = SetupForm(destination=destination)
        self.target = target_form(account, destination=destination)

    def save(self) -> Destination | None:
        """1. Make the marketing action that was entered. 2. Check. 3. Save; None when something is wrong."""
        data = self.request.POST.copy()
        if data.get("action") == "create_action":
            self.form = _with_new_action(data, self.destination)
            self.target = target_form(
                self.account, initial={name: data.get(name, "") for name in self.target.fields}
            )
            self.status = 422 if self.form.errors else 200
            return None
        self._read(data)
        if self.form.is_valid() and self.target.is_valid() and self.form.cleaned_data["new_action_name"]:
            try:
                _create_action(data)
            except ValidationError as error:
                self.form.add_error("new_action_name", error.messages)  # type: ignore[arg-type]
            else:
                self._read(data)
        self.status = 422
        if not (self.form.is_valid() & self.target.is_valid()):
            return None
        return self._save()

    def _read(self, data: QueryDict) -> None:
        self.form = SetupForm(data, destination=self.destination)
        self.target = target_form(self.account, data, destination=self.destination)

    def _save(self) -> Destination | None:
        wanted = self.form.setup(self.target)
        user = self.request.user
        try:
            if self.destination is not None:
                return services.edit_destination(
                    destination_id=self.destination.pk,
                    version=self.form.cleaned_data["version"] or 0,
                    setup=wanted,
                )
            return services.create_destination(
                id=self.form.cleaned_data["id"] or uuid.uuid4(),
                account=self.account,
                setup=wanted,
                by=user if user.is_authenticated else None,
            )
        except ConnectorError as error:
            self.target.add_error(self.target.target_field or None, in_words(error))
        except KeyLost:
            self.lost = True
        except services.EditedByOther as error:
            self.problem, self.stale = error.message, True
        except services.Refused as refused:
            if refused.field:
                self.form.add_error(refused.field, refused.message)
            else:
                self.problem = refused.message
        return None

    def context(self) -> dict[str, Any]:
        bound = self.target[self.target.target_field] if self.target.target_field else None
        value = str((bound.value() if bound else "") or "")
        context = {
            "kind": self.account.type,
            "account": self.account,
            "destination": self.destination,
            "form": self.form,
            "target": self.target,
            "target_field": bound,
            "other_fields": [field for field in self.target if field.name != self.target.target_field],
            "targets_url": reverse("destinations:targets", args=[self.account.connector, self.account.pk]),
            "problem": self.problem,
            "stale": self.stale,
            "lost": self.lost,
            "policy": self.account.type.permissions_needed(self.account.settings, value),
        }
        if self.request.method != "POST" and self.request.GET.get("list") == "1":
            context["listing"] = _listing(self.account, value)
        return context


def in_words(error: ConnectorError) -> str:
    """An error at a field: the other side's code and words, and what can be done."""
    return f"{error.code}: {error.message} {error.hint}".strip()


# -- the targets to choose from ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetRow:
    name: str
    about: str
    open: bool


@never_cache
@requires(MANAGE)
@require_safe
def targets(request: HttpRequest, connector: str, account_id: uuid.UUID) -> HttpResponse:
    """The picker, a part of *Setup*: asks the other side, so it may take 10 s. ``?typed=1``: the field to type in."""
    kind = _available(connector)
    account = get_object_or_404(Account, pk=account_id, connector=connector)
    name = kind.destination_form.target_field
    value = request.GET.get(name, "")
    context: dict[str, Any] = {
        "account": account,
        "target_field": target_form(account, initial={name: value})[name],
        "targets_url": request.path,
    }
    if request.GET.get("typed") != "1":
        context["listing"] = _listing(account, value)
    return render(request, "destinations/_target.html", context)


def _listing(account: Account, value: str) -> dict[str, Any]:
    """What can be chosen; or why nothing can be listed."""
    try:
        found = account.type.list_targets(account.connection())
    except ConnectorError as error:
        return {"error": error}
    except KeyLost:
        return {"lost": True}
    rows = [
        TargetRow(target.name, _about(target), target.status not in ("DELETING", "CREATING"))
        for target in found
    ]
    if value and all(row.name != value for row in rows):
        rows.insert(0, TargetRow(value, _("not in the list"), True))
    return {"rows": rows, "searched": len(rows) >= SEARCHED_FROM, "value": value}


def _about(target: Target) -> str:
    words = {
        "ACTIVE": _("Active"),
        "CREATING": _("Being created"),
        "UPDATING": _("Being changed"),
        "DELETING": _("Being deleted"),
        "PROVISIONED": _("provisioned"),
        "ON_DEMAND": _("on demand"),
    }
    parts = [words.get(target.status, target.status), words.get(target.mode, target.mode)]
    if target.shards is not None:
        parts.append(ngettext("%(n)s shard", "%(n)s shards", target.shards) % {"n": target.shards})
    if target.retention_hours is not None:
        parts.append(_("keeps %(hours)s h") % {"hours": target.retention_hours})
    return " · ".join(part for part in parts if part)


# -- marketing actions, made on the spot ---------------------------------------------------------------------------


@requires(MANAGE)
@require_POST
def marketing_action(request: HttpRequest) -> HttpResponse:
    """Make one, and answer with the list in which it is ticked. Without JavaScript, *Setup* itself does this."""
    form = _with_new_action(request.POST.copy(), None)
    return render(
        request, "destinations/_marketing_actions.html", {"form": form}, status=422 if form.errors else 200
    )


def _create_action(data: QueryDict) -> None:
    made = create_marketing_action(
        name=data.get("new_action_name", ""), description=data.get("new_action_description", "")
    )
    data["new_action_name"] = data["new_action_description"] = ""
    data.appendlist("marketing_actions", str(made.pk))


def _with_new_action(data: QueryDict, destination: Destination | None) -> SetupForm:
    """The form as typed, the new action ticked; or with what is wrong with it at its name."""
    data = data.copy()
    typed = _NewActionForm(data)
    errors: Sequence[str] = [message for messages in typed.errors.values() for message in messages]
    if not errors:
        try:
            _create_action(data)
        except ValidationError as error:
            errors = error.messages
    form = SetupForm.as_typed(data, destination=destination)
    if errors:
        # Only this field was looked at: the others are not wrong yet.
        form._errors = forms.utils.ErrorDict(new_action_name=form.error_class(errors))
    return form


class _NewActionForm(forms.Form):
    new_action_name = forms.CharField(max_length=100)
    new_action_description = forms.CharField(max_length=500, required=False)
