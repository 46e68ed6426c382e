"""The memberships that a transaction reads and changes."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TypeAlias

from django.db.models import DateTimeField, F, Q, Value

from profiles.models import SegmentMembership
from profiles.segmentation.counts import Change, add_counts
from profiles.signals import Transition

# Status and last qualification. None: it was not read, for what a rule decides does not depend on it.
Membership: TypeAlias = tuple[str, datetime | None]

MOMENTS_KEPT = 20  # of a membership: the newest

MEMBER = frozenset(status.value for status in SegmentMembership.MEMBER_STATUSES)
REALIZED, EXISTING, EXITED = (status.value for status in SegmentMembership.Status)


def next_status(before: str | None, so: bool) -> str | None:
    """What an evaluation makes of a membership: absent → realized → existing → exited → realized → …

    Args:
        before: the status; None where there is no membership.
        so: whether the rule is so.
    """
    if so:
        return EXISTING if before in MEMBER else REALIZED
    return EXITED if before in MEMBER else before


class Memberships:
    """Memberships by profiles and segments, as stored and as they will be.

    Whoever changes them holds the locks of their profiles.
    """

    def __init__(self) -> None:
        self.stored: dict[uuid.UUID, dict[str, Membership]] = defaultdict(dict)
        self.current: dict[uuid.UUID, dict[str, Membership]] = defaultdict(dict)
        self.changed: dict[uuid.UUID, set[str]] = defaultdict(set)
        self.moments: dict[uuid.UUID, dict[str, str]] = defaultdict(dict)  # as stored
        self.moved: list[uuid.UUID] = []  # profiles that are other ones now
        # Where a membership is that of such a profile: whose.
        self.origins: dict[tuple[uuid.UUID, str], uuid.UUID] = {}

    def read(self, wanted: Q) -> None:
        """Read what others may tell something of. One query."""
        self._add(wanted, F("last_qualification_time"))

    def read_statuses(self, wanted: Q) -> None:
        """Read what rules decide. One query; what was read before stays as it is here."""
        self._add(wanted, Value(None, DateTimeField()))

    def _add(self, wanted: Q, moment: F | Value) -> None:
        found = SegmentMembership.objects.filter(wanted).order_by()
        for profile_id, segment_id, status, at, moments in found.values_list(
            "profile_id", "segment_id", "status", moment, "moments"
        ):
            stored = self.stored[profile_id]
            if segment_id not in stored:
                stored[segment_id] = self.current[profile_id][segment_id] = status, at
                self.moments[profile_id][segment_id] = moments

    def segments(self, profile_id: uuid.UUID) -> set[str]:
        """The segments that a profile is in, of those that were read."""
        return {
            segment_id for segment_id, (status, _at) in self.current[profile_id].items() if status in MEMBER
        }

    def tell(
        self, profile_id: uuid.UUID, segment_id: str, status: str, moment: datetime | None, now: datetime
    ) -> bool:
        """Take what somebody says of a membership.

        The latest qualification wins: what happened before the stored one is old news, and is passed over.

        Args:
            moment: None: now, if the status changes.

        Returns:
            Whether anything changed.
        """
        current = self.current[profile_id]
        before = current.get(segment_id)
        if before is not None:
            since = before[1] or now
            if moment is None:
                moment = now if status != before[0] else since
            if moment < since or (status, moment) == before:
                return False
        current[segment_id] = status, (moment or now).astimezone(UTC)
        self.changed[profile_id].add(segment_id)
        return True

    def move(self, source: uuid.UUID, target: uuid.UUID, now: datetime) -> None:
        """Tell one profile's memberships of another one."""
        self.changed.pop(source, None)
        self.moved.append(source)
        for segment_id, (status, moment) in self.current.pop(source, {}).items():
            if self.tell(target, segment_id, status, moment, now):
                self.origins[target, segment_id] = self.origins.get((source, segment_id), source)

    def follow(
        self,
        profile_id: uuid.UUID,
        segment_id: str,
        so: bool,
        now: datetime,
        merged: Collection[uuid.UUID] = (),
    ) -> None:
        """Make a membership what its rule says. What was told of it stays where the rule agrees.

        Args:
            merged: profiles that are this one now. Where one of them was a member, this one can leave.
        """
        current, changed = self.current[profile_id], self.changed[profile_id]
        before = current.get(segment_id)
        if segment_id in changed:
            if (before is not None and before[0] in MEMBER) is so:
                return
            before = self._untold(profile_id, segment_id, merged)
            changed.discard(segment_id)
            del current[segment_id]
            if before is not None:
                current[segment_id] = before
        status = next_status(before[0] if before else None, so)
        if status is not None and (before is None or status != before[0]):
            current[segment_id] = status, now
            changed.add(segment_id)

    def _untold(
        self, profile_id: uuid.UUID, segment_id: str, merged: Collection[uuid.UUID]
    ) -> Membership | None:
        """A membership as it was before anybody said anything of it."""
        known = [self.stored[key].get(segment_id) for key in (profile_id, *merged)]
        return next((membership for membership in known if membership and membership[0] in MEMBER), known[0])

    def transitions(self) -> dict[uuid.UUID, list[Transition]]:
        """The changes of status, by profiles."""
        transitions: dict[uuid.UUID, list[Transition]] = defaultdict(list)
        for profile_id, segment_ids in self.changed.items():
            stored, current = self.stored[profile_id], self.current[profile_id]
            for segment_id in sorted(segment_ids):
                before, after = stored.get(segment_id), current[segment_id][0]
                if before is None or before[0] != after:
                    transitions[profile_id].append(Transition(segment_id, before and before[0], after))
        return transitions

    def save(self) -> None:
        """Write what changed, and count it.

        Sorted: two transactions that write the same wait for each other and do not deadlock.
        """
        rows: list[SegmentMembership] = []
        counts: dict[str, Change] = defaultdict(Change)
        for profile_id in sorted(self.changed):
            for segment_id in sorted(self.changed[profile_id]):
                status, at = self.current[profile_id][segment_id]
                assert at is not None
                so, count = status in MEMBER, counts[segment_id]
                count.members += so - self._was_member(profile_id, segment_id)
                origin = self.origins.get((profile_id, segment_id), profile_id)
                moments = self.moments[origin].get(segment_id, "")
                if so is not self._was_member(origin, segment_id):
                    count.realized += so
                    count.exited += not so
                    moments = _followed(moments, at)
                rows.append(
                    SegmentMembership(
                        profile_id=profile_id,
                        segment_id=segment_id,
                        status=status,
                        last_qualification_time=at,
                        moments=moments,
                    )
                )
        for profile_id in self.moved:
            for segment_id in self.stored[profile_id]:
                counts[segment_id].members -= self._was_member(profile_id, segment_id)
        if rows:
            SegmentMembership.objects.bulk_create(
                rows,
                update_conflicts=True,
                unique_fields=["profile", "segment"],
                update_fields=["status", "last_qualification_time", "moments"],
            )
        add_counts(counts)

    def _was_member(self, profile_id: uuid.UUID, segment_id: str) -> bool:
        stored = self.stored[profile_id].get(segment_id)
        return stored is not None and stored[0] in MEMBER


def _followed(moments: str, at: datetime) -> str:
    """The moments of a membership and one more, the newest few."""
    moment = str(int(at.timestamp() * 1000))
    return " ".join([*moments.split()[1 - MOMENTS_KEPT :], moment]) if moments else moment
