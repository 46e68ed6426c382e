"""What the pages of the trail are asked for: in the address, so that it can be kept and passed on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from audit.actions import ACTIONS
from audit.selectors import Wanted

MOST = 255  # characters


def read(data: QueryDict) -> Wanted:
    """What is looked for. What can't be is not looked for."""
    action = data.get("action", "")
    return Wanted(
        actor=_text(data, "actor"),
        action=action if action in ACTIONS else "",
        object=_text(data, "object"),
        since=_moment(data, "since"),
        until=_moment(data, "until"),
    )


def params(wanted: Wanted) -> dict[str, Any]:
    """The same as in an address, without what is not asked for."""
    values = {
        "actor": wanted.actor,
        "action": wanted.action,
        "object": wanted.object,
        "since": wanted.since and wanted.since.isoformat(),
        "until": wanted.until and wanted.until.isoformat(),
    }
    return {name: value for name, value in values.items() if value}


def query(wanted: Wanted) -> str:
    """The same, to be gone on with."""
    return f"{urlencode(params(wanted))}&" if params(wanted) else ""


def _text(data: QueryDict, name: str) -> str:
    return data.get(name, "").replace("\0", "").strip()[:MOST]


def _moment(data: QueryDict, name: str) -> datetime | None:
    try:
        moment = parse_datetime(data.get(name, ""))
    except ValueError:  # well-formed, but there is no such day
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
