"""The pages *Namespaces*: the list, a new one, and a team's own ones."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from access.guard import requires
from profiles import selectors
from profiles.models import IdentityNamespace
from profiles.namespaces import services
from profiles.namespaces.forms import NamespaceForm

VIEW = "profiles.view_identitynamespace"
MANAGE = "profiles.manage_namespaces"
PAGE_SIZE = 25


@never_cache
@requires(VIEW)
@require_safe
def namespaces(request: HttpRequest) -> HttpResponse:
    """All namespaces, with search and a filter of the team's own."""
    search, own = request.GET.get("q", "").strip(), request.GET.get("own") == "1"
    page = Paginator(selectors.namespaces(search, own=own), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "profiles/namespaces.html", {"page": page, "q": search, "own": own})


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = NamespaceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_namespace(**form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("“%(name)s” was created.") % {"name": made.code})
            return redirect("profiles:namespaces")
    return _form_page(request, form)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, namespace_id: int) -> HttpResponse:
    edited = get_object_or_404(IdentityNamespace, pk=namespace_id, custom=True)
    form = NamespaceForm(request.POST or None, instance=IdentityNamespace.objects.get(pk=edited.pk))
    if request.method == "POST" and form.is_valid():
        try:
            services.edit_namespace(edited, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": edited.code})
            return redirect("profiles:namespaces")
    return _form_page(request, form, edited)


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, namespace_id: int) -> HttpResponse:
    """Ask; or say what needs the namespace. POST deletes."""
    found = IdentityNamespace.objects.filter(pk=namespace_id, custom=True).first()
    if found is None:
        if request.method != "POST":
            raise Http404
        messages.info(request, _("The namespace was deleted already."))
        return redirect("profiles:namespaces")
    refused: list[str] = []
    if request.method == "POST":
        try:
            services.delete_namespace(found)
        except ValidationError as error:
            refused = error.messages
        else:
            messages.success(request, _("“%(name)s” was deleted.") % {"name": found.code})
            return redirect("profiles:namespaces")
    context = {"namespace": found, "reasons": refused or services.uses(found)}
    return render(request, "profiles/namespace_delete.html", context, status=422 if refused else 200)


def _form_page(
    request: HttpRequest, form: NamespaceForm, namespace: IdentityNamespace | None = None
) -> HttpResponse:
    context = {"form": form, "namespace": namespace}
    return render(request, "profiles/namespace_form.html", context, status=422 if form.errors else 200)
