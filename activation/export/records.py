"""What is in a record: the mapped attributes, all segment memberships and all identities, as JSON bytes.

The same profile gives the same bytes every time: attributes in mapped order, everything else sorted. The shape is that
of AEP's Amazon Kinesis destination (behaviour.md, "The record").
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import structlog
from django.utils.translation import gettext_noop

from activation.models import Dataflow, FailedExport, MappedAttribute, MappedSegment
from destinations.connectors.base import Record
from destinations.models import Destination
from profiles.models import Identity, Profile, SegmentMembership

log = structlog.get_logger(__name__)

NOT_THERE = gettext_noop("Mandatory but not there")
MAX_PARTITION_KEY = 256  # characters; Kinesis' limit
# Parts that every record has as a whole: mapping a path below them adds nothing.
ALWAYS_THERE = ("segmentMembership", "identityMap")


class Membership(NamedTuple):
    """A membership with what is told of its segment."""

    segment_id: str
    status: str
    last_qualification_time: datetime
    name: str
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Snapshot:
    """All that a record can be made of, as one moment had it."""

    profile_id: uuid.UUID
    attributes: Mapping[str, Any]
    identities: list[tuple[str, str]] = field(default_factory=list)  # (namespace code, value)
    memberships: list[Membership] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unsendable:
    """Why a profile has no record: a dead letter, not a retry."""

    kind: FailedExport.Kind
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Layout:
    """What a dataflow's records look like.

    Args:
        attributes: mapped paths in their order, and which are mandatory.
        partition_key: the rule of :attr:`destinations.models.Destination.partition_key`.
        mapped_at: for each mapped segment when it was mapped and when that was last changed.
    """

    attributes: Sequence[tuple[str, bool]]
    partition_key: str = Destination.PARTITION_BY_PROFILE
    include_names: bool = False
    include_timestamps: bool = False
    mapped_at: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)

    @classmethod
    def of(cls, dataflow: Dataflow) -> Layout:
        """The layout of what is live. Two queries at most."""
        destination = dataflow.destination
        mapped_at = {}
        if destination.include_segment_timestamps:
            rows = MappedSegment.objects.filter(dataflow=dataflow)
            mapped_at = {row.segment_id: (row.created_at, row.updated_at) for row in rows}
        attributes = MappedAttribute.objects.filter(dataflow=dataflow).order_by("position")
        return cls(
            attributes=list(attributes.values_list("field__path", "mandatory")),
            partition_key=destination.partition_key,
            include_names=destination.include_segment_names,
            include_timestamps=destination.include_segment_timestamps,
            mapped_at=mapped_at,
        )


def read(profile_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Snapshot]:
    """Snapshots of profiles, in three queries. Profiles that are gone are not in it."""
    ids = list(profile_ids)
    found = {
        profile_id: Snapshot(profile_id, attributes)
        for profile_id, attributes in Profile.objects.filter(pk__in=ids).values_list("pk", "attributes")
    }
    identities = Identity.objects.filter(profile__in=ids)
    for profile_id, code, value in identities.values_list("profile_id", "namespace__code", "value"):
        if profile_id in found:
            found[profile_id].identities.append((code, value))
    memberships = SegmentMembership.objects.filter(profile__in=ids).values_list(
        "profile_id",
        "segment_id",
        "status",
        "last_qualification_time",
        "segment__name",
        "segment__created_at",
        "segment__updated_at",
    )
    for profile_id, segment_id, status, qualified, name, created_at, updated_at in memberships:
        if profile_id in found:
            found[profile_id].memberships.append(
                Membership(segment_id, status, qualified, name, created_at, updated_at)
            )
    return found


class Builder:
    """Makes records of one layout; compiled once, used for every batch of it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        paths = [path for path, _ in layout.attributes if path.split(".", 1)[0] not in ALWAYS_THERE]
        covered = set(paths)
        # A path below another mapped one is part of it already.
        self._paths = [
            keys for keys in (path.split(".") for path in paths) if not _has_ancestor(keys, covered)
        ]
        self._mandatory = [path for path, mandatory in layout.attributes if mandatory]
        self._by, _, self._key = layout.partition_key.partition(":")

    def build(self, snapshot: Snapshot) -> Record | Unsendable:
        """The record of a profile, or why it has none. Never raises: one profile does not stop the others."""
        try:
            missing = self.missing(snapshot)
            if missing:
                return Unsendable(
                    FailedExport.Kind.EXCLUDED,
                    "MandatoryAttributeMissing",
                    f"{NOT_THERE}: {', '.join(missing)}",
                )
            return Record(self._partition_key(snapshot), _encode(self._tree(snapshot)))
        except UnicodeEncodeError:
            reason = gettext_noop("A text in it is not valid Unicode: it has half of a surrogate pair.")
            return Unsendable(FailedExport.Kind.FAILED, "InvalidUnicode", reason)
        except RecursionError:
            reason = gettext_noop("Its attributes are nested too deeply for JSON.")
            return Unsendable(FailedExport.Kind.FAILED, "TooDeep", reason)
        except _NotFinite:
            reason = gettext_noop("A number in it is infinite or not a number: JSON has no such thing.")
            return Unsendable(FailedExport.Kind.FAILED, "InvalidNumber", reason)
        except Exception as error:
            # A defect of ours. Neither the log nor the dead letter shows what is in the profile.
            log.error("record_not_built", profile_id=str(snapshot.profile_id), error=type(error).__name__)
            reason = f"The record could not be built ({type(error).__name__})."
            return Unsendable(FailedExport.Kind.FAILED, "InternalError", reason)

    def missing(self, snapshot: Snapshot) -> list[str]:
        """Mandatory paths that the profile lacks. A value that is there but empty is there; null is not."""
        return [path for path in self._mandatory if not self._has(snapshot, path)]

    @staticmethod
    def _has(snapshot: Snapshot, path: str) -> bool:
        first = path.split(".", 1)[0]
        if first == "segmentMembership":
            return bool(snapshot.memberships)
        if first == "identityMap":
            return bool(snapshot.identities)
        return value_at(snapshot.attributes, path.split(".")) is not None

    def _tree(self, snapshot: Snapshot) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for keys in self._paths:
            value = value_at(snapshot.attributes, keys)
            if value is None:
                continue
            at = tree
            for key in keys[:-1]:
                at = at.setdefault(key, {})
            at[keys[-1]] = _sorted(value) if isinstance(value, (dict, list)) else value
        tree["segmentMembership"] = {
            "ups": {m.segment_id: self._membership(m) for m in sorted(snapshot.memberships)}
        }
        identity_map: dict[str, list[dict[str, str]]] = defaultdict(list)
        for code, value in sorted((code.lower(), value) for code, value in snapshot.identities):
            identity_map[code].append({"id": value})
        tree["identityMap"] = identity_map
        return tree

    def _membership(self, membership: Membership) -> dict[str, Any]:
        told: dict[str, Any] = {
            "lastQualificationTime": _iso(membership.last_qualification_time),
            "status": membership.status,
        }
        if self._layout.include_names:
            told["name"] = membership.name
        if self._layout.include_timestamps:
            told["createdAt"] = _milliseconds(membership.created_at)
            told["updatedAt"] = _milliseconds(membership.updated_at)
            if mapped := self._layout.mapped_at.get(membership.segment_id):
                told["mappingCreatedAt"], told["mappingUpdatedAt"] = map(_milliseconds, mapped)
        return told

    def _partition_key(self, snapshot: Snapshot) -> str:
        """By the destination's rule; the profile's id where that finds nothing. Too long a key becomes its SHA-256."""
        key = ""
        if self._by == "identity":
            code = self._key.lower()
            key = min((value for c, value in snapshot.identities if c.lower() == code), default="")
        elif self._by == "attribute":
            value = value_at(snapshot.attributes, self._key.split("."))
            if isinstance(value, bool):
                key = "true" if value else "false"
            elif isinstance(value, (str, int, float)):
                key = str(value)
        if not key:
            return str(snapshot.profile_id)
        if len(key) > MAX_PARTITION_KEY:
            return hashlib.sha256(key.encode()).hexdigest()
        return key


