"""What enabled consent policies ask of profiles: that a field says yes, for certain marketing actions.

To a destination with such an action, only profiles are exported whose field says yes. What yes is, :func:`says_yes`
says; of several policies, every field must say it. Who exports asks for the fields (:class:`Asked`), and is told when
they are others.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from governance.enforcement import lock
from governance.models import ConsentPolicy
from governance.signals import asking_consent_effects, consent_changed
from profiles.models import Profile
from profiles.pql.query import IsSo
from profiles.pql.syntax import Condition, Every, Not, OneOf, Path, Some, Text, Truth

YES = ("y", "dy")


def says_yes(value: object) -> bool:
    """Whether the value of a consent field is a yes: ``y`` (opted in), ``dy`` (yes by default) or true.

    A missing one is none, and so are all others of AEP's consent values: ``n``, ``dn``, ``p`` (pending), ``u``
    (unknown), and the legal bases ``LI``, ``CT``, ``CP``, ``VI`` and ``PI``, which are no consent (XDM, "Consents and
    Preferences").
    """
    return value is True or value in YES


def _all_yes(paths: Collection[str]) -> Condition:
    """:func:`says_yes` of every field, for the database. One field at least."""
    fields = [Path(tuple(path.split("."))) for path in sorted(paths)]
    terms = [Some((OneOf(each, tuple(map(Text, YES))), Truth(each))) for each in fields]
    return Every(tuple(terms)) if len(terms) > 1 else terms[0]


def concerned(
    profiles: QuerySet[Profile], before: frozenset[str], after: frozenset[str]
) -> QuerySet[Profile]:
    """Those of ``profiles`` to whom it may matter that the fields ``after`` must say yes, and not those ``before``: of
    whom some that differ do not, and all others do.
    """
    now = timezone.now()
    found = profiles.filter(IsSo(Not(_all_yes(before ^ after)), now))
    both = before & after
    return found.filter(IsSo(_all_yes(both), now)) if both else found


@dataclass(frozen=True, slots=True)
class Asked:
    """Which fields must say yes: their paths, by the id of the marketing action."""

    by_action: Mapping[uuid.UUID, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def stored(cls) -> Asked:
        """By the policies that are enabled now. Two queries."""
        return cls.by(enabled_policies())

    @classmethod
    def by(cls, policies: Iterable[ConsentPolicy]) -> Asked:
        """By these policies, if they were enabled."""
        paths: dict[uuid.UUID, set[str]] = defaultdict(set)
        for policy in policies:
            for action in policy.marketing_actions.all():
                paths[action.pk].add(policy.field.path)
        return cls({action: frozenset(found) for action, found in paths.items()})

    def of(self, actions: Iterable[uuid.UUID]) -> frozenset[str]:
        """For a destination with these marketing actions."""
        return frozenset().union(*(self.by_action.get(action, ()) for action in actions))


def enabled_policies() -> QuerySet[ConsentPolicy]:
    found = ConsentPolicy.objects.filter(enabled=True).select_related("field")
    return found.prefetch_related("marketing_actions")


def policies_for(actions: Collection[uuid.UUID]) -> list[ConsentPolicy]:
    """The policies that hold for a destination with these marketing actions. One query."""
    found = ConsentPolicy.objects.filter(enabled=True, marketing_actions__in=actions)
    return list(found.select_related("field").distinct())


@contextmanager
def changing() -> Iterator[None]:
    """A transaction that changes consent policies. Who exports is told what they asked before, and ask now.

    The lock is that of :func:`governance.enforcement.lock`: what destinations are meant for stays as it is meanwhile.
    """
    with transaction.atomic():
        lock()
        before = Asked.stored()
        yield
        after = Asked.stored()
        if after != before:
            consent_changed.send(sender=ConsentPolicy, before=before, after=after)


@dataclass(frozen=True, slots=True)
class Effect:
    """What it means for a live dataflow that a policy is enabled, or disabled.

    Args:
        name: of the destination.
        profiles: that are left out from then on, or are not any more.
        told: those of them that were exported already: they get one last record.
    """

    name: str
    profiles: int
    told: int
    url: str = ""


def effects(policy: ConsentPolicy, *, enabled: bool) -> list[Effect]:
    """What it would mean to enable or disable a policy, by the destination's name; empty where it is so already."""
    others = [each for each in enabled_policies() if each.pk != policy.pk]
    without, with_it = Asked.by(others), Asked.by([*others, policy])
    now, then = (without, with_it) if enabled else (with_it, without)
    answers: Iterable[tuple[Any, Any]] = asking_consent_effects.send(
        sender=ConsentPolicy, before=now, after=then
    )
    found: list[Effect] = [each for _receiver, some in answers for each in some]
    return sorted(found, key=lambda each: each.name)
