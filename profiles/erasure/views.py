"""The page that shows what is known of a person, and erases it."""

from __future__ import annotations

import uuid

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from access.guard import requires
from profiles.erasure import selectors, services
from profiles.models import Profile

ERASE = "profiles.delete_profile"


class EraseForm(forms.Form):
    """How it is done."""

    last_record = forms.BooleanField(
        label=gettext_lazy("Send a last record first"),
        required=False,
        help_text=gettext_lazy(
            "Destinations that know this customer are told that every segment was left. The record has the "
            "identities and no attributes."
        ),
    )


@never_cache
@requires("profiles.view_profile", ERASE)
@require_http_methods(["GET", "HEAD", "POST"])
def erase(request: HttpRequest, profile_id: uuid.UUID) -> HttpResponse:
    """Say what is known; POST erases it."""
    form = EraseForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        if services.erase(profile_id, last_record=form.cleaned_data["last_record"]):
            messages.success(request, _("The customer was erased."))
        else:
            messages.info(request, _("The customer was erased already."))
        return redirect("profiles:profiles")
    profile = get_object_or_404(Profile, pk=profile_id)
    context = {"profile": profile, "known": selectors.known(profile), "form": form}
    return render(request, "profiles/erase.html", context)
