"""Every write of the activation screens: the draft of the wizard, *Finish*, the operator's controls, dead letters.

A draft is saved at each step. Two people may edit it: each page carries the version that it shows, and a save from a
page that has not seen what somebody else saved is refused (:class:`EditedByOther`). The same person's own pages, two
tabs or a page that one came back to, follow each other: the last save wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

import audit
from activation import backlog, selectors
from activation.backlog import Dropped
from activation.consent import Change
from activation.export import lanes, outbox
from activation.models import (
    MAX_LANES,
    Dataflow,
    DraftAttribute,
    DraftSegment,
    ExportReason,
    FailedExport,
    MappedAttribute,
    MappedSegment,
    PendingExport,
)
from destinations.models import Destination
from governance import enforcement
from governance.enforcement import Violation
from profiles import selectors as store
from profiles.models import Profile, SchemaField, Segment

log = structlog.get_logger(__name__)

MAX_ATTRIBUTES = 500
"""Attributes of one dataflow. 500 values of 1 KB still fit into a record of 1 MiB with its memberships and identities,
and a request to Kinesis (10 MiB) still holds several such records; what needs more is a copy of the profile store."""


class Refused(Exception):
    """A save that can't be done; the text says why, in the reader's language.

    Args:
        step: the wizard's step where it can be put right (``segments``, ``attributes``), or empty.
    """

    def __init__(self, message: str | Promise, step: str = "") -> None:
        super().__init__(message)
        self.message = str(message)
        self.step = step


class EditedByOther(Refused):
    """Somebody else saved since the page was loaded. Nothing was overwritten."""

    def __init__(self, name: str, at: datetime) -> None:
        super().__init__(
            _("Somebody else changed this activation meanwhile. What you chose here was not saved.")
        )
        self.name = name
        self.at = at


class NothingToFinish(Refused):
    """There is no draft: it was finished (a second click, another tab) or discarded."""

    def __init__(self) -> None:
        super().__init__(_("This activation is already finished: there are no changes left to make live."))


class Forbidden(Refused):
    """Policies forbid what it would use data for; *Review* says which and why."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("\n".join(str(violation) for violation in violations), step="review")


@dataclass(frozen=True, slots=True)
class Choice:
    """An attribute as chosen in the wizard, by its path."""

    path: str
    mandatory: bool = False
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """What *Finish* did.

    Args:
        queued: profiles whose backfill was queued, or was waiting already.
        awake: the workers were told; False when Redis is away, and the sweep starts the export later.
    """

    dataflow: Dataflow
    queued: int
    awake: bool


# -- the draft -----------------------------------------------------------------------------------------------------


def save_segments(
    *,
    destination: Destination,
    version: int,
    by: AbstractBaseUser,
    shown: Sequence[str],
    ticked: Collection[str],
) -> list[str]:
    """Save which of the segments on a page are ticked; what is chosen on other pages stays.

    Args:
        version: of the draft that the page showed; 0 where there was no dataflow yet.
        shown: ids of the segments on the page.
        ticked: those of them that are ticked.

    Returns:
        Ids that are ticked but were deleted meanwhile. The others are saved.

    Raises:
        EditedByOther: nothing was saved.
    """
    wanted = set(ticked) & set(shown)
    with _draft(destination, version, by) as draft:
        there = set(Segment.objects.filter(pk__in=shown).values_list("pk", flat=True))
        chosen = set(
            draft.chosen_segment_ids().filter(segment__in=shown).values_list("segment_id", flat=True)
        )
        added, removed = (wanted & there) - chosen, chosen - wanted
        if added or removed or draft.is_new:
            dataflow = draft.write()
            DraftSegment.objects.filter(dataflow=dataflow, segment__in=removed).delete()
            _add_segments(dataflow, [segment_id for segment_id in shown if segment_id in added])
    return [segment_id for segment_id in shown if segment_id in wanted - there]


