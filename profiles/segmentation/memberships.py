"""The memberships that a transaction reads and changes."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias

from django.db.models import DateTimeField, F, Q, QuerySet, Subquery, Value

from profiles import bulk
from profiles.models import Segment, SegmentMembership
from profiles.segmentation.counts import Change, add_counts
from profiles.signals import MEMBER, Transition

# Status and last qualification. None: it was not read, for what a rule decides does not depend on it.
Membership: TypeAlias = tuple[str, datetime | None]

FEW = 500  # profiles of a page that are looked up one by one
MOMENTS_KEPT = 20  # of a membership: the newest

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


@dataclass(slots=True)
class OfProfile:
    """One profile's memberships by segments, as stored and as they will be."""

    stored: dict[str, Membership] = field(default_factory=dict)
    current: dict[str, Membership] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    moments: dict[str, str] = field(default_factory=dict)  # as stored
    moved: bool = False  # to another profile, which this one is now
    # Where a membership is that of such a profile: whose.
    origins: dict[str, OfProfile] = field(default_factory=dict)

    def segments(self) -> set[str]:
        """The segments that the profile is in, of those that were read."""
        return {segment_id for segment_id, (status, _at) in self.current.items() if status in MEMBER}

    def unsettled(self) -> set[str]:
        """The segments whose rule has something to say even where it agrees: it makes realized existing, and decides
        about what was told.
        """
        realized = {segment_id for segment_id, (status, _at) in self.current.items() if status == REALIZED}
        return realized | self.changed

    def tell(self, segment_id: str, status: str, moment: datetime | None, now: datetime) -> bool:
        """Take what somebody says of a membership.

        The latest qualification wins: what happened before the stored one is old news, and is passed over.

        Args:
            moment: None: now, if the status changes.

        Returns:
            Whether anything changed.
        """
        before = self.current.get(segment_id)
        if before is not None:
            since = before[1] or now
            if moment is None:
                moment = now if status != before[0] else since
            if moment < since or (status, moment) == before:
                return False
        self.current[segment_id] = status, (moment or now).astimezone(UTC)
        self.changed.add(segment_id)
        return True

    def transitions(self) -> list[Transition]:
        """What it joined and left."""
        found = []
        for segment_id in sorted(self.changed):
            before, after = self.stored.get(segment_id), self.current[segment_id][0]
            if self.was_member(segment_id) is not (after in MEMBER):
                found.append(Transition(segment_id, before and before[0], after))
        return found

    def was_member(self, segment_id: str) -> bool:
        """Whether the profile is in a segment as stored."""
        stored = self.stored.get(segment_id)
        return stored is not None and stored[0] in MEMBER


class Memberships(defaultdict[uuid.UUID, OfProfile]):
    """Memberships by profiles.

    Whoever changes them holds the locks of their profiles.
    """

    def __init__(self) -> None:
        super().__init__(OfProfile)

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
            of = self[profile_id]
            if segment_id not in of.stored:
                of.stored[segment_id] = of.current[segment_id] = status, at
                of.moments[segment_id] = moments

    def move(self, source: uuid.UUID, target: uuid.UUID, now: datetime) -> None:
        """Tell one profile's memberships of another one."""
        of, other = self[source], self[target]
        for segment_id, (status, moment) in of.current.items():
            if other.tell(segment_id, status, moment, now):
                other.origins[segment_id] = of.origins.get(segment_id, of)
        of.current, of.changed, of.moved = {}, set(), True

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
        of = self[profile_id]
        before = of.current.get(segment_id)
        if segment_id in of.changed:
            if (before is not None and before[0] in MEMBER) is so:
                return
            before = self._untold(profile_id, segment_id, merged)
            of.changed.discard(segment_id)
            del of.current[segment_id]
            if before is not None:
                of.current[segment_id] = before
        status = next_status(before[0] if before else None, so)
        if status is not None and (before is None or status != before[0]):
            of.current[segment_id] = status, now
            of.changed.add(segment_id)

    def _untold(
        self, profile_id: uuid.UUID, segment_id: str, merged: Collection[uuid.UUID]
    ) -> Membership | None:
        """A membership as it was before anybody said anything of it."""
        known = [self[key].stored.get(segment_id) for key in (profile_id, *merged)]
        return next((membership for membership in known if membership and membership[0] in MEMBER), known[0])

    def changed(self) -> list[uuid.UUID]:
        """Profiles with memberships that changed, in the order of their ids."""
        return sorted((profile_id for profile_id, of in self.items() if of.changed), key=attrgetter("int"))

    def save(self) -> None:
        """Write what changed, and count it.

        Sorted: two transactions that write the same wait for each other and do not deadlock.
        """
        counts: dict[str, Change] = defaultdict(Change)
        new: list[tuple[uuid.UUID, str, str, datetime, str]] = []
        known: list[tuple[uuid.UUID, str, str, datetime, str]] = []
        for profile_id in self.changed():
            of = self[profile_id]
            for segment_id in sorted(of.changed):
                status, at = of.current[segment_id]
                assert at is not None
                so, count = status in MEMBER, counts[segment_id]
                count.members += so - of.was_member(segment_id)
                origin = of.origins.get(segment_id, of)
                moments = origin.moments.get(segment_id, "")
                if so is not origin.was_member(segment_id):
                    count.realized += so
                    count.exited += not so
                    moments = _followed(moments, at)
                row = (profile_id, segment_id, status, at, moments)
                (known if segment_id in of.stored else new).append(row)
        for of in self.values():
            if of.moved:
                for segment_id in of.stored:
                    counts[segment_id].members -= of.was_member(segment_id)
        _write(["profile_id", "segment_id", "status", "last_qualification_time", "moments"], new, known)
        add_counts(counts)


