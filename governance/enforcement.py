"""What a use of data violates, and why: one function, :func:`judge`, for whoever asks.

It is asked before a dataflow goes live, and after every change that could make a live one violate: labels, policies,
rules, mappings, marketing actions. Such a change is made first, in a transaction that holds the lock, and taken back
when live uses would violate (:func:`enforced`). As every such change holds the lock until it is committed, no two that
are harmless one by one can together do harm. Profiles are never read.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import translation
from django.utils.translation import gettext as _

import audit
from governance.models import Label, MarketingAction, Policy
from governance.signals import asking_uses
from profiles.locks import GOVERNANCE, advisory_lock
from profiles.merge import ancestors
from profiles.models import RESERVED_KEYS, Segment
from profiles.pql import PQLError
from profiles.segmentation.rules import parsed

NAMED_IN_REASON = 5  # carriers of labels that a refusal names


@dataclass(frozen=True, slots=True)
class Use:
    """What somebody uses data for, e.g. a dataflow.

    Args:
        name: what people call it.
        destination: where the data goes, in words.
        paths: of the attributes that go there. Identities and memberships always do.
        segments: ids of the segments whose members go there.
        actions: ids of the marketing actions that this is for.
        url: its page.
    """

    name: str
    destination: str
    paths: Sequence[str]
    segments: Collection[str]
    actions: Set[uuid.UUID]
    url: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A label that counts here; ``at`` is the path that carries it, where it was inherited or is of the data below."""

    code: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Carrier:
    """What brings labels into a use.

    Args:
        path: a field; empty where the segment itself is labelled.
        segment: the segment whose rule reads it; None for a mapped attribute.
        marks: its labels that the policy speaks of.
    """

    path: str
    segment: Segment | None
    marks: tuple[Mark, ...]

    @property
    def codes(self) -> str:
        return ", ".join(dict.fromkeys(mark.code for mark in self.marks))

    @property
    def always(self) -> bool:
        """Every record holds it: it can't be taken out."""
        return self.segment is None and self.path in RESERVED_KEYS

    def __str__(self) -> str:
        if self.segment is None:
            return f"{self.path} ({self.codes})"
        name = _("segment “%(name)s”") % {"name": self.segment}
        return f"{name}: {self.path} ({self.codes})" if self.path else f"{name} ({self.codes})"


@dataclass(frozen=True, slots=True)
class Violation:
    """That a use does what a policy forbids."""

    use: Use
    policy: Policy
    actions: tuple[MarketingAction, ...]
    carriers: tuple[Carrier, ...]

    @property
    def attributes(self) -> list[Carrier]:
        """The mapped attributes that could be removed."""
        return [each for each in self.carriers if each.segment is None and not each.always]

    @property
    def segments(self) -> list[Segment]:
        """The segments that could be taken out, each once."""
        return list({each.segment.pk: each.segment for each in self.carriers if each.segment}.values())

    @property
    def action_names(self) -> str:
        return ", ".join(str(action) for action in self.actions)

    def __str__(self) -> str:
        carriers = [str(each) for each in self.carriers]
        if len(carriers) > NAMED_IN_REASON:
            carriers = [*carriers[:NAMED_IN_REASON], "…"]
        return _(
            "“%(use)s” would violate the policy “%(policy)s”: data with %(condition)s must not be used for "
            "%(actions)s. It uses %(carriers)s."
        ) % {
            "use": self.use.name,
            "policy": self.policy,
            "condition": self.policy.rule,
            "actions": self.action_names,
            "carriers": "; ".join(carriers),
        }


