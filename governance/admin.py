"""Marketing actions in the Django admin: core ones can be seen, people's own can be changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from governance import services
from governance.models import MarketingAction
from profiles.admin import Admin


class MarketingActionForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_name(self) -> str:
        try:
            return services.checked_name(self.cleaned_data["name"], self.instance)
        except ValidationError as refused:
            raise ValidationError(refused.messages) from None


@admin.register(MarketingAction)
class MarketingActionAdmin(Admin):
    form = MarketingActionForm
    list_display = ("name", "core", "description")
    list_filter = ("core",)
    search_fields = ("name", "description")
    fields = ("name", "description", "core")
    readonly_fields = ("core",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not (obj and obj.core)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.core)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, perms, protected = super().get_deleted_objects(objs, request)
        return names, counts, perms, [*protected, *(str(obj) for obj in objs if obj.core)]

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
