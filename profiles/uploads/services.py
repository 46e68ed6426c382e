"""What people do with uploads, one function a use case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

import audit
from profiles.models import IdentityNamespace, Segment, Upload
from profiles.services import create_segment
from profiles.uploads import detect, files, selectors, work
from profiles.uploads.rows import Row
from profiles.uploads.values import Unusable

MAX_COLUMNS = 100
EXPIRES_AFTER = 30  # days, unless somebody says otherwise
LEAST_DAYS, MOST_DAYS = 1, 90


def receive(
    file: UploadedFile[bytes], *, segment: Segment | None, segment_name: str = "", by: AbstractBaseUser
) -> Upload:
    """Take a file in as a draft. How it is written is found out here, and can be said anew with :func:`read_as`.

    Args:
        segment: whose members it names; None: a new one's, with the name ``segment_name``.

    Raises:
        ValidationError: with the reason, of the field ``file`` where it is the file's.
    """
    size = file.size or 0
    if not size:
        raise _no_file(_("The file is empty."))
    if size > files.MAX_BYTES:
        raise _no_file(
            _("The file has %(size)s; %(limit)s are the limit. Split it, and add one part after the other.")
            % {"size": filesizeformat(size), "limit": filesizeformat(files.MAX_BYTES)}
        )
    if segment is not None:
        _check_segment(segment)
    with transaction.atomic():
        upload = Upload.objects.create(
            segment=segment,
            segment_name="" if segment else segment_name,
            file_name=_plain(file.name or ""),
            size=size,
            language=get_language() or "en",
            created_by_id=by.pk,
        )
        sample = files.store(upload, file)
        head = files.head(upload)
        for magic, reason in files.NO_TEXT:
            if head.startswith(magic):
                raise _no_file(str(reason))
        try:
            upload.encoding = detect.encoding(sample)
        except ValueError:
            raise _no_file(_("This is no text file. Save the list as CSV and upload that.")) from None
        upload.delimiter = detect.delimiter(head, upload.encoding)
        rows = detect.first_rows(head, upload.encoding, upload.delimiter)
        upload.has_header = detect.has_header(rows)
        if not any(any(cells) for cells in rows[upload.has_header :]):
            raise _no_file(_("The file has no rows that can be read."))
        if len(rows[0]) > MAX_COLUMNS:
            raise _no_file(_("The file has more than %(limit)s columns.") % {"limit": MAX_COLUMNS})
        upload.save(update_fields=["encoding", "delimiter", "has_header"])
    return upload


def _no_file(reason: str) -> ValidationError:
    return ValidationError({"file": reason})


def _plain(name: str) -> str:
    """A file's name without what no page or database shows."""
    name = re.sub(r"[\x00-\x1f]", " ", PurePath(name.replace("\\", "/")).name).strip()
    return (name or "CSV")[:255]


def _check_segment(segment: Segment) -> None:
    if not segment.takes_uploads:
        raise ValidationError(_("“%(name)s” takes no uploads: it is not live.") % {"name": segment.name})


def read_as(upload: Upload, *, encoding: str, delimiter: str, has_header: bool) -> None:
    """Say how the file of a draft is written."""
    Upload.objects.filter(pk=upload.pk, state=Upload.State.DRAFT).update(
        encoding=encoding, delimiter=delimiter, has_header=has_header
    )


def start(
    upload: Upload,
    *,
    columns: Sequence[str],
    identity_column: int,
    namespace: IdentityNamespace,
    way: str,
    expires_after: int,
) -> None:
    """Have a draft read by a worker, behind the other uploads to its segment. A new segment is made here.

    A second click finds it started, and changes nothing.

    Args:
        columns: of the file, the paths that they are written to; empty: ignored.
        expires_after: days after which the members leave again; of the segment from now on.

    Raises:
        ValidationError: with the reason, of the field where it has one. Nothing was started.
    """
    if not LEAST_DAYS <= expires_after <= MOST_DAYS:
        reason = _("Members stay from %(least)s to %(most)s days.") % {"least": LEAST_DAYS, "most": MOST_DAYS}
        raise ValidationError({"expires_after": reason})
    with transaction.atomic():
        draft = Upload.objects.select_for_update().filter(pk=upload.pk, state=Upload.State.DRAFT).first()
        if draft is None:
            return
        draft.columns, draft.identity_column = list(columns), identity_column
        draft.namespace, draft.way = namespace.code, way
        _check_first_rows(draft)
        if draft.segment_id is None:
            draft.segment = create_segment(name=draft.segment_name)
        # Uploads to one segment queue one after the other: their moments are in the order in which they are committed.
        segment = Segment.objects.select_for_update(no_key=True).get(pk=draft.segment_id)
        _check_segment(segment)
        if segment.expires_after != expires_after:
            segment.expires_after, segment.expires_since = expires_after, timezone.now()
            segment.save(update_fields=["expires_after", "expires_since"])
        draft.state, draft.queued_at = Upload.State.WAITING, timezone.now()
        draft.save()
        audit.record("upload.started", segment, after={"way": way, "expires_after": expires_after})
        transaction.on_commit(lambda: work.wake(draft), robust=True)


def _check_first_rows(upload: Upload) -> None:
    """A wrong column is told before a million rows are rejected for it."""
    reader = selectors.reader(upload)
    first: tuple[Row, Unusable] | None = None
    for row in selectors.first_rows(upload)[upload.has_header :]:
        if not any(row.cells):
            continue
        try:
            reader.read(row)
        except Unusable as error:
            first = first or (row, error)
        else:
            return
    if first is not None:
        row, unusable = first
        reason = _("None of the first rows can be taken. Row %(row)s, “%(value)s”: %(reason)s") % {
            "row": row.number,
            "value": unusable.value[: work.SHOWN],
            "reason": unusable.reason,
        }
        raise ValidationError({"identity": reason})


def stop(upload: Upload) -> None:
    """Drop a draft; stop what is under way. What was taken by then stays."""
    with transaction.atomic():
        # Waits for the batch that is being taken.
        found = Upload.objects.select_for_update().filter(pk=upload.pk).first()
        if found is None:
            return
        if found.state == Upload.State.DRAFT:
            found.delete()
        elif found.active:
            work.finish(found, Upload.State.STOPPED)
            found.save()
            audit.record("upload.stopped", found.segment)
