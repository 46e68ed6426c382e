"""One XDM profile as people and other systems write it, and as a fragment.

``{"person": {…}, "identityMap": {"Email": [{"id": "…"}]}, "segmentMembership": {"ups": {"ID": {"status": "realized",
"lastQualificationTime": "2026-11-20T00:00:00Z"}}}}``: AEP's shapes, which exported records have, too.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from django.utils.translation import gettext_lazy as _

from profiles.ingest import Fragment, Refused


def parse_json(data: bytes) -> Any:
    """JSON from UTF-8 bytes; integers keep all their digits.

    Raises:
        Refused: it is not UTF-8, not JSON (NaN and Infinity are not), or nested too deep.
    """
    try:
        return json.loads(data.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Refused(_("This is not UTF-8.")) from None
    except RecursionError:
        raise Refused(_("This is nested too deep.")) from None
    except json.JSONDecodeError as error:
        raise Refused(
            _("This is not JSON: %(problem)s, at character %(position)s.")
            % {"problem": error.msg, "position": error.pos + 1}
        ) from None
    except ValueError:
        raise Refused(_("This has a number with too many digits.")) from None


def _no_constant(name: str) -> NoReturn:
    raise Refused(_("This is not JSON: it has the number %(name)s.") % {"name": name})


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
