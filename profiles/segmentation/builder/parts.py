"""What the builder's form says: groups of rows and of further groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MAX_ROWS = 50
MAX_DEPTH = 5  # groups within each other
MAX_VALUE = 500  # characters

Mode: TypeAlias = Literal["all", "any", "none", "not-all"]
MODES: tuple[Mode, ...] = ("all", "any", "none", "not-all")

Place: TypeAlias = tuple[int, ...]  # where a part is: which one of its group, and so on from the outermost


@dataclass(slots=True)
class Row:
    """A condition: what each input of its form says, by the input's name.

    ``subject`` is a path of the schema, ``identityMap.Email`` for the identities of a namespace, or
    ``segmentMembership``; ``below`` are keys of a map, or what is asked of an entry of a list.
    """

    data: dict[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return self.data.get("subject", "")

    @property
    def below(self) -> str:
        return self.data.get("below", "")

    @property
    def operator(self) -> str:
        return self.data.get("operator", "")


@dataclass(slots=True)
class Group:
    """Parts of which all, some or none are so.

    Args:
        source: of a list (or the identities of a namespace) one entry of which is asked; else empty.
        variable: what that entry is called in the rule.
    """

    mode: Mode = "all"
    items: list[Part] = field(default_factory=list)
    source: str = ""
    variable: str = ""

    def rows(self) -> Iterator[Row]:
        for item in self.items:
            if isinstance(item, Group):
                yield from item.rows()
            else:
                yield item

    @property
    def depth(self) -> int:
        return 1 + max((item.depth for item in self.items if isinstance(item, Group)), default=0)

    @property
    def untouched(self) -> bool:
        """Nothing was begun yet."""
        return not self.source and all(isinstance(item, Row) and not item.data for item in self.items)


Part: TypeAlias = Row | Group


def empty() -> Group:
    """What a new rule begins with."""
    return Group(items=[Row()])


def at(root: Group, place: Place) -> Part | None:
    """The part at a place; None when there is none."""
    part: Part = root
    for number in place:
        if not isinstance(part, Group) or number >= len(part.items):
            return None
        part = part.items[number]
    return part
