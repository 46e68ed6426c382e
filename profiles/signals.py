"""What profiles announce. Whoever is concerned listens: profiles do not know that exports exist."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.dispatch import Signal

from profiles.models import SegmentMembership

MEMBER = frozenset(status.value for status in SegmentMembership.MEMBER_STATUSES)


@dataclass(frozen=True, slots=True)
class Transition:
    """A membership that came or went. From realized to existing it is the same member still, and nothing is told.

    ``before`` and ``after`` are statuses of :class:`profiles.models.SegmentMembership`; ``before`` is None where there
    was no membership: None → realized, existing → exited.
    """

    segment_id: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """What one transaction did to one profile.

    Args:
        profile_id: whose.
        written_paths: dotted paths of the leaves that were written, even with the same value, and of those removed
            (``person.name.firstName``). A written array or map is one leaf; a removed object is told by its own path.
        identities_changed: an identity was added or removed.
        transitions: the segments that it joined or left.
        created: there was no such profile before: its memberships are all among the transitions.
        merged: profiles that proved to be this one; what changed by it is in the rest. Their rows, and what refers to
            them, are still there while this is announced, and gone when the transaction ends.
    """

    profile_id: uuid.UUID
    written_paths: frozenset[str] = frozenset()
    identities_changed: bool = False
    transitions: tuple[Transition, ...] = ()
    merged: tuple[uuid.UUID, ...] = ()
    created: bool = False


# Sent inside the transaction that made the changes, with ``changes``: a list of ProfileChange, of one batch.
# What a receiver raises rolls the whole batch back: nothing is lost, nothing half-written.
profiles_changed = Signal()

# Whom a stored segment describes has changed. Sent inside the transaction, with ``segment_id``; whoever must not let it
# stand raises ValidationError, which takes the change back.
rule_changed = Signal()
# A person is about to be erased: whoever knows more of them lets go. Sent inside the transaction that erases, with
# ``profile_id``, and ``last_record``: destinations are to be told first.
profile_erasing = Signal()