class Violated(ValidationError):
    """Live uses of data would violate policies. The messages say which and why; ``violations`` too."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__([str(violation).replace("%", "%%") for violation in violations])
        self.violations = list(violations)


# -- changes -------------------------------------------------------------------------------------------------------


def lock() -> None:
    """Until the end of the transaction, nobody else changes what policies decide by.

    Take it before locking rows of dataflows, destinations and policies. SQLite has one writer at a time anyway.
    """
    advisory_lock(GOVERNANCE, shared=False)


@contextmanager
def enforced() -> Iterator[None]:
    """A transaction for a change that policies may forbid.

    Raises:
        Violated: a live use would violate a policy then. The change is taken back.
    """
    with transaction.atomic():
        lock()
        yield
        refuse_violations()


def refuse_violations() -> None:
    """Raise Violated where a live use violates a policy as things are in this transaction. The lock is held."""
    answers: Iterable[tuple[Any, Any]] = asking_uses.send(sender=Policy)
    uses: list[Use] = [use for _receiver, found in answers for use in found]
    if violations := judge(uses):
        note_refusal(violations)
        raise Violated(violations)


def note_refusal(violations: Sequence[Violation]) -> None:
    """Have the audit trail tell that somebody was refused what would violate policies, and why."""
    with translation.override("en"):
        uses = dict.fromkeys(violation.use.name for violation in violations)
        why = "\n".join(map(str, violations))
        audit.refused("policy.refused", name=", ".join(uses), after={"why": why})


def judge_changed_rule(sender: Any = None, **_kwargs: Any) -> None:
    """Receives profiles.signals.rule_changed."""
    lock()
    refuse_violations()


# -- the judgement -------------------------------------------------------------------------------------------------


def judge(uses: Iterable[Use]) -> list[Violation]:
    """What each use violates: the enabled policies whose marketing actions it is for, and whose condition its labels
    fulfil.

    Labels are those of the attributes and, each segment judged by itself, of the segment and the fields that its rule
    reads (also through ``inSegment``). A field has the labels of the groups that it is in; what holds labelled fields
    has theirs. Six queries at most, however many uses and segments there are.
    """
    policies = list(Policy.objects.filter(state=Policy.State.ENABLED).prefetch_related("marketing_actions"))
    forbidden = {action.pk for policy in policies for action in policy.marketing_actions.all()}
    concerned = [use for use in uses if not forbidden.isdisjoint(use.actions)]
    if not concerned:
        return []
    data = _Data.stored({segment for use in concerned for segment in use.segments})
    found = []
    for use in concerned:
        for policy in policies:
            actions = tuple(action for action in policy.marketing_actions.all() if action.pk in use.actions)
            if actions and (carriers := _carriers(policy, use, data)):
                found.append(Violation(use, policy, actions, carriers))
    return found


def _carriers(policy: Policy, use: Use, data: _Data) -> tuple[Carrier, ...]:
    """What brings the labels of the policy into the use; nothing where its condition is not fulfilled."""
    condition = policy.rule
    speaks_of = condition.codes()
    attributes = [
        carrier
        for path in dict.fromkeys((*use.paths, *RESERVED_KEYS))
        if (carrier := _carrier(path, None, data.of_path(path), speaks_of))
    ]
    found: dict[Carrier, None] = {}
    # Without segments, as in a draft, the attributes are judged alone.
    for segment_id in use.segments or [""]:
        carriers = [*attributes, *data.of_segment(segment_id, speaks_of)]
        if condition.holds({mark.code for carrier in carriers for mark in carrier.marks}):
            found |= dict.fromkeys(carriers)
    return tuple(found)


def _carrier(
    path: str, segment: Segment | None, marks: Iterable[Mark], speaks_of: Set[str]
) -> Carrier | None:
    wanted = tuple(sorted(mark for mark in marks if mark.code in speaks_of))
    return Carrier(path, segment, wanted) if wanted else None


@dataclass
class _Data:
    """Labels and rules as they are stored.

    Args:
        by_path: codes by the path that carries them.
        by_segment: codes by the id of the segment that carries them.
        segments: those that are used, and those that their rules ask about.
    """

    by_path: Mapping[str, list[str]]
    by_segment: Mapping[str, list[str]]
    segments: Mapping[str, Segment]
    _reads: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    @classmethod
    def stored(cls, segment_ids: Set[str]) -> _Data:
        by_path: dict[str, list[str]] = defaultdict(list)
        for path, code in Label.objects.filter(fields__isnull=False).values_list("fields__path", "code"):
            by_path[path].append(code)
        by_segment: dict[str, list[str]] = defaultdict(list)
        for key, code in Label.objects.filter(segments__isnull=False).values_list("segments", "code"):
            by_segment[key].append(code)
        return cls(by_path, by_segment, _segments(segment_ids))

    @cached_property
    def _below(self) -> Mapping[str, list[str]]:
        """The labelled paths below each path."""
        below: dict[str, list[str]] = defaultdict(list)
        for path in self.by_path:
            for above in ancestors(path):
                below[above].append(path)
        return below

    def of_path(self, path: str) -> list[Mark]:
        """The labels that count where a path is used: its own, inherited ones, and those of what it holds."""
        marks = [Mark(code) for code in self.by_path.get(path, ())]
        for other in (*ancestors(path), *self._below.get(path, ())):
            marks += [Mark(code, other) for code in self.by_path.get(other, ())]
        return marks

    def of_segment(self, segment_id: str, speaks_of: Set[str]) -> list[Carrier]:
        """What carries labels in a segment: fields that its rule reads, itself, and the same of those it asks about."""
        segment = self.segments.get(segment_id)
        if segment is None:
            return []
        paths, asked = self._reach(segment_id)
        marks = {Mark(code) for code in self.by_segment.get(segment_id, ())}
        for other in asked - {segment_id}:
            marks |= {Mark(code, str(self.segments[other])) for code in self.by_segment.get(other, ())}
        carriers = [_carrier(path, segment, self.of_path(path), speaks_of) for path in sorted(paths)]
        carriers.append(_carrier("", segment, marks, speaks_of))
        return [carrier for carrier in carriers if carrier]

    def _reach(self, segment_id: str) -> tuple[frozenset[str], frozenset[str]]:
        """The paths that decide who is in a segment, and the segments that do."""
        if segment_id not in self._reads:
            paths: set[str] = set()
            seen: set[str] = set()
            waiting = [segment_id]
            while waiting:
                key = waiting.pop()
                if key in seen or key not in self.segments:
                    continue
                seen.add(key)
                read, asked = reads(self.segments[key])
                paths |= read
                waiting += asked
            self._reads[segment_id] = frozenset(paths), frozenset(seen)
        return self._reads[segment_id]


def reads(segment: Segment) -> tuple[Set[str], Set[str]]:
    """The paths that a segment's rule reads, and the ids of the segments that it asks about."""
    if segment.origin != Segment.Origin.SEGMENTATION or not segment.rule:
        return frozenset(), frozenset()
    try:
        rule = parsed(segment.rule)
    except PQLError:  # a draft: it has no members
        return frozenset(), frozenset()
    return rule.paths | ({"identityMap"} if rule.identities else set()), rule.segments


def _segments(segment_ids: Set[str]) -> dict[str, Segment]:
    """These segments, and all that their rules ask about. Two queries: who asks has ``inSegment`` in the rule."""
    stored = Segment.objects.only("name", "origin", "rule").order_by()
    found = {each.pk: each for each in stored.filter(Q(pk__in=segment_ids) | Q(rule__contains="inSegment"))}
    wanted, waiting = set(segment_ids), list(segment_ids)
    while waiting:
        segment = found.get(waiting.pop())
        more = reads(segment)[1] - wanted if segment else set()
        wanted |= more
        waiting += more
    if missing := wanted - found.keys():
        found |= stored.in_bulk(missing)
    return {key: found[key] for key in wanted & found.keys()}
