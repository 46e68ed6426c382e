"""What people do to segments that have a rule."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from activation.models import MappedSegment
from profiles import sample, services
from profiles.ingest import Fragment, ingest
from profiles.models import Evaluation, Profile, SchemaField, Segment
from profiles.pql import Schema, parse
from profiles.segmentation import store
from tests.factories import (
    DataflowFactory,
    MembershipFactory,
    ProfileFactory,
    SchemaFieldFactory,
    SegmentFactory,
    UserFactory,
)
from tests.profiles.segmentation.ruled import members, ruled

pytestmark = pytest.mark.django_db

RULED = Segment.Origin.SEGMENTATION


@pytest.fixture(autouse=True)
def _fields() -> None:
    SchemaFieldFactory.create(path="_ours.x", type=SchemaField.Type.INTEGER)
    SchemaFieldFactory.create(path="_ours.text", type=SchemaField.Type.STRING)


def customers(*values: int) -> None:
    ingest([Fragment([("Email", f"{value}")], {"_ours": {"x": value}}) for value in values])


def created(rule: str, name: str = "s", state: str = Segment.State.LIVE) -> Segment:
    return services.create_segment(id=name, name=name, origin=RULED, rule=rule, state=state)


def edited(segment: Segment, rule: str) -> None:
    services.edit_segment(segment, name=segment.name, description="", rule=rule)


def evaluated() -> None:
    """All evaluations that stand are made."""
    for evaluation in Evaluation.objects.all():
        store.evaluate(evaluation.pk)


# --- Saving a rule


def test_a_saved_rule_is_asked_of_everybody_soon() -> None:
    customers(1, 2, 3)
    segment = created("_ours.x > 1")
    assert Evaluation.objects.get().segment == segment
    assert members("s") == set()
    evaluated()
    assert members("s") == {"2", "3"}
    segment.refresh_from_db()
    assert segment.evaluated_at is not None
    edited(segment, "_ours.x = 1")
    assert members("s") == {"2", "3"}
    customers(4)  # by the new rule
    evaluated()
    assert members("s") == {"1"}
    assert not Evaluation.objects.exists()


@pytest.mark.parametrize(
    "rule, column, reason",
    [
        ("_ours.x > ", 11, "not finished"),
        ("_ours.x = 1 and _ours.y = 1", 17, "There is no field _ours.y in the schema. Did you mean _ours.x?"),
        ('_ours.x = "1"', 11, "compares a number with a text"),
        ("_ours.x / 0 = 1", 11, "divided by zero"),
        ('inSegment("nobody")', 1, "no segment with the id nobody"),
        ('_ours.x = 1 or inSegment("s")', 16, "s → s"),
        ("_ours.text like 5%", 17, "in double quotation marks"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_at_its_field_and_nothing_is_written(
    rule: str, column: int, reason: str
) -> None:
    segment = created("_ours.x > 1")
    Evaluation.objects.all().delete()
    with pytest.raises(ValidationError) as refused:
        edited(segment, rule)
    [error] = refused.value.error_dict["rule"]
    assert error.params == {"position": column - 1, "line": 1, "column": column}
    [message] = refused.value.message_dict["rule"]
    assert message.startswith(f"Character {column}: ")
    assert reason in message
    segment.refresh_from_db()
    assert segment.rule == "_ours.x > 1"
    assert not Evaluation.objects.exists()


def test_the_error_of_a_long_rule_has_its_line() -> None:
    with pytest.raises(ValidationError, match="Line 2, character 5: "):
        services.check_rule("_ours.x = 1 and\nnot ?")


def test_a_rule_in_a_circle_of_segments_is_refused() -> None:
    first = created("_ours.x > 1", "first")
    created('inSegment("first")', "second")
    with pytest.raises(ValidationError, match="first → second → first"):
        edited(first, 'inSegment("second")')


def test_a_new_name_asks_nobody_anew() -> None:
    segment = created("_ours.x > 1")
    Evaluation.objects.all().delete()
    services.edit_segment(segment, name="other", description="other", rule=segment.rule)
    assert not Evaluation.objects.exists()


def test_the_rule_of_a_segment_with_members_is_not_taken_away() -> None:
    customers(2)
    segment = created("_ours.x > 1")
    evaluated()
    with pytest.raises(ValidationError, match="for ever"):
        edited(segment, "")


def test_an_uploaded_segments_rule_is_a_note() -> None:
    segment = services.create_segment(name="upload", rule="everybody in the file")
    services.edit_segment(segment, name="upload", description="", rule="nobody")
    assert not Evaluation.objects.exists()


def test_a_segment_that_was_deleted_meanwhile_is_not_edited() -> None:
    segment = created("_ours.x > 1")
    services.delete_segment(Segment.objects.get())
    with pytest.raises(ValidationError, match="deleted meanwhile"):
        edited(segment, "_ours.x = 1")


def test_the_rules_of_the_sample_fit_its_schema_and_its_members() -> None:
    Segment.objects.bulk_create(sample.segments())
    for segment in sample.segments():
        if segment.rule:
            parse(segment.rule).check(Schema.stored(), segment_id=segment.pk)
    told = list(sample.customers(150))
    ingest(told)
    stored = {
        (membership.profile.identities.order_by("pk")[0].value, membership.segment_id): (
            membership.status,
            membership.last_qualification_time,
        )
        for profile in Profile.objects.all()
        for membership in profile.memberships.all()
    }
    assert stored == {
        (customer.identities[0][1], segment_id): membership
        for customer in told
        for segment_id, membership in customer.memberships.items()
    }


# --- Drafts, duplicates, the archive


def test_a_draft_may_be_unfinished_and_is_asked_of_nobody() -> None:
    customers(5)
    segment = created("_ours.x > ", state=Segment.State.DRAFT)
    assert not Evaluation.objects.exists()
    with pytest.raises(ValidationError, match="not finished"):
        services.publish_segment(segment)
    edited(segment, "_ours.x > 4")
    customers(6)
    assert members("s") == set()
    services.publish_segment(segment)
    evaluated()
    assert members("s") == {"5", "6"}
    services.publish_segment(segment)  # a second click
    assert not Evaluation.objects.exists()


def test_a_duplicate_is_a_draft_with_the_same_rule() -> None:
    original = created("_ours.x > 1")
    copy = services.duplicate_segment(original, name="s, again")
    assert (copy.state, copy.rule, copy.name) == ("draft", "_ours.x > 1", "s, again")
    assert copy.pk != original.pk


def test_an_archived_segment_keeps_its_members_until_it_is_live_again() -> None:
    customers(2, 3)
    segment = created("_ours.x > 1")
    evaluated()
    services.archive_segment(segment)
    ingest([Fragment([("Email", "2")], {"_ours": {"x": 0}})])
    assert members("s") == {"2", "3"}
    services.publish_segment(segment)
    evaluated()
    assert members("s") == {"3"}


def test_an_evaluation_of_an_archived_segment_is_dropped() -> None:
    customers(2)
    segment = created("_ours.x > 1")
    services.archive_segment(segment)
    evaluated()
    assert members("s") == set()
    assert not Evaluation.objects.exists()


def test_a_segment_in_use_is_neither_archived_nor_deleted() -> None:
    segment = created("_ours.x > 1")
    dataflow = DataflowFactory.create(destination__name="Seoul stream")
    MappedSegment.objects.create(dataflow=dataflow, segment=segment)
    with pytest.raises(ValidationError, match="“s” is in use by Seoul stream and can't be archived"):
        services.archive_segment(segment)
    with pytest.raises(ValidationError, match="“s” is in use by Seoul stream and can't be deleted"):
        services.delete_segment(segment)
    segment.refresh_from_db()
    assert segment.state == "live"


def test_a_segment_that_another_rule_asks_about_is_in_use() -> None:
    segment = created("_ours.x > 1")
    asking = created('inSegment("s")', "asking")
    for refused in (services.archive_segment, services.delete_segment):
        with pytest.raises(ValidationError, match="in use by asking"):
            refused(segment)
    services.archive_segment(asking)
    services.delete_segment(segment)


# --- Memberships by hand


def test_nobody_is_put_by_hand_where_a_rule_says_who_is_in() -> None:
    created("_ours.x > 1")
    profile = ProfileFactory.create()
    with pytest.raises(ValidationError, match="rule of this segment"):
        services.set_membership(profile.pk, segment_id="s", status="realized")
    services.set_membership(profile.pk, segment_id="given", status="realized")


# --- Admin


def test_the_admin_shows_a_rules_error_at_its_field() -> None:
    client = Client()
    client.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    form = {"name": "a", "id": "a", "origin": RULED, "rule": "_ours.x >"}
    add = reverse("admin:profiles_segment_add")
    answer = client.post(add, form)
    assert "Character 10: The rule is not finished" in answer.context["adminform"].form.errors["rule"][0]
    assert client.post(add, {**form, "rule": "_ours.x > 1"}).status_code == 302
    assert Evaluation.objects.get().segment_id == "a"
    change = reverse("admin:profiles_segment_change", args=["a"])
    answer = client.post(change, {"name": "a", "rule": '_ours.x > 1 and inSegment("a")'})
    assert "refer to itself" in answer.context["adminform"].form.errors["rule"][0]
    assert client.post(change, {"name": "a", "rule": "_ours.x > 2"}).status_code == 302
    assert Segment.objects.get().rule == "_ours.x > 2"


def test_the_admin_deletes_segments_that_nothing_needs() -> None:
    client = Client()
    client.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    created("_ours.x > 1")
    created('inSegment("s")', "asking")
    MembershipFactory.create(segment=SegmentFactory.create(id="other"))
    page = reverse("admin:profiles_segment_changelist")

    def delete(*names: str) -> None:
        client.post(
            page, {"action": "delete_selected", "_selected_action": list(names), "post": "yes", "index": 0}
        )

    delete("s")
    assert Segment.objects.filter(pk="s").exists()
    delete("s", "asking", "other")
    assert not Segment.objects.exists()


def test_ruled_is_what_the_services_make() -> None:
    segment = ruled("a", "_ours.x = 1")
    assert created("_ours.x = 1").origin == segment.origin
