"""What workers do with uploads: batch after batch, each in a transaction of its own; and letting members expire."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone, translation

from profiles.ingest import Fragment, Outcome, Result, ingest
from profiles.locks import INGESTION, advisory_lock
from profiles.models import Profile, Segment, SegmentMembership, Upload, UploadRejection
from profiles.segmentation.memberships import EXISTING, EXITED, REALIZED
from profiles.signals import MEMBER
from profiles.uploads import files, selectors
from profiles.uploads.rows import Place, Row, Rows
from profiles.uploads.values import Reader, Unusable
from profiles.workers import tell

BATCH = 1_000  # rows in a transaction
BATCH_CHARACTERS = 4 * 1024 * 1024
AT_A_TIME = 20  # seconds; then the worker does something else first
REJECTIONS_KEPT = 10_000  # of an upload; the rest is counted
SHOWN = 200  # characters of a value
DRAFTS_KEPT, KEPT = timedelta(days=1), timedelta(days=90)


def wake(upload: Upload) -> None:
    """Tell the workers of an upload. The message says how far it is: one that comes late is not followed."""
    tell("profiles.tasks.upload", [(str(upload.pk), upload.progress)])


def wake_all() -> None:
    """Tell the workers of all uploads that are under way."""
    for upload in Upload.objects.filter(state__in=Upload.ACTIVE).order_by("queued_at"):
        wake(upload)


@dataclass(slots=True)
class _File:
    """The file of an upload, opened where the upload stands."""

    rows: Rows
    reader: Reader


def proceed(upload_id: uuid.UUID, *, progress: int | None = None, seconds: float = AT_A_TIME) -> None:
    """Go on with an upload, to its end or for so many seconds.

    1. What is next stands in the database, so it does not matter which worker goes on, or whether another one is
       doing so already: a batch belongs to the one that has locked the upload, and others pass over it.
    2. Whoever comes second to a segment waits until the first is through, and is told then.

    Args:
        progress: how far the upload was when this was asked for. Is it farther, others have gone on.
    """
    until = time.monotonic() + seconds
    file: _File | None = None
    more = True
    while more:
        with transaction.atomic():
            found = Upload.objects.select_for_update(skip_locked=True).filter(
                pk=upload_id, state__in=Upload.ACTIVE
            )
            upload = found.first()
            if (
                upload is None
                or progress not in (None, upload.progress)
                or selectors.ahead_of(upload).exists()
            ):
                return
            if upload.state == Upload.State.LEAVING:
                _let_leave(upload)
            else:
                file = _opened(upload, file)
                with translation.override(upload.language):
                    _take_batch(upload, file)
            upload.save()
            more, progress = upload.active, upload.progress
        if more and time.monotonic() > until:
            wake(upload)
            return


def finish(upload: Upload, state: Upload.State) -> None:
    """Drop the file, and have the next upload to the segment begin. Whoever calls this saves the upload."""
    upload.state, upload.finished_at = state, timezone.now()
    upload.parts.all().delete()
    Segment.objects.filter(pk=upload.segment_id).update(evaluated_at=upload.finished_at)
    waiting = Upload.objects.filter(segment=upload.segment_id, state__in=Upload.ACTIVE).exclude(pk=upload.pk)
    if following := waiting.order_by("queued_at", "pk").first():
        transaction.on_commit(lambda: wake(following), robust=True)


def _opened(upload: Upload, file: _File | None) -> _File:
    """The file at the upload's place: as this worker left it, unless another one went on meanwhile."""
    cookie, lines = upload.place or (0, 0)
    place = Place(cookie, lines, upload.rows)
    if file is not None and file.rows.place() == place:
        return file
    rows = Rows(files.opened(upload), upload.encoding, upload.delimiter, place)
    return _File(rows, selectors.reader(upload))


def _take_batch(upload: Upload, file: _File) -> None:
    """The next rows: those that can be read are ingested, the others noted with the reason."""
    if upload.state == Upload.State.WAITING:
        upload.state, upload.started_at = Upload.State.READING, timezone.now()
    taken: list[tuple[Row, str, Fragment]] = []
    unusable: list[tuple[Row, Unusable]] = []
    room, ended = BATCH_CHARACTERS, True
    for number, row in enumerate(file.rows, 1):
        if any(row.cells) and not (upload.has_header and row.number == 1):
            try:
                key, attributes = file.reader.read(row)
                taken.append((row, key, Fragment([(upload.namespace, key)], attributes)))
            except Unusable as error:
                unusable.append((row, error))
        room -= sum(map(len, row.cells))
        if number == BATCH or room < 0:
            ended = False
            break
    unusable += _write(upload, taken)
    _note(upload, unusable)
    place = file.rows.place()
    upload.place, upload.rows = [place.cookie, place.lines], place.rows
    if ended:
        # Nobody leaves because of a file in which there was nobody.
        leaving = upload.way == Upload.Way.REPLACE and upload.accepted
        if leaving:
            upload.state = Upload.State.LEAVING
        else:
            finish(upload, Upload.State.DONE)


