"""What pages read about profiles, segments and the schema. Every function has a fixed number of queries."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Generic, TypeVar

from django.db.models import Count, F, Model, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext

from profiles.core_names import CORE_NAMESPACES, CORE_TITLES
from profiles.models import (
    IDENTITY_MAX_LENGTH,
    Identity,
    IdentityNamespace,
    IngestedPath,
    MemberCount,
    MergedProfile,
    Profile,
    SchemaField,
    Segment,
    SegmentMembership,
)

M = TypeVar("M", bound=Model)

IDENTITIES_IN_A_ROW = 2
COUNTED = 10_000  # of rows that may be many more

SEGMENT_SORTS = ("name", "members", "evaluated", "origin")


@dataclass(frozen=True, slots=True)
class Slice(Generic[M]):
    """Some rows of a list that is too long to count: the next ones begin after the last key, whatever was added since.

    Args:
        rows: in the list's order, the newest first.
        newer: the key of which the rows before are newer; None at the beginning.
        older: the key after which older rows follow; None at the end.
    """

    rows: Sequence[M]
    newer: Any = None
    older: Any = None


def newest_first(queryset: QuerySet[M], *, before: Any = None, after: Any = None, size: int) -> Slice[M]:
    """Rows by their primary key, which grows with time, from the newest to the oldest. One query.

    Args:
        before: older than the row with this key; else
        after: newer than the row with this key, those closest to it.
        size: rows at most.
    """
    if after is not None and before is None:
        rows = list(queryset.filter(pk__gt=after).order_by("pk")[: size + 1])
        return _slice(rows, size, _pk, upwards=True) if rows else newest_first(queryset, size=size)
    if before is not None:
        queryset = queryset.filter(pk__lt=before)
    return _slice(list(queryset.order_by("-pk")[: size + 1]), size, _pk, begun=before is None)


_pk = attrgetter("pk")


def _slice(
    rows: Sequence[M], size: int, key: Callable[[M], Any], *, upwards: bool = False, begun: bool = False
) -> Slice[M]:
    """
    Args:
        rows: as they were asked for, one more than ``size`` where there are more.
        key: of a row.
        upwards: they were asked for from an older one on; there are some.
        begun: else: from the newest one on.
    """
    more, rows = len(rows) > size, rows[:size]
    if upwards:
        return Slice(rows[::-1], newer=key(rows[-1]) if more else None, older=key(rows[0]))
    return Slice(
        rows,
        newer=key(rows[0]) if rows and not begun else None,
        older=key(rows[-1]) if more else None,
    )


# --- Profiles ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A line of the list of profiles."""

    profile: Profile
    identities: list[Identity]
    more_identities: int
    segments: int

    @property
    def name(self) -> str:
        return display_name(self.profile.attributes)


def display_name(attributes: dict[str, Any]) -> str:
    """What to call the customer: the full name, or its parts as they come; empty when the profile has none."""
    person = attributes.get("person")
    name = person.get("name") if isinstance(person, dict) else None
    if not isinstance(name, dict):
        return ""
    if isinstance(full := name.get("fullName"), str) and full.strip():
        return full
    parts = (name.get("firstName"), name.get("lastName"))
    return " ".join(part for part in parts if isinstance(part, str) and part.strip())


def profiles_named(value: str, namespace_id: int | None = None) -> QuerySet[Profile]:
    """The profiles that an identity value names: one in a namespace at most.

    A profile's own id finds it, too, and so does the id of one that was merged into it.
    """
    value = value.strip()
    if not value or "\0" in value or len(value) > IDENTITY_MAX_LENGTH:
        return Profile.objects.none()
    identities = Identity.objects.filter(value=value)
    if namespace_id is not None:
        return Profile.objects.filter(pk__in=identities.filter(namespace=namespace_id).values("profile_id"))
    # By their keys: an OR with a subquery would read the whole table.
    keys = list(identities.values_list("profile_id", flat=True))
    try:
        profile_id = uuid.UUID(value)
    except ValueError:
        pass
    else:
        keys += [
            profile_id,
            *MergedProfile.objects.filter(pk=profile_id).values_list("survivor_id", flat=True),
        ]
    return Profile.objects.filter(pk__in=keys)


def find_profile(profile_id: uuid.UUID) -> Profile | None:
    """The profile with this id, or the one that it was merged into. Two queries at most."""
    found = Profile.objects.filter(pk=profile_id).first()
    return found or Profile.objects.filter(merged=profile_id).first()


def last_written(profile: Profile) -> dict[str, datetime]:
    """When each attribute was last written, by path; also paths that are gone."""
    return {path: datetime.fromtimestamp(moment / 1000, UTC) for path, moment in profile.written.items()}


