"""The connect wizard: *Authentication* (an account, tested for real) and *Setup* (where to write, and how)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import push_url, trigger_client_event

from access.guard import requires
from destinations import connectors, services
from destinations.connectors.base import AccountForm, Check, Connector, ConnectorError, Target
from destinations.fields import KeyLost
from destinations.forms import SetupForm, target_form
from destinations.models import Account, Destination
from governance.models import MarketingAction
from governance.services import create_marketing_action

MANAGE = "destinations.manage_destinations"
ACTIVATE = ("activation.activate_destinations", "profiles.view_profile", "profiles.view_segment")
SEARCHED_FROM = 8  # rows in a list that gets a search box


# -- Authentication ------------------------------------------------------------------------------------------------


@sensitive_post_parameters()
@never_cache
@requires(MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def authentication(request: HttpRequest, connector: str) -> HttpResponse:
    """Choose an account or connect a new one. *Connect to destination* asks the other side and shows what it said;
    *Next* asks, too, and goes on when nothing is wrong.
    """
    kind = _available(connector)
    if request.method == "POST":
        if request.POST.get("mode") == "existing":
            return _test_existing(request, kind)
        return _connect_new(request, kind)
    mode = "new" if request.GET.get("mode") == "new" else "existing"
    return _authentication_page(request, kind, mode=mode, chosen=request.GET.get("account", ""))


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
        return _authentication_page(request, kind, chosen=chosen, refused=error.checks)
    return _connected(request, kind, account, checks)


@sensitive_variables("form", "connection")
def _connect_new(request: HttpRequest, kind: Connector) -> HttpResponse:
    form = kind.account_form(request.POST)
    page_id = _uuid(request.POST.get("id", "")) or uuid.uuid4()
    if not form.is_valid():
        return _authentication_page(request, kind, mode="new", form=form, id=page_id)
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
            mode="new",
            form=form,
            id=page_id,
            refused=error.checks,
            settings=connection.settings,
        )
    except services.Refused as refused:
        form.add_error(refused.field or None, refused.message)
        fresh = page_id if refused.field else uuid.uuid4()
        return _authentication_page(request, kind, mode="new", form=form, id=fresh)
    return _connected(request, kind, connected.account, connected.checks)


def _connected(
    request: HttpRequest, kind: Connector, account: Account, checks: Sequence[Check]
) -> HttpResponse:
    slug = kind.spec.slug
    if request.POST.get("action") == "next":
        return redirect("destinations:setup", slug, account.pk)
    context = {
        "kind": kind,
        "account": account,
        "account_settings": shown_settings(kind, account.settings),
        "checks": checks,
        "policy": kind.permissions_needed(account.settings),
        "again_url": _authentication_url(kind, account),
        "cancel_url": reverse("destinations:catalog"),
        "next_url": reverse("destinations:setup", args=[slug, account.pk]),
    }
    # Whoever comes back finds the account, and not an empty form.
    return push_url(render(request, "destinations/connect.html", context), _authentication_url(kind, account))


def _authentication_page(
    request: HttpRequest,
    kind: Connector,
    *,
    mode: str = "existing",
    form: AccountForm | None = None,
    id: uuid.UUID | None = None,
    chosen: str = "",
    refused: Sequence[Check] = (),
    lost: Account | None = None,
    problem: str = "",
    settings: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """The step before it is connected, with what is wrong. Both ways are in the page: a person may change sides.

    Args:
        form: a new account as it was sent.
        chosen: the id of an account.
        refused: what the other side said.
        lost: an account whose credentials can't be read.
        settings: where the new account is, for the policy.
    """
    accounts = _accounts(kind)
    chosen = chosen or request.POST.get("account", "")
    if not accounts:
        mode = "new"
    elif len(accounts) == 1:
        chosen = str(accounts[0].pk)
    accounts.sort(key=lambda row: str(row.pk) != chosen)
    if settings is None and mode == "existing":
        settings = next((row.settings for row in accounts if str(row.pk) == chosen), None)
    wrong = refused or lost or problem or (form is not None and form.errors)
    context = {
        "kind": kind,
        "mode": mode,
        "form": form or kind.account_form(initial=_typed(kind, request.POST)),
        "id": id or uuid.uuid4(),
        "accounts": accounts,
        "searched": len(accounts) >= SEARCHED_FROM,
        "chosen": chosen,
        "refused": refused,
        "lost": lost,
        "problem": problem,
        "policy": kind.permissions_needed(settings or {}),
        "cancel_url": reverse("destinations:catalog"),
    }
    return render(request, "destinations/connect.html", context, status=422 if wrong else 200)


def _authentication_url(kind: Connector, account: Account) -> str:
    return f"{reverse('destinations:connect', args=[kind.spec.slug])}?account={account.pk}"


def _typed(kind: Connector, data: QueryDict) -> dict[str, Any]:
    """What was typed for a new account before an existing one was tried, without the secrets."""
    names = kind.account_form.base_fields.keys() - kind.account_form.secret_fields
    return {name: data[name] for name in names if name in data}


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
    """Create a destination: *Save & exit* leads to its page, *Next* to its segments."""
    kind = _available(connector)
    account = get_object_or_404(Account, pk=account_id, connector=connector)
    page = _SetupPage(request, account)
    if made := page.saved():
        messages.success(request, _("Destination “%(name)s” was created.") % {"name": made.name})
        return _onwards(request, made)
    back_url = _authentication_url(kind, account)
    context = page.context() | {
        "account_settings": shown_settings(kind, account.settings),
        "cancel_url": reverse("destinations:catalog"),
        "back_url": back_url,
        "step_links": {"authentication": back_url},
    }
    return render(request, "destinations/setup.html", context, status=page.status)


def edit_setup(request: HttpRequest, destination: Destination) -> HttpResponse:
    """The same fields for a destination that is there. The caller has checked the permission."""
    page = _SetupPage(request, destination.account, destination)
    if edited := page.saved():
        messages.success(request, _("Destination “%(name)s” was saved.") % {"name": edited.name})
        return _onwards(request, edited)
    context = page.context() | {"cancel_url": destination.get_absolute_url()}
    return render(request, "destinations/edit.html", context, status=page.status)


def _onwards(request: HttpRequest, destination: Destination) -> HttpResponse:
    if request.POST.get("action") == "next" and request.user.has_perms(ACTIVATE):
        return redirect("activation:segments", destination.pk)
    return redirect(destination)


class _SetupPage:
    """The fields of Setup, as they begin or as they were sent, and what came of sending them."""

    def __init__(
        self, request: HttpRequest, account: Account, destination: Destination | None = None
    ) -> None:
        self.request = request
        self.account = account
        self.destination = destination
        self.problem = ""
        self.reload_url = ""  # where somebody else's edit is to be seen
        self.lost = False
        self.listed = False  # whether the targets are asked for now, for who has no JavaScript
        self.status = 200

    def saved(self) -> Destination | None:
        """1. Do what only changes the page. 2. Check, with the marketing action that was entered. 3. Save.

        Returns:
            What was saved; None for a page to show.
        """
        data = self.request.POST.copy()
        action = data.get("action") if self.request.method == "POST" else "open"
        if action == "open":
            self.form = SetupForm(destination=self.destination)
            self.target = target_form(self.account, destination=self.destination)
        elif action in ("list", "type", "create_action"):
            self.listed = action == "list"
            self._as_typed(data, with_new_action=action == "create_action")
        elif self._is_valid(data):
            return self._save()
        return None

    def _as_typed(self, data: QueryDict, *, with_new_action: bool) -> None:
        if with_new_action:
            self.form, _made = _with_new_action(data, self.destination)
        else:
            self.form = SetupForm.as_typed(data, destination=self.destination)
        self.target = target_form(self.account, initial=data.dict())
        self.status = 422 if self.form.errors else 200

    def _is_valid(self, data: QueryDict) -> bool:
        self._read(data)
        valid = self.form.is_valid() & self.target.is_valid()
        if valid and self.form.cleaned_data["new_action_name"]:
            try:
                _create_action(data)
            except ValidationError as error:
                self.form.add_error("new_action_name", ValidationError(error.messages))
                valid = False
            else:
                self._read(data)
                valid = self.form.is_valid() & self.target.is_valid()
        self.status = 200 if valid else 422
        return valid

    def _read(self, data: QueryDict) -> None:
        self.form = SetupForm(data, destination=self.destination)
        self.target = target_form(self.account, data, destination=self.destination)

    def _save(self) -> Destination | None:
        wanted = self.form.setup(self.target)
        user = self.request.user
        page_id = self.form.cleaned_data["id"] or uuid.uuid4()
        try:
            if self.destination is not None:
                return services.edit_destination(
                    destination_id=self.destination.pk,
                    version=self.form.cleaned_data["version"] or 0,
                    setup=wanted,
                )
            return services.create_destination(
                id=page_id,
                account=self.account,
                setup=wanted,
                by=user if user.is_authenticated else None,
            )
        except ConnectorError as error:
            self.target.add_error(self.target.target_field or None, in_words(error))
        except KeyLost:
            self.lost = True
        except services.EditedByOther as error:
            self.problem = error.message
            self.reload_url = (
                self.request.path if self.destination else reverse("destinations:destination", args=[page_id])
            )
        except services.Refused as refused:
            if refused.field:
                self.form.add_error(refused.field, refused.message)
            else:
                self.problem = refused.message
        self.status = 422
        return None

    def context(self) -> dict[str, Any]:
        name = self.target.target_field
        value = str(self.target[name].value() or "")
        return {
            "kind": self.account.type,
            "account": self.account,
            "destination": self.destination,
            "form": self.form,
            "target": self.target,
            "target_field": self.target[name],
            "other_fields": [field for field in self.target if field.name != name],
            "targets_url": reverse("destinations:targets", args=[self.account.connector, self.account.pk]),
            "listing": _listing(self.account, value) if self.listed else None,
            "problem": self.problem,
            "reload_url": self.reload_url,
            "lost": self.lost,
            "policy": self.account.type.permissions_needed(self.account.settings, value),
            "may_activate": self.request.user.has_perms(ACTIVATE),
        }


def in_words(error: ConnectorError) -> str:
    """An error at a field: the other side's code and words, and what can be done."""
    return f"{error.code}: {_(error.message)} {error.hint}".strip()


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
    typed = request.GET.get("typed") == "1"
    form = target_form(account, initial={name: value})
    if typed:
        form.fields[name].widget.attrs["autofocus"] = True
    context = {
        "account": account,
        "target_field": form[name],
        "targets_url": request.path,
        "listing": None if typed else _listing(account, value),
    }
    return render(request, "destinations/_target.html", context)


