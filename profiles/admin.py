"""Profiles in the Django admin. Nothing here writes past ingestion: what is changed is announced, and exported.

A refusal that the forms could not foresee (another person was faster) is shown as a message; nothing is written then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, ProtectedError, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from profiles import selectors, services
from profiles.erasure.services import erase
from profiles.ingest import Refused, check_attributes, check_segment_id
from profiles.inlets.services import delete_inlet
from profiles.models import (
    Identity,
    IdentityNamespace,
    IngestedPath,
    Inlet,
    Profile,
    SchemaField,
    Segment,
    SegmentMembership,
    Upload,
)
from profiles.namespaces.services import delete_namespace

COUNTED_AT_MOST = 10_000


class LongPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of a table that is too long to count: whoever looks for more searches."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Model] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:COUNTED_AT_MOST].count()


class Admin(ModelAdmin):  # type: ignore[misc]
    """What all of these have in common: long tables, and services that may refuse."""

    show_full_result_count = False
    list_per_page = 50

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, *args, **kwargs)  # type: ignore[no-any-return]
        except ValidationError as refused:
            return self._refused(request, refused)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changelist_view(request, *args, **kwargs)  # type: ignore[no-any-return]
        except ValidationError as refused:
            return self._refused(request, refused)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().delete_view(request, *args, **kwargs)  # type: ignore[no-any-return]
        except (ValidationError, ProtectedError) as refused:
            return self._refused(request, refused)

    def _refused(self, request: HttpRequest, refused: ValidationError | ProtectedError) -> HttpResponse:
        reasons = refused.messages if isinstance(refused, ValidationError) else [str(refused.args[0])]
        for reason in reasons:
            messages.error(request, reason)
        return HttpResponseRedirect(request.get_full_path())

    def get_deleted_objects(
        self, objs: Sequence[Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What would go, as names and not as a tree: a segment may have a million memberships.

        Whoever may delete these may delete what hangs on them.
        """
        objs = list(objs)
        names = [str(obj) for obj in objs]
        users = services.protecting(objs)
        protected = [services.in_use(", ".join(names[:5]), users)] if users else []
        counts = {str(self.opts.verbose_name_plural): len(objs), **services.hanging_on(objs)}
        return names, counts, set(), protected