def add_found_segments(*, destination: Destination, version: int, by: AbstractBaseUser, search: str) -> int:
    """Choose every segment that ``search`` finds. Returns how many were added. Raises EditedByOther."""
    with _draft(destination, version, by) as draft:
        dataflow = draft.write()
        found = (
            store.segments(search=search, state=Segment.State.LIVE)
            .exclude(pk__in=DraftSegment.objects.filter(dataflow=dataflow).values("segment"))
            .order_by()
            .values_list("pk", flat=True)
        )
        return _add_segments(dataflow, list(found))


def clear_segments(*, destination: Destination, version: int, by: AbstractBaseUser) -> None:
    """Choose none. Raises EditedByOther."""
    with _draft(destination, version, by) as draft:
        DraftSegment.objects.filter(dataflow=draft.write()).delete()


def save_attributes(
    *, destination: Destination, version: int, by: AbstractBaseUser, choices: Sequence[Choice]
) -> None:
    """Save the attributes, all of them, in their order. A path that comes twice counts once.

    Raises:
        Refused: more than :data:`MAX_ATTRIBUTES`, a path that is not in the schema, or one of a group of fields.
        EditedByOther: nothing was saved.
    """
    by_path: dict[str, Choice] = {}
    for choice in choices:
        by_path.setdefault(choice.path, choice)
    if len(by_path) > MAX_ATTRIBUTES:
        raise Refused(
            ngettext(
                "%(count)s attribute is too many: a dataflow takes %(most)s at most.",
                "%(count)s attributes are too many: a dataflow takes %(most)s at most.",
                len(by_path),
            )
            % {"count": f"{len(by_path):,}", "most": MAX_ATTRIBUTES},
            step="attributes",
        )
    with _draft(destination, version, by) as draft:
        fields = {field.path: field for field in SchemaField.objects.filter(path__in=by_path)}
        _refuse_unmappable(by_path, fields)
        wanted = [
            selectors.ChosenAttribute(fields[path], choice.mandatory, choice.hashed)
            for path, choice in by_path.items()
        ]
        wanted = [a if a.hashable else replace(a, hashed=False) for a in wanted]
        if wanted == draft.chosen_attributes() and not draft.is_new:
            return
        dataflow = draft.write()
        DraftAttribute.objects.filter(dataflow=dataflow).delete()
        _draft_attributes(dataflow, wanted)


def discard(*, destination: Destination, version: int, by: AbstractBaseUser) -> None:
    """Drop the unfinished changes of a dataflow that was finished before: what is live stays.

    Does nothing where there are none. Raises EditedByOther.
    """
    with transaction.atomic():
        dataflow = Dataflow.objects.select_for_update(no_key=True).filter(destination=destination).first()
        if dataflow is None or dataflow.draft_at is None or dataflow.state == Dataflow.State.DRAFT:
            return
        _refuse_stale(dataflow, version, by)
        _drop_draft(dataflow, by)
        audit.record("dataflow.draft_discarded", destination)


# -- live ----------------------------------------------------------------------------------------------------------


def finish(
    *, destination: Destination, version: int, by: AbstractBaseUser, segments: int, attributes: int
) -> Finished:
    """Make the draft live, enable the dataflow and queue the members of the segments that are new in it.

    Args:
        version: of the draft that was reviewed.
        segments: how many segments were reviewed. A deleted one leaves the draft by itself: that is how it is seen.
        attributes: how many attributes were reviewed.

    Raises:
        NothingToFinish: a second click, another tab, the back button.
        EditedByOther: somebody else changed the draft since.
        Refused: no segment or attribute, or one that was reviewed is gone.
        Forbidden: it would violate a policy.
    """
    try:
        with transaction.atomic():
            enforcement.lock()
            outbox.lock_many()
            dataflow = Dataflow.objects.select_for_update(no_key=True).filter(destination=destination).first()
            if dataflow is None:
                raise NothingToFinish
            # Also when nothing is left to do: "already finished" by whom is then part of the answer.
            _refuse_stale(dataflow, version, by)
            if dataflow.draft_at is None:
                raise NothingToFinish
            _refuse_incomplete(dataflow, segments, attributes)
            outbox.lock_mapping(dataflow)
            before = _told(dataflow)
            added = _segments_live(dataflow)
            _attributes_live(dataflow)
            _refuse_forbidden(dataflow)
            now = timezone.now()
            dataflow.state = Dataflow.State.ENABLED
            dataflow.finished_at = now
            dataflow.draining_since = None
            _drop_draft(dataflow, by, "state", "finished_at", "draining_since")
            queued = outbox.backfill(dataflow, added)
            if queued:
                _note_bulk(dataflow)
            audit.record("dataflow.finished", destination, before, _told(dataflow) | {"queued": queued})
    except IntegrityError as error:
        # Deleted between our look and our write.
        raise Refused(_("A segment or field was deleted meanwhile. Look at the activation again.")) from error
    return Finished(dataflow, queued, awake=outbox.wake(dataflow))