def _write(upload: Upload, taken: list[tuple[Row, str, Fragment]]) -> list[tuple[Row, Unusable]]:
    """Bring a batch into the store. Returns the rows that ingestion rejects."""
    members = _members(upload, {key for _row, key, _fragment in taken})
    if upload.way == Upload.Way.REMOVE:
        known = [entry for entry in taken if entry[1] in members]
        upload.unknown += len(taken) - len(known)
        taken = known
    outcomes = ingest(
        [_told(upload, key, fragment, members) for _row, key, fragment in taken], skip_unchanged=True
    )
    rejected = []
    moved = set()
    for (row, key, _fragment), outcome in zip(taken, outcomes, strict=True):
        if outcome.result == Result.REJECTED:
            rejected.append((row, Unusable(key, outcome.reason)))
        elif upload.way == Upload.Way.REMOVE or key not in members:
            moved.add(outcome.profile_id)
    upload.accepted += len(outcomes) - len(rejected)
    upload.created += sum(outcome.result == Result.CREATED for outcome in outcomes)
    if upload.way == Upload.Way.REMOVE:
        upload.left += len(moved)
    else:
        upload.joined += len(moved)
    return rejected


@dataclass(frozen=True, slots=True)
class _Member:
    profile_id: uuid.UUID
    status: str
    since: datetime


def _members(upload: Upload, keys: set[str]) -> Mapping[str, _Member]:
    """Those of these identities whose customers are in the segment. One query."""
    found = SegmentMembership.objects.filter(
        segment=upload.segment_id,
        status__in=MEMBER,
        profile__identities__namespace__code=upload.namespace,
        profile__identities__value__in=keys,
    ).values_list("profile__identities__value", "profile_id", "status", "last_qualification_time")
    return {key: _Member(profile_id, status, since) for key, profile_id, status, since in found}


def _told(upload: Upload, key: str, fragment: Fragment, members: Mapping[str, _Member]) -> Fragment:
    """What a row says of its customer, as ingestion takes it."""
    segment_id, member = str(upload.segment_id), members.get(key)
    if upload.way == Upload.Way.REMOVE:
        assert member is not None
        return Fragment(profile_id=member.profile_id, memberships={segment_id: (EXITED, None)})
    status = REALIZED
    if member is not None:
        # Who stands in the file twice has just qualified, too.
        status = member.status if member.since == upload.started_at else EXISTING
    return Fragment(fragment.identities, fragment.attributes, {segment_id: (status, upload.started_at)})


def _note(upload: Upload, unusable: list[tuple[Row, Unusable]]) -> None:
    room = max(0, REJECTIONS_KEPT - upload.rejected)
    upload.rejected += len(unusable)
    UploadRejection.objects.bulk_create(
        UploadRejection(
            upload=upload,
            row=row.number,
            value=_storable(error.value[:SHOWN]),
            reason=str(error.reason),
        )
        for row, error in sorted(unusable, key=lambda entry: entry[0].number)[:room]
    )


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


# --- Leaving -------------------------------------------------------------------------------------------------------


def _let_leave(upload: Upload) -> None:
    """Take out some of those who were not in the file."""
    assert upload.started_at is not None
    if left := exit_members(str(upload.segment_id), before=upload.started_at):
        upload.left += left
    else:
        finish(upload, Upload.State.DONE)


def exit_members(segment_id: str, *, before: datetime) -> int:
    """Let members leave whose last qualification was before a moment. In the current transaction.

    Their profiles are locked before it is looked once more: whoever qualifies them anew at this moment wins.

    Returns:
        How many left, a batch at most; 0: there are none.
    """
    advisory_lock(INGESTION, shared=True)
    due = SegmentMembership.objects.filter(
        segment=segment_id, status__in=MEMBER, last_qualification_time__lt=before
    )
    while keys := list(due.order_by().values_list("profile_id", flat=True)[:BATCH]):
        locked = Profile.objects.filter(pk__in=keys).order_by("pk").select_for_update(no_key=True)
        profiles = list(locked.values_list("pk", flat=True))
        still = due.filter(profile__in=profiles).values_list("profile_id", flat=True)
        outcomes: list[Outcome] = ingest(
            [Fragment(profile_id=key, memberships={segment_id: (EXITED, None)}) for key in still]
        )
        if outcomes:
            return len(outcomes)
    return 0


def expire() -> None:
    """Let those leave whose last qualification is longer ago than their segment allows.

    Nobody leaves before the segment has allowed just this for so long: who joined when members stayed for ever, or
    longer, does not leave at once.
    """
    now = timezone.now()
    expiring = Segment.objects.filter(
        origin=Segment.Origin.UPLOAD, state=Segment.State.LIVE, expires_since__isnull=False
    )
    for segment in expiring:
        assert segment.expires_after is not None and segment.expires_since is not None
        before = now - timedelta(days=segment.expires_after)
        more = before >= segment.expires_since
        while more:
            with transaction.atomic():
                more = exit_members(segment.pk, before=before) > 0


def forget() -> None:
    """Delete drafts that nobody started, with their files, and old reports."""
    now = timezone.now()
    Upload.objects.filter(state=Upload.State.DRAFT, created_at__lt=now - DRAFTS_KEPT).delete()
    Upload.objects.filter(finished_at__lt=now - KEPT).delete()
