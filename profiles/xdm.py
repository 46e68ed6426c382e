"""One XDM profile as people and other systems write it, and as a fragment.

``{"person": {…}, "identityMap": {"Email": [{"id": "…"}]}, "segmentMembership": {"ups": {"ID": {"status": "realized",
"lastQualificationTime": "2026-11-20T00:00:00Z"}}}}``: AEP's shapes, which exported records have, too.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from profiles import quick_json
from profiles.ingest import Fragment, Refused
from profiles.reasons import Reason
from profiles.reasons import Reason as _

MAX_DIGITS = 4300  # of an integer: Python reads and writes no more


@dataclass(frozen=True, slots=True)
class Flaw:
    """Stands in parsed JSON where something can be read, but not be taken for a value."""

    reason: Reason


def parse_json(data: bytes) -> Any:
    """JSON from UTF-8 bytes; integers keep all their digits.

    Raises:
        Refused: it is not UTF-8, not JSON (NaN and Infinity are not), has a key twice in one object, or is nested too
            deep.
    """
    value, flawed = parse_parts(data)
    if flawed:
        check_part(value)
    return value


def parse_parts(data: bytes) -> tuple[Any, bool]:
    """The same where one bad part does not spoil the others.

    Returns:
        The value, and whether there are flaws in it: :func:`check_part` finds those of a part.

    Raises:
        Refused: nothing of it can be read.
    """
    with suppress(ValueError, TypeError):
        return quick_json.read_plain(data), False
    flaws: list[Flaw] = []

    def flaw(reason: Reason) -> Flaw:
        flaws.append(Flaw(reason))
        return flaws[-1]

    def constant(name: str) -> Flaw:
        return flaw(_("This is not JSON: it has the number %(name)s.") % {"name": name})

    def integer(digits: str) -> int | Flaw:
        return int(digits) if len(digits) < MAX_DIGITS else flaw(_("This has a number with too many digits."))

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Flaw:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        [(twice, _count)] = Counter(key for key, _value in pairs).most_common(1)
        return flaw(_("The key “%(key)s” stands twice in one object.") % {"key": twice})

    try:
        value = json.loads(
            data.decode(), parse_constant=constant, parse_int=integer, object_pairs_hook=make_object
        )
        return value, bool(flaws)
    except UnicodeDecodeError:
        raise Refused(_("This is not UTF-8.")) from None
    except RecursionError:
        raise Refused(_("This is nested too deep.")) from None
    except json.JSONDecodeError as error:
        raise Refused(
            _("This is not JSON: %(problem)s, at character %(position)s.")
            % {"problem": error.msg, "position": error.pos + 1}
        ) from None


def check_part(part: Any) -> None:
    """Refuse a part of what :func:`parse_parts` read if there is a flaw in it.

    Raises:
        Refused: with the reason.
    """
    # With a stack of its own: it may be nested deeper than functions may call each other.
    waiting = [part]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Flaw):
            raise Refused(value.reason)
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def fragment(entity: object) -> Fragment:
    """A profile in AEP's shape as a fragment. What is wrong inside the attributes, ingestion says.

    Raises:
        Refused: it does not have the shape.
    """
    if not isinstance(entity, dict):
        raise Refused(_("This is not a JSON object."))
    attributes = dict(entity)
    identities = _identities(attributes.pop("identityMap", None))
    memberships = _memberships(attributes.pop("segmentMembership", None))
    return Fragment(identities=identities, attributes=attributes, memberships=memberships)


def _identities(identity_map: object) -> list[tuple[str, str]]:
    if identity_map is None:
        return []
    if not isinstance(identity_map, dict):
        raise Refused(_("identityMap is not an object of namespaces."))
    identities: list[tuple[str, str]] = []
    primary: list[tuple[str, str]] = []
    for code, entries in identity_map.items():
        if not isinstance(entries, list):
            raise Refused(_("identityMap has no list for a namespace."))
        for entry in entries:
            value = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(value, str):
                raise Refused(_("An identity in identityMap has no “id”, or it is not a text."))
            (primary if entry.get("primary") is True else identities).append((code, value))
    return primary + identities


def _memberships(segment_membership: object) -> dict[str, tuple[str, datetime | None]]:
    if segment_membership is None:
        return {}
    if not isinstance(segment_membership, dict) or not isinstance(segment_membership.get("ups", {}), dict):
        raise Refused(_("segmentMembership is not an object with “ups”."))
    memberships: dict[str, tuple[str, datetime | None]] = {}
    for segment_id, entry in segment_membership.get("ups", {}).items():
        if not isinstance(entry, dict) or not isinstance(entry.get("status"), str):
            raise Refused(_("A segment membership has no status."))
        memberships[segment_id] = (entry["status"], _moment(entry.get("lastQualificationTime")))
    return memberships


def _moment(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Refused(_("A lastQualificationTime is no date and time as RFC 3339 writes it.")) from None
