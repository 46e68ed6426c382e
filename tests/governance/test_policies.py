"""Policies: the core ones, the wizard, and the pages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation

from governance import services
from governance.conditions import Condition
from governance.core_names import CORE_POLICIES
from governance.models import MarketingAction, Policy
from tests.factories import UserFactory
from tests.governance.governed import action, make_policy

pytestmark = pytest.mark.django_db

I1 = {"any": ["I1"]}


@pytest.fixture
def steward() -> Client:
    client = Client()
    rights = ["governance.view_policy", "governance.manage_policies", "governance.manage_labels"]
    client.force_login(UserFactory.create(permissions=rights))
    return client


@pytest.fixture
def reader() -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=["governance.view_policy"]))
    return client


def url(name: str, policy: Policy | None = None) -> str:
    return reverse(f"governance:{name}", args=[policy.pk] if policy else [])


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


# -- core ones -----------------------------------------------------------------------------------------------------


def test_core_policies_come_disabled_and_can_be_finished_as_they_are() -> None:
    core = Policy.objects.filter(core=True)
    assert core.count() == len(CORE_POLICIES) > 10
    assert set(core.values_list("state", flat=True)) == {"disabled"}
    for policy in core:
        services.check_draft(services.Draft.live(policy))
    with translation.override("ko"):
        assert all(policy.title != policy.name and policy.about != policy.description for policy in core)


def test_core_policies_are_switched_and_nothing_else(steward: Client) -> None:
    policy = Policy.objects.filter(core=True)[0]
    assert "is enabled" in said(steward.post(url("policy_switch", policy), {"enabled": "1"}))
    assert Policy.objects.get(pk=policy.pk).enabled
    for name in ("policy_name", "policy_labels", "policy_actions", "policy_review", "policy_delete"):
        assert steward.get(url(name, policy)).status_code == 404
    with pytest.raises(ValidationError, match="Core policies"):
        services.save_draft(policy.pk, policy.version, name="Mine", description="")
    with pytest.raises(ValidationError, match="Core policies"):
        services.delete_policy(policy.pk)
    assert "is disabled" in said(steward.post(url("policy_switch", policy), {"enabled": "0"}))


@pytest.mark.parametrize("name", ["", "no targeting", "NO  measuring", "x" * 101])
def test_a_name_that_can_not_be_is_refused(steward: Client, name: str) -> None:
    response = steward.post(url("policy_new"), {"name": name, "action": "next"})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == ["name"]
    assert not Policy.objects.filter(core=False).exists()


# -- the wizard ----------------------------------------------------------------------------------------------------


def test_a_policy_is_made_in_four_steps(steward: Client) -> None:
    response = steward.post(
        url("policy_new"), {"name": "No  addresses", "description": "d", "action": "next"}
    )
    policy = Policy.objects.get(name="No addresses")
    assert response["Location"] == url("policy_labels", policy)

    # Labels: one in the outermost group, and a group with two.
    sent = {"version": 1, "group": "group", "mode-group": "all", "label-group": ["C2"], "add": "group"}
    page = steward.post(url("policy_labels", policy), sent)
    assert [row.name for row in page.context["group"].groups] == ["group-0"]
    sent = {
        "version": 2, "group": ["group", "group-0"], "mode-group": "all", "label-group": ["C2"],
        "mode-group-0": "any", "label-group-0": ["I1", "I2"], "action": "next",
    }  # fmt: skip
    assert steward.post(url("policy_labels", policy), sent)["Location"] == url("policy_actions", policy)

    chosen = [str(action().pk), str(action("Analytics").pk)]
    response = steward.post(
        url("policy_actions", policy), {"version": 3, "actions": chosen, "action": "next"}
    )
    assert response["Location"] == url("policy_review", policy)
    page = steward.get(url("policy_review", policy))
    assert "C2 and (I1 or I2)" in page.content.decode()

    policy.refresh_from_db()
    assert policy.state == Policy.State.DRAFT
    steward.post(url("policy_review", policy), {"version": 4, "action": "next"})
    policy.refresh_from_db()
    assert (policy.state, policy.draft) == (Policy.State.DISABLED, None)
    assert policy.condition == {"all": ["C2", {"any": ["I1", "I2"]}]}
    assert {str(each.pk) for each in policy.marketing_actions.all()} == set(chosen)


def test_a_step_says_what_is_missing(steward: Client) -> None:
    policy = services.start_policy(name="Ours", description="")
    page = steward.post(url("policy_labels", policy), {"version": 1, "group": "group", "action": "next"})
    assert page.status_code == 422 and "Choose at least one label." in page.content.decode()
    page = steward.post(url("policy_labels", policy), {"version": 1, "action": "next"})
    assert page.status_code == 422 and "Load the page again" in page.content.decode()
    page = steward.post(url("policy_actions", policy), {"version": 1, "action": "next"})
    assert page.status_code == 422 and page.context["form"].errors["actions"]
    page = steward.post(url("policy_review", policy), {"version": 1, "action": "next"})
    assert page.status_code == 422 and "Choose at least one label." in page.content.decode()
    # Who comes to the review too early is led to what is missing.
    assert steward.get(url("policy_review", policy))["Location"] == url("policy_labels", policy)
    services.save_draft(policy.pk, 1, condition=Condition.read(I1))
    assert steward.get(url("policy_review", policy))["Location"] == url("policy_actions", policy)


def test_save_and_exit_keeps_what_is_unfinished(steward: Client) -> None:
    policy = services.start_policy(name="Ours", description="")
    sent = {"version": 1, "group": "group", "label-group": "I1", "action": "save"}
    assert steward.post(url("policy_labels", policy), sent).status_code == 302
    page = steward.get(url("policy_labels", policy))
    assert page.context["group"].condition.labels == ("I1",)
    assert "Go on" in steward.get(url("policies")).content.decode()


def test_what_is_enabled_holds_until_the_changes_are_finished(steward: Client) -> None:
    policy = make_policy(I1)
    sent = {"version": policy.version, "name": "Other", "description": "", "action": "next"}
    steward.post(url("policy_name", policy), sent)
    policy.refresh_from_db()
    assert (policy.name, services.Draft.of(policy).name) == ("Ours", "Other")
    assert "with changes in a draft" in steward.get(url("policies")).content.decode()
    steward.post(url("policy_discard", policy), {"version": policy.version})
    policy.refresh_from_db()
    assert (policy.name, policy.draft, policy.enabled) == ("Ours", None, True)


def test_of_two_editors_the_later_is_told(steward: Client) -> None:
    policy = make_policy(I1, enabled=False)
    seen = policy.version
    services.save_draft(policy.pk, seen, name="First", description="")
    sent = {"version": seen, "name": "Second", "description": "", "action": "next"}
    page = steward.post(url("policy_name", policy), sent)
    assert page.status_code == 422 and "Somebody else changed this policy" in page.content.decode()
    # Pressing again changes nothing.
    assert page.context["version"] == seen
    policy.refresh_from_db()
    assert services.Draft.of(policy).name == "First"
    for service in (services.finish_policy, services.discard_draft):
        with pytest.raises(ValidationError, match="Somebody else"):
            service(policy.pk, seen)


def test_a_second_finish_changes_nothing() -> None:
    policy = make_policy(I1, enabled=False)
    with pytest.raises(ValidationError, match="finished already"):
        services.finish_policy(policy.pk, policy.version)


def test_a_draft_can_not_be_enabled_or_discarded() -> None:
    policy = services.start_policy(name="Ours", description="")
    with pytest.raises(ValidationError, match="never finished"):
        services.enable_policy(policy.pk)
    with pytest.raises(ValidationError, match="never finished"):
        services.discard_draft(policy.pk, policy.version)
    with pytest.raises(ValidationError, match="deleted meanwhile"):
        services.enable_policy(uuid.uuid4())


# -- the pages -----------------------------------------------------------------------------------------------------


def test_policies_are_found_filtered_and_looked_at(reader: Client) -> None:
    policy = make_policy({"all": ["I1", "C2"]}, name="Für <b>uns</b> 정책")
    page = reader.get(url("policies"), {"q": "정책"})
    assert [row.pk for row in page.context["page"]] == [policy.pk]
    assert "<b>uns" not in page.content.decode()
    assert reader.get(url("policies"), {"state": "enabled"}).context["page"].paginator.count == 1
    assert "No policy found" in reader.get(url("policies"), {"q": "zzz\0"}).content.decode()
    page = reader.get(url("policies"), {"policy": str(policy.pk), "sort": "-modified", "state": "nonsense"})
    assert page.context["selected"] == policy
    text = page.content.decode()
    assert "Directly identifiable" in text
    # Who may only look has nothing to press.
    assert "policy_switch" not in text and "/switch/" not in text and "/delete/" not in text
    assert reader.get(url("policies"), {"policy": "x"}).context["selected"] is None


def test_core_ones_are_found_by_their_name_in_the_language_of_the_reader(reader: Client) -> None:
    policy = Policy.objects.get(name="No targeting")
    with translation.override("ko"):
        name = policy.title
    page = reader.get(url("policies"), {"q": name}, headers={"Accept-Language": "ko"})
    assert policy in page.context["page"].object_list


def test_an_own_policy_is_deleted(steward: Client) -> None:
    policy = make_policy(I1)
    assert steward.get(url("policy_delete", policy)).status_code == 200
    assert "was deleted" in said(steward.post(url("policy_delete", policy)))
    assert "deleted already" in said(steward.post(url("policy_delete", policy)))


def test_switching_keeps_the_filter(steward: Client) -> None:
    policy = make_policy(I1)
    response = steward.post(url("policy_switch", policy) + "?state=enabled&q=o", {"enabled": "0"})
    assert response["Location"] == url("policies") + "?state=enabled&q=o"


@pytest.mark.parametrize("name", ["policies", "labels", "actions"])
def test_pages_take_no_query_a_row(steward: Client, name: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert steward.get(url(name)).status_code == 200
        return len(captured)

    few = queries()
    for number in range(8):
        make_policy(I1, name=f"Policy {number}")
        services.create_label(code=f"L{number}", name=f"Label {number}")
        services.create_marketing_action(name=f"Action {number}")
    assert queries() <= few <= 12


# -- marketing actions ---------------------------------------------------------------------------------------------


def test_own_marketing_actions_are_made_changed_and_deleted(steward: Client) -> None:
    steward.post(url("action_new"), {"name": "Spring", "description": "Sale"})
    made = MarketingAction.objects.get(name="Spring")
    edit = reverse("governance:action_edit", args=[made.pk])
    assert steward.get(edit).context["form"].initial["description"] == "Sale"
    steward.post(edit, {"name": "Summer", "description": ""})
    assert "Summer" in steward.get(url("actions"), {"q": "summer"}).content.decode()
    assert steward.post(edit, {"name": "ANALYTICS"}).context["form"].errors["name"]
    delete = reverse("governance:action_delete", args=[made.pk])
    assert steward.get(delete).status_code == 200
    assert "was deleted" in said(steward.post(delete))
    core = MarketingAction.objects.filter(core=True)[0]
    assert steward.get(reverse("governance:action_edit", args=[core.pk])).status_code == 404
    assert steward.post(reverse("governance:action_delete", args=[core.pk])).status_code == 404


@pytest.mark.parametrize("finished", [True, False])
def test_an_action_that_a_policy_uses_is_not_deleted(steward: Client, finished: bool) -> None:
    own = services.create_marketing_action(name="Spring")
    policy = services.start_policy(name="Ours", description="")
    policy = services.save_draft(policy.pk, 1, actions=(str(own.pk),), condition=Condition.read(I1))
    if finished:
        services.finish_policy(policy.pk, policy.version)
    page = steward.post(reverse("governance:action_delete", args=[own.pk]))
    assert page.status_code == 422
    assert "used by policies: “Ours”" in page.content.decode()
    services.delete_policy(policy.pk)
    services.delete_marketing_action(own)


# -- rights --------------------------------------------------------------------------------------------------------


def test_who_may_only_look_is_refused_what_changes(reader: Client) -> None:
    policy = make_policy(I1)
    for name in ("policy_new", "action_new", "label_new"):
        assert reader.get(url(name)).status_code == 403
    for name in ("policy_name", "policy_review", "policy_delete", "policy_switch", "policy_discard"):
        assert reader.post(url(name, policy), {"enabled": "0"}).status_code == 403
    assert Policy.objects.get(pk=policy.pk).enabled
