"""What would be sent: the record of a member or of a dead letter, and what a backlog means for the stream."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.utils import timezone
from django.utils.translation import gettext

from activation import consent, selectors
from activation.export import records
from activation.export.records import Layout, Snapshot, Unsendable
from activation.models import Dataflow, ExportReason, MappedSegment, PendingExport
from activation.selectors import Selection
from destinations.connectors.base import ConnectorError, Record, Target, Text
from destinations.fields import KeyLost
from destinations.models import Destination

log = structlog.get_logger(__name__)

CANDIDATES = 40
"""Members among which the one with most of the chosen attributes is looked for."""

SHARD_RECORDS = 1_000
"""Records that a shard takes in a second (Kinesis limits)."""

SHARD_BYTES = 1_000_000
"""Bytes that a shard takes in a second: AWS's "1 MB", read in its smaller sense, so that the estimate is no promise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What would be sent for a profile: its record, or why it has none.

    Args:
        place: which of the candidates it is, from 0; ``of`` how many there are.
    """

    profile_id: uuid.UUID
    built: Record | Unsendable
    place: int
    of: int

    @property
    def next_place(self) -> int:
        return (self.place + 1) % self.of

    @property
    def record(self) -> Record | None:
        return self.built if isinstance(self.built, Record) else None

    @property
    def refused(self) -> Unsendable | None:
        return self.built if isinstance(self.built, Unsendable) else None

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
    found = _candidates(selection)
    if not found:
        return None
    place %= len(found)
    snapshot = found[place]
    built = _builder(selection).build(snapshot, reason=ExportReason.BACKFILL)
    return Sample(snapshot.profile_id, built, place, len(found))


class LiveBuilder:
    """Builds records as they would be exported now by what is live."""

    def __init__(self, dataflow: Dataflow) -> None:
        layout = Layout.of(dataflow, consent.paths(dataflow))
        self._builder = records.Builder(layout)
        self._reader = records.Reader(
            dataflow_id=dataflow.pk if layout.delivery_of else None,
            told_by=dataflow.pk if layout.consents else None,
        )

    def build(self, profile_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Record | Unsendable]:
        """The records of profiles, or why they have none; without those that are gone. One query."""
        read = self._reader.read(profile_ids)
        return {key: self._builder.build(each, reason=ExportReason.REPLAY) for key, each in read.items()}


def record_now(dataflow: Dataflow, profile_id: uuid.UUID) -> Record | Unsendable | None:
    """The record of a profile as it would be exported now, or why it has none. None where the profile is gone."""
    return LiveBuilder(dataflow).build([profile_id]).get(profile_id)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be sent against what the stream takes.

    Args:
        records: that will be sent at most.
        record_bytes: the mean of a few of them, with their partition keys; None without a member.
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
    builder = _builder(selection)
    built = [builder.build(snapshot) for snapshot in _candidates(selection)] if count else []
    return _estimate(selection.destination, count, _mean_bytes(built))


def estimate_backlog(dataflow: Dataflow, count: int) -> Estimate:
    """What so many waiting records mean for the stream. Asks the other side: up to 10 s. Never raises for it."""
    some = PendingExport.objects.filter(dataflow=dataflow).order_by().values_list("profile_id", flat=True)
    built = LiveBuilder(dataflow).build(some[:CANDIDATES]) if count else {}
    return _estimate(dataflow.destination, count, _mean_bytes(built.values()))


def _mean_bytes(built: Iterable[Record | Unsendable]) -> int | None:
    sizes = [len(one.data) + len(one.partition_key.encode()) for one in built if isinstance(one, Record)]
    return round(sum(sizes) / len(sizes)) if sizes else None


def _estimate(destination: Destination, count: int, record_bytes: int | None) -> Estimate:
    target, error, hint = _describe(destination)
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


def _describe(destination: Destination) -> tuple[Target | None, str, Text]:
    try:
        return (
            destination.type.describe_target(destination.account.connection(), destination.settings),
            "",
            "",
        )
    except ConnectorError as error:
        return None, f"{error.code}: {gettext(error.message)}", error.hint
    except (KeyLost, LookupError) as error:
        # Credentials that no key opens any more, or a type that is not installed: the page still stands.
        log.warning("estimate_failed", destination_id=str(destination.pk), error=type(error).__name__)
        return None, type(error).__name__, ""


def _candidates(selection: Selection) -> list[Snapshot]:
    """A few members of the chosen segments, those with most of the chosen attributes first."""
    paths = [a.field.path.split(".") for a in selection.attributes()]
    ids = list(
        selectors.members(selection.segments()).order_by("pk").values_list("pk", flat=True)[:CANDIDATES]
    )
    told_of = selection.dataflow if selection.destination.include_delivery else None
    read = records.Reader(dataflow_id=told_of.pk if told_of else None).read(ids)
    # Sorting is stable: among equals the order stays, so that "another member" goes round.
    return sorted(
        (read[profile_id] for profile_id in ids if profile_id in read),
        key=lambda snapshot: -sum(records.value_at(snapshot.attributes, path) is not None for path in paths),
    )


def _builder(selection: Selection) -> records.Builder:
    """What builds records as they will be once the draft is live."""
    destination = selection.destination
    mapped_at = {}
    if destination.include_segment_timestamps:
        now = timezone.now()
        mapped_at = dict.fromkeys(selection.segments().values_list("pk", flat=True), (now, now))
        live = MappedSegment.objects.filter(dataflow=selection.dataflow, segment__in=mapped_at)
        mapped_at |= {row.segment_id: (row.created_at, row.updated_at) for row in live}
    return records.Builder(
        Layout(
            attributes=[(a.field.path, a.mandatory) for a in selection.attributes()],
            hashed=[a.field.path for a in selection.attributes() if a.hashed],
            partition_key=destination.partition_key,
            include_names=destination.include_segment_names,
            include_timestamps=destination.include_segment_timestamps,
            mapped_at=mapped_at,
            delivery_of=str(selection.dataflow.pk)
            if destination.include_delivery and selection.dataflow
            else "",
        )
    )
