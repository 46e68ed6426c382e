"""A rule: what a segment's text says, and what can be done with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from django.db.models import QuerySet

from profiles.models import Profile
from profiles.pql.check import Schema, check
from profiles.pql.parse import parse as parse_tree
from profiles.pql.predicate import Predicate, compile_condition
from profiles.pql.query import Candidates, candidates, members
from profiles.pql.reads import Reads, reads
from profiles.pql.syntax import Condition
from profiles.pql.unparse import unparse


@dataclass(frozen=True)
class Rule:
    """A rule over one profile; :func:`parse` makes them. ``str()`` gives the one way to write it.

    Rules that say the same are equal, however they were written.

    Args:
        tree: what it says.
        text: how it was written. Errors point into it.
    """

    tree: Condition
    text: str = field(compare=False)

    def __str__(self) -> str:
        return unparse(self.tree)

    def check(self, schema: Schema, *, segment_id: str = "") -> None:
        """Refuse the rule if it does not fit the schema: unknown fields, segments and namespaces; types that do not fit
        each other or what is asked of them; division by a literal zero; a circle through ``inSegment``.

        Args:
            schema: what rules can speak of, e.g. ``Schema.stored()``.
            segment_id: the segment whose rule this is, or will be; without it circles are not looked for.

        Raises:
            PQLError: the first thing that does not fit.
        """
        check(self.tree, self.text, schema, segment_id)

    # What it reads

    @cached_property
    def reads(self) -> Reads:
        return reads(self.tree)

    @property
    def paths(self) -> frozenset[str]:
        """Dotted paths of the attributes that it reads; of a list whose members are asked, the list's."""
        return self.reads.paths

    @property
    def segments(self) -> frozenset[str]:
        """Ids of the segments that it refers to."""
        return self.reads.segments

    @property
    def identities(self) -> bool:
        """Whether it asks about identities."""
        return self.reads.identities

    @property
    def timed(self) -> bool:
        """Whether it asks what time it is: then its members change while nothing is written."""
        return self.reads.timed

    # Evaluating it

    @cached_property
    def _predicate(self) -> Predicate:
        return compile_condition(self.tree)

    def compile(self) -> Predicate:
        """A function that says of a :class:`Subject` whether the rule is so; the same one every time.

        It never raises for what a profile holds, and may be called by several threads.
        """
        return self._predicate

    def query(self, now: datetime, within: QuerySet[Profile] | None = None) -> Candidates:
        """The stored profiles of whom the rule is so, as a queryset that the database evaluates.

        Args:
            now: when it is asked; aware.
            within: of these profiles only; without it, of all.

        Returns:
            ``profiles``, and whether they are ``exact``. They are not for a rule with ``matches`` on PostgreSQL, whose
            regular expressions are others: then there are too many, and :meth:`members` or the predicate decides.
        """
        return candidates(self.tree, now, within)

    def members(self, now: datetime, within: QuerySet[Profile] | None = None) -> Iterator[uuid.UUID]:
        """Ids of the stored profiles of whom the rule is so; exactly them, in any order, in flat memory.

        Args:
            now: when it is asked; aware.
            within: of these profiles only (not sliced); without it, of all.
        """
        return members(self.tree, self.compile(), self.reads, now, within)


def parse(text: str) -> Rule:
    """The rule that a text says, e.g. ``homeAddress.countryCode = "KR" and loyalty.points > 1000``.

    Raises:
        PQLError: it says none, or one that is too large (profiles.pql.parse has the limits).
    """
    return Rule(parse_tree(text), text)
