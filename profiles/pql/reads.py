"""What a rule reads: which changes of a profile can change whether the rule is so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from profiles.merge import ancestors
from profiles.pql.predicate import Subject
from profiles.pql.syntax import Condition, Identities, InSegment, Last, Node, Now, Path, This, Today

if TYPE_CHECKING:
    from profiles.pql.rule import Rule


@dataclass(frozen=True, slots=True)
class Reads:
    """What a rule reads.

    Args:
        paths: dotted paths of attributes. Of a list whose members are asked, the list's.
        segments: ids of the segments that it asks about.
        identities: it asks about identities.
        timed: it asks what time it is: its members change while nothing is written.
    """

    paths: frozenset[str]
    segments: frozenset[str]
    identities: bool
    timed: bool


def reads(tree: Condition) -> Reads:
    nodes = list(walk(tree))
    return Reads(
        paths=frozenset(node.dotted for node in nodes if isinstance(node, Path) and node.variable is None),
        segments=frozenset(node.segment_id for node in nodes if isinstance(node, InSegment)),
        identities=any(isinstance(node, Identities) for node in nodes),
        timed=any(isinstance(node, This | Last | Now | Today) for node in nodes),
    )


def walk(node: Node) -> Iterator[Node]:
    """A node and all that it is made of."""
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Node):
                yield from walk(part)


@dataclass(frozen=True, slots=True)
class Concerned:
    """The rules that a change of a profile concerns, by the ids of their segments.

    Args:
        now: what they read was written: they may be so now and were not, or the other way round.
        in_order: these, and those that ask about their segments, or about those of the latter, and so on. One that asks
            about another one comes after it.
    """

    now: frozenset[str]
    in_order: tuple[str, ...]


class Index:
    """Finds the rules that a change of a profile concerns, in a time that depends on the change and not on the rules.

    Args:
        rules: by the ids of their segments.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._at: dict[str, set[str]] = defaultdict(set)
        self._below: dict[str, set[str]] = defaultdict(set)
        self._identities: set[str] = set()
        self._asking: dict[str, set[str]] = defaultdict(set)
        self._of_nobody: set[str] = set()
        nobody = Subject({})
        for key, rule in rules.items():
            for path in rule.paths:
                self._at[path].add(key)
                for above in ancestors(path):
                    self._below[above].add(key)
            for segment_id in rule.segments:
                self._asking[segment_id].add(key)
            if rule.identities:
                self._identities.add(key)
            if rule.timed or rule.compile()(nobody):
                self._of_nobody.add(key)
        self._rules = frozenset(rules)
        self.timed = frozenset(key for key, rule in rules.items() if rule.timed)
        self._place = {key: place for place, key in enumerate(_in_order(rules))}

    def concerned(
        self,
        written_paths: Iterable[str] = (),
        *,
        identities: bool = False,
        segments: Iterable[str] = (),
        created: bool = False,
    ) -> Concerned:
        """The rules that may be so now and were not, or the other way round.

        Args:
            written_paths: as :class:`profiles.signals.ProfileChange` tells them.
            identities: whether identities came or went.
            segments: whose memberships somebody wrote: their own rules are concerned, and those that ask about them.
            created: the profile is new: rules that are so for a profile without anything are concerned, too.
        """
        found = set(self._of_nobody) if created else set()
        for path in written_paths:
            found |= self._at.get(path, _NOTHING) | self._below.get(path, _NOTHING)
            for above in ancestors(path):
                found |= self._at.get(above, _NOTHING)
        if identities:
            found |= self._identities
        for segment_id in segments:
            found |= self._asking.get(segment_id, _NOTHING) | ({segment_id} & self._rules)
        return Concerned(frozenset(found), self._with_asking(found))

    def _with_asking(self, found: set[str]) -> tuple[str, ...]:
        everyone, new = set(found), list(found)
        while new:
            more = self._asking.get(new.pop(), _NOTHING) - everyone
            everyone |= more
            new += more
        return tuple(sorted(everyone, key=self._place.__getitem__))


_NOTHING: frozenset[str] = frozenset()


def _in_order(rules: Mapping[str, Rule]) -> list[str]:
    """The rules, those that others ask about first. A circle, which nobody should have stored, is cut somewhere."""
    order: dict[str, None] = {}
    seen: set[str] = set()
    for first in rules:
        stack = [(first, False)]
        while stack:
            key, asked = stack.pop()
            if asked:
                order[key] = None
            elif key in rules and key not in seen:
                seen.add(key)
                stack.append((key, True))
                stack += [(other, False) for other in sorted(rules[key].segments)]
    return list(order)
