"""The wizard of a policy: name, labels, marketing actions, review. Each step saves what it was told."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from access.guard import requires
from governance import selectors, services
from governance.enforcement import Violated, Violation
from governance.forms import ActionsForm, GroupRow, NameForm, place_of, read_condition
from governance.models import Label, MarketingAction, Policy
from governance.services import Draft
from governance.views.common import MANAGE_POLICIES, VIEW, add_errors, version_of

STEPS = {
    "policy-name": "governance:policy_name",
    "policy-labels": "governance:policy_labels",
    "policy-actions": "governance:policy_actions",
    "policy-review": "governance:policy_review",
}


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The first step of a new policy: it is there, as a draft, once it has a name."""
    form = NameForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            policy = services.start_policy(**form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            return _go_on(request, policy, "policy-labels")
    return _name_page(request, form, None)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def name(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    policy = _own(policy_id)
    draft = Draft.of(policy)
    form = NameForm(request.POST or None, initial={"name": draft.name, "description": draft.description})
    if request.method == "POST" and form.is_valid():
        try:
            policy = services.save_draft(policy_id, version_of(request), **form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            return _go_on(request, policy, "policy-labels")
    return _name_page(request, form, policy)


def _name_page(request: HttpRequest, form: NameForm, policy: Policy | None) -> HttpResponse:
    return _render(request, "governance/policy_name.html", policy, "policy-name", form)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def labels(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """The condition. ``add`` and ``remove`` name a group to add one in, or to take away."""
    policy = _own(policy_id)
    condition = Draft.of(policy).condition
    problem = ""
    if request.method == "POST":
        try:
            condition = read_condition(request.POST)
            if (place := place_of(request.POST.get("add", ""))) is not None:
                condition = condition.with_group(place)
            elif place := place_of(request.POST.get("remove", "")):
                condition = condition.without_group(place)
            elif request.POST.get("action") == "next":
                condition.check(Label.objects.values_list("code", flat=True))
            policy = services.save_draft(policy_id, version_of(request), condition=condition)
        except ValidationError as error:
            problem = " ".join(error.messages)
        else:
            if request.POST.get("action"):
                return _go_on(request, policy, "policy-actions")
    context: dict[str, Any] = {
        "group": GroupRow.of(condition),
        "words": str(condition),
        "kinds": selectors.label_kinds(list(Label.objects.all())),
        "problem": problem,
    }
    return _render(request, "governance/policy_labels.html", policy, "policy-labels", **context)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def actions(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    policy = _own(policy_id)
    form = ActionsForm(request.POST if request.method == "POST" else None)
    form.initial = {"actions": Draft.of(policy).actions}
    if request.method == "POST" and form.is_valid():
        chosen = tuple(str(action.pk) for action in form.cleaned_data["actions"])
        try:
            if request.POST.get("action") == "next":
                services.check_actions(chosen)
            policy = services.save_draft(policy_id, version_of(request), actions=chosen)
        except ValidationError as error:
            add_errors(form, error)
        else:
            return _go_on(request, policy, "policy-review")
    return _render(request, "governance/policy_actions.html", policy, "policy-actions", form)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """What it will be; POST finishes. An enabled one that would stop what is live stays as it was."""
    policy = _own(policy_id)
    if request.method == "POST" and request.POST.get("action") == "save":
        return _saved(request, policy)
    violations, problem = list[Violation](), ""
    if request.method == "POST":
        try:
            policy = services.finish_policy(policy_id, version_of(request))
        except Violated as violated:
            violations = violated.violations
        except ValidationError as error:
            problem = " ".join(error.messages)
        else:
            said = (
                _("“%(name)s” was changed, and holds so from now on.")
                if policy.enabled
                else _("“%(name)s” was saved. It is disabled until you enable it.")
            )
            messages.success(request, said % {"name": policy})
            return redirect(f"{reverse('governance:policies')}?policy={policy.pk}")
    draft = Draft.of(policy)
    if request.method != "POST" and (step := _unfinished(draft)):
        return redirect(STEPS[step], policy_id)
    context: dict[str, Any] = {
        "draft": draft,
        "labels": list(Label.objects.filter(code__in=draft.condition.codes())),
        "actions": list(MarketingAction.objects.filter(pk__in=draft.actions)),
        "violations": violations,
        "problem": problem,
    }
    return _render(request, "governance/policy_review.html", policy, "policy-review", **context)


@requires(VIEW, MANAGE_POLICIES)
@require_POST
def discard(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """Drop the changes that were not finished."""
    try:
        services.discard_draft(_own(policy_id).pk, version_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, _("The changes were discarded. The policy is as it was."))
    return redirect(f"{reverse('governance:policies')}?policy={policy_id}")


# -- what the steps share ------------------------------------------------------------------------------------------


def _own(policy_id: uuid.UUID) -> Policy:
    policy = selectors.find_policy(policy_id)
    if policy is None or policy.core:
        raise Http404
    return policy


def _unfinished(draft: Draft) -> str:
    """The first step that lacks something; empty where none does."""
    try:
        services.check_draft(draft)
    except ValidationError as error:
        return "policy-labels" if "condition" in error.error_dict else "policy-actions"
    return ""


def _go_on(request: HttpRequest, policy: Policy, step: str) -> HttpResponse:
    return (
        _saved(request, policy) if request.POST.get("action") == "save" else redirect(STEPS[step], policy.pk)
    )


def _saved(request: HttpRequest, policy: Policy) -> HttpResponse:
    messages.success(request, _("Saved as a draft: it holds nothing back until you finish."))
    return redirect(f"{reverse('governance:policies')}?policy={policy.pk}")


def _render(
    request: HttpRequest,
    template: str,
    policy: Policy | None,
    step: str,
    form: forms.Form | None = None,
    **context: Any,
) -> HttpResponse:
    keys = list(STEPS)
    place = keys.index(step)
    urls = {key: reverse(view, args=[policy.pk]) for key, view in STEPS.items()} if policy else {}
    frame = {
        "policy": policy,
        "form": form,
        "version": policy.version if policy else 0,
        "steps": " ".join(STEPS),
        "step_links": {key: urls[key] for key in keys[:place]},
        "back_url": urls[keys[place - 1]] if place else "",
        "cancel_url": reverse("governance:policies"),
    }
    wrong = (form is not None and form.errors) or context.get("problem") or context.get("violations")
    if wrong and policy:  # who has not seen what somebody else saved does not overwrite it by pressing again
        frame["version"] = version_of(request)
    return render(request, template, frame | context, status=422 if wrong else 200)
