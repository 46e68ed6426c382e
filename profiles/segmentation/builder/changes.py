"""What the builder's buttons do to its parts."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.segmentation.builder.parts import MAX_DEPTH, MAX_ROWS, Group, Part, Place, Row, at
from profiles.segmentation.builder.tree import ENTRY, IDENTITY_MAP


@dataclass(frozen=True, slots=True)
class Focus:
    """Where the keyboard goes on after a change: the part, and what of it. ``picking``: its field is to be chosen."""

    place: Place
    control: str
    picking: bool = False


def change(root: Group, do: str) -> Focus | None:
    """Do what a button says.

    Args:
        root: is changed in place.
        do: ``verb:place`` or ``verb:place:what``; a place is like ``0-2``, and empty for the outermost group. What
            makes no sense does nothing.

    Returns:
        where the focus goes; None: it stays where it is.
    """
    verb, _colon, rest = do.partition(":")
    where, _colon, what = rest.partition(":")
    numbers = where.split("-") if where else []
    if not all(number.isdecimal() and len(number) < 4 for number in numbers):
        return None
    place = tuple(map(int, numbers))
    part = at(root, place)
    if part is None:
        return None
    match verb, part:
        case (("add" | "group"), Group()):
            return _add(root, part, place, verb)
        case "remove", _ if place:
            return _remove(root, place)
        case (("up" | "down"), _) if place:
            return Focus(_move(root, place, verb == "down"), verb)
        case "pick", Row():
            return Focus(place, "search", picking=True)
        case "close", Row():
            return Focus(place, "field")
        case "field", Row():
            part.data = {"subject": what}
            return Focus(place, "operator")
        case "toggle", Row():
            lines = [line for line in part.data.get("value", "").split("\n") if line.strip()]
            lines = [line for line in lines if line != what] if what in lines else [*lines, what]
            part.data["value"] = "\n".join(lines)
            return Focus(place, f"toggle {what}")
    return None


def entries(root: Group) -> Focus | None:
    """Make groups of the rows that ask for an entry of a list."""
    focus = None

    def visit(group: Group, place: Place) -> None:
        nonlocal focus
        for index, part in enumerate(group.items):
            here = (*place, index)
            if isinstance(part, Group):
                visit(part, here)
            elif part.operator == "each":
                below = {"below": "id"} if part.subject.startswith(IDENTITY_MAP) else {}
                first = Row({"operator": "text =", **below})
                group.items[index] = Group(items=[first], source=part.subject, variable=ENTRY)
                focus = Focus((*here, 0), "below")

    visit(root, ())
    return focus


def _add(root: Group, group: Group, place: Place, verb: str) -> Focus:
    if sum(1 for _row in root.rows()) >= MAX_ROWS:
        return Focus(place, "add")
    here = (*place, len(group.items))
    within_entry = any(
        isinstance(outer := at(root, place[:end]), Group) and outer.variable for end in range(len(place) + 1)
    )
    row = Row({"operator": "text ="}) if within_entry else Row()
    first = Focus(here, "below") if within_entry else Focus(here, "search", picking=True)
    if verb == "add":
        group.items.append(row)
        return first
    if len(here) >= MAX_DEPTH:
        return Focus(place, "group")
    group.items.append(Group("any" if group.mode in ("all", "not-all") else "all", [row]))
    return Focus(here, "mode")


def _remove(root: Group, place: Place) -> Focus:
    *above, index = place
    group = at(root, tuple(above))
    assert isinstance(group, Group)
    del group.items[index]
    if not group.items:
        return Focus(tuple(above), "add")
    return Focus((*above, min(index, len(group.items) - 1)), "remove")


def _move(root: Group, place: Place, down: bool) -> Place:
    """Move a part by one step of the page: past a row, into a group, or out of its own. Entries stay at their list."""
    *above, index = place
    group = at(root, tuple(above))
    assert isinstance(group, Group)
    part = group.items[index]
    target = index + (1 if down else -1)
    if 0 <= target < len(group.items):
        neighbour = group.items[target]
        del group.items[index]
        if isinstance(neighbour, Group) and not neighbour.source and _fits(part, (*above, target)):
            inside = 0 if down else len(neighbour.items)
            neighbour.items.insert(inside, part)
            return (*above, index if down else target, inside)
        group.items.insert(target, part)
        return (*above, target)
    if not above or group.source:
        return place
    outer = at(root, tuple(above[:-1]))
    assert isinstance(outer, Group)
    del group.items[index]
    target = above[-1] + (1 if down else 0)
    outer.items.insert(target, part)
    return (*above[:-1], target)


def _fits(part: Part, place: Place) -> bool:
    return isinstance(part, Row) or len(place) + part.depth < MAX_DEPTH