def profile_rows(profiles: Sequence[Profile]) -> list[ProfileRow]:
    """What the list shows of these profiles, in two queries."""
    keys = [profile.pk for profile in profiles]
    identities: dict[uuid.UUID, list[Identity]] = {key: [] for key in keys}
    for identity in Identity.objects.filter(profile__in=keys).select_related("namespace").order_by("pk"):
        identities[identity.profile_id].append(identity)
    segments = dict(
        SegmentMembership.objects.filter(profile__in=keys, status__in=SegmentMembership.MEMBER_STATUSES)
        .values_list("profile")
        .annotate(Count("pk"))
    )
    return [
        ProfileRow(
            profile,
            # The short ones are those that people know: an address, a customer number; not a hash.
            sorted(identities[profile.pk], key=lambda identity: len(identity.value))[:IDENTITIES_IN_A_ROW],
            max(0, len(identities[profile.pk]) - IDENTITIES_IN_A_ROW),
            segments.get(profile.pk, 0),
        )
        for profile in profiles
    ]


@dataclass(frozen=True, slots=True)
class Link:
    """An identity of a profile: since when it is its, and the merged profile that brought it."""

    identity: Identity
    since: datetime
    merged: MergedProfile | None


def links_of(profile: Profile) -> tuple[list[Link], list[MergedProfile]]:
    """The identities of a profile by their namespaces' codes, the oldest first, and the profiles that it was, too.

    Two queries.
    """
    merged = {row.pk: row for row in profile.merged.order_by("merged_at", "pk")}
    links = []
    for identity in profile.identities.select_related("namespace").order_by("namespace__code", "pk"):
        brought = merged.get(identity.merged_from) if identity.merged_from else None
        links.append(Link(identity, brought.merged_at if brought else identity.created_at, brought))
    return links, list(merged.values())


def memberships_of(profile: Profile) -> list[SegmentMembership]:
    """Segments that the profile is in first, then those it left; by name."""
    memberships = profile.memberships.select_related("segment").order_by("segment__name", "segment_id")
    return sorted(memberships, key=lambda membership: membership.status == SegmentMembership.Status.EXITED)


def namespaces(search: str = "", *, own: bool = False) -> QuerySet[IdentityNamespace]:
    """Identity namespaces whose code or name holds ``search``, by code. Names are searched in the reader's language.

    Args:
        own: only those that were made here.
    """
    found = IdentityNamespace.objects.order_by("code")
    if own:
        found = found.filter(custom=True)
    if search := search.strip():
        if "\0" in search:
            return found.none()
        names = [name for name in CORE_NAMESPACES if search.casefold() in gettext(name).casefold()]
        found = found.filter(
            Q(code__icontains=search)
            | Q(custom=True, name__icontains=search)
            | Q(custom=False, name__in=names)
        )
    return found


# --- Segments ------------------------------------------------------------------------------------------------------


def segments(*, search: str = "", sort: str = "name", state: str = "", origin: str = "") -> QuerySet[Segment]:
    """Segments whose name or id holds ``search``.

    Args:
        state, origin: only those of this state or origin.
        sort: one of SEGMENT_SORTS, with ``-`` in front for the other direction. What is sorted by members has them
            as ``members``; else ask :func:`member_counts` for the page's rows.
    """
    found = Segment.objects.select_related("evaluation").prefetch_related("labels")
    if state:
        found = found.filter(state=state)
    if origin:
        found = found.filter(origin=origin)
    if search := search.strip():
        if "\0" in search:
            return found.none()
        found = found.filter(Q(name__icontains=search) | Q(id__icontains=search))
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    if key == "members":
        counts = MemberCount.objects.filter(segment=OuterRef("pk")).order_by().values("segment")
        found = found.annotate(members=Coalesce(Subquery(counts.values(n=Sum("members"))), 0))
    column = F({"members": "members", "evaluated": "evaluated_at", "origin": "origin"}.get(key, "name"))
    # What was never evaluated is older than everything.
    first = (
        column.desc(nulls_last=True if key == "evaluated" else None)
        if descending
        else column.asc(nulls_first=True if key == "evaluated" else None)
    )
    return found.order_by(first, "name", "id") if key != "name" else found.order_by(first, "id")


def member_counts(segment_ids: Iterable[str]) -> dict[str, int]:
    """Members (realized or existing) of each of these segments, in one query; 0 where there are none."""
    wanted = list(segment_ids)
    rows = MemberCount.objects.filter(segment__in=wanted).order_by()
    counted = dict(rows.values_list("segment").annotate(Sum("members")))
    return {segment_id: counted.get(segment_id, 0) for segment_id in wanted}


def status_counts(segment: Segment) -> dict[str, int]:
    """Profiles by membership status, every status present; counted to one more than :data:`COUNTED`. A query each."""
    return {
        status: segment.memberships.filter(status=status).order_by()[: COUNTED + 1].count()
        for status in SegmentMembership.Status.values
    }


