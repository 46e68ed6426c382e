"""The pages of consent policies: look at them, write, enable, disable and delete them."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from access.guard import requires
from governance import selectors, services
from governance.consent import effects
from governance.forms import ConsentPolicyForm
from governance.models import ConsentPolicy
from governance.views.common import (
    MANAGE_POLICIES,
    PAGE_SIZE,
    VIEW,
    add_errors,
    ask_to_delete,
    version_of,
)


@never_cache
@requires(VIEW)
@require_safe
def policies(request: HttpRequest) -> HttpResponse:
    """All consent policies; ``?policy=`` opens one in the rail."""
    search, sort, state = (request.GET.get(name, "").strip() for name in ("q", "sort", "state"))
    enabled = {"enabled": True, "disabled": False}.get(state)
    found = selectors.consent_policies(search=search, enabled=enabled, sort=sort)
    try:
        selected = selectors.find_consent_policy(uuid.UUID(request.GET.get("policy", "")))
    except ValueError:
        selected = None
    context = {
        "page": Paginator(found, PAGE_SIZE).get_page(request.GET.get("page")),
        "q": search,
        "sort": sort,
        "state": state if enabled is not None else "",
        "selected": selected,
    }
    return render(request, "governance/consent_policies.html", context)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, None)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    return _form(request, _found(policy_id))


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def switch(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """Say what it means to enable (``enabled=1``) or disable; POST does it."""
    data = request.POST if request.method == "POST" else request.GET
    enabled = data.get("enabled") == "1"
    if request.method != "POST":
        policy = _found(policy_id)
        found = effects(policy, enabled=enabled)
        context = {
            "policy": policy,
            "enable": enabled,
            "effects": found,
            "profiles": sum(each.profiles for each in found),
            "told": sum(each.told for each in found),
        }
        return render(request, "governance/consent_switch.html", context)
    try:
        policy = services.switch_consent_policy(policy_id, enabled=enabled)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        said = (
            _("“%(name)s” is enabled: who does not consent is left out.")
            if enabled
            else _("“%(name)s” is disabled.")
        )
        messages.success(request, said % {"name": policy})
    return redirect("governance:consent_policies")


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """Say what happens; POST deletes."""
    policy = selectors.find_consent_policy(policy_id)
    if request.method == "POST":
        services.delete_consent_policy(policy_id)
        if policy is None:
            messages.info(request, _("The policy was deleted already."))
        else:
            messages.success(request, _("“%(name)s” was deleted.") % {"name": policy})
        return redirect("governance:consent_policies")
    if policy is None:
        raise Http404
    return ask_to_delete(
        request,
        name=policy.name,
        text=_("Profiles that it leaves out are exported again.")
        if policy.enabled
        else _("It is disabled: nothing changes for exports."),
        cancel_url=reverse("governance:consent_policies"),
        parent=_("Consent policies"),
    )


def _found(policy_id: uuid.UUID) -> ConsentPolicy:
    policy = selectors.find_consent_policy(policy_id)
    if policy is None:
        raise Http404
    return policy


def _form(request: HttpRequest, policy: ConsentPolicy | None) -> HttpResponse:
    initial: dict[str, Any] = {}
    if policy:
        initial = {"name": policy.name, "description": policy.description, "field": policy.field.path}
        initial["actions"] = [action.pk for action in policy.marketing_actions.all()]
    form = ConsentPolicyForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data | {"actions": [str(each.pk) for each in form.cleaned_data["actions"]]}
        try:
            if policy:
                saved = services.edit_consent_policy(policy.pk, version_of(request), **values)
            else:
                saved = services.create_consent_policy(**values)
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": saved})
            return redirect(f"{reverse('governance:consent_policies')}?policy={saved.pk}")
    context = {
        "form": form,
        "policy": policy,
        "version": version_of(request) if request.method == "POST" else policy.version if policy else 0,
    }
    return render(request, "governance/consent_form.html", context, status=422 if form.errors else 200)
