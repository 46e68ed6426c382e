"""What is in a record: the mapped attributes, all segment memberships and all identities, as JSON bytes.

The same profile gives the same bytes every time: attributes in mapped order, everything else sorted. The shape is that
of AEP's Amazon Kinesis destination (behaviour.md, "The record").
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

import msgspec
import structlog
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_noop

from activation.export.hashing import hash_at, hashed
from activation.models import Dataflow, ExportReason, FailedExport, MappedAttribute, MappedSegment
from destinations.connectors.base import Record
from destinations.models import Destination
from governance.consent import says_yes
from profiles.models import IdentityNamespace

log = structlog.get_logger(__name__)

NOT_THERE = gettext_noop("Mandatory but not there")
NO_CONSENT = gettext_noop("No consent")
MOST_OTHERS = 32  # groups of attributes that the database looks for, to leave them out
MAX_PARTITION_KEY = 256  # characters; Kinesis' limit
LOOK_AT_EVERY = 50  # profiles: of one of so many it is looked which groups it has
# Parts that every record has as a whole: mapping a path below them adds nothing.
ALWAYS_THERE = ("segmentMembership", "identityMap")
DELIVERY = "_delivery"

# Keys of mapped paths, group by group; None where a path ends.
_Plan: TypeAlias = "Sequence[tuple[str, _Plan | None]]"


Row: TypeAlias = Sequence[Any]
"""What the database says of a profile: :meth:`Reader.columns`."""


class Membership(msgspec.Struct, array_like=True, order=True, frozen=True, gc=False):
    """A membership with what is told of its segment; times as the database writes them, in UTC."""

    segment_id: str
    status: str
    last_qualification_time: str
    name: str = ""
    created_at: str = ""
    updated_at: str = ""


class Snapshot(msgspec.Struct, dict=True):
    """All that a record can be made of, as one moment had it.

    Args:
        text: the attributes as JSON. Most records are made without reading all of it.
        version: how many records of the profile were delivered before; 0 where nobody asked.
        told: the last of them, perhaps, was an ordinary one, and not for want of consent; False where nobody asked.
    """

    profile_id: uuid.UUID
    text: str
    identities: Sequence[tuple[str, str]] = ()  # (namespace code in lower case, value)
    memberships: Sequence[Membership] = ()
    version: int = 0
    told: bool = False

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """All of them."""
        attributes: dict[str, Any] = _read(self.text)
        return attributes


class LastRecord(Record, frozen=True, gc=False):
    """Says of a profile that does not consent any more that it left the mapped segments, to who knows it."""


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
        delivery_of: the dataflow's id, where records tell of their delivery; else empty.
        hashed: mapped paths of which records hold the SHA-256 (:mod:`activation.export.hashing`).
        consents: paths of the fields that must say yes (:mod:`governance.consent`).
    """

    attributes: Sequence[tuple[str, bool]]
    partition_key: str = Destination.PARTITION_BY_PROFILE
    include_names: bool = False
    include_timestamps: bool = False
    mapped_at: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)
    delivery_of: str = ""
    hashed: Sequence[str] = ()
    consents: Sequence[str] = ()

    @property
    def tells_of_segments(self) -> bool:
        """Records hold more of a membership than its status and time."""
        return self.include_names or self.include_timestamps

    @property
    def groups(self) -> frozenset[str]:
        """The attributes, or groups of them, that records are made of, and that decide whether there is one."""
        paths = [*(path for path, _ in self.attributes), *self.consents]
        by, _, key = self.partition_key.partition(":")
        return frozenset(path.split(".", 1)[0] for path in [*paths, *([key] if by == "attribute" else [])])

    @classmethod
    def of(cls, dataflow: Dataflow, consents: Sequence[str] = ()) -> Layout:
        """The layout of what is live. Two queries at most."""
        destination = dataflow.destination
        mapped_at = {}
        if destination.include_segment_timestamps or consents:
            rows = MappedSegment.objects.filter(dataflow=dataflow)
            mapped_at = {row.segment_id: (row.created_at, row.updated_at) for row in rows}
        mapped = MappedAttribute.objects.filter(dataflow=dataflow).order_by("position")
        attributes = list(mapped.values_list("field__path", "mandatory", "hashed"))
        return cls(
            attributes=[(path, mandatory) for path, mandatory, _is_hashed in attributes],
            hashed=tuple(path for path, _mandatory, is_hashed in attributes if is_hashed),
            partition_key=destination.partition_key,
            include_names=destination.include_segment_names,
            include_timestamps=destination.include_segment_timestamps,
            mapped_at=mapped_at,
            delivery_of=str(dataflow.pk) if destination.include_delivery else "",
            consents=consents,
        )


