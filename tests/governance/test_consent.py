"""Consent policies: what is a yes, who writes them, and their pages."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from activation.models import Dataflow, Delivery, PendingExport
from activation.views.wizard import WIZARD
from audit.models import Entry
from governance import services
from governance.consent import Asked, concerned, policies_for, says_yes
from governance.models import ConsentPolicy
from profiles.models import Profile, SchemaField, Segment
from tests.activation.wizard import ready, said
from tests.activation.wizard import url as wizard_url
from tests.factories import (
    DataflowFactory,
    MembershipFactory,
    ProfileFactory,
    SchemaFieldFactory,
    SegmentFactory,
    UserFactory,
)
from tests.governance.governed import SHARE, action, edit_consent_policy, make_consent_policy

pytestmark = pytest.mark.django_db

EMAIL = "consents.marketing.email.val"
NONE = frozenset[str]()


def client_of(*rights: str) -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=list(rights)))
    return client


@pytest.fixture
def steward() -> Client:
    return client_of("governance.view_policy", "governance.manage_policies", "destinations.view_destination")


@pytest.fixture
def reader() -> Client:
    return client_of("governance.view_policy")


@pytest.fixture
def live() -> Dataflow:
    """To a third party."""
    dataflow = DataflowFactory.create(
        segments=[SegmentFactory.create()], attributes=["person.name.firstName"]
    )
    dataflow.destination.marketing_actions.add(action())
    return dataflow


def url(name: str, policy: ConsentPolicy | None = None) -> str:
    return reverse(f"governance:consent_{name}", args=[policy.pk] if policy else [])


def member(dataflow: Dataflow, share: str, *, told: str = "") -> Profile:
    """A member of the mapped segment; ``told``: the reason of its last record."""
    profile: Profile = ProfileFactory.create(attributes={"consents": {"share": {"val": share}}})
    MembershipFactory.create(profile=profile, segment=Segment.objects.get(mappings__dataflow=dataflow))
    if told:
        Delivery.objects.create(
            dataflow=dataflow,
            profile=profile,
            reason=told,
            delivered_at=timezone.now(),
            shard="",
            sequence_number="",
        )
    return profile


# -- what is a yes -------------------------------------------------------------------------------------------------

YES: list[Any] = ["y", "dy", True]
NO: list[Any] = [
    "n", "dn", "p", "u", "LI", "CT", "CP", "VI", "PI", "Y", "yes", "true", " y", "", 1, 0, 1.0, False, None,
    ["y"], {"y": "y"}, [True],
]  # fmt: skip


@pytest.mark.parametrize("path", [SHARE, "_ours.a-b.0.it's 동의", "agrees"])
def test_what_is_a_yes_is_the_same_for_one_profile_and_for_the_database(path: str) -> None:
    *above, last = path.split(".")

    def attributes(value: Any) -> dict[str, Any]:
        tree = {last: value}
        for key in reversed(above):
            tree = {key: tree}
        return tree

    made = {ProfileFactory.create(attributes=attributes(value)).pk: value for value in YES + NO}
    nobody = ProfileFactory.create(attributes={}).pk
    denied = set(concerned(Profile.objects.all(), NONE, frozenset([path])).values_list("pk", flat=True))
    assert {key for key, value in made.items() if not says_yes(value)} | {nobody} == denied
    assert [value for value in YES + NO if says_yes(value)] == YES


def test_whom_a_change_concerns() -> None:
    both, one, other, neither = (
        ProfileFactory.create(attributes={"a": a, "b": b}) for a in ("y", "n") for b in ("y", "n")
    )

    def found(before: str, after: str) -> list[Profile]:
        return list(concerned(Profile.objects.order_by("pk"), frozenset(before), frozenset(after)))

    assert found("", "a") == found("a", "") == [other, neither]
    assert found("b", "ab") == found("ab", "b") == [other]
    assert found("", "ab") == [one, other, neither]
    assert both not in found("a", "b")


# -- who writes them -----------------------------------------------------------------------------------------------


def test_a_consent_policy_is_made_disabled_and_holds_once_enabled(live: Dataflow) -> None:
    policy = make_consent_policy(name="  Sharing \n data ", enabled=False)
    actions = [action().pk]
    assert (policy.name, policy.enabled, policies_for(actions)) == ("Sharing data", False, [])
    services.switch_consent_policy(policy.pk, enabled=True)
    assert (policies_for(actions), policies_for([])) == ([policy], [])
    assert Asked.stored().of([action().pk, action("Analytics").pk]) == {SHARE}
    assert Asked.stored().of([action("Analytics").pk]) == NONE
    done = Entry.objects.filter(action__startswith="consent_policy").order_by("pk")
    assert list(done.values_list("action", flat=True)) == ["consent_policy.created", "consent_policy.enabled"]
    assert done[0].changes["field"] == [None, SHARE]
    services.switch_consent_policy(policy.pk, enabled=True)
    assert done.count() == 2


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"name": " "}, "name", "Give it a name"),
        ({"name": "SHARING"}, "name", "already"),
        ({"field": "nowhere"}, "field", "Choose a field"),
        ({"field": "consents"}, "field", "Choose a field"),
        ({"field": "loyalty.points"}, "field", "Choose a field"),
        ({"field": "segmentMembership.status"}, "field", "Choose a field"),
        ({"actions": []}, "actions", "at least one"),
        ({"actions": [str(uuid.UUID(int=1))]}, "actions", "deleted meanwhile"),
    ],
)
def test_what_can_not_be_is_refused_at_its_field(changes: dict[str, Any], field: str, why: str) -> None:
    make_consent_policy(name="Sharing")
    policy = make_consent_policy(EMAIL, enabled=False)
    says = {"name": "New", "description": "", "field": SHARE, "actions": [str(action().pk)]}
    writes: list[Callable[[], object]] = [
        lambda: services.create_consent_policy(**(says | changes)),
        lambda: edit_consent_policy(policy, **changes),
    ]
    for write in writes:
        with pytest.raises(ValidationError, match=why) as refused:
            write()
        assert list(refused.value.message_dict) == [field]
    assert set(ConsentPolicy.objects.values_list("field__path", flat=True)) == {SHARE, EMAIL}


def test_of_two_editors_the_later_is_told(steward: Client) -> None:
    policy = make_consent_policy(enabled=False)
    edit_consent_policy(policy, name="First")
    sent = {"version": "1", "name": "Second", "field": SHARE, "actions": str(action().pk)}
    page = steward.post(url("policy_edit", policy), sent)
    assert page.status_code == 422 and "Somebody else changed this policy" in page.content.decode()
    assert page.context["version"] == 1  # pressing again changes nothing
    policy.refresh_from_db()
    assert (policy.name, policy.version) == ("First", 2)


def test_what_is_deleted_meanwhile_is_told(steward: Client) -> None:
    policy = make_consent_policy(enabled=False)
    assert "was deleted" in said(steward.post(url("policy_delete", policy)))
    assert "deleted already" in said(steward.post(url("policy_delete", policy)))
    assert "deleted meanwhile" in said(steward.post(url("policy_switch", policy), {"enabled": "1"}))
    for name in ("policy_switch", "policy_delete", "policy_edit"):
        assert steward.get(url(name, policy)).status_code == 404


def test_a_field_that_a_policy_reads_is_not_removed() -> None:
    field = SchemaFieldFactory.create(path="_ours.agrees", type="boolean")
    make_consent_policy("_ours.agrees", name="Ours", enabled=False)
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    address = reverse("admin:profiles_schemafield_delete", args=[field.pk])
    assert "Ours" in admin.get(address).content.decode()
    admin.post(address, {"post": "yes"})
    assert SchemaField.objects.filter(pk=field.pk).exists()


def test_a_marketing_action_that_a_policy_uses_is_not_deleted(steward: Client) -> None:
    own = services.create_marketing_action(name="Spring")
    policy = make_consent_policy(SHARE, "Spring", name="Ours", enabled=False)
    page = steward.post(reverse("governance:action_delete", args=[own.pk]))
    assert page.status_code == 422 and "used by policies: “Ours”" in page.content.decode()
    listed = steward.get(reverse("governance:actions"), {"q": "spring"}).context["page"]
    assert [row.used_by_policies for row in listed] == [1]
    services.delete_consent_policy(policy.pk)
    services.delete_marketing_action(own)


# -- the pages -----------------------------------------------------------------------------------------------------


def test_a_policy_is_made_and_edited_on_a_page(steward: Client) -> None:
    page = steward.get(url("policy_new"))
    groups = [name for name, _fields in page.context["form"].fields["field"].choices]
    assert groups == ["", "Consents and preferences", "Other fields"]
    first_of_all = page.content.decode().partition('<option value="consents')[0]
    assert first_of_all.count("<option") == 1
    page = steward.post(url("policy_new"), {"name": "", "field": "", "description": ""})
    assert page.status_code == 422 and set(page.context["form"].errors) >= {"name", "field"}
    sent = {"name": "Sharing <b>", "description": "For partners.", "field": SHARE}
    page = steward.post(url("policy_new"), sent)
    assert page.status_code == 422 and set(page.context["form"].errors) == {"actions"}
    made = steward.post(url("policy_new"), sent | {"actions": str(action().pk)}, follow=True)
    policy = ConsentPolicy.objects.get()
    assert made.context["selected"] == policy
    assert "Sharing &lt;b&gt;" in made.content.decode()
    page = steward.get(url("policy_edit", policy))
    assert page.context["form"].initial["actions"] == [action().pk]
    assert "as soon as you save" not in page.content.decode()
    services.switch_consent_policy(policy.pk, enabled=True)
    assert "as soon as you save" in steward.get(url("policy_edit", policy)).content.decode()
    more = {"version": "1", "field": EMAIL, "actions": str(action().pk)}
    assert steward.post(url("policy_edit", policy), sent | more).status_code == 302
    policy.refresh_from_db()
    assert (policy.field.path, policy.version, policy.enabled) == (EMAIL, 2, True)


def test_enabling_says_whom_it_leaves_out_and_disabling_who_comes_back(
    steward: Client, live: Dataflow
) -> None:
    DataflowFactory.create(segments=live.segments.all())  # meant for nothing
    for share, told in (("y", ""), ("n", ""), ("n", "consent"), ("n", "backfill")):
        member(live, share, told=told)
    policy = make_consent_policy(enabled=False)
    page = steward.get(url("policy_switch", policy), {"enabled": "1"})
    [effect] = page.context["effects"]
    assert (effect.name, effect.profiles, effect.told) == (live.destination.name, 3, 1)
    text = page.content.decode()
    assert "3 profiles are left out" in text and "1 of them was exported before" in text
    assert not PendingExport.objects.exists() and not ConsentPolicy.objects.get().enabled
    assert "is enabled" in said(steward.post(url("policy_switch", policy), {"enabled": "1"}))
    assert PendingExport.objects.count() == 3
    page = steward.get(url("policy_switch", policy), {"enabled": "0"})
    assert "3 profiles that are left out are exported" in page.content.decode()
    assert "is disabled" in said(steward.post(url("policy_switch", policy), {"enabled": "0"}))
    assert not ConsentPolicy.objects.get().enabled


def test_enabling_what_is_asked_already_changes_nothing(steward: Client, live: Dataflow) -> None:
    member(live, "n")
    make_consent_policy()
    second = make_consent_policy(name="Second", enabled=False)
    page = steward.get(url("policy_switch", second), {"enabled": "1"})
    assert page.context["effects"] == []
    assert "nothing changes for exports now" in page.content.decode()


def test_policies_are_found_filtered_and_looked_at(reader: Client) -> None:
    assert "No consent policies yet" in reader.get(url("policies")).content.decode()
    policy = make_consent_policy(name="Für <b>uns</b> 정책")
    make_consent_policy(EMAIL, name="Off", enabled=False)
    page = reader.get(url("policies"), {"q": "정책", "policy": str(policy.pk)})
    assert [row.pk for row in page.context["page"]] == [policy.pk]
    assert page.context["selected"] == policy
    text = page.content.decode()
    assert "<b>uns" not in text and SHARE in text and "dy (yes by default)" in text
    assert SHARE.replace(".", ".<wbr>") in text
    # Who may only look has nothing to press.
    assert "/switch/" not in text and "/delete/" not in text and "/edit/" not in text and "/new/" not in text
    enabled = reader.get(url("policies"), {"state": "enabled", "sort": "-field"}).context["page"]
    assert [row.name for row in enabled] == [policy.name]
    assert "No policy found" in reader.get(url("policies"), {"q": "zzz\0"}).content.decode()
    assert reader.get(url("policies"), {"policy": "x", "state": "x"}).context["selected"] is None


def test_who_may_only_look_is_refused_what_changes(reader: Client) -> None:
    policy = make_consent_policy()
    assert reader.get(url("policy_new")).status_code == 403
    for name in ("policy_edit", "policy_switch", "policy_delete"):
        assert reader.post(url(name, policy), {"enabled": "0"}).status_code == 403
    assert ConsentPolicy.objects.get().enabled


@pytest.mark.parametrize("name", ["policies", "policy_switch"])
def test_pages_take_no_query_a_row(steward: Client, live: Dataflow, name: str) -> None:
    first = make_consent_policy(enabled=False)

    def queries() -> int:
        address = url(name, first if name == "policy_switch" else None)
        with CaptureQueriesContext(connection) as captured:
            assert steward.get(address, {"enabled": "1"}).status_code == 200
        return len(captured)

    few = queries()
    for number in range(8):
        make_consent_policy(EMAIL, "Analytics", name=f"Policy {number}")
        dataflow = DataflowFactory.create(segments=live.segments.all())
        dataflow.destination.marketing_actions.add(action())
        member(live, "n")
    assert queries() <= few + 1 <= 17  # marketing actions of other enabled policies


def test_the_destination_and_the_review_say_who_is_left_out(live: Dataflow) -> None:
    make_consent_policy(name="Only who shares")
    client = client_of(*WIZARD, "destinations.view_destination", "activation.view_monitoring")
    for address in (live.destination.get_absolute_url(), wizard_url("review", live.destination)):
        if "review" in address:
            ready(client, live.destination, SegmentFactory.create())
        text = client.get(address).content.decode()
        assert f'<span class="mono">{SHARE}</span> is not yes are left out' in text
        assert "Only who shares" in text and "/governance/consent-policies/" not in text
    live.destination.marketing_actions.clear()
    assert "are left out" not in client.get(live.destination.get_absolute_url()).content.decode()


# -- the Django admin ----------------------------------------------------------------------------------------------


def test_the_django_admin_looks_and_deletes(live: Dataflow) -> None:
    profile = member(live, "n")
    policies = [make_consent_policy(name=f"Policy {number}") for number in range(3)]
    PendingExport.objects.all().delete()
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))

    def address(what: str, *args: Any) -> str:
        return reverse(f"admin:governance_consentpolicy_{what}", args=args)

    assert admin.get(address("changelist"), {"q": "policy 1"}).context["cl"].result_count == 1
    assert admin.get(address("change", policies[0].pk)).status_code == 200
    assert admin.post(address("change", policies[0].pk), {"name": "Other"}).status_code == 403
    assert admin.get(address("add")).status_code == 403
    admin.post(address("delete", policies[0].pk), {"post": "yes"})
    assert not PendingExport.objects.exists()
    chosen = {
        "action": "delete_selected",
        "_selected_action": [policies[1].pk, policies[2].pk],
        "post": "yes",
    }
    admin.post(address("changelist"), chosen)
    assert not ConsentPolicy.objects.exists()
    assert [row.profile_id for row in PendingExport.objects.all()] == [profile.pk]
