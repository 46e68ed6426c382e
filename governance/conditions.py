"""Which data a policy speaks of: labels joined by *all* or *any*, in groups inside of groups.

Stored as a small JSON tree, e.g. ``{"all": ["C3", {"any": ["I1", "I2"]}]}``: an object has one key, ``all`` or ``any``,
and a list of label codes and of such objects.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

MAX_DEPTH = 4
MAX_GROUPS = 20
ALL, ANY = "all", "any"

Place = tuple[int, ...]
"""Where a group is: the number of the group in the outermost one, of the group in that, …; ``()`` is the outermost."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A group. As people write one, it may be unfinished: :meth:`check` says so.

    Args:
        mode: ``all`` or ``any``.
        labels: codes.
        groups: groups in it.
    """

    mode: str = ANY
    labels: tuple[str, ...] = ()
    groups: tuple[Condition, ...] = ()

    @classmethod
    def read(cls, tree: Any, depth: int = 1) -> Condition:
        """From JSON.

        Raises:
            ValidationError: it has another shape, or is too deep.
        """
        if tree == {}:
            return cls()
        if not isinstance(tree, dict) or len(tree) != 1 or depth > MAX_DEPTH:
            raise _no_condition()
        [(mode, parts)] = tree.items()
        if mode not in (ALL, ANY) or not isinstance(parts, list):
            raise _no_condition()
        labels = tuple(dict.fromkeys(part for part in parts if isinstance(part, str)))
        groups = tuple(cls.read(part, depth + 1) for part in parts if not isinstance(part, str))
        return cls(mode, labels, groups)

    def tree(self) -> dict[str, Any]:
        """As JSON."""
        return {self.mode: [*self.labels, *(group.tree() for group in self.groups)]}

    def holds(self, labels: Set[str]) -> bool:
        """Whether data with these labels is what it speaks of."""
        found = [label in labels for label in self.labels] + [group.holds(labels) for group in self.groups]
        return bool(found) and (all(found) if self.mode == ALL else any(found))

    def codes(self) -> frozenset[str]:
        """Every label in it."""
        return frozenset(self.labels).union(*(group.codes() for group in self.groups))

    def count(self) -> int:
        """Groups, this one included."""
        return 1 + sum(group.count() for group in self.groups)

    def __str__(self) -> str:
        """In words: ``C3 and (I1 or I2)``."""
        parts = [*self.labels, *(f"({group})" if group._several else str(group) for group in self.groups)]
        word = pgettext("labels", "and") if self.mode == ALL else pgettext("labels", "or")
        return f" {word} ".join(parts)

    @property
    def _several(self) -> bool:
        return len(self.labels) + len(self.groups) > 1

    def check(self, known: Collection[str]) -> None:
        """Refuse a condition that is unfinished, too large or speaks of labels that are not there.

        Args:
            known: codes of the labels that there are.

        Raises:
            ValidationError: with the reason.
        """
        if unknown := sorted(self.codes() - set(known)):
            raise ValidationError(
                ngettext(
                    "There is no label %(codes)s any more.",
                    "There are no labels %(codes)s any more.",
                    len(unknown),
                )
                % {"codes": ", ".join(unknown)}
            )
        if self.count() > MAX_GROUPS:
            raise ValidationError(_("A policy has up to %(most)s groups.") % {"most": MAX_GROUPS})
        self._refuse_empty()

    def _refuse_empty(self, depth: int = 1) -> None:
        if depth > MAX_DEPTH:
            raise ValidationError(_("Groups are up to %(most)s deep.") % {"most": MAX_DEPTH})
        if not self.labels and not self.groups:
            if depth == 1:
                raise ValidationError(_("Choose at least one label."))
            raise ValidationError(_("A group has no label: choose one, or remove the group."))
        for group in self.groups:
            group._refuse_empty(depth + 1)

    # Editing

    def with_group(self, place: Place) -> Condition:
        """With a new, empty group in the group at ``place``; itself where there is no such group, or no more may be."""
        if not place:
            return replace(self, groups=(*self.groups, Condition(ALL if self.mode == ANY else ANY)))
        return self._at(place[0], lambda group: group.with_group(place[1:]))

    def without_group(self, place: Place) -> Condition:
        """Without the group at ``place``, and what is in it."""
        if len(place) == 1:
            return replace(self, groups=self.groups[: place[0]] + self.groups[place[0] + 1 :])
        return self._at(place[0], lambda group: group.without_group(place[1:])) if place else self

    def _at(self, number: int, change: Any) -> Condition:
        if number >= len(self.groups):
            return self
        groups = list(self.groups)
        groups[number] = change(groups[number])
        return replace(self, groups=tuple(groups))


def _no_condition() -> ValidationError:
    return ValidationError(
        _("This is no condition: it is an object with “all” or “any” and a list of labels and groups.")
    )
