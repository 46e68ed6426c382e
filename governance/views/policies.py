"""The page of policies: look at them, enable, disable and delete them."""

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
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.guard import requires
from governance import selectors, services
from governance.enforcement import Violated
from governance.models import Label, Policy
from governance.views.common import MANAGE_POLICIES, PAGE_SIZE, VIEW, ask_to_delete


@never_cache
@requires(VIEW)
@require_safe
def policies(request: HttpRequest) -> HttpResponse:
    """All policies; ``?policy=`` opens one in the rail."""
    search, sort, state = (request.GET.get(name, "").strip() for name in ("q", "sort", "state"))
    if state not in Policy.State.values:
        state = ""
    found = selectors.policies(search=search, state=state, sort=sort)
    try:
        selected = selectors.find_policy(uuid.UUID(request.GET.get("policy", "")))
    except ValueError:
        selected = None
    context = {
        "page": Paginator(found, PAGE_SIZE).get_page(request.GET.get("page")),
        "q": search,
        "sort": sort,
        "state": state,
        "states": Policy.State.choices,
        "selected": selected,
        "labels": list(Label.objects.filter(code__in=selected.rule.codes())) if selected else [],
        "query": request.GET.urlencode(),
    }
    return render(request, "governance/policies.html", context)


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_POST
def switch(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """Enable (``enabled=1``) or disable. What stands in the way is shown on a page of its own."""
    try:
        if request.POST.get("enabled") == "1":
            policy = services.enable_policy(policy_id)
            said = _("“%(name)s” is enabled: what violates it can't be activated.")
        else:
            policy = services.disable_policy(policy_id)
            said = _("“%(name)s” is disabled.")
    except Violated as violated:
        context = {"policy": selectors.find_policy(policy_id), "violations": violated.violations}
        return render(request, "governance/refused.html", context, status=422)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, said % {"name": policy})
    return redirect(f"{reverse('governance:policies')}?{request.GET.urlencode()}")


@never_cache
@requires(VIEW, MANAGE_POLICIES)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, policy_id: uuid.UUID) -> HttpResponse:
    """Say what happens; POST deletes."""
    policy = Policy.objects.filter(pk=policy_id, core=False).first()
    if request.method == "POST":
        if policy is None:
            messages.info(request, _("The policy was deleted already."))
        else:
            services.delete_policy(policy_id)
            messages.success(request, _("“%(name)s” was deleted.") % {"name": policy})
        return redirect("governance:policies")
    if policy is None:
        raise Http404
    return ask_to_delete(
        request,
        name=policy.name,
        text=_("What it forbids is allowed from then on."),
        cancel_url=reverse("governance:policies"),
        parent=_("Policies"),
    )
