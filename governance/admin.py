"""Labels, marketing actions and policies in the Django admin: what came with the product is only looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from governance import services
from governance.models import ConsentPolicy, Label, MarketingAction, Policy
from profiles.admin import Admin


class NamedForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_name(self) -> str:
        try:
            return services.checked_name(type(self.instance), self.cleaned_data["name"], self.instance)
        except ValidationError as refused:
            raise ValidationError(refused.messages) from None


class LabelForm(NamedForm):
    def clean_code(self) -> str:
        try:
            return services.checked_code(self.cleaned_data["code"])
        except ValidationError as refused:
            raise ValidationError(refused.messages) from None


class OwnOnly(Admin):
    """Core ones can be seen; people's own can be changed and deleted where no policy uses them."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not (obj and obj.core)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.core)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, perms, protected = super().get_deleted_objects(objs, request)
        return names, counts, perms, [*protected, *(str(obj) for obj in objs if obj.core)]


@admin.register(MarketingAction)
class MarketingActionAdmin(OwnOnly):
    form = NamedForm
    list_display = ("name", "core", "description")
    list_filter = ("core",)
    search_fields = ("name", "description")
    fields = ("name", "description", "core")
    readonly_fields = ("core",)

    def save_model(self, request: HttpRequest, obj: MarketingAction, form: Any, change: bool) -> None:
        if change:
            services.edit_marketing_action(obj, name=obj.name, description=obj.description)
        else:
            obj.pk = services.create_marketing_action(name=obj.name, description=obj.description).pk

    def delete_model(self, request: HttpRequest, obj: MarketingAction) -> None:
        services.delete_marketing_action(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[MarketingAction]) -> None:
        for action in queryset:
            services.delete_marketing_action(action)


@admin.register(Label)
class LabelAdmin(OwnOnly):
    """What is labelled, the pages say: there a change can be refused with all its reasons."""

    form = LabelForm
    list_display = ("code", "name", "kind", "description")
    list_filter = ("kind",)
    search_fields = ("code", "name", "description")
    fields = ("code", "name", "description", "kind")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("code", "kind") if obj else ("kind",)

    def save_model(self, request: HttpRequest, obj: Label, form: Any, change: bool) -> None:
        if change:
            services.edit_label(obj, name=obj.name, description=obj.description)
        else:
            obj.pk = services.create_label(code=obj.code, name=obj.name, description=obj.description).pk

    def delete_model(self, request: HttpRequest, obj: Label) -> None:
        services.delete_label(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Label]) -> None:
        for label in queryset:
            services.delete_label(label)


@admin.register(Policy)
class PolicyAdmin(OwnOnly):
    """To look at and to delete: the wizard writes them."""

    list_display = ("name", "state", "in_words", "core", "updated_at")
    list_filter = ("state", "core")
    search_fields = ("name", "description")
    fields = (
        "name",
        "description",
        "in_words",
        "marketing_actions",
        "state",
        "core",
        "created_at",
        "updated_at",
    )

    @admin.display(description=_("condition"))
    def in_words(self, obj: Policy) -> str:
        return str(obj.rule)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: Policy) -> None:
        services.delete_policy(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Policy]) -> None:
        for policy in queryset:
            services.delete_policy(policy.pk)


@admin.register(ConsentPolicy)
class ConsentPolicyAdmin(Admin):
    """To look at and to delete: the pages write them, and say what that means."""

    list_display = ("name", "field", "enabled", "updated_at")
    list_filter = ("enabled",)
    list_select_related = ("field",)
    search_fields = ("name", "description", "field__path")
    fields = (
        "name",
        "description",
        "field",
        "marketing_actions",
        "enabled",
        "created_at",
        "updated_at",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: ConsentPolicy) -> None:
        services.delete_consent_policy(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ConsentPolicy]) -> None:
        for policy in queryset:
            services.delete_consent_policy(policy.pk)
