"""People, groups and tokens in the Django admin: for superusers. The page *People* is for everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from access import selectors, services
from access.models import ApiToken, Role
from access.roles import ADMINISTRATOR

admin.site.unregister(User)
admin.site.unregister(Group)


class _UserChangeForm(UserChangeForm):  # type: ignore[misc]
    """Refuses, at the form, what would leave nobody who may everything."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        stays = cleaned.get("is_active") and (
            cleaned.get("is_superuser")
            or any(group.name == ADMINISTRATOR for group in cleaned.get("groups", ()))
        )
        if not stays and not selectors.administrators().exclude(pk=self.instance.pk).exists():
            raise ValidationError(services.LastAdministrator().messages)
        return cleaned


@contextmanager
def _alone(request: HttpRequest) -> Iterator[None]:
    """What is posted is checked and written while nobody else takes away an administrator."""
    if request.method != "POST":
        yield
        return
    with transaction.atomic():
        services.lock()
        yield


@admin.register(User)
class PersonAdmin(UserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    form = _UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with _alone(request):
            return super().changelist_view(request, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with _alone(request):
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with _alone(request):
            return super().delete_view(request, *args, **kwargs)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, perms, protected = super().get_deleted_objects(objs, request)
        chosen = [obj.pk for obj in objs]
        if not selectors.administrators().exclude(pk__in=chosen).exists():
            protected = [*protected, *services.LastAdministrator().messages]
        return names, counts, perms, protected

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_person(obj, by=request.user)  # type: ignore[arg-type]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for person in queryset:
            services.delete_person(person, by=request.user)  # type: ignore[arg-type]


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Core roles are as the product says; own ones can be changed."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not (obj and Role(name=obj.name).core)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and Role(name=obj.name).core)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names, counts, perms, protected = super().get_deleted_objects(objs, request)
        return names, counts, perms, [*protected, *(str(obj) for obj in objs if Role(name=obj.name).core)]


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):  # type: ignore[misc]
    """To look up and revoke. The pages make them: they show a token when there is a new one."""

    list_display = ("name", "owner", "tail", "expires_at", "last_used_at", "created_at")
    list_select_related = ("owner",)
    search_fields = ("name", "owner__username", "tail")
    fields = ("name", "owner", "tail", "scopes", "expires_at", "last_used_at", "created_at", "created_by")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