def latest_members(
    segment: Segment, *, status: str = "", search: str = "", before: str = "", after: str = "", size: int
) -> Slice[SegmentMembership]:
    """Memberships of a segment with their profiles, of one status or the members, from the latest qualification on. A
    query a status: each is read in the order of an index, whatever the database believes of how many there are.

    Args:
        search: only of the profiles that this identity value names, as :func:`profiles_named` finds them.
        before: earlier than the row with this key; else
        after: later than the row with this key, those closest to it. A key that is none is passed over.
        size: rows at most.
    """
    end, start = _place(before), _place(after)
    upwards = start is not None and end is None
    place, sign = end or start, "" if upwards else "-"
    rows: list[SegmentMembership] = []
    for each in [status] if status else SegmentMembership.MEMBER_STATUSES:
        found = segment.memberships.filter(status=each).select_related("profile")
        if search.strip():
            found = found.filter(profile__in=profiles_named(search))
        if place:
            found = found.filter(_beyond(*place, upwards=upwards))
        rows += found.order_by(f"{sign}last_qualification_time", f"{sign}pk")[: size + 1]
    rows.sort(key=attrgetter("last_qualification_time", "pk"), reverse=not upwards)
    if upwards and not rows:
        return latest_members(segment, status=status, search=search, size=size)
    return _slice(rows, size, _key, upwards=upwards, begun=place is None)


def _beyond(moment: datetime, pk: int, *, upwards: bool) -> Q:
    if upwards:
        return Q(last_qualification_time__gte=moment) & (Q(last_qualification_time__gt=moment) | Q(pk__gt=pk))
    return Q(last_qualification_time__lte=moment) & (Q(last_qualification_time__lt=moment) | Q(pk__lt=pk))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _key(membership: SegmentMembership) -> str:
    """Of a row of :func:`latest_members`: microseconds since 1970, and its primary key."""
    return f"{(membership.last_qualification_time - EPOCH) // timedelta(microseconds=1)}_{membership.pk}"


def _place(key: str) -> tuple[datetime, int] | None:
    found = re.fullmatch(r"(-?\d{1,16})_(\d{1,18})", key, re.ASCII)
    return (EPOCH + timedelta(microseconds=int(found[1])), int(found[2])) if found else None


# --- Schema --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """A field of the union schema in its tree. A group that nobody described has no field."""

    key: str
    path: str
    field: SchemaField | None
    children: list[Node]
    labels: Sequence[str] = ()  # codes of its own labels
    inherited: Sequence[str] = ()  # of those of the groups that it is in

    @property
    def leaves(self) -> int:
        return sum(child.leaves for child in self.children) if self.children else 1


def schema_fields(search: str = "") -> QuerySet[SchemaField]:
    """Fields whose path or title holds ``search``, by path. Titles are searched in the reader's language, too."""
    found = SchemaField.objects.order_by("path")
    if search := search.strip():
        if "\0" in search:
            return found.none()
        titles = [title for title in CORE_TITLES if search.casefold() in gettext(title).casefold()]
        found = found.filter(
            Q(path__icontains=search) | Q(title__icontains=search) | Q(custom=False, title__in=titles)
        )
    return found


def map_paths() -> frozenset[str]:
    """Paths of the fields of type map: what is below them is data, not schema."""
    paths = SchemaField.objects.filter(type=SchemaField.Type.MAP).order_by().values_list("path", flat=True)
    return frozenset(paths)


def labels_by_path() -> dict[str, list[str]]:
    """Codes of the labels of each labelled field."""
    found: dict[str, list[str]] = defaultdict(list)
    labelled = SchemaField.objects.filter(labels__isnull=False).order_by("labels__position", "labels__code")
    for path, code in labelled.values_list("path", "labels__code"):
        found[path].append(code)
    return found


def unknown_paths(search: str = "") -> QuerySet[IngestedPath]:
    """Paths that something was written to, and that the schema does not know."""
    found = IngestedPath.objects.exclude(path__in=SchemaField.objects.order_by().values("path"))
    if search := search.strip():
        if "\0" in search:
            return found.none()
        found = found.filter(path__icontains=search)
    return found


def schema_tree(
    fields: Iterable[SchemaField], labels: Mapping[str, Sequence[str]] | None = None
) -> list[Node]:
    """Fields as a tree by the parts of their paths; a group is made where only something below it was given.

    Args:
        labels: as :func:`labels_by_path` tells them, to have them at the nodes.
    """
    labels = labels or {}
    roots: list[Node] = []
    nodes: dict[str, Node] = {}

    def node(path: str) -> Node:
        if path in nodes:
            return nodes[path]
        parent, _dot, key = path.rpartition(".")
        above = node(parent) if parent else None
        nodes[path] = made = Node(key, path, None, [], labels.get(path, ()))
        if above:
            made.inherited = tuple(dict.fromkeys((*above.inherited, *above.labels)))
        (above.children if above else roots).append(made)
        return made

    for schema_field in fields:
        node(schema_field.path).field = schema_field
    return roots
