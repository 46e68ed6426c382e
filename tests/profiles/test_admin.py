"""The Django admin of profiles: every way of writing is announced, and what may not be written is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activation.models import MappedAttribute, MappedSegment
from profiles.models import Identity, IdentityNamespace, Profile, SchemaField, Segment, SegmentMembership
from profiles.signals import ProfileChange, Transition
from tests.factories import (
    DataflowFactory,
    IdentityFactory,
    MembershipFactory,
    NamespaceFactory,
    ProfileFactory,
    SegmentFactory,
)

pytestmark = pytest.mark.django_db

Announced = list[list[ProfileChange]]
MODELS = ("profile", "identity", "identitynamespace", "schemafield", "segment", "segmentmembership")


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def url(model: str, what: str, *args: Any) -> str:
    return reverse(f"admin:profiles_{model}_{what}", args=args)


def management(prefix: str, initial: int = 0, total: int | None = None) -> dict[str, Any]:
    return {
        f"{prefix}-TOTAL_FORMS": initial if total is None else total,
        f"{prefix}-INITIAL_FORMS": initial,
        f"{prefix}-MIN_NUM_FORMS": 0,
        f"{prefix}-MAX_NUM_FORMS": 1000,
    }


def profile_form(attributes: Any, **more: Any) -> dict[str, Any]:
    text = attributes if isinstance(attributes, str) else json.dumps(attributes)
    return {"attributes": text, **management("identities"), **management("memberships"), **more}


def saved(response: Any) -> None:
    assert response.status_code == 302, response.context["adminform"].form.errors


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_forms_open_and_search_anything(admin: Client, model: str) -> None:
    MembershipFactory.create(profile=IdentityFactory.create().profile)
    for query in ("", "?q=a@example.com", "?q=%00", "?q=%C3%A4"):
        assert admin.get(url(model, "changelist") + query).status_code == 200
    assert admin.get(url(model, "add")).status_code == 200
    row = {
        "profile": Profile, "identity": Identity, "identitynamespace": IdentityNamespace,
        "schemafield": SchemaField, "segment": Segment, "segmentmembership": SegmentMembership,
    }[model].objects.first()  # type: ignore[attr-defined]  # fmt: skip
    assert admin.get(url(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", ["profile", "identity", "segment", "segmentmembership"])
def test_lists_have_few_queries(admin: Client, model: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin.get(url(model, "changelist"))
        return len(captured)

    MembershipFactory.create(profile=IdentityFactory.create().profile)
    few = queries()
    for _number in range(5):
        MembershipFactory.create(profile=IdentityFactory.create().profile)
    assert queries() <= few


# --- Profiles


def test_editing_attributes_announces_what_changed(admin: Client, announced: Announced) -> None:
    profile = ProfileFactory.create(attributes={"a": 1, "b": {"c": "ü", "d": 2}})
    saved(admin.post(url("profile", "change", profile.pk), profile_form({"a": 1, "b": {"c": "ö"}})))
    profile.refresh_from_db()
    assert profile.attributes == {"a": 1, "b": {"c": "ö"}}
    [[change]] = announced
    assert change.profile_id == profile.pk
    assert change.written_paths == {"b.c", "b.d"}


def test_saving_without_a_change_announces_nothing(admin: Client, announced: Announced) -> None:
    profile = ProfileFactory.create(attributes={"a": 10**30})
    saved(admin.post(url("profile", "change", profile.pk), profile_form({"a": 10**30})))
    assert announced == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"a": NaN}', '{"a": "\\u0000"}', '{"a.b": 1}', '{"identityMap": {}}',
     '{"a": ' + "9" * 5000 + "}", '{"a":' * 500 + "1" + "}" * 500, "[" * 100_000],
)  # fmt: skip
def test_attributes_that_can_not_be_stored_are_told_at_the_field(
    admin: Client, announced: Announced, text: str
) -> None:
    profile = ProfileFactory.create(attributes={"a": 1})
    response = admin.post(url("profile", "change", profile.pk), profile_form(text))
    assert "attributes" in response.context["adminform"].form.errors
    profile.refresh_from_db()
    assert profile.attributes == {"a": 1}
    assert announced == []


def test_a_profile_is_added_with_an_identity(admin: Client, announced: Announced) -> None:
    namespace = NamespaceFactory.create(code="CRMID")
    form = profile_form({}, namespace=namespace.pk, value="C-1")
    saved(admin.post(url("profile", "add"), form))
    assert Identity.objects.get().value == "C-1"
    assert announced[0][0].identities_changed
    again = admin.post(url("profile", "add"), form)
    assert "already" in str(again.context["adminform"].form.errors)
    assert Profile.objects.count() == 1


def test_identities_are_added_and_removed_in_the_profile(admin: Client, announced: Announced) -> None:
    old = IdentityFactory.create(value="old@example.com")
    saved(
        admin.post(
            url("profile", "change", old.profile_id),
            profile_form(old.profile.attributes)
            | management("identities", 1, 2)
            | {
                "identities-0-id": old.pk, "identities-0-profile": old.profile_id, "identities-0-DELETE": "on",
                "identities-1-profile": old.profile_id, "identities-1-namespace": old.namespace_id,
                "identities-1-value": "new@example.com",
            },
        )
    )  # fmt: skip
    assert Identity.objects.get().value == "new@example.com"
    assert [[change.identities_changed for change in batch] for batch in announced] == [[True], [True]]


def membership_row(membership: SegmentMembership, status: str, moment: datetime) -> dict[str, Any]:
    return {
        "memberships-0-id": membership.pk,
        "memberships-0-profile": membership.profile_id,
        "memberships-0-segment": membership.segment_id,
        "memberships-0-status": status,
        "memberships-0-last_qualification_time_0": f"{moment:%Y-%m-%d}",
        "memberships-0-last_qualification_time_1": f"{moment:%H:%M:%S}",
    }


def test_a_status_is_changed_in_the_profile(admin: Client, announced: Announced) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    membership = MembershipFactory.create(last_qualification_time=moment)
    form = profile_form(membership.profile.attributes) | management("memberships", 1)
    change = url("profile", "change", membership.profile_id)
    saved(admin.post(change, form | membership_row(membership, "exited", moment)))
    assert announced[0][0].transitions == (Transition(membership.segment_id, "realized", "exited"),)
    membership.refresh_from_db()
    assert membership.last_qualification_time > moment
    older = admin.post(change, form | membership_row(membership, "realized", moment - timedelta(days=9)))
    assert older.status_code == 200 and "old news" in older.content.decode()


def test_a_profile_is_deleted_with_all_that_hangs_on_it(admin: Client) -> None:
    membership = MembershipFactory.create(profile=IdentityFactory.create().profile)
    where = url("profile", "delete", membership.profile_id)
    asked = admin.get(where).content.decode()
    assert "Identities: 1" in asked and "Segment memberships: 1" in asked
    assert admin.post(where, {"post": "yes"}).status_code == 302
    assert not Profile.objects.exists() and not Identity.objects.exists()


def test_profiles_are_found_by_identity_and_id(admin: Client) -> None:
    wanted = IdentityFactory.create(value="ada@example.com")
    IdentityFactory.create()
    for query in ("ada@example.com", str(wanted.profile_id)):
        found = admin.get(url("profile", "changelist"), {"q": query}).context["cl"].queryset
        assert [profile.pk for profile in found] == [wanted.profile_id]


# --- Identities, memberships


def test_an_identity_is_added_and_removed_by_itself(admin: Client, announced: Announced) -> None:
    profile, namespace = ProfileFactory.create(), NamespaceFactory.create()
    form = {"profile": profile.pk, "namespace": namespace.pk, "value": "a@example.com"}
    saved(admin.post(url("identity", "add"), form))
    identity = Identity.objects.get()
    assert admin.post(url("identity", "change", identity.pk), {**form, "value": "b"}).status_code == 403
    admin.post(url("identity", "delete", identity.pk), {"post": "yes"})
    assert not Identity.objects.exists()
    assert [batch[0].identities_changed for batch in announced] == [True, True]


def test_several_identities_are_removed_at_once(admin: Client, announced: Announced) -> None:
    keys = [IdentityFactory.create().pk for _number in range(3)]
    admin.post(
        url("identity", "changelist"), {"action": "delete_selected", "_selected_action": keys, "post": "yes"}
    )
    assert not Identity.objects.exists()
    assert len(announced[0]) == 3


def test_an_identity_too_long_for_the_index_is_refused_in_words(admin: Client) -> None:
    form = {
        "profile": ProfileFactory.create().pk,
        "namespace": NamespaceFactory.create().pk,
        "value": "한" * 1000,
    }
    response = admin.post(url("identity", "add"), form, follow=True)
    assert "longer than" in response.content.decode()
    assert not Identity.objects.exists()


def test_a_membership_is_added_and_changed_but_not_deleted(admin: Client, announced: Announced) -> None:
    profile, segment = ProfileFactory.create(), SegmentFactory.create()
    form = {
        "profile": profile.pk, "segment": segment.pk, "status": "realized",
        "last_qualification_time_0": "2026-11-20", "last_qualification_time_1": "10:00:00",
    }  # fmt: skip
    saved(admin.post(url("segmentmembership", "add"), form))
    membership = SegmentMembership.objects.get()
    assert membership.last_qualification_time == datetime(2026, 11, 20, 10, tzinfo=UTC)
    saved(admin.post(url("segmentmembership", "change", membership.pk), {**form, "status": "exited"}))
    assert [batch[0].transitions[0].after for batch in announced] == ["realized", "exited"]
    delete = url("segmentmembership", "delete", membership.pk)
    assert admin.post(delete, {"post": "yes"}).status_code == 403


# --- Segments


def test_a_segment_is_added_and_only_its_definition_dates_it(admin: Client) -> None:
    saved(admin.post(url("segment", "add"), {"name": "A", "id": "a/b", "origin": "upload"}))
    Segment.objects.update(updated_at=datetime(2026, 1, 1, tzinfo=UTC))
    change = url("segment", "change", "a_2Fb")
    saved(admin.post(change, {"name": "A", "description": "new"}))
    assert Segment.objects.get().updated_at.month == 1
    saved(admin.post(change, {"name": "B", "description": "new"}))
    segment = Segment.objects.get()
    assert (segment.id, segment.name, segment.origin) == ("a/b", "B", "upload")
    assert segment.updated_at.month != 1


def test_a_segment_in_use_is_not_deleted(admin: Client) -> None:
    mapping = MappedSegment.objects.create(
        dataflow=DataflowFactory.create(destination__name="Seoul stream"), segment=SegmentFactory.create()
    )
    where = url("segment", "delete", mapping.segment_id)
    assert "Seoul stream" in admin.get(where).content.decode()
    admin.post(where, {"post": "yes"})
    action = {"action": "delete_selected", "_selected_action": [mapping.segment_id], "post": "yes"}
    admin.post(url("segment", "changelist"), action)
    assert Segment.objects.exists()


def test_a_segment_with_members_is_deleted(admin: Client) -> None:
    membership = MembershipFactory.create()
    admin.post(url("segment", "delete", membership.segment_id), {"post": "yes"})
    assert not Segment.objects.exists() and Profile.objects.exists()


# --- Schema and namespaces


def test_what_came_with_the_product_can_not_be_changed_or_deleted(admin: Client) -> None:
    field, namespace = (
        SchemaField.objects.get(path="person.email"),
        IdentityNamespace.objects.get(code="ECID"),
    )
    for model, row in (("schemafield", field), ("identitynamespace", namespace)):
        assert admin.get(url(model, "change", row.pk)).status_code == 200
        assert admin.post(url(model, "change", row.pk), {"title": "x"}).status_code == 403
        assert admin.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        admin.post(url(model, "changelist"), action)
        row.refresh_from_db()


@pytest.mark.parametrize(
    "path",
    ["a..b", ".a", "a b", "identityMap.x", "segmentMembership.x", "person.email.domain", "person.email"],
)
def test_paths_that_name_nothing_are_refused(admin: Client, path: str) -> None:
    response = admin.post(url("schemafield", "add"), {"path": path, "title": "x", "type": "string"})
    assert "path" in response.context["adminform"].form.errors


def test_own_fields_come_and_go_unless_in_use(admin: Client) -> None:
    saved(admin.post(url("schemafield", "add"), {"path": "_ours.shoeSize", "title": "x", "type": "integer"}))
    field = SchemaField.objects.get(path="_ours.shoeSize")
    assert field.custom
    mapping = MappedAttribute.objects.create(dataflow=DataflowFactory.create(), field=field, position=0)
    admin.post(url("schemafield", "delete", field.pk), {"post": "yes"})
    assert SchemaField.objects.filter(pk=field.pk).exists()
    mapping.delete()
    admin.post(url("schemafield", "delete", field.pk), {"post": "yes"})
    assert not SchemaField.objects.filter(pk=field.pk).exists()


def test_namespace_codes_differ_by_more_than_their_case(admin: Client) -> None:
    form = {"code": "ecid", "name": "x", "type": "COOKIE"}
    response = admin.post(url("identitynamespace", "add"), form)
    assert "There is a namespace with this code already." in response.content.decode()
    saved(admin.post(url("identitynamespace", "add"), {**form, "code": "OURS"}))
    assert IdentityNamespace.objects.get(code="OURS").custom


def test_a_namespace_with_identities_is_not_deleted(admin: Client) -> None:
    namespace = NamespaceFactory.create(code="OURS")
    IdentityFactory.create(namespace=namespace)
    admin.post(url("identitynamespace", "delete", namespace.pk), {"post": "yes"})
    action = {"action": "delete_selected", "_selected_action": [namespace.pk], "post": "yes"}
    assert admin.post(url("identitynamespace", "changelist"), action).status_code == 200
    assert Identity.objects.count() == 1
