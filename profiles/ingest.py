"""The one way into the profile store: whatever is written about a customer is written here, and announced here.

The import command, the pages, the admin and (later) the inlets all make :class:`Fragment` objects and call
:func:`ingest` with a batch of them. Everything of a batch happens in one transaction, with a number of queries that
does not depend on its size; what listens to :data:`profiles.signals.profiles_changed` is part of that transaction.

Rules of the merge: XDM streaming ingestion (deep merge; arrays and scalars are replaced; an explicit null removes).
"""

from __future__ import annotations

import json
import math
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from profiles.models import (
    IDENTITY_MAX_LENGTH,
    Identity,
    IdentityNamespace,
    Profile,
    SchemaField,
    Segment,
    SegmentMembership,
)
from profiles.signals import ProfileChange, Transition, profiles_changed

MAX_BYTES = 1024 * 1024  # of a fragment's attributes as UTF-8 JSON: AEP's limit for a message
MAX_DEPTH = 100  # levels of nesting; XDM itself stays below 20
MAX_INTEGER_BITS = 14_000  # some 4,200 digits: Python reads and writes no integers of more than 4,300
# PostgreSQL's B-tree holds entries of up to 2,704 bytes; the rest is for the namespace and the headers.
IDENTITY_MAX_BYTES = 2600
SEGMENT_ID_MAX_LENGTH = 255

# What an XDM record has besides attributes; they have tables of their own.
RESERVED_KEYS = ("identityMap", "segmentMembership")

ATTEMPTS = 3  # of a batch that runs into another transaction's changes

Reason: TypeAlias = str | Promise
Key: TypeAlias = tuple[int, str]  # an identity: namespace's primary key and value


@dataclass(frozen=True, slots=True)
class Fragment:
    """What somebody knows about one customer: merged into the profile that its identities name.

    Args:
        identities: namespace code (in any case) and value. A profile that none of them names yet is created.
        attributes: an XDM tree; deep merged, null removes.
        memberships: segment id → status and when it was last qualified for (aware; None: now, if the status changes).
        identities_removed: no longer the profile's; those that are not its own are passed over.
        profile_id: names an existing profile directly. ``identities`` are then added to it.
    """

    identities: Sequence[tuple[str, str]] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    memberships: Mapping[str, tuple[str, datetime | None]] = field(default_factory=dict)
    identities_removed: Sequence[tuple[str, str]] = ()
    profile_id: uuid.UUID | None = None


