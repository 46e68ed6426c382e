"""What pages and workers read about uploads. Every function has a fixed number of queries."""

from __future__ import annotations

from itertools import islice

from django.db.models import Q, QuerySet

from profiles.models import RESERVED_KEYS, IdentityNamespace, SchemaField, Segment, Upload, UploadRejection
from profiles.uploads import detect, files
from profiles.uploads.rows import Row, Rows
from profiles.uploads.values import SINGLE, Reader


def segments() -> QuerySet[Segment]:
    """Segments that take uploads, by name."""
    return Segment.objects.filter(origin=Segment.Origin.UPLOAD, state=Segment.State.LIVE).order_by(
        "name", "id"
    )


def fields() -> QuerySet[SchemaField]:
    """Fields that a cell can be written to, by path."""
    reserved = Q(pk__in=[])
    for key in RESERVED_KEYS:
        reserved |= Q(path=key) | Q(path__startswith=f"{key}.")
    return SchemaField.objects.filter(type__in=SINGLE).exclude(reserved).order_by("path")


def first_rows(upload: Upload) -> list[Row]:
    """The first rows of the file, broken ones too. One query."""
    rows = Rows(files.opened(upload), upload.encoding, upload.delimiter)
    return list(islice(rows, detect.LOOKED_AT))


def reader(upload: Upload) -> Reader:
    """What makes identities and attributes of the rows. Two queries.

    A namespace that was deleted meanwhile is refused by ingestion, row by row.
    """
    namespace = IdentityNamespace.objects.filter(code=upload.namespace).first()
    fields = SchemaField.objects.filter(path__in=[path for path in upload.columns if path])
    return Reader(
        width=len(upload.columns),
        identity_column=upload.identity_column,
        namespace=namespace or IdentityNamespace(code=upload.namespace),
        # Who is taken out is not written to.
        paths=[] if upload.way == Upload.Way.REMOVE else upload.columns,
        types=dict(fields.values_list("path", "type")),
    )


def ahead_of(upload: Upload) -> QuerySet[Upload]:
    """Uploads to the same segment that are to end first."""
    earlier = Q(queued_at__lt=upload.queued_at) | Q(queued_at=upload.queued_at, pk__lt=upload.pk)
    return Upload.objects.filter(earlier, segment=upload.segment_id, state__in=Upload.ACTIVE)


def uploads_of(segment: Segment) -> QuerySet[Upload]:
    """Those that were started, the newest first."""
    return (
        segment.uploads.exclude(state=Upload.State.DRAFT).select_related("created_by").order_by("-queued_at")
    )


def rejections(upload: Upload) -> QuerySet[UploadRejection]:
    return upload.rejections.order_by("row")