class Reader:
    """Reads snapshots, all of a profile in one row: a third of the time that a row for each of its parts takes.

    Kept for some seconds: it knows the codes of the namespaces.

    Args:
        dataflow_id: whose delivered versions are read along; None where they do not matter.
        told_by: the dataflow of which is read along whom it told of; None where that does not matter.
        bare: memberships are read without what is told of their segments.
        groups: of the attributes that are wanted; None for all. Others may be in a snapshot, until the reader has seen
            that profiles have them: then the database leaves them out.
    """

    def __init__(
        self,
        *,
        dataflow_id: uuid.UUID | None = None,
        told_by: uuid.UUID | None = None,
        bare: bool = False,
        groups: Collection[str] | None = None,
    ) -> None:
        namespaces = IdentityNamespace.objects.order_by().values_list("pk", "code")
        self._codes = {pk: code.lower() for pk, code in namespaces}
        # SQLite would take longer to leave something out than we to read it.
        self._groups = set(groups) if groups is not None and connection.vendor == "postgresql" else None
        self._others: list[str] = []
        self._read = 0  # snapshots
        receipt = "(SELECT {} FROM activation_delivery d WHERE d.profile_id = p.id AND d.dataflow_id = %s)"
        version = receipt.format("d.version") if dataflow_id else "NULL"
        told = receipt.format(f"d.reason <> '{ExportReason.CONSENT}'") if told_by else "NULL"
        if connection.vendor == "postgresql":
            array, all_of, self._among = "json_build_array", "json_agg({})::text", "= ANY(%s)"
        else:
            array, all_of = "json_array", "json_group_array({})"
            self._among = "IN (SELECT value FROM json_each(%s))"
        identity = all_of.format(f"{array}(i.namespace_id, i.value)")
        more = "" if bare else ", s.name, s.created_at, s.updated_at"
        join = "" if bare else " JOIN profiles_segment s ON s.id = m.segment_id"
        membership = all_of.format(f"{array}(m.segment_id, m.status, m.last_qualification_time{more})")
        self._parts = (
            f"{version}, {told},"  # noqa: S608  (only the literals above)
            f" (SELECT {identity} FROM profiles_identity i WHERE i.profile_id = p.id),"
            f" (SELECT {membership} FROM profiles_segmentmembership m{join} WHERE m.profile_id = p.id)"
        )
        asked = [key for key in (dataflow_id, told_by) if key]
        self._of: list[Any] = [key if connection.vendor == "postgresql" else key.hex for key in asked]

    def columns(self) -> tuple[str, list[Any]]:
        """What to select of a profile ``p`` for :meth:`snapshot`, and its parameters."""
        if self._others:
            return f"p.id, p.attributes - %s::text[], {self._parts}", [self._others, *self._of]
        return f"p.id, p.attributes, {self._parts}", self._of

    def read(self, profile_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Snapshot]:
        """Snapshots of profiles, in one query. Profiles that are gone are not in it."""
        wanted: Any = list(profile_ids)
        if connection.vendor == "sqlite":
            wanted = json.dumps([profile_id.hex for profile_id in wanted])
        columns, params = self.columns()
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM profiles_profile p WHERE p.id {self._among}",  # noqa: S608
                [*params, wanted],
            )
            found = [self.snapshot(row) for row in cursor]
        return {snapshot.profile_id: snapshot for snapshot in found}

    def snapshot(self, row: Row) -> Snapshot:
        """Of a row of :meth:`columns`."""
        profile_id, text, version, told, identities, memberships = row
        codes = self._codes
        snapshot = Snapshot(
            as_uuid(profile_id),
            text,
            [(codes[pk], value) for pk, value in _IDENTITIES(identities or "[]") if pk in codes],
            _MEMBERSHIPS(memberships or "[]"),
            version or 0,
            bool(told),
        )
        if self._groups is not None:
            if self._read % LOOK_AT_EVERY == 0 and len(self._others) < MOST_OTHERS:
                self._others += snapshot.attributes.keys() - self._groups - set(self._others)
            self._read += 1
        return snapshot


def as_uuid(key: uuid.UUID | str) -> uuid.UUID:
    """SQLite has 32 digits."""
    return key if isinstance(key, uuid.UUID) else uuid.UUID(hex=key)


_IDENTITIES = msgspec.json.Decoder(list[tuple[int, str]]).decode
_MEMBERSHIPS = msgspec.json.Decoder(list[Membership]).decode


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(text)  # half a surrogate pair, NaN: SQLite keeps them