def value_at(attributes: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """What is at a path; None where there is nothing."""
    at: Any = attributes
    for key in keys:
        if not isinstance(at, Mapping):
            return None
        at = at.get(key)
    return at


def _has_ancestor(keys: Sequence[str], paths: set[str]) -> bool:
    return any(".".join(keys[:depth]) in paths for depth in range(1, len(keys)))


def _sorted(value: Any) -> Any:
    """The same with the keys of every object in it sorted: the database may hand them out in any order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _iso(moment: datetime) -> str:
    """``2020-05-25T21:24:39Z``, with milliseconds where there are any."""
    moment = moment.astimezone(UTC)
    precision = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _milliseconds(moment: datetime) -> int:
    return math.floor(moment.timestamp() * 1000)


class _NotFinite(ValueError):
    pass


def _encode(tree: Any) -> bytes:
    """UTF-8 JSON without spaces.

    orjson for what it can do; the standard library for the rest, in the same form: integers beyond 64 bits, deep
    nesting.

    Raises:
        UnicodeEncodeError, RecursionError, _NotFinite: it is not JSON.
    """
    try:
        data = orjson.dumps(tree)
    except TypeError:
        data = _encode_slowly(tree)
    else:
        # orjson writes null for what JSON has no number for.
        if b"null" in data:
            data = _encode_slowly(tree)
    return data


def _encode_slowly(tree: Any) -> bytes:
    try:
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise _NotFinite from None
    return text.encode()
