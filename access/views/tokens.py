"""API tokens: one's own, those of service accounts; a token is shown once, when it is made."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access import selectors, services
from access.forms import TokenForm
from access.guard import requires
from access.models import ApiToken
from access.tokens import token_required
from access.views.common import MANAGE, VIEW, actor


@never_cache
@requires()
@require_safe
def tokens(request: HttpRequest) -> HttpResponse:
    """One's own tokens."""
    return render(request, "access/tokens.html", {"tokens": selectors.tokens(actor(request))})


@never_cache
@requires()
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Make one for oneself, and show it."""
    return _new(request, actor(request), reverse("access:tokens"))


@never_cache
@requires(VIEW, MANAGE)
@require_http_methods(["GET", "HEAD", "POST"])
def new_for(request: HttpRequest, person_id: int) -> HttpResponse:
    """Make one for a service account, and show it. People make theirs themselves."""
    owner = get_object_or_404(User.objects.exclude(service_account=None), pk=person_id)
    return _new(request, owner, reverse("access:person", args=[owner.pk]))


def _new(request: HttpRequest, owner: User, back: str) -> HttpResponse:
    form = TokenForm(request.POST or None, rights=selectors.rights_of(owner))
    context = {"form": form, "owner": owner, "back": back, "own": owner == request.user}
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        made, text = services.create_token(
            owner,
            name=cleaned["name"],
            scopes=cleaned["scopes"],
            expires_at=form.expires_at(),
            by=actor(request),
        )
        url = request.build_absolute_uri(reverse("access:token_who"))
        curl = f'curl -H "Authorization: Bearer $KINESIS_ADMIN_TOKEN" {url}'
        return render(
            request, "access/token_made.html", context | {"token": made, "text": text, "curl": curl}
        )
    return render(request, "access/token_new.html", context, status=422 if form.errors else 200)


@never_cache
@requires()
@require_POST
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Revoke one's own, or (who manages people) any token. Others' are as if they were not there."""
    found = ApiToken.objects.select_related("owner").filter(pk=token_id)
    if not request.user.has_perm(MANAGE):
        found = found.filter(owner=actor(request))
    token = get_object_or_404(found)
    services.revoke_token(token, by=actor(request))
    messages.success(request, _("“%(name)s” was revoked.") % {"name": token.name})
    return (
        redirect("access:tokens")
        if token.owner == request.user
        else redirect("access:person", token.owner_id)
    )


@token_required()
@require_safe
def who(request: HttpRequest) -> HttpResponse:
    """Whose token it is, and what it may do now."""
    user = actor(request)
    return JsonResponse({"owner": user.get_username(), "rights": sorted(user.get_all_permissions())})
