"""Rules asked of the whole store."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Expression, F, QuerySet
from django.db.models.sql.compiler import SQLCompiler

from profiles.models import Identity, Profile, SegmentMembership
from profiles.pql import moments, values
from profiles.pql.postgresql import PostgreSQL
from profiles.pql.predicate import Predicate, Subject
from profiles.pql.reads import Reads, walk
from profiles.pql.sql import Dialect, Sql, Writer
from profiles.pql.sqlite import SQLite
from profiles.pql.syntax import Condition, TextTest

DIALECTS: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "sqlite": SQLite}

BATCH = 2_000  # profiles that are in memory when Python has the last word


class IsSo(Expression):
    """A rule as an expression over :class:`profiles.models.Profile`: ``Profile.objects.filter(IsSo(tree, now))``."""

    def __init__(self, tree: Condition, now: datetime) -> None:
        super().__init__(output_field=BooleanField())
        self.tree = tree
        self.now = now
        self.columns: list[Any] = [F("attributes"), F("pk")]

    def get_source_expressions(self) -> list[Any]:
        return self.columns

    def set_source_expressions(self, exprs: Sequence[Any]) -> None:
        self.columns = list(exprs)

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, tuple[Any, ...]]:
        attributes, key = (Sql(text, tuple(params)) for text, params in map(compiler.compile, self.columns))
        dialect = DIALECTS[connection.vendor](attributes, key, connection.ops.quote_name)
        return Writer(dialect, moments.from_datetime(self.now)).condition(self.tree)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Profiles that a query finds for a rule.

    Args:
        profiles: those of whom it is so; not ordered.
        exact: False: also some of whom it is not: the database can't say it all. :func:`members` can.
    """

    profiles: QuerySet[Profile]
    exact: bool


def candidates(tree: Condition, now: datetime, within: QuerySet[Profile] | None = None) -> Candidates:
    profiles = Profile.objects.order_by() if within is None else within
    dialect = DIALECTS[connections[profiles.db].vendor]
    exact = dialect.has_regex or not any(
        isinstance(node, TextTest) and node.function == "matches" for node in walk(tree)
    )
    return Candidates(profiles.filter(IsSo(tree, now)), exact)


def members(
    tree: Condition,
    predicate: Predicate,
    read: Reads,
    now: datetime,
    within: QuerySet[Profile] | None = None,
) -> Iterator[uuid.UUID]:
    everybody = Profile.objects.all() if within is None else within
    found = candidates(tree, now, everybody)
    if found.exact:
        yield from found.profiles.order_by().values_list("pk", flat=True).iterator(chunk_size=BATCH)
        return
    # Page by page of all profiles, whoever of them is a candidate: so no page reads the table to its end.
    last = None
    while keys := _page(everybody, last):
        last = keys[-1]
        page = list(found.profiles.filter(pk__gte=keys[0], pk__lte=last).order_by())
        for profile, subject in zip(page, subjects(page, read, now), strict=True):
            if predicate(subject):
                yield profile.pk


def _page(profiles: QuerySet[Profile], after: uuid.UUID | None) -> list[uuid.UUID]:
    if after is not None:
        profiles = profiles.filter(pk__gt=after)
    return list(profiles.order_by("pk").values_list("pk", flat=True)[:BATCH])


def subjects(profiles: Sequence[Profile], read: Reads, now: datetime) -> Iterable[Subject]:
    """Stored profiles as predicates see them, in their order, with what a rule reads: two queries at most."""
    keys = [profile.pk for profile in profiles]
    identities: dict[uuid.UUID, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    segments: dict[uuid.UUID, set[str]] = defaultdict(set)
    if read.identities:
        known = Identity.objects.filter(profile__in=keys)
        for key, code, value in known.values_list("profile", "namespace__code", "value"):
            identities[key][values.namespace_key(code)].append(value)
    if read.segments:
        memberships = SegmentMembership.objects.filter(
            profile__in=keys, segment__in=read.segments, status__in=SegmentMembership.MEMBER_STATUSES
        )
        for key, segment_id in memberships.values_list("profile", "segment"):
            segments[key].add(segment_id)
    return [
        Subject(profile.attributes, identities[profile.pk], segments[profile.pk], now) for profile in profiles
    ]
