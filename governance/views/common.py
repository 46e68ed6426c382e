"""What the views share."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

VIEW = "governance.view_policy"
MANAGE_POLICIES = "governance.manage_policies"
MANAGE_LABELS = "governance.manage_labels"
PAGE_SIZE = 25


def version_of(request: HttpRequest) -> int:
    """The version of a policy that the page showed; 0, which is none, where it is missing or no number."""
    text = request.POST.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Tell at its fields why a service refused; at the top what is about none that the form has."""
    if not hasattr(error, "error_dict"):
        form.add_error(None, error.messages)
        return
    for name, messages in error.message_dict.items():
        form.add_error(name if name in form.fields else None, messages)


def form_page(request: HttpRequest, form: forms.Form, **context: Any) -> HttpResponse:
    """A page with one form: ``title``, ``button``, ``cancel_url``, and ``parent`` (a word) for the breadcrumb."""
    status = 422 if form.errors else 200
    return render(request, "governance/form.html", {"form": form, **context}, status=status)


def ask_to_delete(request: HttpRequest, **context: Any) -> HttpResponse:
    """Ask on a page of its own: ``name``, ``text``, ``cancel_url``, ``parent``; ``refused`` says why it can't be."""
    return render(request, "governance/delete.html", context, status=422 if "refused" in context else 200)
