"""Accounts and destinations in the Django admin. Whatever is written goes through the services.

An account's secrets can be set and are never shown: the form is the one that its destination type brings along, and
the other side is asked before anything is saved. A destination is edited on its own page; here it can be looked up and
deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import INPUT_CLASSES, SELECT_CLASSES

from destinations import connectors, services
from destinations.connectors.base import CheckStatus, Connector
from destinations.fields import KeyLost
from destinations.models import Account, Destination
from profiles.admin import Admin
from profiles.services import hanging_on


def cut(attribute: str, description: Any, ordering: str | None = None) -> Callable[[Any], str]:
    """A column that a long name does not push the others out of."""

    @admin.display(description=description, ordering=ordering)
    def column(obj: Any) -> str:
        return Truncator(getattr(obj, attribute)).chars(40)

    return column


def account_form(kind: Connector) -> type[Any]:
    """The account form of a destination type, as the admin takes one: with an ``instance``. It saves nothing."""

    class Form(kind.account_form, forms.ModelForm):  # type: ignore[misc, name-defined, type-arg]
        seen = forms.CharField(widget=forms.HiddenInput, required=False)

        class Meta:
            model = Account
            fields: Sequence[str] = ()

        def __init__(
            self, data: Any = None, files: Any = None, *, instance: Account | None = None, **kwargs: Any
        ) -> None:
            stored = None
            if instance is not None:
                kwargs["initial"] = {
                    "name": instance.name,
                    "seen": instance.updated_at.isoformat(),
                    **instance.settings,
                }
                try:
                    stored = instance.connection()
                except KeyLost:
                    pass  # then every secret is required
            super().__init__(data, stored=stored, instance=instance, **kwargs)  # type: ignore[call-arg]
            for field in self.fields.values():
                classes = SELECT_CLASSES if isinstance(field.widget, forms.Select) else INPUT_CLASSES
                field.widget.attrs["class"] = " ".join(classes)

        def _post_clean(self) -> None:
            """The services look at the account as a whole."""

    return Form


@admin.register(Account)
class AccountAdmin(Admin):
    list_display = (
        cut("name", _("name"), "name"), "connector", "masked", "readable", "connected_at", "created_by", "updated_at",
    )  # fmt: skip
    list_filter = ("connector",)
    list_select_related = ("created_by",)
    search_fields = ("id", "name", "masked")
    readonly_fields = ("connector", "key", "connected_at", "created_by", "created_at", "updated_at")

    @admin.display(description=_("readable"), boolean=True)
    def readable(self, obj: Account) -> bool:
        return obj.credentials.readable

    @admin.display(description=_("access key"))
    def key(self, obj: Account) -> str:
        if obj.credentials.readable:
            return obj.masked
        return gettext("%(key)s (can't be read: enter the credentials again)") % {"key": obj.masked}

    # -- the form

    def get_form(
        self, request: HttpRequest, obj: Account | None = None, change: bool = False, **kwargs: Any
    ) -> Callable[..., Any]:
        sent = getattr(request, "account_form", None)
        return (lambda *args, **kwargs: sent) if sent else account_form(self._kind(request, obj))

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Sequence[str]:
        about = self.readonly_fields if obj else ()
        if obj and not self.has_change_permission(request, obj):
            return ("name", "settings", *about)
        return (*account_form(self._kind(request, obj))(instance=obj).fields, *about)

    def _kind(self, request: HttpRequest, obj: Account | None) -> Connector:
        """The destination type of an account; of a new one ``?connector=``, else the first that there is."""
        if obj:
            return obj.type
        available = [spec.slug for spec in connectors.catalog() if connectors.is_available(spec.slug)]
        wanted = request.GET.get("connector")
        return connectors.get(wanted if wanted in available else available[0])

    # -- writing

    @method_decorator(sensitive_post_parameters())
    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if request.method == "POST":
            # Before Django begins its transaction: nothing is locked while the other side is asked.
            request.account_form = self._write(request, object_id)  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, *args, **kwargs)

    def _write(self, request: HttpRequest, object_id: str | None) -> Any:
        """The form that was sent, its account saved or with what is wrong; None where nothing may be written."""
        account = self.get_object(request, unquote(object_id)) if object_id else None
        allowed = (
            self.has_change_permission(request, account) if account else self.has_add_permission(request)
        )
        if not allowed or (object_id and account is None):
            return None
        form = account_form(self._kind(request, account))(request.POST, instance=account)
        if not form.is_valid():
            return form
        try:
            form.instance = self._save(request, account, form)
        except services.NotConnected as error:
            for check in error.checks:
                if check.status == CheckStatus.FAILED:
                    form.add_error(None, f"{check.name}: {check.detail}")
        except services.Refused as refused:
            form.add_error(refused.field or None, refused.message)
        return form

    def _save(self, request: HttpRequest, account: Account | None, form: Any) -> Account:
        name, connection = form.cleaned_data["name"], form.connection()
        if account is None:
            slug = self._kind(request, None).spec.slug
            by = request.user if request.user.is_authenticated else None
            return services.connect_account(
                id=uuid.uuid4(), connector=slug, name=name, connection=connection, by=by
            ).account
        try:
            seen = datetime.fromisoformat(form.cleaned_data["seen"])
        except ValueError:
            seen = datetime.min.replace(tzinfo=UTC)
        return services.edit_account(account=account, seen=seen, name=name, connection=connection).account

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        """It is saved already."""

    # -- deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, perms, _protected = super().get_deleted_objects(objs, request)
        users = list(Destination.objects.filter(account__in=objs).values_list("name", flat=True))
        return names, counts, perms, [services.in_use(users)] if users else []

    def delete_model(self, request: HttpRequest, obj: Account) -> None:
        try:
            services.delete_account(obj.pk)
        except services.Refused as refused:
            raise ValidationError(refused.message) from None

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        for account in queryset:
            try:
                services.delete_account(account.pk)
            except services.Refused as refused:
                messages.error(request, refused.message)


@admin.register(Destination)
class DestinationAdmin(Admin):
    list_display = (
        cut("name", _("name"), "name"), cut("account", _("account"), "account__name"), cut("target", _("target")),
        "state", "created_by", "updated_at",
    )  # fmt: skip
    list_filter = ("account__connector",)
    list_select_related = ("account", "created_by", "dataflow")
    search_fields = ("id", "name", "description", "account__name")
    fields = (
        "page", "name", "description", "account", "target", "state", "include_segment_names",
        "include_segment_timestamps", "include_delivery", "partition_key", "marketing_actions", "created_by",
        "created_at", "updated_at",
    )  # fmt: skip

    @admin.display(description=_("page"))
    def page(self, obj: Destination) -> str:
        return format_html(
            '<a class="text-primary-600 dark:text-primary-400" href="{}">{}</a>',
            obj.get_absolute_url(),
            gettext("Open the destination"),
        )

    @admin.display(description=_("target"))
    def target(self, obj: Destination) -> str:
        return obj.target

    @admin.display(description=_("state"), ordering="dataflow__state")
    def state(self, obj: Destination) -> str:
        return obj.dataflow.get_state_display() if hasattr(obj, "dataflow") else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, perms, protected = super().get_deleted_objects(objs, request)
        dataflows = [obj.dataflow for obj in objs if hasattr(obj, "dataflow")]
        return names, counts | hanging_on(dataflows), perms, protected

    def delete_model(self, request: HttpRequest, obj: Destination) -> None:
        services.delete_destination(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Destination]) -> None:
        for destination in queryset:
            services.delete_destination(destination.pk)
