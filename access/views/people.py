"""The pages *People* and *Service accounts*: who there is, what they may, and letting them in or out."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access import roles, selectors, services
from access.forms import PersonForm, ServiceAccountForm
from access.guard import requires
from access.models import Role
from access.views.common import MANAGE, PAGE_SIZE, VIEW, actor


@never_cache
@requires(VIEW)
@require_safe
def people(request: HttpRequest) -> HttpResponse:
    """All people with their roles; search, filters, sorting and paging are in the address."""
    search, role, state = (request.GET.get(name, "").strip() for name in ("q", "role", "state"))
    sort = request.GET.get("sort", "username")
    found = selectors.people(search=search, role=role, state=state, sort=sort)
    context = {
        "page": Paginator(found, PAGE_SIZE).get_page(request.GET.get("page")),
        "q": search,
        "role": role,
        "state": state,
        "sort": sort,
        "roles": selectors.all_roles(),
    }
    return render(request, "access/people.html", context)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Make a person, mail them an invitation, and show the link in it."""
    form = PersonForm(request.POST or None, given=_roles_to_give(request))
    if request.method == "POST" and form.is_valid():
        made = services.create_person(**_cleaned(form), by=actor(request))
        return _link_page(request, made, services.invite(request, made, by=actor(request)), invited=True)
    return render(
        request, "access/person_new.html", {"form": form}, status=422 if form.errors else 200
    )  # fmt: skip


@never_cache
@requires(VIEW)
@require_safe
def person(request: HttpRequest, person_id: int) -> HttpResponse:
    """A person or service account: what they may, from which roles; for who may manage them, a form."""
    shown = _find(person_id)
    manages = request.user.has_perm(MANAGE) and selectors.may_manage(actor(request), shown)
    form = PersonForm(instance=_find(person_id), given=_roles_to_give(request)) if manages else None
    return _person_page(request, shown, form)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def edit(request: HttpRequest, person_id: int) -> HttpResponse:
    """Save the form of the person's page."""
    shown = _find(person_id)
    form = PersonForm(request.POST, instance=_find(person_id), given=_roles_to_give(request))
    if form.is_valid():
        try:
            services.edit_person(shown, **_cleaned(form), by=actor(request))
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": shown.get_username()})
            return redirect("access:person", shown.pk)
    return _person_page(request, _find(shown.pk), form)


def _person_page(request: HttpRequest, shown: User, form: PersonForm | None) -> HttpResponse:
    held = shown.get_all_permissions()
    context = {
        "person": shown,
        "service_account": getattr(shown, "service_account", None),
        "roles": Role.objects.filter(user=shown).order_by("name"),
        "rights": [roles.RIGHTS[right] for right in selectors.rights() if right in held],
        "form": form,
        "tokens": selectors.tokens(shown),
        "second_step": Authenticator.objects.filter(user=shown).exists(),
    }
    wrong = form is not None and form.errors
    return render(request, "access/person.html", context, status=422 if wrong else 200)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def switch(request: HttpRequest, person_id: int) -> HttpResponse:
    """Activate (``active=1``) or deactivate."""
    found = _find(person_id)
    try:
        services.switch_person(found, active=request.POST.get("active") == "1", by=actor(request))
    except services.LastAdministrator as refused:
        messages.error(request, refused.message)
    else:
        said = _("“%(name)s” is active.") if found.is_active else _("“%(name)s” was deactivated.")
        messages.success(request, said % {"name": found.get_username()})
    return redirect("access:person", found.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def link(request: HttpRequest, person_id: int) -> HttpResponse:
    """Mail a person a link for a new password, and show it."""
    found = get_object_or_404(User, pk=person_id, service_account=None, is_active=True)
    return _link_page(request, found, services.invite(request, found, by=actor(request)))


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def sign_out(request: HttpRequest, person_id: int) -> HttpResponse:
    """End all sessions of a person."""
    found = _find(person_id)
    services.end_sessions_of(found, by=actor(request))
    messages.success(request, _("“%(name)s” was signed out everywhere.") % {"name": found.get_username()})
    return redirect("access:person", found.pk)


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def second_step(request: HttpRequest, person_id: int) -> HttpResponse:
    """Take the second step of signing in away from who has lost it."""
    found = _find(person_id)
    services.remove_second_factors(found, by=actor(request))
    messages.success(
        request, _("“%(name)s” signs in without a second step.") % {"name": found.get_username()}
    )
    return redirect("access:person", found.pk)


# --- Service accounts ----------------------------------------------------------------------------------------------


@never_cache
@requires(VIEW)
@require_safe
def service_accounts(request: HttpRequest) -> HttpResponse:
    page = Paginator(selectors.service_accounts(), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "access/service_accounts.html", {"page": page})


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new_service_account(request: HttpRequest) -> HttpResponse:
    form = ServiceAccountForm(request.POST or None, given=_roles_to_give(request))
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        made = services.create_service_account(
            name=cleaned["username"],
            description=cleaned["description"],
            given=cleaned["roles"],
            by=actor(request),
        )
        messages.success(request, _("“%(name)s” was made. Give it a token.") % {"name": made.get_username()})
        return redirect("access:person", made.pk)
    return render(
        request, "access/service_account_new.html", {"form": form}, status=422 if form.errors else 200
    )  # fmt: skip


# --- What several views need ---------------------------------------------------------------------------------------


def _find(person_id: int) -> User:
    return get_object_or_404(User.objects.select_related("service_account"), pk=person_id)


def _roles_to_give(request: HttpRequest) -> list[Role]:
    return selectors.roles_to_give(actor(request), selectors.all_roles())


def _cleaned(form: PersonForm) -> dict[str, Any]:
    cleaned = dict(form.cleaned_data)
    return cleaned | {"given": cleaned.pop("roles")}


def _link_page(request: HttpRequest, person: User, link: str, *, invited: bool = False) -> HttpResponse:
    """The one page that shows a link. It is an answer and has no address."""
    context = {"person": person, "link": link, "invited": invited}
    return render(request, "access/person_link.html", context)
