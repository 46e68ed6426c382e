"""Dead letters as NDJSON: one JSON object a line, a batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from activation import preview
from activation.models import Dataflow, FailedExport
from activation.selectors import FailureFilter, failed_exports
from destinations.connectors.base import Record

BATCH = 100


def lines(dataflow: Dataflow, wanted: FailureFilter, *, records: bool) -> Iterator[bytes]:
    """Oldest first. Two queries a batch, outside of any transaction: what is closed meanwhile is told as it is then.

    Args:
        records: with the record that would be built now, or null where there is none.
    """
    found = failed_exports(dataflow, wanted).order_by("pk")
    builder = preview.LiveBuilder(dataflow) if records else None
    last = 0
    while batch := list(found.filter(pk__gt=last)[:BATCH]):
        last = batch[-1].pk
        built = builder.build([failure.profile_id for failure in batch]) if builder else {}
        for failure in batch:
            line = _line(failure)
            if records:
                record = built.get(failure.profile_id)
                line["record"] = orjson.Fragment(record.data) if isinstance(record, Record) else None
            yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _line(failure: FailedExport) -> dict[str, Any]:
    return {
        "id": failure.pk,
        "profileId": str(failure.profile_id),
        "kind": failure.kind,
        "code": failure.code,
        "reason": failure.reason,
        "at": _iso(failure.created_at),
        "runId": str(failure.run_id),
        "state": failure.state,
        "closedAt": failure.closed_at and _iso(failure.closed_at),
        "note": failure.note,
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
