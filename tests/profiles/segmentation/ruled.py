"""Segments with live rules, and who is in them."""

from __future__ import annotations

from profiles.models import Segment, SegmentMembership
from tests.factories import SegmentFactory


def ruled(id: str, rule: str, state: str = Segment.State.LIVE) -> Segment:
    return SegmentFactory.create(id=id, rule=rule, origin=Segment.Origin.SEGMENTATION, state=state)


def statuses(segment_id: str) -> dict[str, str]:
    """Statuses by the first identity of the profiles."""
    found = SegmentMembership.objects.filter(segment=segment_id).order_by("profile__identities__pk")
    return {membership.profile.identities.order_by("pk")[0].value: membership.status for membership in found}


def members(segment_id: str) -> set[str]:
    return {name for name, status in statuses(segment_id).items() if status != "exited"}