def _listing(account: Account, value: str) -> dict[str, Any]:
    """What can be chosen, what is chosen now first; or why nothing can be listed."""
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
        rows.append(TargetRow(value, _("not in the list"), True))
    rows.sort(key=lambda row: row.name != value)
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


@never_cache
@requires(MANAGE)
@require_POST
def marketing_action(request: HttpRequest) -> HttpResponse:
    """Make one, and answer with the list in which it is ticked. Without JavaScript, *Setup* itself does this."""
    form, made = _with_new_action(request.POST.copy())
    context = {"form": form, "adding": True}
    response = render(request, "destinations/_marketing_actions.html", context, status=200 if made else 422)
    if made:
        text = _("Marketing action “%(name)s” was added and ticked.") % {"name": made.name}
        trigger_client_event(response, "toast", {"text": text, "variant": "success"})
    return response


def _with_new_action(
    data: QueryDict, destination: Destination | None = None
) -> tuple[SetupForm, MarketingAction | None]:
    """The form as typed, and the new action, ticked in it; or none, and what is wrong at its name."""
    typed = _NewActionForm(data)
    errors = [str(error) for errors in typed.errors.values() for error in errors]
    made = None
    if not errors:
        try:
            made = _create_action(data)
        except ValidationError as error:
            errors = error.messages
    form = SetupForm.as_typed(data, destination=destination)
    if errors:
        # Only this field was looked at: the others are not wrong yet.
        form.errors["new_action_name"] = form.error_class(errors)
    return form, made


def _create_action(data: QueryDict) -> MarketingAction:
    """Make it, tick it, and leave its fields empty for another one."""
    made = create_marketing_action(
        name=data.get("new_action_name", ""), description=data.get("new_action_description", "")
    )
    data["new_action_name"] = data["new_action_description"] = ""
    data.appendlist("marketing_actions", str(made.pk))
    return made


class _NewActionForm(forms.Form):
    new_action_name = forms.CharField(max_length=100)
    new_action_description = forms.CharField(max_length=500, required=False)
