"""What people do to profiles and segments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from activation.models import MappedSegment
from profiles import services
from profiles.models import Identity, Profile, Segment, SegmentMembership
from profiles.signals import ProfileChange, Transition
from tests.factories import (
    DataflowFactory,
    IdentityFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
)

pytestmark = pytest.mark.django_db

Announced = list[list[ProfileChange]]


def test_a_profile_is_created_and_announced(announced: Announced) -> None:
    profile = services.create_profile(
        identities=[("Email", "a@example.com")], attributes={"testProfile": True}
    )
    assert profile.attributes == {"testProfile": True}
    assert announced[0][0].identities_changed


def test_creating_a_profile_that_is_there_is_refused_and_writes_nothing(announced: Announced) -> None:
    known = IdentityFactory.create(value="a@example.com")
    with pytest.raises(ValidationError, match="already"):
        services.create_profile(identities=[("Email", "a@example.com")], attributes={"testProfile": True})
    known.profile.refresh_from_db()
    assert "testProfile" not in known.profile.attributes


def test_only_what_a_person_changed_is_written(announced: Announced) -> None:
    profile = ProfileFactory.create(attributes={"a": 1, "b": {"c": 2, "d": 3}, "meanwhile": "other"})
    services.edit_attributes(
        profile.pk, shown={"a": 1, "b": {"c": 2, "d": 3}}, wanted={"a": 1, "b": {"c": 5}, "e": True}
    )
    profile.refresh_from_db()
    assert profile.attributes == {"a": 1, "b": {"c": 5}, "meanwhile": "other", "e": True}
    assert announced[0][0].written_paths == {"b.c", "b.d", "e"}


def test_a_refusal_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="no such profile"):
        services.add_identity(ProfileFactory.build().pk, namespace="Email", value="a@example.com")
    with pytest.raises(ValidationError, match="different profiles"):
        services.add_identity(
            ProfileFactory.create().pk, namespace="Email", value=IdentityFactory.create().value
        )


def test_identities_are_added_and_removed(announced: Announced) -> None:
    profile = ProfileFactory.create()
    services.add_identity(profile.pk, namespace="Email", value="a@example.com")
    services.remove_identity(Identity.objects.select_related("namespace").get())
    assert not Identity.objects.exists()
    assert [batch[0].identities_changed for batch in announced] == [True, True]


def test_a_profile_leaves_a_segment(announced: Announced) -> None:
    membership = MembershipFactory.create(last_qualification_time=timezone.now() - timedelta(days=1))
    services.set_membership(membership.profile_id, segment_id=membership.segment_id, status="exited")
    assert announced[0][0].transitions == (Transition(membership.segment_id, "realized", "exited"),)


def test_a_segments_definition_is_dated_and_its_description_is_not() -> None:
    before = datetime(2026, 1, 1, tzinfo=UTC)
    segment = SegmentFactory.create(name="A", updated_at=before)
    services.edit_segment(segment, name="A", description="new", rule="")
    assert Segment.objects.get().updated_at == before
    services.edit_segment(segment, name="B", description="new", rule="")
    assert Segment.objects.get().updated_at > before


def test_segment_ids_are_kept_as_they_are_and_unique() -> None:
    assert services.create_segment(name="A", id="a/b?c#d%20").pk == "a/b?c#d%20"
    with pytest.raises(ValidationError):
        services.create_segment(name="A", id="a/b?c#d%20")
    with pytest.raises(ValidationError, match="control"):
        services.create_segment(name="A", id="a\nb")
    assert len(services.create_segment(name="A").pk) == 36


def test_a_segment_is_deleted_with_its_memberships() -> None:
    membership = MembershipFactory.create()
    services.delete_segment(membership.segment)
    assert not SegmentMembership.objects.exists()
    assert Profile.objects.exists()


def test_a_segment_in_use_is_not_deleted_and_the_reason_names_the_destination() -> None:
    segment = SegmentFactory.create(name="Autumn")
    dataflow = DataflowFactory.create(destination__name="Seoul stream")
    MappedSegment.objects.create(dataflow=dataflow, segment=segment)
    with pytest.raises(ValidationError) as refused:
        services.delete_segment(segment)
    assert refused.value.messages == ["“Autumn” is in use by Seoul stream and can't be deleted."]
    assert services.protecting([segment])
    assert Segment.objects.exists()


def test_many_users_are_cut_short() -> None:
    rows = [SegmentFactory.create(name=f"user {n}") for n in range(9)]
    assert services.in_use("x", rows).count("user") == services.NAMED_IN_REASON
