"""The trail in the Django admin: to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from audit.models import Entry
from profiles.admin import Admin, LongPaginator


@admin.register(Entry)
class EntryAdmin(Admin):
    list_display = ("at", "actor", "action", "object_name", "ip")
    search_fields = ("actor__exact", "action__exact", "object_id__exact", "object_name__exact")
    ordering = ("-pk",)
    sortable_by = ()
    paginator = LongPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