def enable(*, destination: Destination) -> bool | None:
    """Go on exporting, first with what was queued meanwhile. What is being drained is not disabled afterwards.

    Returns:
        Whether the workers were told (False: Redis is away); None where it was enabled already.

    Raises:
        Refused: the activation was never finished.
        Forbidden: what is live in it violates a policy by now.
    """
    with transaction.atomic():
        enforcement.lock()
        dataflow = _finished(destination)
        if dataflow.state == Dataflow.State.ENABLED and dataflow.draining_since is None:
            return None
        _switch(dataflow, Dataflow.State.ENABLED)
        _refuse_forbidden(dataflow)
        audit.record("dataflow.enabled", destination)
    return outbox.wake(dataflow)


def disable(*, destination: Destination) -> bool:
    """Stop exporting within a batch. What is queued stays. False where it was disabled already.

    Raises:
        Refused: the activation was never finished.
    """
    with transaction.atomic():
        dataflow = _finished(destination)
        if dataflow.state == Dataflow.State.DISABLED:
            return False
        _switch(dataflow, Dataflow.State.DISABLED)
        audit.record("dataflow.disabled", destination)
    return True


def drain(*, destination: Destination) -> bool | None:
    """Deliver what waits, then disable. What is queued from now on may be delivered, too, or waits.

    Returns:
        Whether anything waits; else it is disabled at once. None where it is being drained already.

    Raises:
        Refused: it is disabled, or was never finished.
    """
    with transaction.atomic():
        dataflow = _finished(destination)
        if dataflow.state == Dataflow.State.DISABLED:
            raise Refused(_("It is disabled, so nothing is delivered. Enable it first."))
        if dataflow.draining_since is not None:
            return None
        waits = dataflow.pending.exists()
        if waits:
            _switch(dataflow, Dataflow.State.ENABLED, draining_since=timezone.now())
        else:
            _switch(dataflow, Dataflow.State.DISABLED)
        audit.record("dataflow.draining" if waits else "dataflow.disabled", destination)
    return waits


def finish_drains() -> int:
    """Disable what is drained: nothing of what waited then is left. The sweep calls it. Returns how many."""
    left = PendingExport.objects.filter(dataflow=OuterRef("pk"), created_at__lte=OuterRef("draining_since"))
    draining = Dataflow.objects.filter(state=Dataflow.State.ENABLED, draining_since__isnull=False)
    wanted = draining.exclude(Exists(left)).select_related("destination")
    if not wanted.exists():
        return 0
    with transaction.atomic():
        drained = list(wanted.select_for_update(of=["self"], no_key=True))
        for dataflow in drained:
            _switch(dataflow, Dataflow.State.DISABLED)
            audit.record("dataflow.disabled", dataflow.destination, after={"drained": True})
    log.info("drained", count=len(drained))
    return len(drained)


def _finished(destination: Destination) -> Dataflow:
    """The destination's dataflow, locked. Raises Refused where it was never finished."""
    rows = Dataflow.objects.select_for_update(no_key=True)
    return _checked_finished(rows.filter(destination=destination).first())


