"""The one way into the profile store: whatever is written about a customer is written here, and announced here.

The import command, the pages, the admin and the inlets all make :class:`Fragment` objects and call
:func:`ingest` with a batch of them. Everything of a batch happens in one transaction, with a number of queries that
does not depend on its size; what listens to :data:`profiles.signals.profiles_changed` is part of that transaction.

Segments with a live rule have the members that the rule says: it is asked of every profile of which something was
written that it reads. What a fragment says of such a membership (status and time) stays where the rule agrees.

Rules of the merge: XDM streaming ingestion (deep merge; arrays and scalars are replaced; an explicit null removes).
Identities seen together are one customer's: a fragment that names several profiles merges them into the oldest. Of an
attribute that both have, what was written last stays; of a membership, the latest qualification.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.utils import timezone
from uuid_utils.compat import uuid7

from profiles import bulk, paths, quick_json
from profiles.locks import INGESTION, advisory_lock
from profiles.merge import Dated, difference, forget, merge, unite
from profiles.models import (
    IDENTITY_MAX_LENGTH,
    RESERVED_KEYS,
    Identity,
    IdentityNamespace,
    MergedProfile,
    Profile,
    SchemaField,
    Segment,
    SegmentMembership,
)
from profiles.reasons import NO_REASON, Reason
from profiles.reasons import Reason as _
from profiles.segmentation.memberships import Memberships
from profiles.segmentation.streaming import Written, follow_rules
from profiles.signals import ProfileChange, profiles_changed

MAX_BYTES = 1024 * 1024  # of a fragment's attributes as UTF-8 JSON: AEP's limit for a message
MAX_DEPTH = 100  # levels of nesting; XDM itself stays below 20
MAX_INTEGER_BITS = 14_000  # some 4,200 digits: Python reads and writes no integers of more than 4,300
# PostgreSQL's B-tree holds entries of up to 2,704 bytes; the rest is for the namespace and the headers.
IDENTITY_MAX_BYTES = 2600
SEGMENT_ID_MAX_LENGTH = 255
# A profile's identities in one namespace: more are a shared device, or a value that says nothing ("guest@example.com").
MAX_IN_NAMESPACE = 50

ATTEMPTS = 6  # of a batch that runs into another transaction's changes
SIDE_BY_SIDE = 3  # of them beside other batches; then it has the store for itself
# PostgreSQL's codes: deadlock detected, could not serialise.
IN_THE_WAY = ("40P01", "40001")

Key: TypeAlias = tuple[int, str]  # an identity: namespace's primary key and value


@dataclass(frozen=True, slots=True)
class Fragment:
    """What somebody knows about one customer: merged into the profile that its identities name.

    Args:
        identities: namespace code (in any case) and value, the primary one first. A profile that none of them names yet
            is created; several that they name are merged. Where that would link too many identities, nothing is linked:
            the fragment is taken as if it had come with the first one alone.
        attributes: an XDM tree; deep merged, null removes.
        memberships: segment id → status and when it was last qualified for (aware; None: now, if the status changes).
        identities_removed: no longer the profile's; those that are not its own are passed over.
        profile_id: names an existing profile directly; the id of a merged one leads to the one that stayed.
            ``identities`` are then added to it: one that names another profile, or one too many, is refused. Nobody
            merges two customers by a typing error.
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
    """What became of a fragment.

    Args:
        profile_id: the profile that it is part of now.
        reason: for people. Of a rejected one, which wrote nothing, why; of any other, why identities were not linked.
    """

    result: Result
    profile_id: uuid.UUID | None = None
    reason: Reason = NO_REASON


