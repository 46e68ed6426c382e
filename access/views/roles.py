"""The page *Roles*: which role allows what, as one table; own roles are made and changed there."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access import selectors, services
from access.forms import RoleForm
from access.guard import requires
from access.models import Role
from access.roles import RIGHTS
from access.views.common import MANAGE, VIEW, actor


@never_cache
@requires(VIEW)
@require_safe
def roles(request: HttpRequest) -> HttpResponse:
    """Rights × roles."""
    found = selectors.all_roles()
    may = request.user.has_perm(MANAGE)
    mine = actor(request).get_all_permissions()
    rows = [
        (
            right,
            RIGHTS[right],
            [(role, right in role.rights, may and not role.core and right in mine) for role in found],
        )
        for right in selectors.rights()
    ]
    own = [role for role in found if not role.core]
    return render(request, "access/roles.html", {"roles": found, "rows": rows, "own": own})


@never_cache
@requires(VIEW, MANAGE)
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Save the ticks of the own roles."""
    mine = set(selectors.rights_of(actor(request)))
    for role in selectors.all_roles():
        # Only those that the page showed: one that was made meanwhile is not emptied.
        if role.core or f"shown-{role.pk}" not in request.POST:
            continue
        ticked = set(request.POST.getlist(f"role-{role.pk}")) & mine
        if ticked != role.rights & mine:
            services.save_role(role, name=role.name, rights=sorted(ticked), by=actor(request))
    messages.success(request, _("The roles were saved."))
    return redirect("access:roles")


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = RoleForm(request.POST or None, rights=selectors.rights_of(actor(request)))
    return _form(request, form, None)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, role_id: int) -> HttpResponse:
    role = _own(role_id)
    initial = {"name": role.name, "rights": sorted(role.rights)}
    form = RoleForm(request.POST or None, rights=selectors.rights_of(actor(request)), initial=initial)
    return _form(request, form, role)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, role_id: int) -> HttpResponse:
    """Say who loses what; POST deletes."""
    if request.method == "POST":
        found = Role.objects.filter(pk=role_id).first()
        if found is None:
            messages.info(request, _("The role was deleted already."))
        else:
            services.delete_role(found, by=actor(request))
            messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
        return redirect("access:roles")
    return render(request, "access/role_delete.html", {"role": _own(role_id)})


def _own(role_id: int) -> Role:
    """An own role with its rights and the number of people; core ones are nobody's to change."""
    found = next((role for role in selectors.all_roles() if role.pk == role_id and not role.core), None)
    if found is None:
        raise Http404
    return found


def _form(request: HttpRequest, form: RoleForm, role: Role | None) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            saved = services.save_role(role, **form.cleaned_data, by=actor(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": saved.name})
            return redirect("access:roles")
    context = {
        "form": form,
        "role": role,
        "deletable": role is not None and role.rights <= actor(request).get_all_permissions(),
    }
    return render(request, "access/role_form.html", context, status=422 if form.errors else 200)
