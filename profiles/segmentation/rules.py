"""The live rules, compiled once a process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache

import structlog
from django.db.models import Q

from profiles.models import Segment
from profiles.pql import Concerned, Index, PQLError, Predicate, Rule, Subject, parse

log = structlog.get_logger(__name__)

# A segment without a rule has the members that it was given.
RULED = Q(state=Segment.State.LIVE, origin=Segment.Origin.SEGMENTATION) & ~Q(rule="")


@dataclass(frozen=True)
class Rules(Mapping[str, Rule]):
    """Rules by the ids of their segments."""

    rules: Mapping[str, Rule]

    def __getitem__(self, segment_id: str) -> Rule:
        return self.rules[segment_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    @cached_property
    def index(self) -> Index:
        return Index(self.rules)

    @cached_property
    def _ways(self) -> Mapping[str, tuple[Predicate, frozenset[str]]]:
        return {segment_id: (rule.compile(), rule.segments) for segment_id, rule in self.rules.items()}

    def asked(self, concerned: Concerned) -> Asked | None:
        """The rules that concern a profile, to be asked of it: those whose fields were written, and those that ask
        about a segment that the profile came into or left by that. None if there are none.
        """
        if not concerned.in_order:
            return None
        rules = {segment_id: self.rules[segment_id] for segment_id in concerned.in_order}
        ways = []
        for segment_id in rules:
            predicate, about = self._ways[segment_id]
            ways.append((segment_id, predicate, None if segment_id in concerned.now else about))
        return Asked(
            tuple(ways),
            frozenset(rules).union(*(rule.segments for rule in rules.values())),
            any(rule.identities for rule in rules.values()),
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """Rules that are asked of a profile, in their order.

    Args:
        ways: segment, predicate, and the segments of which one must have changed before (None: it is asked anyway).
        segments: whose memberships they decide or ask for.
        identities: whether one of them asks about identities.
    """

    ways: Sequence[tuple[str, Predicate, frozenset[str] | None]]
    segments: frozenset[str]
    identities: bool

    def decide(self, subject: Subject, unsettled: Set[str]) -> Iterator[tuple[str, bool]]:
        """Ask them.

        Args:
            subject: its ``segments`` are a set: whatever it comes into and leaves is put in and taken out.
            unsettled: segments of which an answer is wanted even where it is that nothing changes.

        Returns:
            Segment ids, and whether the profile is in; of those alone that changed, or are unsettled.
        """
        members = subject.segments
        assert isinstance(members, set)
        changed: set[str] = set()
        for segment_id, predicate, about in self.ways:
            if about is not None and about.isdisjoint(changed):
                continue
            so = predicate(subject)
            if so is not (segment_id in members):
                changed.add(segment_id)
                (members.add if so else members.discard)(segment_id)
                yield segment_id, so
            elif segment_id in unsettled:
                yield segment_id, so


def live_rules() -> Rules:
    """The rules that decide about members now. One query; two when one of them is new to this process.

    Ask under the lock ``INGESTION``: then they stay until the end of the transaction.
    """
    return _compiled(frozenset(Segment.objects.filter(RULED).order_by().values_list("pk", "rule_version")))


@lru_cache(maxsize=1)
def _compiled(versions: Set[tuple[str, int]]) -> Rules:
    stored = Segment.objects.filter(pk__in=[segment_id for segment_id, _version in versions]).order_by()
    rules = {}
    for segment_id, text in stored.values_list("pk", "rule"):
        try:
            rules[segment_id] = _parsed(text)
        except PQLError as error:  # stored past the services
            log.warning("rule_not_read", segment_id=segment_id, position=error.position)
    return Rules(rules)


_parsed = lru_cache(maxsize=1_000)(parse)
