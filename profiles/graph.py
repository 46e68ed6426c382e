"""The drawing of a profile's identities: the profile, its namespaces, and the identities in each.

Places are in the units of the drawing; ``templates/profiles/_graph.html`` makes an SVG of them. All that it shows, the
table beside it has as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from profiles.models import MergedProfile
from profiles.selectors import Link

ROW = 24
GAP = 8  # between groups
CENTRE = 14  # where the profile is
GROUP, GROUP_WIDTH = 44, 116
LEAF = 180
IN_A_GROUP = 8  # that are drawn of one namespace
GROUP_LETTERS, LEAF_LETTERS = 15, 24


@dataclass(frozen=True, slots=True)
class Leaf:
    """An identity or a merged profile; ``brought``: a merged profile brought it."""

    text: str
    title: str
    y: int
    way: str
    brought: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A namespace; without a text, the merged profiles."""

    text: str
    title: str
    y: int
    way: str
    leaves: list[Leaf]


@dataclass(frozen=True, slots=True)
class Drawing:
    height: int
    middle: int
    groups: list[Group]


def drawing(links: Sequence[Link], merged: Sequence[MergedProfile]) -> Drawing:
    """Draw the identities of a profile, and the profiles that it was, too.

    Args:
        links: in the order of their namespaces.
    """
    columns = [
        (namespace.code, namespace.label, [(link.identity.value, link.merged is not None) for link in group])
        for namespace, group in groupby(links, key=lambda link: link.identity.namespace)
    ]
    if merged:
        columns.append(("", "", [(str(row.pk), True) for row in merged]))
    heights = [ROW * min(len(entries), IN_A_GROUP + 1) for _text, _title, entries in columns]
    height = sum(heights) + GAP * (len(heights) + 1)
    middle, top = height // 2, GAP
    groups = []
    for (text, title, entries), group_height in zip(columns, heights, strict=True):
        y = top + group_height // 2
        way = _way(CENTRE, middle, GROUP, y)
        groups.append(Group(_cut(text, GROUP_LETTERS), title, y, way, _leaves(entries, top, y)))
        top += group_height + GAP
    return Drawing(height, middle, groups)


def _leaves(entries: Sequence[tuple[str, bool]], top: int, from_y: int) -> list[Leaf]:
    """As many as there is room for; if there are more, the last one says how many."""
    shown = len(entries) if len(entries) <= IN_A_GROUP + 1 else IN_A_GROUP
    leaves = []
    for place, (value, brought) in enumerate(entries[:shown]):
        y = top + ROW * place + ROW // 2
        way = _way(GROUP + GROUP_WIDTH, from_y, LEAF, y)
        leaves.append(Leaf(_cut(value, LEAF_LETTERS), value, y, way, brought))
    if shown < len(entries):
        y = top + ROW * shown + ROW // 2
        way = _way(GROUP + GROUP_WIDTH, from_y, LEAF, y)
        leaves.append(Leaf(f"+ {len(entries) - shown}", "", y, way))
    return leaves


def _way(x: int, y: int, to_x: int, to_y: int) -> str:
    """A line that leaves and arrives level."""
    between = (x + to_x) // 2
    return f"M{x} {y}C{between} {y} {between} {to_y} {to_x} {to_y}"


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