class Result(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fragment. A rejected one wrote nothing; ``reason`` says why, for people."""

    result: Result
    profile_id: uuid.UUID | None = None
    reason: Reason = ""


class Refused(Exception):
    """A fragment that can't go in; the reason is for people."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class _Moved(Exception):
    """Between finding the profiles and locking them another transaction committed something that matters."""


def ingest(fragments: Sequence[Fragment], *, skip_unchanged: bool = False) -> list[Outcome]:
    """Merge a batch of fragments into the store, in order, in one transaction.

    Several fragments of one profile fold. Bad fragments are rejected, the rest goes in. A segment that is mentioned and
    not known is made (origin ``import``, named by its id).

    Args:
        fragments: some 500 to 1,000; the batch is in memory, and its profiles are locked until the transaction ends.
        skip_unchanged: a value that is stored just so already is not written and not announced. Without it, it is
            announced: "any mapped attribute is written, even with the same value" (behaviour.md).

    Returns:
        An outcome for every fragment, in their order.

    Raises:
        django.db.Error: nothing of the batch went in. So does whatever a receiver of ``profiles_changed`` raises.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                return _Batch(skip_unchanged).run(fragments)
        except (_Moved, IntegrityError, OperationalError) as error:
            # Another transaction made the same identity, or waited for what this one held: then what it made is there
            # now, and a second look finds it. A database that is locked or gone has been waited for already.
            if attempt == ATTEMPTS or (isinstance(error, OperationalError) and not _is_deadlock(error)):
                raise
    raise AssertionError("unreachable")


def _is_deadlock(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == "40P01"


# --- Validation ----------------------------------------------------------------------------------------------------


def check_text(value: str) -> None:
    """Refuse what PostgreSQL does not store and UTF-8 can't say: NUL characters and halves of surrogate pairs."""
    if "\0" in value:
        raise Refused(_("A text holds the character NUL, which can't be stored."))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused(_("A text holds half of a surrogate pair, which is not Unicode.")) from None


def check_attributes(attributes: object, map_paths: Collection[str] = ()) -> None:
    """Refuse what is not an XDM tree that every part of the product can store, address and export.

    A key with a dot could not be told from a path, and no path could name it: it is refused, except below an array or a
    field of type map, which are only written and exported as a whole.

    Args:
        attributes: what should be a JSON object.
        map_paths: paths of schema fields of type map.

    Raises:
        Refused: with the reason.
    """
    if not isinstance(attributes, dict):
        raise Refused(_("The attributes are not a JSON object."))
    for key in RESERVED_KEYS:
        if key in attributes:
            raise Refused(_("%(key)s is not an attribute.") % {"key": key})
    _check_value(attributes, "", 1, addressed=True, map_paths=map_paths)
    size = len(json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_BYTES:
        raise Refused(
            _("The attributes have %(size)s bytes; %(limit)s are the limit.")
            % {"size": size, "limit": MAX_BYTES}
        )


def _check_value(value: Any, path: str, depth: int, *, addressed: bool, map_paths: Collection[str]) -> None:
    if isinstance(value, str):
        check_text(value)
    elif value is None or isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise Refused(_("%(path)s is a number with too many digits.") % {"path": path})
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(_("%(path)s is NaN, infinite, or too large a number.") % {"path": path})
    elif depth > MAX_DEPTH:
        raise Refused(_("The attributes are nested deeper than %(limit)s levels.") % {"limit": MAX_DEPTH})
    elif isinstance(value, dict):
        addressed = addressed and path not in map_paths
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Refused(_("A key below %(path)s is not a text.") % {"path": path})
            check_text(key)
            if addressed and (not key or "." in key):
                raise Refused(
                    _("The key “%(key)s” is empty or has a dot: no path can name it.") % {"key": key}
                )
            _check_value(
                inner, f"{path}.{key}" if path else key, depth + 1, addressed=addressed, map_paths=map_paths
            )
    elif isinstance(value, list):
        for inner in value:
            _check_value(inner, path, depth + 1, addressed=False, map_paths=map_paths)
    else:
        raise Refused(_("%(path)s is not JSON.") % {"path": path})


def _check_identity(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused(_("An identity has no value."))
    check_text(value)
    if len(value) > IDENTITY_MAX_LENGTH or len(value.encode()) > IDENTITY_MAX_BYTES:
        raise Refused(
            _("An identity is longer than %(limit)s characters (%(bytes)s bytes).")
            % {"limit": IDENTITY_MAX_LENGTH, "bytes": IDENTITY_MAX_BYTES}
        )
    return value


def check_segment_id(segment_id: object) -> None:
    """Refuse what can't be a segment's id. Any text can, but for control characters: no URL has them.

    Raises:
        Refused: with the reason.
    """
    if not isinstance(segment_id, str) or not segment_id.strip():
        raise Refused(_("A segment membership has no segment id."))
    check_text(segment_id)
    if any(char < " " for char in segment_id):
        raise Refused(_("A segment id holds a control character."))
    if len(segment_id) > SEGMENT_ID_MAX_LENGTH:
        raise Refused(
            _("A segment id is longer than %(limit)s characters.") % {"limit": SEGMENT_ID_MAX_LENGTH}
        )


def _check_membership(segment_id: object, status: object, moment: object) -> None:
    check_segment_id(segment_id)
    if status not in SegmentMembership.Status.values:
        raise Refused(
            _("The status of a segment membership is none of: %(statuses)s.")
            % {"statuses": ", ".join(SegmentMembership.Status.values)}
        )
    if moment is None:
        return
    if not isinstance(moment, datetime) or moment.utcoffset() is None or not 1970 <= moment.year <= 9998:
        raise Refused(
            _("A last qualification time is no date and time with an offset, or not from 1970 to 9998.")
        )


# --- Merging -------------------------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same value. Unlike with ``==``, true is not 1.

    1.0 and 1 are the same number; so are 1e308 and the integer of 309 digits that PostgreSQL stores for it.
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if {type(a), type(b)} == {int, float}:
        try:
            return float(a) == float(b)
        except OverflowError:
            return False
    return bool(a == b)


def merge(
    target: dict[str, Any],
    patch: Mapping[str, Any],
    *,
    skip_unchanged: bool = False,
    map_paths: Collection[str] = (),
) -> set[str]:
    """Deep merge ``patch`` into ``target``, in place: objects merge, null removes, everything else replaces.

    Args:
        target: the attributes of a profile.
        patch: what is written; not changed, and shares nothing with ``target`` afterwards.
        skip_unchanged: leave out of the result what was so already.
        map_paths: paths of maps: they merge like objects, and are told as one leaf.

    Returns:
        The written paths, as :class:`profiles.signals.ProfileChange` tells them.
    """
    written: set[str] = set()
    _merge(target, patch, "", written, skip_unchanged, map_paths)
    return written


def _merge(
    target: dict[str, Any],
    patch: Mapping[str, Any],
    prefix: str,
    written: set[str],
    skip_unchanged: bool,
    map_paths: Collection[str],
) -> None:
    for key, value in patch.items():
        path = prefix + key
        if value is None:
            if target.pop(key, None) is not None:
                written.add(path)
        elif isinstance(value, dict):
            old = target.get(key)
            branch = old if isinstance(old, dict) else {}
            inner: set[str] = set()
            _merge(branch, value, f"{path}.", inner, skip_unchanged, map_paths)
            if branch is not old and (old is not None or inner or not value):
                # Something else stood here, or nothing. An object that came without members is a leaf of its own; one
                # that only removes leaves no trace where there was nothing.
                target[key] = branch
                if old is not None or not inner:
                    written.add(path)
            if inner and path in map_paths:
                written.add(path)
            else:
                written |= inner
        elif skip_unchanged and key in target and same(target[key], value):
            pass
        else:
            target[key] = _copy(value)
            written.add(path)


def _copy(value: Any) -> Any:
    # Nulls inside an array stand for themselves: an array is replaced as it is.
    if isinstance(value, list):
        return [_copy(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return value


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest patch that :func:`merge` turns ``old`` into ``new`` with; for a form that shows the whole tree.

    Nulls in ``new`` mean what they mean everywhere: not there.
    """
    patch: dict[str, Any] = {key: None for key in old if new.get(key) is None}
    for key, value in new.items():
        before = old.get(key)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            inner = difference(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or not same(before, value):
            patch[key] = value
    return patch


# --- The batch -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Prepared:
    """A fragment that is valid by itself, its identities as keys."""

    fragment: Fragment
    identities: list[Key]
    removed: list[Key]


@dataclass(slots=True)
class _Work:
    """A profile in the batch, and what happened to it."""

    profile: Profile
    created: bool = False
    touched: bool = False
    written: set[str] = field(default_factory=set)


class _Batch:
    """One transaction's worth of fragments."""

    def __init__(self, skip_unchanged: bool) -> None:
        self.skip_unchanged = skip_unchanged
        self.now = timezone.now()
        self.work: dict[uuid.UUID, _Work] = {}
        # Who an identity names: as stored, and as it will be.
        self.stored_owner: dict[Key, uuid.UUID] = {}
        self.owner: dict[Key, uuid.UUID | None] = {}
        self.stored_status: dict[tuple[uuid.UUID, str], str] = {}
        self.memberships: dict[tuple[uuid.UUID, str], SegmentMembership] = {}
        self.changed_memberships: set[tuple[uuid.UUID, str]] = set()

    def run(self, fragments: Sequence[Fragment]) -> list[Outcome]:
        prepared = self._prepare(fragments)
        self._load([entry for entry in prepared if isinstance(entry, _Prepared)])
        outcomes = []
        for entry in prepared:
            try:
                if isinstance(entry, Refused):
                    raise entry
                outcomes.append(self._apply(entry))
            except Refused as refused:
                outcomes.append(Outcome(Result.REJECTED, reason=refused.reason))
        self._save()
        return outcomes

    def _prepare(self, fragments: Sequence[Fragment]) -> list[_Prepared | Refused]:
        self.namespaces = {
            code.lower(): pk for pk, code in IdentityNamespace.objects.order_by().values_list("id", "code")
        }
        self.map_paths = frozenset(
            SchemaField.objects.filter(type=SchemaField.Type.MAP).order_by().values_list("path", flat=True)
        )
        prepared: list[_Prepared | Refused] = []
        for fragment in fragments:
            try:
                prepared.append(self._validated(fragment))
            except Refused as refused:
                prepared.append(refused)
        return prepared

    def _validated(self, fragment: Fragment) -> _Prepared:
        if not fragment.identities and fragment.profile_id is None:
            raise Refused(_("There is no identity: nothing says whose this is."))
        identities = self._keys(fragment.identities)
        removed = self._keys(fragment.identities_removed)
        check_attributes(fragment.attributes, self.map_paths)
        for segment_id, (status, moment) in fragment.memberships.items():
            _check_membership(segment_id, status, moment)
        return _Prepared(fragment, identities, removed)

    def _keys(self, identities: Iterable[tuple[str, str]]) -> list[Key]:
        keys = []
        for code, value in identities:
            namespace = self.namespaces.get(code.lower())
            if namespace is None:
                raise Refused(_("There is no identity namespace “%(code)s”.") % {"code": code})
            keys.append((namespace, _check_identity(value)))
        return keys

    def _load(self, prepared: list[_Prepared]) -> None:
        """Find and lock the profiles concerned, and read what the batch may change of them."""
        values: dict[int, set[str]] = defaultdict(set)
        for entry in prepared:
            for namespace, value in (*entry.identities, *entry.removed):
                values[namespace].add(value)
        named = {entry.fragment.profile_id for entry in prepared if entry.fragment.profile_id is not None}
        if not values and not named:
            return
        wanted = Q(pk__in=[])
        for namespace, some in values.items():
            wanted |= Q(namespace=namespace, value__in=some)
        named.update(Identity.objects.filter(wanted).values_list("profile_id", flat=True))
        # Locked in the order of their ids: two batches with the same profiles wait for each other and don't deadlock.
        # Without the key: rows that refer to a profile can still be inserted by others.
        profiles = Profile.objects.filter(pk__in=named).order_by("pk").select_for_update(no_key=True)
        self.work = {profile.pk: _Work(profile) for profile in profiles}
        # Read again under the lock: from here on nobody else changes the identities of these profiles.
        found = Identity.objects.filter(wanted).values_list("namespace_id", "value", "profile_id")
        self.stored_owner = {(namespace, value): profile_id for namespace, value, profile_id in found}
        self.owner = dict(self.stored_owner)
        if any(profile_id not in self.work for profile_id in self.stored_owner.values()):
            raise _Moved
        segment_ids = {key for entry in prepared for key in entry.fragment.memberships}
        if segment_ids and self.work:
            for membership in SegmentMembership.objects.filter(
                profile__in=list(self.work), segment__in=segment_ids
            ):
                key = (membership.profile_id, membership.segment_id)
                self.memberships[key] = membership
                self.stored_status[key] = membership.status

    def _apply(self, entry: _Prepared) -> Outcome:
        work = self._work_for(entry)
        before = work.touched
        work.touched = False
        self._apply_identities(work, entry)
        written = merge(
            work.profile.attributes,
            entry.fragment.attributes,
            skip_unchanged=self.skip_unchanged,
            map_paths=self.map_paths,
        )
        if written:
            work.written |= written
            work.touched = True
        for segment_id, (status, moment) in entry.fragment.memberships.items():
            self._apply_membership(work, segment_id, status, moment)
        touched = work.touched
        work.touched = touched or before
        if work.created and not before:
            return Outcome(Result.CREATED, work.profile.pk)
        return Outcome(Result.UPDATED if touched else Result.UNCHANGED, work.profile.pk)

    def _work_for(self, entry: _Prepared) -> _Work:
        owners = {owner for key in entry.identities if (owner := self.owner.get(key)) is not None}
        if entry.fragment.profile_id is not None:
            owners.add(entry.fragment.profile_id)
        if len(owners) > 1:
            raise Refused(_("The identities name different profiles."))
        for profile_id in owners:
            if profile_id not in self.work:
                raise Refused(_("There is no such profile."))
            return self.work[profile_id]
        profile = Profile(id=uuid7(), attributes={}, created_at=self.now)
        work = self.work[profile.pk] = _Work(profile, created=True)
        return work

    def _apply_identities(self, work: _Work, entry: _Prepared) -> None:
        for key in entry.identities:
            if self.owner.get(key) is None:
                self.owner[key] = work.profile.pk
                work.touched = True
        for key in entry.removed:
            if self.owner.get(key) == work.profile.pk:
                self.owner[key] = None
                work.touched = True

    def _apply_membership(self, work: _Work, segment_id: str, status: str, moment: datetime | None) -> None:
        """The latest qualification wins: what happened before the stored one is old news, and is passed over."""
        key = (work.profile.pk, segment_id)
        membership = self.memberships.get(key)
        if membership is None:
            membership = SegmentMembership(
                profile_id=work.profile.pk,
                segment_id=segment_id,
                status=status,
                last_qualification_time=moment or self.now,
            )
            self.memberships[key] = membership
        else:
            if moment is None:
                moment = self.now if status != membership.status else membership.last_qualification_time
            moment = moment.astimezone(UTC)
            if moment < membership.last_qualification_time:
                return
            if (membership.status, membership.last_qualification_time) == (status, moment):
                return
            membership.status, membership.last_qualification_time = status, moment
        self.changed_memberships.add(key)
        work.touched = True

    def _save(self) -> None:
        """Write everything that changed: profiles, then segments, then identities, each in an order of their own.

        Every transaction takes its locks in this order, so none waits in a circle.
        """
        touched = [work for work in self.work.values() if work.touched or work.created]
        if not touched:
            return
        for work in touched:
            work.profile.updated_at = self.now
        Profile.objects.bulk_create(
            [work.profile for work in touched],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["attributes", "updated_at"],
        )
        self._save_segments()
        identities_changed = self._save_identities()
        if self.changed_memberships:
            SegmentMembership.objects.bulk_create(
                [self.memberships[key] for key in sorted(self.changed_memberships)],
                update_conflicts=True,
                unique_fields=["profile", "segment"],
                update_fields=["status", "last_qualification_time"],
            )
        self._announce(touched, identities_changed)

    def _save_segments(self) -> None:
        mentioned = {segment_id for _profile_id, segment_id in self.changed_memberships}
        # A stored membership has a stored segment.
        mentioned -= {segment_id for _profile_id, segment_id in self.stored_status}
        if not mentioned:
            return
        known = Segment.objects.filter(pk__in=mentioned).order_by().values_list("pk", flat=True)
        new = sorted(mentioned.difference(known))
        if new:
            Segment.objects.bulk_create(
                [Segment(id=key, name=key, origin=Segment.Origin.IMPORT, created_at=self.now) for key in new],
                ignore_conflicts=True,
            )

    def _save_identities(self) -> set[uuid.UUID]:
        """Returns the profiles whose identities are other ones now."""
        gone = {key: owner for key, owner in self.stored_owner.items() if self.owner[key] != owner}
        new = {
            key: owner
            for key, owner in sorted(self.owner.items(), key=lambda item: item[0])
            if owner is not None and owner != self.stored_owner.get(key)
        }
        if gone:
            values: dict[int, list[str]] = defaultdict(list)
            for namespace, value in gone:
                values[namespace].append(value)
            leaving = Q(pk__in=[])
            for namespace, some in values.items():
                leaving |= Q(namespace=namespace, value__in=some)
            Identity.objects.filter(leaving).delete()
        if new:
            Identity.objects.bulk_create(
                [
                    Identity(profile_id=owner, namespace_id=namespace, value=value, created_at=self.now)
                    for (namespace, value), owner in new.items()
                ]
            )
        return {*gone.values(), *new.values()}

    def _announce(self, touched: list[_Work], identities_changed: set[uuid.UUID]) -> None:
        transitions: dict[uuid.UUID, list[Transition]] = defaultdict(list)
        for key in sorted(self.changed_memberships):
            profile_id, segment_id = key
            before, after = self.stored_status.get(key), self.memberships[key].status
            if before != after:
                transitions[profile_id].append(Transition(segment_id, before, after))
        changes = [
            ProfileChange(
                profile_id=work.profile.pk,
                written_paths=frozenset(work.written),
                identities_changed=work.profile.pk in identities_changed,
                transitions=tuple(transitions[work.profile.pk]),
            )
            for work in touched
        ]
        profiles_changed.send(sender=Profile, changes=changes)
