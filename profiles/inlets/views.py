"""The pages *Inlets*: the list, a new one, one with its traffic; its token, which is shown once."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.guard import requires
from profiles.inlets import selectors, services
from profiles.inlets.forms import PROTECTED, InletForm, NewInletForm
from profiles.models import Inlet

VIEW = "profiles.view_inlet"
MANAGE = "profiles.manage_inlets"
PAGE_SIZE = 25


@never_cache
@requires(VIEW)
@require_safe
def inlets(request: HttpRequest) -> HttpResponse:
    """All inlets with what came in through them in the last hours."""
    search = request.GET.get("q", "").strip()
    page = Paginator(selectors.inlets(search), PAGE_SIZE).get_page(request.GET.get("page"))
    traffic = selectors.traffic(page)
    context = {"page": page, "rows": [(inlet, traffic[inlet.pk]) for inlet in page], "q": search}
    return render(request, "profiles/inlets.html", context)


@never_cache
@requires(VIEW)
@require_safe
def inlet(request: HttpRequest, inlet_id: str) -> HttpResponse:
    """An inlet: how to post to it, its traffic, what it could not take. Messages are for those who may see profiles."""
    shown = get_object_or_404(Inlet.objects.select_related("namespace", "created_by"), pk=inlet_id)
    by_day = request.GET.get("by") == "day"
    context = {
        "inlet": shown,
        "traffic": selectors.traffic([shown])[shown.pk],
        "unit": "day" if by_day else "hour",
        "points": selectors.days(shown) if by_day else selectors.hours(shown),
        "series": [(_("Accepted"), "accent"), (_("Repeated"), "notice"), (_("Rejected"), "negative")],
        "samples": selectors.samples(shown),
        **_how_to_post(request, shown),
    }
    return render(request, "profiles/inlet.html", context)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Make an inlet, and show its token."""
    form = NewInletForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        try:
            made, token = services.create_inlet(
                name=cleaned["name"],
                namespace=cleaned["namespace"],
                identity_path=cleaned["identity_path"],
                normalise=cleaned["normalise"],
                protected=cleaned["access"] == PROTECTED,
                by=_person(request),
            )
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            if token:
                return _token_page(request, made, token)
            messages.success(request, _("“%(name)s” takes messages now.") % {"name": made.name})
            return redirect("profiles:inlet", made.pk)
    return _form_page(request, form)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, inlet_id: str) -> HttpResponse:
    edited = get_object_or_404(Inlet, pk=inlet_id)
    form = InletForm(request.POST or None, instance=Inlet.objects.get(pk=inlet_id))
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        try:
            services.edit_inlet(
                edited,
                name=cleaned["name"],
                namespace=cleaned["namespace"],
                identity_path=cleaned["identity_path"],
                normalise=cleaned["normalise"],
            )
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": edited.name})
            return redirect("profiles:inlet", edited.pk)
    return _form_page(request, form, edited)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def token(request: HttpRequest, inlet_id: str) -> HttpResponse:
    """Make a new token, and show it."""
    protected = get_object_or_404(Inlet, pk=inlet_id)
    return _token_page(request, protected, services.new_token(protected))


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def switch(request: HttpRequest, inlet_id: str) -> HttpResponse:
    """Enable (``enabled=1``) or disable."""
    switched = get_object_or_404(Inlet, pk=inlet_id)
    services.switch_inlet(switched, enabled=request.POST.get("enabled") == "1")
    said = (
        _("“%(name)s” takes messages again.") if switched.enabled else _("“%(name)s” takes no messages now.")
    )
    messages.success(request, said % {"name": switched.name})
    return redirect("profiles:inlet", switched.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, inlet_id: str) -> HttpResponse:
    """Say what stops; POST deletes."""
    found = Inlet.objects.filter(pk=inlet_id).first()
    if request.method == "POST":
        if found is None:
            messages.info(request, _("The inlet was deleted already."))
        else:
            services.delete_inlet(found)
            messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
        return redirect("profiles:inlets")
    return render(request, "profiles/inlet_delete.html", {"inlet": get_object_or_404(Inlet, pk=inlet_id)})


def _form_page(request: HttpRequest, form: InletForm, inlet: Inlet | None = None) -> HttpResponse:
    context = {"form": form, "inlet": inlet, "paths": list(form.paths)}
    return render(request, "profiles/inlet_form.html", context, status=422 if form.errors else 200)


def _token_page(request: HttpRequest, inlet: Inlet, token: str) -> HttpResponse:
    """The one page that shows a token. It is an answer and has no address: a reload makes another token or none."""
    context = {"inlet": inlet, "token": token, **_how_to_post(request, inlet)}
    return render(request, "profiles/inlet_token.html", context)


def _how_to_post(request: HttpRequest, inlet: Inlet) -> dict[str, Any]:
    """The addresses, and a command to copy that posts a message the inlet takes."""
    url = request.build_absolute_uri(reverse("profiles:collect", args=[inlet.pk]))
    command = [f"curl -X POST '{url}?syncValidation=true'", "-H 'Content-Type: application/json'"]
    if inlet.protected:
        command.append('-H "Authorization: Bearer $INLET_TOKEN"')
    message = {"body": {"xdmEntity": _example(inlet)}}
    command.append(f"-d '{json.dumps(message)}'")
    return {
        "url": url,
        "batch_url": request.build_absolute_uri(reverse("profiles:collect_batch", args=[inlet.pk])),
        "curl": " \\\n  ".join(command),
    }


def _example(inlet: Inlet) -> dict[str, Any]:
    entity: dict[str, Any] = {"person": {"name": {"firstName": "Min-jun", "lastName": "Kim"}}}
    if inlet.namespace is None:
        return entity | {"identityMap": {"Email": [{"id": "minjun@example.com", "primary": True}]}}
    value = "minjun@example.com" if inlet.namespace.type == inlet.namespace.Type.EMAIL else "C-1001"
    branch = entity
    *above, last = inlet.identity_path.split(".")
    for key in above:
        inner = branch.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = branch[key] = {}
        branch = inner
    branch[last] = value
    return entity


def _person(request: HttpRequest) -> AbstractBaseUser | None:
    return request.user if request.user.is_authenticated else None