class _Told(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """What a record says of a membership; times as text, or in milliseconds since 1970."""

    last_qualification_time: str
    status: str
    name: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    mapping_created_at: int | None = None
    mapping_updated_at: int | None = None


class _DeliveryDetails(msgspec.Struct, rename="camel", gc=False):
    dataflow_id: str
    profile_id: str
    version: int
    exported_at: int
    reason: str


class Builder:
    """Makes records of one layout; compiled once, used for every batch of it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        ours = (*ALWAYS_THERE, DELIVERY) if layout.delivery_of else ALWAYS_THERE
        paths = [path for path, _ in layout.attributes if path.split(".", 1)[0] not in ours]
        # A path below another mapped one is part of it already.
        keys = (path.split(".") for path in paths)
        self._plan = _plan([each for each in keys if not _has_ancestor(each, set(paths))])
        self._picker = None if layout.hashed else _picker(self._plan, ours)
        self._mandatory = [(path, path.split(".")) for path, mandatory in layout.attributes if mandatory]
        self._hashed = [path.split(".") for path in layout.hashed]
        self._consents = [(path, path.split(".")) for path in layout.consents]
        self._by, _, self._key = layout.partition_key.partition(":")

    def build(self, snapshot: Snapshot, *, reason: str = "") -> Record | Unsendable:
        """The record of a profile, or why it has none. Never raises: one profile does not stop the others.

        A profile that does not consent has none, but one :class:`LastRecord` where it had an ordinary one before.

        Args:
            reason: what starts the export, for the delivery details.
        """
        try:
            if self._consents and (denied := self._denied(snapshot)):
                if snapshot.told:
                    return self._last(snapshot)
                return Unsendable(
                    FailedExport.Kind.EXCLUDED, "ConsentMissing", f"{NO_CONSENT}: {', '.join(denied)}"
                )
            if self._mandatory and (missing := self.missing(snapshot)):
                return Unsendable(
                    FailedExport.Kind.EXCLUDED,
                    "MandatoryAttributeMissing",
                    f"{NOT_THERE}: {', '.join(missing)}",
                )
            return Record(self._partition_key(snapshot), self._data(snapshot, reason))
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

    def farewell(self, snapshot: Snapshot, at: datetime, reason: str = "erasure") -> Record:
        """The last record of a profile that is erased: its identities, every membership as exited, no attributes."""
        moment = at.astimezone(UTC).isoformat(timespec="milliseconds")
        left = [
            msgspec.structs.replace(m, status="exited", last_qualification_time=moment)
            for m in snapshot.memberships
        ]
        return Record(
            self._partition_key(snapshot),
            self._data(msgspec.structs.replace(snapshot, text="{}", memberships=left), reason),
        )

    def _last(self, snapshot: Snapshot) -> LastRecord:
        """The same of the mapped segments alone."""
        mapped = [m for m in snapshot.memberships if m.segment_id in self._layout.mapped_at]
        record = self.farewell(
            msgspec.structs.replace(snapshot, memberships=mapped),
            timezone.now(),
            reason=ExportReason.CONSENT.value,
        )
        return LastRecord(record.partition_key, record.data)

    def _denied(self, snapshot: Snapshot) -> list[str]:
        """The fields that must say yes, and do not."""
        return [path for path, keys in self._consents if not says_yes(value_at(snapshot.attributes, keys))]

    def missing(self, snapshot: Snapshot) -> list[str]:
        """Mandatory paths that the profile lacks. A value that is there but empty is there; null is not."""
        return [path for path, keys in self._mandatory if not self._has(snapshot, keys)]

    @staticmethod
    def _has(snapshot: Snapshot, keys: Sequence[str]) -> bool:
        if keys[0] == "segmentMembership":
            return bool(snapshot.memberships)
        if keys[0] == "identityMap":
            return bool(snapshot.identities)
        return value_at(snapshot.attributes, keys) is not None

    def _data(self, snapshot: Snapshot, reason: str) -> bytes:
        """By a struct, which takes half the time; by dictionaries what that can't do."""
        parts = self._parts(snapshot, reason)
        if self._picker is not None:
            try:
                record = self._picker.decode(snapshot.text)
                for key, part in parts.items():
                    setattr(record, key, part)
                data = _ORDERED(record)
                # A struct does not leave out a group that has nothing.
                if data.rfind(b"{}") < 0:  # half the time of "in"
                    return data
            except msgspec.DecodeError:
                pass  # what should be a group is none, or it is not JSON
        tree = _pick(self._plan, snapshot.attributes.get)
        for keys in self._hashed:
            hash_at(tree, keys)
        return _encode(tree, {key: _sorted(part) for key, part in parts.items()})

    def _parts(self, snapshot: Snapshot, reason: str) -> dict[str, Any]:
        """What every record has beside the attributes."""
        told: dict[str, _Told]
        if self._layout.tells_of_segments:
            told = {m.segment_id: self._membership(m) for m in snapshot.memberships}
        else:
            told = {
                m.segment_id: _Told(_iso(m.last_qualification_time), m.status) for m in snapshot.memberships
            }
        identity_map: dict[str, list[dict[str, str]]] = {}
        for code, value in sorted(snapshot.identities):
            if code in identity_map:
                identity_map[code].append({"id": value})
            else:
                identity_map[code] = [{"id": value}]
        parts: dict[str, Any] = {"segmentMembership": {"ups": told}, "identityMap": identity_map}
        if self._layout.delivery_of:
            parts[DELIVERY] = _DeliveryDetails(
                self._layout.delivery_of,
                str(snapshot.profile_id),
                snapshot.version + 1,
                math.floor(time.time() * 1000),
                reason,
            )
        return parts

    def _membership(self, membership: Membership) -> _Told:
        told = _Told(_iso(membership.last_qualification_time), membership.status)
        if self._layout.include_names:
            told.name = membership.name
        if self._layout.include_timestamps:
            told.created_at = _milliseconds(_moment(membership.created_at))
            told.updated_at = _milliseconds(_moment(membership.updated_at))
            if mapped := self._layout.mapped_at.get(membership.segment_id):
                told.mapping_created_at, told.mapping_updated_at = map(_milliseconds, mapped)
        return told

    def _partition_key(self, snapshot: Snapshot) -> str:
        """By the destination's rule; the profile's id where that finds nothing. Too long a key becomes its SHA-256."""
        key = ""
        if self._by == "identity":
            code = self._key.lower()
            key = min((value for c, value in snapshot.identities if c == code), default="")
        elif self._by == "attribute":
            keys = self._key.split(".")
            value = value_at(snapshot.attributes, keys)
            if any(keys[: len(path)] == path for path in self._hashed):
                value = hashed(value)
            if isinstance(value, bool):
                key = "true" if value else "false"
            elif isinstance(value, (str, int, float)):
                key = str(value)
        if not key:
            return str(snapshot.profile_id)
        if len(key) > MAX_PARTITION_KEY:
            return hashlib.sha256(key.encode()).hexdigest()
        return key


def _plan(paths: Sequence[Sequence[str]]) -> _Plan:
    groups: dict[str, list[Sequence[str]]] = {}
    for first, *rest in paths:
        groups.setdefault(first, []).append(rest)
    return [(key, _plan(below) if all(below) else None) for key, below in groups.items()]


def _picker(plan: _Plan, parts: Iterable[str]) -> msgspec.json.Decoder[msgspec.Struct] | None:
    """What reads the mapped attributes alone, in their order, and has fields for these parts after them. None where
    keys are beyond it (``"`` and ``\\``).
    """
    try:
        return msgspec.json.Decoder(_struct(plan, parts))
    except ValueError:
        return None


def _struct(plan: _Plan, parts: Iterable[str] = ()) -> type[msgspec.Struct]:
    keys = {f"at{place}": key for place, (key, _below) in enumerate(plan)}
    types = [_struct(below) | None if below else Any for _key, below in plan]
    fields = [(name, type_, None) for name, type_ in zip(keys, types, strict=True)]
    fields += [(part, Any, None) for part in parts]
    return msgspec.defstruct("Group", fields, rename=keys, omit_defaults=True, gc=False)


def _pick(plan: _Plan, get: Callable[[str], Any]) -> dict[str, Any]:
    """What the attributes have of the plan; groups without anything are left out.

    Args:
        get: of the group's dictionary.
    """
    tree: dict[str, Any] = {}
    for key, below in plan:
        value = get(key)
        if below is None:
            if value is not None:
                tree[key] = _sorted(value)
        elif isinstance(value, dict) and (inner := _pick(below, value.get)):
            tree[key] = inner
    return tree


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


def _iso(text: str) -> str:
    """``2020-05-25T21:24:39Z``, with milliseconds where there are any.

    Args:
        text: as the database writes it: ``2020-05-25T21:24:39.5+00:00`` or ``2020-05-25 21:24:39.500000``.
    """
    if len(text) == 25 and text[10] == "T":
        return f"{text[:19]}Z"
    if text[19:20] == ".":
        milliseconds = (text[20:].partition("+")[0] + "00")[:3]
        if milliseconds != "000":
            return f"{text[:10]}T{text[11:19]}.{milliseconds}Z"
    return f"{text[:10]}T{text[11:19]}Z"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _milliseconds(moment: datetime) -> int:
    return math.floor(moment.timestamp() * 1000)


class _NotFinite(ValueError):
    pass


_ORDERED = msgspec.json.Encoder(
    order="deterministic"
).encode  # structs as they are, dictionaries by their keys


def _encode(attributes: dict[str, Any], parts: dict[str, Any]) -> bytes:
    """
    Raises:
        UnicodeEncodeError, RecursionError, _NotFinite: it is not JSON.
    """
    data = msgspec.json.encode(attributes | parts)
    # It writes null for what JSON has no number for.
    if b"null" in data:
        try:
            json.dumps(attributes, allow_nan=False)
        except ValueError:
            raise _NotFinite from None
    return data
