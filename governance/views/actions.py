"""The pages of marketing actions: core ones are only looked at, people's own are made, changed and deleted."""

from __future__ import annotations

import uuid

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
from governance.forms import NameForm
from governance.models import MarketingAction
from governance.views.common import MANAGE_POLICIES, PAGE_SIZE, VIEW, add_errors, ask_to_delete, form_page


@never_cache
@requires(VIEW)
@require_safe
def actions(request: HttpRequest) -> HttpResponse:
    search = request.GET.get("q", "").strip()
    page = Paginator(selectors.marketing_actions(search), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "governance/actions.html", {"page": page, "q": search})


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, None)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, action_id: uuid.UUID) -> HttpResponse:
    return _form(request, _own(action_id))


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, action_id: uuid.UUID) -> HttpResponse:
    """Say what happens; POST deletes. What a policy uses stays."""
    action = _own(action_id)
    page = {
        "name": action.name,
        "text": _("Destinations that have it go on without it."),
        "cancel_url": reverse("governance:actions"),
        "parent": _("Marketing actions"),
    }
    if request.method != "POST":
        return ask_to_delete(request, **page)
    try:
        services.delete_marketing_action(action)
    except ValidationError as error:
        return ask_to_delete(request, **page, refused=error.messages)
    messages.success(request, _("“%(name)s” was deleted.") % {"name": action.name})
    return redirect("governance:actions")


def _own(action_id: uuid.UUID) -> MarketingAction:
    action = MarketingAction.objects.filter(pk=action_id, core=False).first()
    if action is None:
        raise Http404
    return action


def _form(request: HttpRequest, action: MarketingAction | None) -> HttpResponse:
    initial = {"name": action.name, "description": action.description} if action else None
    form = NameForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            if action:
                saved = services.edit_marketing_action(action, **form.cleaned_data)
            else:
                saved = services.create_marketing_action(**form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": saved.name})
            return redirect("governance:actions")
    return form_page(
        request,
        form,
        title=_("Edit marketing action") if action else _("Create marketing action"),
        button=_("Save") if action else _("Create marketing action"),
        cancel_url=reverse("governance:actions"),
        parent=_("Marketing actions"),
    )
