"""What an activation would do, before it does: a real member's record, and what the backfill means for the stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from activation import selectors
from activation.selectors import Selection
from destinations.connectors.base import ConnectorError, Record, Target, Text
from destinations.fields import KeyLost
from profiles.models import Profile

log = structlog.get_logger(__name__)

CANDIDATES = 40
"""Members among which the one with most of the chosen attributes is looked for."""

SHARD_RECORDS = 1_000
"""Records that a shard takes in a second (Kinesis limits)."""

SHARD_BYTES = 1_000_000
"""Bytes that a shard takes in a second: AWS's "1 MB", read in its smaller sense, so that the estimate is no promise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A record as it would be sent, or why it would not be.

    Args:
        place: which of the candidates it is, from 0; ``of`` how many there are.
        missing: mandatory attributes that the profile lacks: it would be excluded.
    """

    profile: Profile
    record: Record | None
    place: int
    of: int
    missing: list[str]

    @property
    def next_place(self) -> int:
        return (self.place + 1) % self.of

    @property
    def bytes(self) -> int:
        return len(self.record.data) if self.record else 0


def sample(selection: Selection, place: int) -> Sample | None:
    """The record of a member of the chosen segments.

    Args:
        place: 0 is the member with most of the chosen attributes, 1 the next, and so on, round and round.

    Returns:
        None where the chosen segments have no member.
    """
    candidates = _candidates(selection)
    if not candidates:
        return None
    place %= len(candidates)
    profile = candidates[place]
    missing = [
        a.field.path
        for a in selection.attributes()
        if a.mandatory and not _has(profile.attributes, a.field.path)
    ]
    built = _records(selection, [profile])
    return Sample(profile, built[0] if built else None, place, len(candidates), missing)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The backfill against what the stream takes.

    Args:
        records: that will be sent at most: distinct members.
        record_bytes: the mean of a few members' records, with their partition keys; None without a member.
        target: the stream; None where it can't be described, and ``error`` says why.
        seconds: the least time that the stream's limits allow; None where they are not known.
    """

    records: int
    record_bytes: int | None
    target: Target | None
    error: str
    hint: Text
    seconds: int | None
    records_per_second: int | None
    bytes_per_second: int | None

    @property
    def bytes(self) -> int | None:
        return None if self.record_bytes is None else self.records * self.record_bytes

    @property
    def minutes(self) -> int:
        return math.ceil((self.seconds or 0) / 60)


def estimate(selection: Selection) -> Estimate:
    """What the backfill of the draft means for the stream. Asks the other side: up to 10 s. Never raises for it."""
    # Without a draft nothing would be sent; where one was finished there is nothing to estimate.
    added = selection.added_segments() if selection.is_draft or not selection.is_live else None
    count = selectors.members(added).count() if added is not None else 0
    built = _records(selection, _candidates(selection)) if count else []
    sizes = [len(record.data) + len(record.partition_key.encode()) for record in built]
    record_bytes = round(sum(sizes) / len(sizes)) if sizes else None

    target, error, hint = _describe(selection)
    per_second = bytes_per_second = seconds = None
    if target is not None:
        per_second, bytes_per_second = target.records_per_second, target.bytes_per_second
        if target.shards and per_second is None and target.mode != "ON_DEMAND":
            per_second = target.shards * SHARD_RECORDS
        if target.shards and bytes_per_second is None and target.mode != "ON_DEMAND":
            bytes_per_second = target.shards * SHARD_BYTES
    if count and record_bytes and per_second and bytes_per_second:
        seconds = math.ceil(max(count / per_second, count * record_bytes / bytes_per_second))
    return Estimate(count, record_bytes, target, error, hint, seconds, per_second, bytes_per_second)


def _describe(selection: Selection) -> tuple[Target | None, str, Text]:
    destination = selection.destination
    try:
        return (
            destination.type.describe_target(destination.account.connection(), destination.settings),
            "",
            "",
        )
    except ConnectorError as error:
        return None, f"{error.code}: {error.message}", error.hint
    except (KeyLost, LookupError) as error:
        # Credentials that no key opens any more, or a type that is not installed: the page still stands.
        log.warning("estimate_failed", destination_id=str(destination.pk), error=type(error).__name__)
        return None, type(error).__name__, ""


def _candidates(selection: Selection) -> list[Profile]:
    """A few members of the chosen segments, those with most of the chosen attributes first."""
    paths = [a.field.path for a in selection.attributes()]
    found = list(selectors.members(selection.segments()).order_by("pk")[:CANDIDATES])
    # Sorting is stable: among equals the order stays, so that "another member" goes round.
    return sorted(found, key=lambda profile: -sum(_has(profile.attributes, path) for path in paths))


def _has(attributes: Mapping[str, Any], path: str) -> bool:
    at: Any = attributes
    for key in path.split("."):
        if not isinstance(at, Mapping) or key not in at:
            return False
        at = at[key]
    return at is not None


def _records(selection: Selection, profiles: list[Profile]) -> list[Record]:
    raise NotImplementedError