def _checked_finished(dataflow: Dataflow | None) -> Dataflow:
    if dataflow is None or dataflow.state == Dataflow.State.DRAFT:
        raise Refused(_("The activation was never finished: choose segments and attributes first."))
    return dataflow


def _switch(dataflow: Dataflow, state: Dataflow.State, draining_since: datetime | None = None) -> None:
    dataflow.state, dataflow.draining_since = state, draining_since
    dataflow.save(update_fields=["state", "draining_since", "updated_at"])


# -- consent -------------------------------------------------------------------------------------------------------


def follow_consent(changes: Sequence[Change]) -> None:
    """Queue the members to whom it matters that other fields must say yes, in the transaction that decides it.

    What each gets, the worker finds by what holds then: an ordinary record, a last one, or none.
    """
    dataflow_ids = [change.dataflow.pk for change in changes]
    outbox.lock_many()
    # Before the mappings, as everybody does.
    list(Dataflow.objects.select_for_update(no_key=True).filter(pk__in=dataflow_ids).order_by("pk"))
    for change in changes:
        outbox.lock_mapping(change.dataflow)
        if outbox.queue_many(change.dataflow.pk, change.profiles(), ExportReason.BACKFILL):
            _note_bulk(change.dataflow)
    outbox.wake_on_commit(lanes.every_lane(dataflow_ids), again=True)


