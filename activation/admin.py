"""Django admin of dataflows and exports: to look things up. What only services and the engine write is read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline

from activation.models import (
    Alert,
    AlertMessage,
    Dataflow,
    DataflowRun,
    Delivery,
    DraftAttribute,
    DraftSegment,
    FailedExport,
    Farewell,
    Lane,
    MappedAttribute,
    MappedSegment,
    Notice,
    PendingExport,
    Subscription,
)

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
    _Inline = admin.TabularInline[Any, Any]
else:
    _Admin, _Inline = ModelAdmin, TabularInline


class _Untouched:
    """Nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyAdmin(_Untouched, _Admin):
    """A model that services and the export engine alone write."""

    show_full_result_count = False  # an outbox can be long
    list_per_page = 50
    list_filter_submit = True

    @admin.display(description=_("profile"), ordering="profile_id")
    def profile_key(self, row: Any) -> str:
        """The profile's id, without reading the profile."""
        return str(row.profile_id)


class _ReadOnlyInline(_Untouched, _Inline):
    extra = 0
    max_num = 0
    per_page = 20  # unfold pages inlines: a dataflow can have thousands of segments
    tab = True
    show_change_link = False


class MappedSegmentInline(_ReadOnlyInline):
    model = MappedSegment
    ordering = ["segment__name", "pk"]
    fields = ["segment", "created_at", "updated_at"]


class MappedAttributeInline(_ReadOnlyInline):
    model = MappedAttribute
    fields = ["position", "field", "mandatory", "hashed"]


@admin.register(Dataflow)
class DataflowAdmin(ReadOnlyAdmin):
    list_display = [
        "destination",
        "state",
        "error_code",
        "draft_at",
        "finished_at",
        "updated_by",
        "updated_at",
    ]
    list_filter = ["state"]
    search_fields = ["id", "destination__name", "destination__id", "error_code", "error_message"]
    list_select_related = ["destination", "updated_by"]
    inlines = [MappedSegmentInline, MappedAttributeInline]


@admin.register(MappedSegment)
class MappedSegmentAdmin(ReadOnlyAdmin):
    list_display = ["segment", "dataflow", "created_at", "updated_at"]
    search_fields = ["segment__id", "segment__name", "dataflow__destination__name"]
    list_select_related = ["segment", "dataflow__destination"]


@admin.register(MappedAttribute)
class MappedAttributeAdmin(ReadOnlyAdmin):
    list_display = ["field", "dataflow", "mandatory", "hashed", "position"]
    list_filter = ["mandatory"]
    search_fields = ["field__path", "field__title", "dataflow__destination__name"]
    list_select_related = ["field", "dataflow__destination"]


@admin.register(DraftSegment)
class DraftSegmentAdmin(ReadOnlyAdmin):
    list_display = ["segment", "dataflow"]
    search_fields = ["segment__id", "segment__name", "dataflow__destination__name"]
    list_select_related = ["segment", "dataflow__destination"]


@admin.register(DraftAttribute)
class DraftAttributeAdmin(ReadOnlyAdmin):
    list_display = ["field", "dataflow", "mandatory", "hashed", "position"]
    search_fields = ["field__path", "field__title", "dataflow__destination__name"]
    list_select_related = ["field", "dataflow__destination"]


@admin.register(Lane)
class LaneAdmin(ReadOnlyAdmin):
    list_display = ["dataflow", "number", "of", "leased_until", "wake_at"]
    search_fields = ["dataflow__destination__name"]
    list_select_related = ["dataflow__destination"]
    exclude = ["token"]  # the fence between workers is nobody's to see


@admin.register(PendingExport)
class PendingExportAdmin(ReadOnlyAdmin):
    list_display = [
        "profile_key",
        "dataflow",
        "reason",
        "created_at",
        "available_at",
        "attempts",
        "error_code",
    ]
    list_filter = ["reason"]
    search_fields = ["profile__id", "dataflow__destination__name", "error_code"]
    list_select_related = ["dataflow__destination"]
    raw_id_fields = ["profile"]


@admin.register(DataflowRun)
class DataflowRunAdmin(ReadOnlyAdmin):
    list_display = [
        "started_at",
        "dataflow",
        "activated",
        "excluded",
        "failed",
        "identities",
        "retries",
        "last_at",
    ]
    date_hierarchy = "started_at"
    search_fields = ["id", "dataflow__destination__name"]
    list_select_related = ["dataflow__destination"]


@admin.register(FailedExport)
class FailedExportAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "kind", "code", "profile_key", "run"]
    list_filter = ["kind"]
    search_fields = ["code", "reason", "profile__id", "run__dataflow__destination__name"]
    list_select_related = ["run"]


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["profile_key", "dataflow", "delivered_at", "shard", "sequence_number"]
    search_fields = ["profile__id", "dataflow__destination__name", "sequence_number"]
    list_select_related = ["dataflow__destination"]


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ["destination", "user", "by_email", "webhook_url", "problem", "problem_at"]
    search_fields = ["destination__name", "user__username"]
    list_select_related = ["destination", "user"]
    exclude = ["webhook_secret"]


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ["raised_at", "kind", "dataflow", "well_since", "cleared_at"]
    list_filter = ["kind"]
    search_fields = ["dataflow__destination__name"]
    list_select_related = ["dataflow__destination"]


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "user", "alert", "cleared", "read_at"]
    search_fields = ["user__username", "alert__dataflow__destination__name"]
    list_select_related = ["user", "alert"]


@admin.register(AlertMessage)
class AlertMessageAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "channel", "subscription", "alert", "attempts", "available_at"]
    list_filter = ["channel"]
    search_fields = ["subscription__destination__name", "subscription__user__username"]
    list_select_related = ["subscription__destination", "subscription__user", "alert"]


@admin.register(Farewell)
class FarewellAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "dataflow", "available_at"]
    search_fields = ["dataflow__destination__name"]
    list_select_related = ["dataflow__destination"]
    exclude = ["data", "partition_key"]