def in_segment(segment_id: str) -> QuerySet[SegmentMembership]:
    """Memberships of a segment, to be looked up by profiles.

    PostgreSQL does not see beforehand which segment it is: of a new one its statistics say that nobody is in it, and it
    would read all its members for every few profiles.
    """
    segment = Segment.objects.filter(pk=segment_id).values("pk")
    return SegmentMembership.objects.filter(segment=Subquery(segment)).order_by()


def follow_rule(
    segment_id: str, asked: Sequence[uuid.UUID], so: Set[uuid.UUID], now: datetime
) -> dict[uuid.UUID, Transition]:
    """Make memberships what their rule says, and count them: of many profiles, whose locks are held. Five queries.

    Args:
        asked: in the order of their ids; of one page of the store.
        so: those of whom it is so.

    Returns:
        Who joined or left, in the same order.
    """
    # Many of a page are found faster by reading all of it.
    whole = Q(profile__gte=asked[0], profile__lte=asked[-1])
    wanted = whole if len(asked) > FEW else Q(profile__among=asked)
    found = in_segment(segment_id).filter(wanted)
    stored = {
        key: (row, status, moments)
        for row, key, status, moments in found.values_list("pk", "profile_id", "status", "moments")
    }
    count = Change()
    steps: dict[uuid.UUID, Transition] = {}
    new, known, confirmed = [], [], []
    since = _followed("", now)
    for profile_id in asked:
        row, before, moments = stored.get(profile_id, (0, None, ""))
        after = next_status(before, profile_id in so)
        if after is None or after == before:
            continue
        if after == EXISTING:
            confirmed.append(row)
            continue
        steps[profile_id] = _step(segment_id, before, after)
        count.realized += after in MEMBER
        count.exited += after not in MEMBER
        if before is None:
            new.append((profile_id, after, since))
        else:
            known.append((profile_id, after, _followed(moments, now)))
    confirm(confirmed, now)
    count.members = count.realized - count.exited
    same = {"segment_id": segment_id, "last_qualification_time": now}
    _write(["profile_id", "status", "moments"], new, known, **same)
    add_counts({segment_id: count})
    return steps


_step = lru_cache(maxsize=100)(Transition)


def confirm(rows: Collection[int], now: datetime) -> None:
    """Have members stay who have just come: realized → existing. One query.

    Who holds no locks of their profiles may do so, too: a member that left meanwhile is none to be confirmed, and who
    comes and goes under those locks writes over it. They lock all their profiles first, and then their memberships in
    the same order.

    Args:
        rows: keys of memberships.
    """
    if rows:
        realized = SegmentMembership.objects.filter(pk__among=rows, status=REALIZED).order_by("profile_id")
        # A query of its own for the locks: rows are updated in any order.
        locked = realized.select_for_update(no_key=True).values("pk")
        SegmentMembership.objects.filter(pk__in=locked).update(status=EXISTING, last_qualification_time=now)


def _write(
    fields: Sequence[str], new: Iterable[Sequence[Any]], known: Iterable[Sequence[Any]], **same: Any
) -> None:
    """Write memberships: rows in the order of the locks, first by profile, then by segment.

    Args:
        new: of which there is no row. That is certain: the profiles are locked. For PostgreSQL to make sure, row by
            row, takes a third more.
    """
    bulk.insert(SegmentMembership, fields, new, same=same)
    bulk.insert(
        SegmentMembership,
        fields,
        known,
        same=same,
        unique=["profile_id", "segment_id"],
        update=["status", "last_qualification_time", "moments"],
    )


def _followed(moments: str, at: datetime) -> str:
    """The moments of a membership and one more, the newest few."""
    moment = str(int(at.timestamp() * 1000))
    return " ".join([*moments.split()[1 - MOMENTS_KEPT :], moment]) if moments else moment
