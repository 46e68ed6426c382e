"""Policies at *Review* and *Finish*, and over what is live: nobody gets past them, not even two at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from activation import services
from activation.models import Dataflow, MappedAttribute
from activation.selectors import Selection
from activation.views.wizard import WIZARD
from audit.models import Entry
from destinations.models import Destination
from destinations.services import Refused, Setup, edit_destination
from governance import services as governance
from governance.enforcement import Violated
from governance.models import Label, Policy
from profiles.models import SchemaField, Segment
from profiles.services import create_segment, edit_segment
from tests.activation.wizard import ready, said, send_attributes, send_finish, url
from tests.factories import DataflowFactory, DestinationFactory, SegmentFactory, UserFactory
from tests.governance.governed import THIRD_PARTY, action, codes_of, make_policy, mark
from tests.postgres import wait_for_a_lock

EMAIL, CITY = "personalEmail.address", "homeAddress.city"
I1 = {"any": ["I1"]}


@pytest.fixture
def third_party(destination: Destination) -> Destination:
    destination.marketing_actions.add(action())
    return destination


@pytest.fixture
def live(third_party: Destination) -> Dataflow:
    """A dataflow that exports an address and a city to a third party."""
    return DataflowFactory.create(
        destination=third_party, attributes=[EMAIL, CITY], segments=[SegmentFactory.create()]
    )


def setup(destination: Destination, *actions: str) -> Setup:
    return Setup(
        name=destination.name,
        settings=destination.settings,
        marketing_actions=[action(each).pk for each in actions],
    )


def review(client: Client, destination: Destination) -> str:
    return client.get(url("review", destination)).content.decode()


# -- Review and Finish ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_review_says_what_stops_it_and_the_server_refuses(client: Client, third_party: Destination) -> None:
    policy = make_policy(I1, name="No <addresses>")
    mark("personalEmail", "I1")
    ready(client, third_party, SegmentFactory.create())

    text = review(client, third_party)
    assert "No &lt;addresses&gt;" in text and "Data with <strong>I1</strong>" in text
    assert EMAIL in text and "from personalEmail" in text and THIRD_PARTY in text
    assert 'value="next" disabled' in text
    assert url("attributes", third_party) in text
    assert reverse("destinations:edit", args=[third_party.pk]) in text
    assert "<svg" in text and f"dataflow “{third_party}” → destination “Amazon Kinesis" in text

    response = send_finish(client, third_party)
    assert response.status_code == 422
    assert [each.policy for each in response.context["violations"]] == [policy]
    assert Entry.objects.filter(action="policy.refused", object_name=third_party.name).count() == 1
    assert Dataflow.objects.get().state == Dataflow.State.DRAFT
    assert not MappedAttribute.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["attribute", "action", "policy", "label"])
def test_it_is_finished_once_that_is_resolved(client: Client, third_party: Destination, way: str) -> None:
    policy = make_policy(I1)
    mark(EMAIL, "I1")
    ready(client, third_party, SegmentFactory.create())
    assert send_finish(client, third_party).status_code == 422
    if way == "attribute":
        send_attributes(client, third_party, "person.name.firstName")
    elif way == "action":
        third_party.marketing_actions.clear()
    elif way == "policy":
        governance.disable_policy(policy.pk)
    else:
        governance.remove_labels([SchemaField.objects.get(path=EMAIL)], list(Label.objects.all()))
    assert 'value="next" disabled' not in review(client, third_party)
    assert send_finish(client, third_party).status_code == 302
    assert Dataflow.objects.get().state == Dataflow.State.ENABLED


@pytest.mark.django_db
def test_a_segment_stops_it_by_what_its_rule_reads(client: Client, third_party: Destination) -> None:
    make_policy(I1)
    mark(CITY, "I1")
    segment = create_segment(name="서울 고객", rule=f'{CITY} = "Seoul"', origin=Segment.Origin.SEGMENTATION)
    ready(client, third_party, segment)
    text = review(client, third_party)
    assert "Rule of the segment “서울 고객”" in text
    assert reverse("profiles:segment", args=[segment.pk]) in text
    assert send_finish(client, third_party).status_code == 422


@pytest.mark.django_db
def test_what_is_edited_is_judged_and_what_is_live_goes_on(client: Client, live: Dataflow) -> None:
    make_policy(I1)
    mark("person.gender", "I1")
    send_attributes(client, live.destination, EMAIL, "person.gender")
    assert send_finish(client, live.destination).status_code == 422
    live.refresh_from_db()
    assert live.state == Dataflow.State.ENABLED
    assert [row.field.path for row in live.mapped_attributes.all()] == [EMAIL, CITY]


@pytest.mark.django_db
def test_a_judgement_takes_few_queries_and_no_profile(
    client: Client, third_party: Destination, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_policy(I1)
    mark(EMAIL, "I1")
    segments = [
        create_segment(name=f"S{n}", rule=f"loyalty.points > {n}", origin=Segment.Origin.SEGMENTATION)
        for n in range(100)
    ]
    ready(client, third_party, *segments)
    selection = Selection.of(third_party)
    assert selection.violations()
    selection = Selection.of(third_party)
    with django_assert_num_queries(8) as captured:
        assert len(selection.violations()) == 1
    asked = " ".join(query["sql"] for query in captured.captured_queries)
    # Nothing that grows with the customers is read: it takes as long with a million (bench/review.py).
    for table in ("profiles_profile", "profiles_identity", "profiles_segmentmembership"):
        assert f'"{table}"' not in asked


# -- what is live --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_label_is_refused_on_the_page_that_names_the_dataflow(live: Dataflow) -> None:
    make_policy(I1)
    steward = Client()
    rights = ["profiles.view_segment", "governance.view_policy", "governance.manage_labels"]
    steward.force_login(UserFactory.create(permissions=rights))
    sent = {"field": EMAIL, "labels": "I1", "action": "add"}
    response = steward.post(reverse("governance:label_fields"), sent)
    text = response.content.decode()
    assert response.status_code == 422
    assert live.destination.name in text and "Data with <strong>I1</strong>" in text and "<svg" in text
    assert codes_of(EMAIL) == set()


@pytest.mark.django_db
def test_a_policy_is_refused_on_the_page_that_names_the_dataflow(live: Dataflow) -> None:
    mark(EMAIL, "I1")
    policy = make_policy(I1, enabled=False)
    steward = Client()
    steward.force_login(
        UserFactory.create(permissions=["governance.view_policy", "governance.manage_policies"])
    )
    response = steward.post(reverse("governance:policy_switch", args=[policy.pk]), {"enabled": "1"})
    assert response.status_code == 422 and live.destination.name in response.content.decode()
    assert not Policy.objects.get(pk=policy.pk).enabled


@pytest.mark.django_db
def test_a_marketing_action_is_refused_at_its_field(live: Dataflow) -> None:
    make_policy({"any": ["C9"]}, "Data Science")
    mark(CITY, "C9")
    destination = live.destination
    with pytest.raises(Refused, match="Data Science") as refused:
        edit_destination(
            destination_id=destination.pk,
            version=destination.version,
            setup=setup(destination, "Data Science"),
        )
    assert refused.value.field == "marketing_actions"
    assert [str(each) for each in destination.marketing_actions.all()] == [THIRD_PARTY]


@pytest.mark.django_db
def test_a_rule_is_refused_in_the_admin_too(live: Dataflow) -> None:
    make_policy(I1)
    mark("person.gender", "I1")
    segment = create_segment(name="Ours", rule="loyalty.points > 1", origin=Segment.Origin.SEGMENTATION)
    live.mapped_segments.create(segment=segment)
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    page = reverse("admin:profiles_segment_change", args=[segment.pk])
    response = admin.post(page, {"name": "Ours", "description": "", "rule": 'person.gender = "female"'})
    assert live.destination.name in said(response)
    segment.refresh_from_db()
    assert segment.rule == "loyalty.points > 1"


@pytest.mark.django_db
def test_the_trail_tells_who_was_refused_and_why_and_nothing_of_what_was_taken_back(live: Dataflow) -> None:
    make_policy(I1, name="제3자")
    steward = User.objects.create_superuser("steward")
    client = Client()
    client.force_login(steward)

    client.post(reverse("governance:label_fields"), {"field": EMAIL, "labels": "I1", "action": "add"})

    entry = Entry.objects.get(action="policy.refused")
    assert (entry.actor, entry.object_name) == ("steward", live.destination.name)
    assert entry.place == "POST /governance/labels/fields/"
    why = entry.changes["why"][1]
    assert f"“{live.destination.name}” would violate the policy “제3자”" in why and EMAIL in why
    assert not Entry.objects.filter(action="label.added").exists()


@pytest.mark.django_db
def test_a_disabled_dataflow_stands_in_nobodys_way_and_is_judged_when_it_is_enabled(live: Dataflow) -> None:
    services.disable(destination=live.destination)
    make_policy(I1)
    mark(EMAIL, "I1")
    with pytest.raises(services.Forbidden, match="would violate"):
        services.enable(destination=live.destination)
    live.refresh_from_db()
    assert live.state == Dataflow.State.DISABLED


# -- two at once ---------------------------------------------------------------------------------------------------


def drafted() -> tuple[Destination, User]:
    """A draft that exports an address, and whose segment asks for points."""
    destination = DestinationFactory.create()
    user = UserFactory.create(permissions=list(WIZARD))
    segment = create_segment(name="Ours", rule="loyalty.points > 1", origin=Segment.Origin.SEGMENTATION)
    services.save_segments(
        destination=destination, version=0, by=user, shown=[segment.pk], ticked=[segment.pk]
    )
    return destination, user


def finish(destination: Destination, user: User) -> None:
    services.finish(
        destination=destination, version=Selection.of(destination).version, by=user, segments=1, attributes=4
    )


def _label(destination: Destination) -> None:
    mark(EMAIL, "I1")


def _enable(destination: Destination) -> None:
    governance.enable_policy(Policy.objects.get(name="Ours").pk)


def _rule(destination: Destination) -> None:
    edit_segment(Segment.objects.get(), name="Ours", description="", rule=f'{CITY} = "Seoul"')


def _act(destination: Destination) -> None:
    seen = Destination.objects.get(pk=destination.pk)
    edit_destination(destination_id=seen.pk, version=seen.version, setup=setup(seen, THIRD_PARTY))


CHANGES = [_label, _enable, _rule, _act]


def prepare(change: Callable[[Destination], None]) -> tuple[Destination, User]:
    """All but the change: finishing alone is fine, and so is the change alone."""
    destination, user = drafted()
    if change is not _act:
        destination.marketing_actions.add(action())
    if change is _rule:
        mark(CITY, "I1")
    elif change is not _label:
        mark(EMAIL, "I1")
    make_policy(I1, enabled=change is not _enable)
    return destination, user


class Beside(threading.Thread):
    """Something with a connection of its own; ``refused`` is what it raised."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act, self.refused = act, ""
        self.start()

    def run(self) -> None:
        try:
            self.act()
        except (ValidationError, services.Refused, Refused) as refused:
            self.refused = type(refused).__name__
        finally:
            connections.close_all()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.parametrize("change", CHANGES)