class Refused(Exception):
    """A fragment that can't go in; the reason is for people."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class _Moved(Exception):
    """Between finding the profiles and locking them another transaction committed something that matters."""


def ingest(
    fragments: Sequence[Fragment],
    *,
    skip_unchanged: bool = False,
    locked: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Merge a batch of fragments into the store, in order, in one transaction.

    Several fragments of one profile fold. Bad fragments are rejected, the rest goes in. A segment that is mentioned and
    not known is made (origin ``import``, named by its id).

    Args:
        fragments: some 500 to 1,000; the batch is in memory, and its profiles are locked until the transaction ends.
        skip_unchanged: a value that is stored just so already is not written and not announced. Without it, it is
            announced: "any mapped attribute is written, even with the same value" (behaviour.md).
        locked: called when the profiles of the batch are locked, those that exist: whoever changes one of them from
            here on waits for this batch. More than once where another writer's changes have the batch begin anew.

    Returns:
        An outcome for every fragment, in their order.

    Raises:
        django.db.Error: nothing of the batch went in. So does whatever a receiver of ``profiles_changed`` raises.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                advisory_lock(INGESTION, shared=attempt <= SIDE_BY_SIDE)
                return _Batch(skip_unchanged, locked).run(fragments)
        except (_Moved, IntegrityError, OperationalError) as error:
            # Another transaction made the same identity, merged one of the profiles, or waited for what this one held:
            # a second look finds what it made. A database that is locked or gone has been waited for already.
            if attempt == ATTEMPTS or (isinstance(error, OperationalError) and not _in_the_way(error)):
                raise
    raise AssertionError("unreachable")


def _in_the_way(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in IN_THE_WAY


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
    size = len(quick_json.dumps(attributes))
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
            if not key.isidentifier():  # most are, and have nothing of what is looked for
                check_text(key)
                if addressed and (not key or "." in key):
                    raise Refused(
                        _("The key “%(key)s” is empty or has a dot: no path can name it.") % {"key": key}
                    )
            # No call of its own for what stands most often.
            if isinstance(inner, str):
                if "\0" in inner or not inner.isascii():
                    check_text(inner)
            elif inner is not None and inner is not True and inner is not False:
                _check_value(
                    inner,
                    f"{path}.{key}" if path else key,
                    depth + 1,
                    addressed=addressed,
                    map_paths=map_paths,
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
    # Path → the place in the batch of the fragment that wrote it last.
    written: dict[str, int] = field(default_factory=dict)
    # How many identities it has in each namespace; of stored profiles only where they may become more.
    identities: Counter[int] = field(default_factory=Counter)
    merged: list[uuid.UUID] = field(default_factory=list)  # stored profiles that proved to be this one

    def dated(self) -> Dated:
        since = _milliseconds(self.profile.created_at)
        return Dated(self.profile.attributes, self.profile.written, since, self.written)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _stored(values: Mapping[int, Collection[str]]) -> dict[int, tuple[Key, uuid.UUID]]:
    """The identities that are stored, of these values by namespaces, and their profiles; by primary keys.

    One query that asks the index namespace by namespace: were they alternatives, PostgreSQL would read all identities.
    """
    asked = [
        Identity.objects.filter(namespace=namespace, value__among=some)
        .order_by()
        .values_list("pk", "namespace_id", "value", "profile_id")
        for namespace, some in values.items()
    ]
    found = asked[0].union(*asked[1:], all=True) if asked else []
    return {pk: ((namespace, value), profile_id) for pk, namespace, value, profile_id in found}


class _Batch:
    """One transaction's worth of fragments."""

    def __init__(self, skip_unchanged: bool, locked: Callable[[], object]) -> None:
        self.skip_unchanged = skip_unchanged
        self.locked = locked
        self.now = timezone.now()
        self.work: dict[uuid.UUID, _Work] = {}
        # Of this batch, and of earlier ones where a fragment names them.
        self.merged_into: dict[uuid.UUID, uuid.UUID] = {}
        # Who an identity names: as stored, and as it will be.
        self.stored_owner: dict[Key, uuid.UUID] = {}
        self.owner: dict[Key, uuid.UUID | None] = {}
        self.memberships = Memberships()

    def run(self, fragments: Sequence[Fragment]) -> list[Outcome]:
        prepared = self._prepare(fragments)
        self._load([entry for entry in prepared if isinstance(entry, _Prepared)])
        outcomes = []
        for place, entry in enumerate(prepared):
            try:
                if isinstance(entry, Refused):
                    raise entry
                outcomes.append(self._apply(entry, place))
            except Refused as refused:
                outcomes.append(Outcome(Result.REJECTED, reason=refused.reason))
        self._save()
        return [self._at_the_end(outcome) for outcome in outcomes]

    def _at_the_end(self, outcome: Outcome) -> Outcome:
        """An outcome after all of the batch: a profile that it made may have been merged since."""
        if outcome.profile_id is None or (stayed := self._stayed(outcome.profile_id)) == outcome.profile_id:
            return outcome
        result = Result.UPDATED if outcome.result == Result.CREATED else outcome.result
        return replace(outcome, result=result, profile_id=stayed)

    def _stayed(self, profile_id: uuid.UUID) -> uuid.UUID:
        """The profile that an id leads to."""
        if not self.merged_into:
            return profile_id
        while (into := self.merged_into.get(profile_id)) is not None:
            profile_id = into
        return profile_id

    def _prepare(self, fragments: Sequence[Fragment]) -> list[_Prepared | Refused]:
        self.codes = dict(IdentityNamespace.objects.order_by().values_list("id", "code"))
        self.namespaces = {code.lower(): pk for pk, code in self.codes.items()}
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
        if named:
            self.merged_into = self._redirects(named)
            named = {self._stayed(profile_id) for profile_id in named}
        stored = _stored(values)
        locked = named.union(profile_id for _key, profile_id in stored.values())
        # Locked in the order of their ids: two batches with the same profiles wait for each other and don't deadlock.
        # Without the key: rows that refer to a profile can still be inserted by others.
        profiles = Profile.objects.filter(pk__among=locked).order_by("pk").select_for_update(no_key=True)
        self.work = {profile.pk: _Work(profile) for profile in profiles}
        # Whoever held the locks wrote before now.
        self.now = timezone.now()
        # Read again under the lock: from here on nobody else changes the identities of these profiles, or merges them.
        # Of one that another batch makes meanwhile, the unique constraint tells.
        again = Identity.objects.filter(pk__among=stored).order_by().values_list("pk", "profile_id")
        self.stored_owner = {stored[pk][0]: profile_id for pk, profile_id in again}
        self.owner = dict(self.stored_owner)
        missing = named - self.work.keys()
        if not self.work.keys() >= set(self.stored_owner.values()) or (missing and self._redirects(missing)):
            raise _Moved
        self.locked()
        growing = self._growing(prepared)
        self._load_memberships(prepared, growing)
        if growing:
            counted = Identity.objects.filter(profile__among=growing).order_by()
            for profile_id, namespace, count in counted.values_list("profile_id", "namespace_id").annotate(
                Count("pk")
            ):
                self.work[profile_id].identities[namespace] = count

    def _redirects(self, profile_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
        return dict(MergedProfile.objects.filter(pk__in=profile_ids).values_list("pk", "survivor_id"))

    def _growing(self, prepared: list[_Prepared]) -> set[uuid.UUID]:
        """The stored profiles that may get identities, or be merged: whatever is named beside something else."""
        growing: set[uuid.UUID] = set()
        for entry in prepared:
            owners = {self.owner.get(key) for key in entry.identities}
            if entry.fragment.profile_id is not None:
                owners.add(self._stayed(entry.fragment.profile_id))
            if len(owners) > 1:
                growing.update(owner for owner in owners if owner in self.work)
        return growing

    def _load_memberships(self, prepared: list[_Prepared], growing: set[uuid.UUID]) -> None:
        """Those that fragments mention; all of the profiles that may be merged."""
        mentioned = {key for entry in prepared for key in entry.fragment.memberships}
        wanted = Q(profile__among=growing)
        if mentioned:
            wanted |= Q(profile__among=list(self.work), segment__in=mentioned)
        if self.work and (mentioned or growing):
            self.memberships.read(wanted)

    def _apply(self, entry: _Prepared, place: int) -> Outcome:
        work, identities, touched, reason = self._resolve(entry)
        touched |= self._apply_identities(work, identities, entry.removed)
        written = merge(
            work.profile.attributes,
            entry.fragment.attributes,
            skip_unchanged=self.skip_unchanged,
            map_paths=self.map_paths,
            moments=work.profile.written,
            at=_milliseconds(self.now),
        )
        if written:
            work.written |= dict.fromkeys(written, place)
            touched = True
        for segment_id, (status, moment) in entry.fragment.memberships.items():
            touched |= self.memberships[work.profile.pk].tell(segment_id, status, moment, self.now)
        made = work.created and not work.touched
        work.touched |= touched
        result = Result.CREATED if made else Result.UPDATED if touched else Result.UNCHANGED
        return Outcome(result, work.profile.pk, reason)

    def _resolve(self, entry: _Prepared) -> tuple[_Work, list[Key], bool, Reason]:
        """The profile that a fragment is part of: the one that its identities name, a new one, or the one that the
        several that they name are from here on.

        Returns:
            The profile, the identities that it gets, whether profiles were merged, and why identities were not linked.
        """
        identities, named = entry.identities, entry.fragment.profile_id
        owners = self._owners(identities)
        if named is not None:
            named = self._stayed(named)
            if named not in self.work:
                raise Refused(_("There is no such profile."))
            if any(owner != named for owner in owners):
                raise Refused(_("The identities name different profiles."))
            owners = [named]
        if reason := self._too_many(owners, identities):
            if named is not None:
                raise Refused(reason)
            identities = identities[:1]
            owners = self._owners(identities)
        if not owners:
            profile = Profile(id=uuid7(), attributes={}, written={}, created_at=self.now)
            self.work[profile.pk] = _Work(profile, created=True)
            owners = [profile.pk]
        # The oldest stays: of stored profiles ids grow with time.
        stays, *others = sorted(
            (self.work[owner] for owner in owners), key=lambda work: (work.created, work.profile.pk)
        )
        for other in others:
            self._merge_profiles(stays, other)
        return stays, identities, bool(others), reason

    def _owner(self, key: Key) -> uuid.UUID | None:
        owner = self.owner.get(key)
        return None if owner is None else self._stayed(owner)

    def _owners(self, identities: list[Key]) -> list[uuid.UUID]:
        """The profiles that identities name, each once."""
        owners = (self._owner(key) for key in identities)
        return list(dict.fromkeys(owner for owner in owners if owner is not None))

    def _too_many(self, owners: list[uuid.UUID], identities: list[Key]) -> Reason:
        """Why these profiles and identities may not become one profile; false if they may, or are one already."""
        new = {key for key in identities if self._owner(key) is None}
        if len(owners) + len(new) < 2:
            return NO_REASON
        together: Counter[int] = Counter(namespace for namespace, _value in new)
        for owner in owners:
            together.update(self.work[owner].identities)
        [(namespace, most)] = together.most_common(1)
        if most > MAX_IN_NAMESPACE:
            return _(
                "The identities were not linked: one profile would have more than %(limit)s in namespace “%(code)s”."
            ) % {"limit": MAX_IN_NAMESPACE, "code": self.codes[namespace]}
        if together.total() > settings.IDENTITY_GRAPH_LIMIT:
            return _("The identities were not linked: one profile would have more than %(limit)s.") % {
                "limit": settings.IDENTITY_GRAPH_LIMIT
            }
        return NO_REASON

    def _merge_profiles(self, stays: _Work, other: _Work) -> None:
        """Make two profiles of the batch one. What is stored of the other moves when the batch is saved."""
        stays_id, other_id = stays.profile.pk, other.profile.pk
        attributes, moments = unite(stays.dated(), other.dated(), self.map_paths)
        changed = merge(
            stays.profile.attributes,
            difference(stays.profile.attributes, attributes),
            map_paths=self.map_paths,
        )
        stays.profile.written = moments
        places = {path: max(place, stays.written.get(path, -1)) for path, place in other.written.items()}
        stays.written = dict.fromkeys(changed, -1) | stays.written | places
        stays.identities.update(other.identities)
        self.memberships.move(other_id, stays_id, self.now)
        stays.merged += [*other.merged, *([] if other.created else [other_id])]
        stays.touched |= other.touched
        self.merged_into[other_id] = stays_id
        del self.work[other_id]

    def _apply_identities(self, work: _Work, identities: list[Key], removed: list[Key]) -> bool:
        touched = False
        for key in identities:
            if self._owner(key) is None:
                self.owner[key] = work.profile.pk
                work.identities[key[0]] += 1
                touched = True
        for key in removed:
            if self._owner(key) == work.profile.pk:
                self.owner[key] = None
                work.identities[key[0]] -= 1
                touched = True
        return touched

    def _save(self) -> None:
        """Write everything that changed: profiles, then segments, then identities, each in an order of their own.

        Every transaction takes its locks in this order, so none waits in a circle.
        """
        touched = [work for work in self.work.values() if work.touched or work.created]
        if not touched:
            return
        for work in touched:
            if work.written:
                forget(work.profile.written)
        bulk.insert(
            Profile,
            ["id", "attributes", "written", "created_at"],
            [
                (profile.pk, profile.attributes, profile.written, profile.created_at)
                for profile in (work.profile for work in touched)
            ],
            same={"updated_at": self.now},
            unique=["id"],
            update=["attributes", "written", "updated_at"],
        )
        self._save_segments()
        merged = [profile_id for work in touched for profile_id in work.merged]
        if merged:
            self._save_merged(merged)
        identities_changed = self._save_identities()
        follow_rules(
            [
                Written(
                    work.profile,
                    work.written,
                    bool(work.merged) or work.profile.pk in identities_changed,
                    work.created,
                    [
                        (self.codes[namespace], value)
                        for namespace, value in identities_changed.get(work.profile.pk, ())
                    ]
                    if work.created
                    else (),
                    work.merged,
                )
                for work in touched
            ],
            self.memberships,
            self.now,
        )
        self.memberships.save()
        self._announce(touched, identities_changed)
        paths.note((work.profile.attributes, work.written) for work in touched)
        if merged:
            # Last, so that whoever listens still finds what refers to them.
            Profile.objects.filter(pk__in=merged).delete()

    def _save_merged(self, merged: list[uuid.UUID]) -> None:
        """Let the ids of merged profiles, and those that led to them, lead to the ones that stayed. Move identities."""
        MergedProfile.objects.bulk_create(
            MergedProfile(id=profile_id, survivor_id=self._stayed(profile_id), merged_at=self.now)
            for profile_id in merged
        )
        survivors = MergedProfile.objects.values("survivor_id")
        MergedProfile.objects.filter(survivor__in=merged).update(
            survivor=Subquery(survivors.filter(pk=OuterRef("survivor_id")))
        )
        Identity.objects.filter(profile__in=merged).update(
            profile=Subquery(survivors.filter(pk=OuterRef("profile_id"))), merged_from=F("profile")
        )

    def _save_segments(self) -> None:
        mentioned = set().union(*(of.changed for of in self.memberships.values()))
        # A stored membership has a stored segment.
        mentioned.difference_update(*(of.stored for of in self.memberships.values()))
        if not mentioned:
            return
        known = Segment.objects.filter(pk__in=mentioned).order_by().values_list("pk", flat=True)
        new = sorted(mentioned.difference(known))
        if new:
            Segment.objects.bulk_create(
                [Segment(id=key, name=key, origin=Segment.Origin.IMPORT, created_at=self.now) for key in new],
                ignore_conflicts=True,
            )

    def _save_identities(self) -> dict[uuid.UUID, list[Key]]:
        """Returns the profiles whose identities are other ones now, with those that are new."""
        stored = {key: self._stayed(owner) for key, owner in self.stored_owner.items()}
        owners = {key: self._owner(key) for key in sorted(self.owner)}
        gone = {key: owner for key, owner in stored.items() if owners[key] != owner}
        new = {key: owner for key, owner in owners.items() if owner is not None and owner != stored.get(key)}
        if gone:
            values: dict[int, list[str]] = defaultdict(list)
            for namespace, value in gone:
                values[namespace].append(value)
            leaving = Q(pk__in=[])
            for namespace, some in values.items():
                leaving |= Q(namespace=namespace, value__among=some)
            Identity.objects.filter(leaving).delete()
        bulk.insert(
            Identity,
            ["profile_id", "namespace_id", "value"],
            [(owner, namespace, value) for (namespace, value), owner in new.items()],
            same={"created_at": self.now},
        )
        changed: dict[uuid.UUID, list[Key]] = {owner: [] for owner in gone.values()}
        for key, owner in new.items():
            changed.setdefault(owner, []).append(key)
        return changed

    def _announce(self, touched: list[_Work], identities_changed: Collection[uuid.UUID]) -> None:
        changes = [
            ProfileChange(
                profile_id=work.profile.pk,
                written_paths=frozenset(work.written),
                identities_changed=bool(work.merged) or work.profile.pk in identities_changed,
                transitions=tuple(self.memberships[work.profile.pk].transitions()),
                merged=tuple(work.merged),
                created=work.created,
            )
            for work in touched
        ]
        profiles_changed.send(sender=Profile, changes=changes)