# -- what waits ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay queued.

    Args:
        queued: profiles, those included that waited already.
        awake: the workers were told; False when Redis is away.
        enabled: else it waits until the dataflow is enabled.
        failures: dead letters that it closed.
    """

    queued: int
    awake: bool
    enabled: bool
    failures: int = 0


def set_lanes(*, destination: Destination, count: int, by: AbstractBaseUser | None) -> bool:
    """Change how many workers may deliver at once; the export goes on. False where it was so already.

    Raises:
        Refused: it was never finished, or that is no number of lanes.
    """
    if not 1 <= count <= MAX_LANES:
        raise Refused(_("A dataflow has 1 to %(most)s lanes.") % {"most": MAX_LANES}, step="lanes")
    with transaction.atomic():
        dataflow = _finished(destination)
        if dataflow.lane_count == count:
            return False
        _note("lanes_changed", dataflow, by, before=dataflow.lane_count, count=count)
        dataflow.lane_count = count
        dataflow.save(update_fields=["lane_count", "updated_at"])
    outbox.wake(dataflow)
    return True


def purge(*, destination: Destination, by: AbstractBaseUser | None) -> Dropped:
    """Drop what waits: it will not be sent. What is at the destination at this moment may still arrive."""
    return _drop(destination, by, "backlog_purged", only_bulk=False)


def cancel_backfill(*, destination: Destination, by: AbstractBaseUser | None) -> Dropped:
    """Drop what waits of backfills and replays; changes of the moment stay."""
    return _drop(destination, by, "backfill_cancelled", only_bulk=True)


def _drop(destination: Destination, by: AbstractBaseUser | None, event: str, *, only_bulk: bool) -> Dropped:
    dataflow = selectors.find_dataflow(destination)
    if dataflow is None:
        return Dropped()
    with transaction.atomic():
        dropped = backlog.drop(dataflow, only_bulk=only_bulk)
        _note(event, dataflow, by, count=dropped.count, kept=dropped.kept)
    return dropped


def replay(
    *,
    destination: Destination,
    period: selectors.Period | None,
    seen: datetime | None,
    by: AbstractBaseUser | None,
) -> Replayed:
    """Queue all members of the mapped segments, or what was exported in a period.

    Args:
        period: None for the members.
        seen: ``bulk_at`` of the dataflow when this was decided: of two clicks, the second queues nothing.

    Raises:
        Refused: it was never finished, or something else was queued meanwhile.
    """
    with transaction.atomic():
        outbox.lock_many()
        dataflow = _checked_finished(selectors.find_dataflow(destination))
        if dataflow.bulk_at != seen:
            raise _queued_meanwhile()
        queued = _queue_many(dataflow, selectors.to_replay(dataflow, period))
        if queued and not _note_bulk(dataflow, seen):
            raise _queued_meanwhile()
        _note("replayed", dataflow, by, count=queued)
    return _woken(dataflow, queued)


def replay_failures(
    *, destination: Destination, failures: QuerySet[FailedExport], by: AbstractBaseUser | None
) -> Replayed:
    """Queue the profiles of dead letters again, and close them; those that are closed already are left alone.

    Args:
        failures: of this destination.
    """
    with transaction.atomic():
        outbox.lock_many()
        dataflow = Dataflow.objects.get(destination=destination)
        now = timezone.now()
        # Closed first: of two clicks at the same moment, the second waits here, and then finds nothing open.
        closed = _close(failures, FailedExport.State.REPLAYED, by, now)
        queued = 0
        if closed:
            ours = FailedExport.objects.filter(
                run__dataflow=dataflow, state=FailedExport.State.REPLAYED, closed_at=now
            )
            queued = _queue_many(dataflow, Profile.objects.filter(pk__in=ours.order_by().values("profile")))
            _note_bulk(dataflow)
        _note("failures_replayed", dataflow, by, count=closed)
    return _woken(dataflow, queued, closed)


def discard_failures(
    *, destination: Destination, failures: QuerySet[FailedExport], note: str, by: AbstractBaseUser | None
) -> int:
    """Close dead letters without sending anything. Returns how many were open.

    Args:
        note: why.

    Raises:
        Refused: no word why.
    """
    note = note.strip()
    if not note:
        raise Refused(_("Say why they are discarded."), step="note")
    with transaction.atomic():
        closed = _close(failures, FailedExport.State.DISCARDED, by, timezone.now(), note[:500])
        dataflow = selectors.find_dataflow(destination)
        if dataflow is not None:
            _note("failures_discarded", dataflow, by, count=closed)
    return closed


def _close(
    failures: QuerySet[FailedExport],
    state: FailedExport.State,
    by: AbstractBaseUser | None,
    now: datetime,
    note: str = "",
) -> int:
    # The state stands outside of the subquery, too: there PostgreSQL looks again at a row that somebody else closed
    # meanwhile.
    chosen = FailedExport.objects.filter(
        state=FailedExport.State.OPEN,
        pk__in=failures.filter(state=FailedExport.State.OPEN).order_by().values("pk"),
    )
    return chosen.update(state=state, closed_at=now, closed_by=by and by.pk, note=note)


def _queue_many(dataflow: Dataflow, profiles: QuerySet[Profile]) -> int:
    return outbox.queue_many(dataflow.pk, profiles, ExportReason.REPLAY)


def _note_bulk(dataflow: Dataflow, *seen: datetime | None) -> bool:
    """Remember how many wait of the many, so that pages can tell how far it is. False where ``seen`` has passed."""
    row = Dataflow.objects.filter(pk=dataflow.pk)
    for moment in seen:
        row = row.filter(bulk_at=moment)
    waiting = PendingExport.objects.filter(dataflow=dataflow, bulk=True).count()
    return bool(row.update(bulk_at=timezone.now(), bulk_total=waiting))


def _queued_meanwhile() -> Refused:
    return Refused(
        _(
            "A replay or backfill was queued since you looked: by a second click, or by somebody else. Look again."
        )
    )


def _woken(dataflow: Dataflow, queued: int, failures: int = 0) -> Replayed:
    enabled = dataflow.state == Dataflow.State.ENABLED
    return Replayed(queued, outbox.wake(dataflow) if enabled and queued else True, enabled, failures)


def _note(event: str, dataflow: Dataflow, by: AbstractBaseUser | None, **numbers: int) -> None:
    """For those who watch the logs, and for the audit trail."""
    log.info(event, dataflow_id=str(dataflow.pk), by=by.pk if by else None, **numbers)
    audit.record(f"dataflow.{event}", dataflow.destination, after=numbers)


def _told(dataflow: Dataflow) -> dict[str, list[str]]:
    """What the audit trail tells of what is live."""
    segments = MappedSegment.objects.filter(dataflow=dataflow).order_by("segment__name")
    attributes = MappedAttribute.objects.filter(dataflow=dataflow).order_by("position")
    return {
        "segments": list(segments.values_list("segment__name", flat=True)),
        "attributes": list(attributes.values_list("field__path", flat=True)),
        "mandatory": list(attributes.filter(mandatory=True).values_list("field__path", flat=True)),
        "hashed": list(attributes.filter(hashed=True).values_list("field__path", flat=True)),
    }


# -- inside --------------------------------------------------------------------------------------------------------


class _Draft:
    """A draft being saved: it comes into being with the first change, as a copy of what is live or recommended."""

    def __init__(self, destination: Destination, dataflow: Dataflow | None, by: AbstractBaseUser) -> None:
        self.destination = destination
        self.dataflow = dataflow
        self.by = by
        # A first draft is kept even when nothing was changed in it: Save & exit then has something to come back to.
        self.is_new = dataflow is None or (
            dataflow.draft_at is None and dataflow.state == Dataflow.State.DRAFT
        )

    def chosen_segment_ids(self) -> selectors.SegmentRows:
        return selectors.chosen_segment_rows(self.dataflow)

    def chosen_attributes(self) -> list[selectors.ChosenAttribute]:
        return selectors.chosen_attributes(self.destination, self.dataflow)

    def write(self) -> Dataflow:
        """The dataflow with its draft there, a version further."""
        attributes = self.chosen_attributes()
        dataflow = self.dataflow or Dataflow.objects.create(
            destination=self.destination, updated_by_id=self.by.pk
        )
        if dataflow.draft_at is None:
            live = MappedSegment.objects.filter(dataflow=dataflow).order_by("pk")
            _add_segments(dataflow, list(live.values_list("segment_id", flat=True)))
            _draft_attributes(dataflow, attributes)
        dataflow.draft_at = timezone.now()
        _next_version(dataflow, self.by, "draft_at")
        self.dataflow = dataflow
        return dataflow


@contextmanager
def _draft(destination: Destination, version: int, by: AbstractBaseUser) -> Iterator[_Draft]:
    try:
        with transaction.atomic():
            # The destination's row is there before the first save of two at once, so it is what they queue at.
            Destination.objects.select_for_update(no_key=True).get(pk=destination.pk)
            dataflow = Dataflow.objects.select_for_update(no_key=True).filter(destination=destination).first()
            if dataflow is not None:
                _refuse_stale(dataflow, version, by)
            yield _Draft(destination, dataflow, by)
    except IntegrityError as error:
        raise Refused(_("A segment or field was deleted meanwhile. Look at the list again.")) from error


def _refuse_stale(dataflow: Dataflow, version: int, by: AbstractBaseUser) -> None:
    own = dataflow.updated_by_id == by.pk and version >= dataflow.edited_from
    if dataflow.version != version and not own:
        other = dataflow.updated_by
        raise EditedByOther(other.get_full_name() or str(other) if other else "", dataflow.updated_at)


def _refuse_unmappable(paths: Collection[str], fields: dict[str, SchemaField]) -> None:
    unknown = [path for path in paths if path not in fields]
    if unknown:
        raise Refused(
            ngettext(
                "Not in the schema: %(paths)s.", "%(count)s are not in the schema: %(paths)s.", len(unknown)
            )
            % {"count": f"{len(unknown):,}", "paths": _some(unknown)},
            step="attributes",
        )
    groups = [path for path in paths if fields[path].type == SchemaField.Type.OBJECT]
    if groups:
        raise Refused(
            _("A group of fields can't be mapped, only fields in it: %(paths)s.") % {"paths": _some(groups)},
            step="attributes",
        )


def _refuse_forbidden(dataflow: Dataflow) -> None:
    """Refuse what the dataflow uses data for by its live mappings. The lock of governance is held."""
    uses = selectors.uses(Dataflow.objects.filter(pk=dataflow.pk))
    if violations := enforcement.judge(uses):
        enforcement.note_refusal(violations)
        raise Forbidden(violations)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"“{name[:100]}”" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown}, …"


def _refuse_incomplete(dataflow: Dataflow, segments: int, attributes: int) -> None:
    selection = selectors.Selection(dataflow.destination, dataflow)
    for problem in selection.problems():
        raise Refused(problem.message, step=problem.step)
    if selection.segment_count() != segments:
        raise Refused(
            _("A segment was deleted since you looked. Look at the activation again."), step="segments"
        )
    if len(selection.attributes()) != attributes:
        raise Refused(
            _("A field was deleted since you looked. Look at the activation again."), step="attributes"
        )


def _add_segments(dataflow: Dataflow, segment_ids: Sequence[str]) -> int:
    rows = [DraftSegment(dataflow=dataflow, segment_id=segment_id) for segment_id in segment_ids]
    return len(DraftSegment.objects.bulk_create(rows, batch_size=5000))


def _draft_attributes(dataflow: Dataflow, chosen: Sequence[selectors.ChosenAttribute]) -> None:
    DraftAttribute.objects.bulk_create(
        DraftAttribute(
            dataflow=dataflow, field=a.field, mandatory=a.mandatory, hashed=a.hashed, position=position
        )
        for position, a in enumerate(chosen)
    )


def _segments_live(dataflow: Dataflow) -> list[str]:
    """Map what the draft has; the ids that are new."""
    drafted = DraftSegment.objects.filter(dataflow=dataflow).values("segment")
    mapped = MappedSegment.objects.filter(dataflow=dataflow)
    mapped.exclude(segment__in=drafted).delete()
    added = list(
        DraftSegment.objects.filter(dataflow=dataflow)
        .exclude(segment__in=mapped.values("segment"))
        .order_by("pk")
        .values_list("segment_id", flat=True)
    )
    rows = [MappedSegment(dataflow=dataflow, segment_id=segment_id) for segment_id in added]
    MappedSegment.objects.bulk_create(rows, batch_size=5000)
    return added


_OPTIONS = ("mandatory", "hashed", "position")  # of a mapped attribute


def _attributes_live(dataflow: Dataflow) -> None:
    before = {row.field_id: row for row in MappedAttribute.objects.filter(dataflow=dataflow)}
    added, changed = [], []
    for draft in DraftAttribute.objects.filter(dataflow=dataflow):
        row = before.pop(draft.field_id, None)
        if row is None:
            row = MappedAttribute(dataflow=dataflow, field_id=draft.field_id)
            added.append(row)
        elif all(getattr(row, name) == getattr(draft, name) for name in _OPTIONS):
            continue
        else:
            changed.append(row)
        for name in _OPTIONS:
            setattr(row, name, getattr(draft, name))
    MappedAttribute.objects.filter(dataflow=dataflow, field__in=before).delete()
    MappedAttribute.objects.bulk_create(added)
    MappedAttribute.objects.bulk_update(changed, _OPTIONS)


def _drop_draft(dataflow: Dataflow, by: AbstractBaseUser, *fields: str) -> None:
    DraftSegment.objects.filter(dataflow=dataflow).delete()
    DraftAttribute.objects.filter(dataflow=dataflow).delete()
    dataflow.draft_at = None
    _next_version(dataflow, by, "draft_at", *fields)


def _next_version(dataflow: Dataflow, by: AbstractBaseUser, *fields: str) -> None:
    if dataflow.updated_by_id != by.pk:
        dataflow.edited_from = dataflow.version
        dataflow.updated_by_id = by.pk
    dataflow.version += 1
    dataflow.save(update_fields=["version", "edited_from", "updated_by", "updated_at", *fields])