class CoreIsReadOnly(Admin):
    """Rows that came with the product can be seen; people's own can be changed."""

    readonly_fields = ("custom",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.custom)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.custom)

    def get_deleted_objects(
        self, objs: Sequence[Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        names, counts, perms, protected = super().get_deleted_objects(objs, request)
        core = [str(obj) for obj in objs if not obj.custom]  # type: ignore[attr-defined]
        return names, counts, perms, [*protected, *core]


@admin.register(IdentityNamespace)
class IdentityNamespaceAdmin(CoreIsReadOnly):
    list_display = ("code", "name", "type", "custom")
    list_filter = ("custom", "type")
    search_fields = ("code", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("code", "custom") if obj else ("custom",)

    def delete_model(self, request: HttpRequest, obj: IdentityNamespace) -> None:
        delete_namespace(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[IdentityNamespace]) -> None:
        for namespace in queryset:
            delete_namespace(namespace)


class SchemaFieldForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_path(self) -> str:
        try:
            return services.checked_path(self.cleaned_data["path"])
        except ValidationError as refused:
            raise ValidationError(refused.messages) from None


@admin.register(SchemaField)
class SchemaFieldAdmin(CoreIsReadOnly):
    form = SchemaFieldForm
    list_display = ("path", "title", "type", "custom")
    list_filter = ("custom", "type")
    search_fields = ("path", "title")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("path", "custom") if obj else ("custom",)


@admin.register(IngestedPath)
class IngestedPathAdmin(Admin):
    """To look at: ingestion notes them."""

    list_display = ("path", "type", "created_at")
    list_filter = ("type",)
    search_fields = ("path",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


# --- Segments ------------------------------------------------------------------------------------------------------


class SegmentForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_id(self) -> str:
        id: str = self.cleaned_data["id"]  # noqa: A001
        try:
            check_segment_id(id)
        except Refused as refused:
            raise ValidationError(refused.reason) from None  # type: ignore[arg-type]
        return id

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        rule, origin = cleaned.get("rule"), cleaned.get("origin", self.instance.origin)
        if rule and origin == Segment.Origin.SEGMENTATION and self.instance.state == Segment.State.LIVE:
            services.check_rule(rule, cleaned.get("id", self.instance.pk))
        return cleaned


@admin.register(Segment)
class SegmentAdmin(Admin):
    form = SegmentForm
    list_display = ("name", "id", "origin", "state", "evaluated_at", "updated_at")
    list_filter = ("origin", "state")
    search_fields = ("name", "id")
    fields = (
        "name", "id", "description", "origin", "state", "rule", "expires_after", "evaluated_at", "created_at",
        "updated_at",
    )  # fmt: skip
    ordering = ("name", "id")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        fixed = ("state", "expires_after", "evaluated_at", "created_at", "updated_at")
        return ("id", "origin", *fixed) if obj else fixed

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        if change:
            services.edit_segment(obj, name=obj.name, description=obj.description, rule=obj.rule)
        else:
            services.create_segment(
                id=obj.id, name=obj.name, description=obj.description, origin=obj.origin, rule=obj.rule
            )

    def delete_model(self, request: HttpRequest, obj: Segment) -> None:
        services.delete_segment(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Segment]) -> None:
        for segment in queryset:
            services.delete_segment(segment)


@admin.register(Upload)
class UploadAdmin(Admin):
    """To look up. The pages of a segment start and stop uploads, and show what was rejected."""

    list_display = ("file_name", "segment", "way", "state", "rows", "accepted", "rejected", "queued_at")
    list_select_related = ("segment",)
    list_filter = ("state", "way")
    search_fields = ("file_name", "segment__name")
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


# --- Profiles ------------------------------------------------------------------------------------------------------


class AttributesField(forms.JSONField):
    """Attributes as a person edits them: indented, and refused for the same reasons as everywhere."""

    widget = UnfoldAdminTextareaWidget({"rows": 24, "class": "font-mono", "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):  # numbers and nesting that Python does not read
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return forms.fields.InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return json.dumps(value, ensure_ascii=False, indent=2)

    def validate(self, value: Any) -> None:
        # An empty object is a value here.
        try:
            check_attributes(value, selectors.map_paths())
        except Refused as refused:
            raise ValidationError(refused.reason) from None  # type: ignore[arg-type]


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    attributes = AttributesField(label=_("Attributes"))

    class Meta:
        model = Profile
        fields = ("attributes",)

    def _get_validation_exclusions(self) -> set[str]:
        # The model takes an empty object for a blank.
        return {*super()._get_validation_exclusions(), "attributes"}  # type: ignore[misc]


class NewProfileForm(ProfileForm):
    """A profile is known by at least one identity."""

    namespace = forms.ModelChoiceField(
        IdentityNamespace.objects.all(), label=_("Identity namespace"), widget=UnfoldAdminSelectWidget
    )
    value = forms.CharField(label=_("Identity value"), widget=UnfoldAdminTextInputWidget, max_length=1024)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        namespace, value = cleaned.get("namespace"), cleaned.get("value")
        if namespace and value and Identity.objects.filter(namespace=namespace, value=value).exists():
            self.add_error("value", _("There is a profile with this identity already."))
        return cleaned


class IdentityInline(TabularInline):  # type: ignore[misc]
    """Identities are added and removed; one is never turned into another."""

    model = Identity
    extra = 0
    hide_title = True
    fields = ("namespace", "value", "created_at")
    readonly_fields = ("created_at",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_last_qualification_time(self) -> Any:
        moment = self.cleaned_data["last_qualification_time"]
        stored = self.initial.get("last_qualification_time")
        if stored and moment < stored.replace(microsecond=0):
            raise ValidationError(
                _("What happened before the last qualification is old news: it changes nothing.")
            )
        return moment


class MembershipInline(TabularInline):  # type: ignore[misc]
    """A profile leaves a segment by the status Exited: the membership stays."""

    model = SegmentMembership
    form = MembershipForm
    extra = 0
    hide_title = True
    fields = ("segment", "status", "last_qualification_time")
    autocomplete_fields = ("segment",)
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SegmentMembership]:
        return super().get_queryset(request).select_related("segment")  # type: ignore[no-any-return]


def save_membership(form: Any, profile_id: Any) -> None:
    """Write a membership as a form has it; a time that was not touched becomes now when the status changes."""
    membership: SegmentMembership = form.instance
    services.set_membership(
        profile_id,
        segment_id=membership.segment_id,
        status=membership.status,
        moment=membership.last_qualification_time if "last_qualification_time" in form.changed_data else None,
    )


@admin.register(Profile)
class ProfileAdmin(Admin):
    list_display = ("id", "name", "created_at", "updated_at")
    search_fields = ("id",)  # shows the box; see get_search_results
    search_help_text = _("Profile id or identity value, whole")
    ordering = ("-pk",)
    sortable_by = ()
    paginator = LongPaginator
    inlines = (IdentityInline, MembershipInline)

    @admin.display(description=_("name"))
    def name(self, obj: Profile) -> str:
        return selectors.display_name(obj.attributes)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Profile], search_term: str
    ) -> tuple[QuerySet[Profile], bool]:
        if not search_term:
            return queryset, False
        return queryset.filter(pk__in=selectors.profiles_named(search_term).values("pk")), False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(
            request, obj, change, **{"form": ProfileForm if obj else NewProfileForm, **kwargs}
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("attributes", "created_at", "updated_at") if obj else ("namespace", "value", "attributes")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("created_at", "updated_at")

    def get_inlines(self, request: HttpRequest, obj: Any) -> Sequence[Any]:
        return self.inlines if obj else ()

    def save_model(self, request: HttpRequest, obj: Profile, form: Any, change: bool) -> None:
        if change:
            services.edit_attributes(
                obj.pk, shown=form.initial["attributes"], wanted=form.cleaned_data["attributes"]
            )
            return
        made = services.create_profile(
            identities=[(form.cleaned_data["namespace"].code, form.cleaned_data["value"])],
            attributes=form.cleaned_data["attributes"],
        )
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Profile) -> None:
        erase(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        for profile in queryset:
            erase(profile.pk)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        for gone in formset.deleted_objects:
            services.remove_identity(gone)
        for row in formset.forms:
            if not row.has_changed() or row in formset.deleted_forms:
                continue
            if isinstance(row.instance, Identity):
                services.add_identity(
                    form.instance.pk, namespace=row.instance.namespace.code, value=row.instance.value
                )
            else:
                save_membership(row, form.instance.pk)


@admin.register(Identity)
class IdentityAdmin(Admin):
    list_display = ("value", "namespace", "profile", "created_at")
    list_select_related = ("namespace", "profile")
    list_filter = ("namespace",)
    search_fields = ("value__exact",)
    search_help_text = _("The value, whole")
    ordering = ("-pk",)
    sortable_by = ()
    paginator = LongPaginator
    raw_id_fields = ("profile",)
    fields = ("profile", "namespace", "value")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Identity, form: Any, change: bool) -> None:
        services.add_identity(obj.profile_id, namespace=obj.namespace.code, value=obj.value)
        obj.pk = Identity.objects.get(namespace=obj.namespace, value=obj.value).pk

    def delete_model(self, request: HttpRequest, obj: Identity) -> None:
        services.remove_identity(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Identity]) -> None:
        services.remove_identities(list(queryset.select_related("namespace")))


@admin.register(SegmentMembership)
class SegmentMembershipAdmin(Admin):
    form = MembershipForm
    list_display = ("profile", "segment", "status", "last_qualification_time")
    list_select_related = ("profile", "segment")
    list_filter = ("status",)
    search_fields = ("segment__id__exact", "segment__name__exact")
    search_help_text = _("Id or name of a segment, whole")
    ordering = ("-pk",)
    sortable_by = ()
    paginator = LongPaginator
    raw_id_fields = ("profile",)
    autocomplete_fields = ("segment",)
    fields = ("profile", "segment", "status", "last_qualification_time")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("profile", "segment") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: SegmentMembership, form: Any, change: bool) -> None:
        save_membership(form, obj.profile_id)
        obj.pk = SegmentMembership.objects.get(profile=obj.profile_id, segment=obj.segment_id).pk


# --- Inlets --------------------------------------------------------------------------------------------------------


@admin.register(Inlet)
class InletAdmin(Admin):
    """To look up and delete. The page *Inlets* makes and changes them: it shows a token when there is a new one."""

    list_display = ("name", "id", "namespace", "asks_for_a_token", "enabled", "last_error_at", "created_at")
    list_select_related = ("namespace",)
    list_filter = ("enabled",)
    search_fields = ("name", "id__exact")
    fields = (
        "name", "id", "namespace", "identity_path", "normalise", "asks_for_a_token", "token_at", "enabled",
        "last_error", "last_error_at", "created_at", "created_by",
    )  # fmt: skip
    readonly_fields = ("id", "asks_for_a_token")

    @admin.display(description=_("asks for a token"), boolean=True)
    def asks_for_a_token(self, obj: Inlet) -> bool:
        return obj.protected

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: Inlet) -> None:
        delete_inlet(obj)