def test_whoever_finishes_waits_for_a_change_and_is_refused(change: Callable[[Destination], None]) -> None:
    destination, user = prepare(change)
    with transaction.atomic():
        change(destination)
        other = Beside(lambda: finish(destination, user))
        wait_for_a_lock()
    other.join(20)
    assert other.refused == "Forbidden"
    assert Dataflow.objects.get().state == Dataflow.State.DRAFT


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.parametrize("change", CHANGES)
def test_whoever_changes_waits_for_a_finish_and_is_refused(change: Callable[[Destination], None]) -> None:
    destination, user = prepare(change)
    with transaction.atomic():
        finish(destination, user)
        other = Beside(lambda: change(destination))
        wait_for_a_lock()
    other.join(20)
    assert other.refused in (Violated.__name__, Refused.__name__)
    assert Dataflow.objects.get().state == Dataflow.State.ENABLED


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("change", CHANGES)
def test_of_two_at_the_same_moment_one_is_refused(change: Callable[[Destination], None]) -> None:
    destination, user = prepare(change)
    barrier = threading.Barrier(2)

    def at_once(act: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            barrier.wait(10)
            act()

        return run

    both = [Beside(at_once(lambda: finish(destination, user))), Beside(at_once(lambda: change(destination)))]
    for each in both:
        each.join(30)
    assert len([each.refused for each in both if each.refused]) == 1
