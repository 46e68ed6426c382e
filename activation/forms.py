"""What the wizard's pages send: read once, bounded, and never trusted to name what exists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlencode

from django.http import QueryDict

from activation.selectors import SEGMENT_SORTS
from activation.services import Choice

MAX_SEARCH = 255  # characters: a name has no more
MAX_VERSION = 2**31 - 1


def version_of(data: QueryDict) -> int:
    """The draft's version that the page showed; 0, which is older than any, where it is missing or no number."""
    return number_of(data, "version", MAX_VERSION)


def number_of(data: QueryDict, name: str, most: int = MAX_VERSION) -> int:
    """A number from 0 to ``most``; 0 for anything else."""
    text = data.get(name, "")
    return min(int(text), most) if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) else 0


@dataclass(frozen=True, slots=True)
class SegmentQuery:
    """Which rows *Select segments* shows: it is in the address, so that a reload shows the same."""

    q: str = ""
    sort: str = "name"
    page: int = 1
    chosen: bool = False  # only those that are chosen

    @classmethod
    def read(cls, data: QueryDict) -> Self:
        sort = data.get("sort", "")
        return cls(
            q=data.get("q", "").replace("\0", "").strip()[:MAX_SEARCH],
            sort=sort if sort in SEGMENT_SORTS else "name",
            page=max(1, number_of(data, "page", 1_000_000)),
            chosen=data.get("chosen") == "1",
        )

    def urlencode(self) -> str:
        """As in an address, without what is the default anyway."""
        changed: Mapping[str, object] = {
            name: value
            for name, value, default in (
                ("q", self.q, ""),
                ("sort", self.sort, "name"),
                ("chosen", int(self.chosen), 0),
                ("page", self.page, 1),
            )
            if value != default
        }
        # Something at least: an empty value of a button would be no answer to "where to".
        return urlencode(changed) or "page=1"

    def on_page(self, number: int) -> Self:
        return replace(self, page=number)

    def sorted_by(self, key: str) -> Self:
        """By ``key``, or the other way round where it is sorted by it."""
        return replace(self, sort=f"-{key}" if self.sort == key else key, page=1)

    def only_chosen(self, chosen: bool) -> Self:
        return replace(self, chosen=chosen, page=1)


@dataclass(frozen=True, slots=True)
class SegmentsPost:
    """What a page of segments sends: its rows, which of them are ticked, and what is to be done."""

    version: int
    shown: list[str]
    names: dict[str, str]
    ticked: set[str]
    action: str
    query: SegmentQuery

    @classmethod
    def read(cls, data: QueryDict) -> Self:
        shown = [value for value in data.getlist("shown") if value]
        ticked = set(data.getlist("segment"))
        action = data.get("action", "")
        query = SegmentQuery.read(data)
        if removed := data.get("remove"):
            # A chosen one that may stand on another page: shown here, and not ticked.
            shown = [*shown, removed] if removed not in shown else shown
            ticked.discard(removed)
            action = "remove"
        elif go := data.get("go"):
            query = SegmentQuery.read(QueryDict(go))
            action = "go"
        elif action == "search":
            query = query.on_page(1)
        return cls(
            version=version_of(data),
            shown=shown,
            names=dict(zip(data.getlist("shown"), data.getlist("name"), strict=False)),
            ticked=ticked,
            action=action,
            query=query,
        )


@dataclass(frozen=True, slots=True)
class AttributesPost:
    """What *Select attributes* sends: all rows in their order, and what is to be done."""

    version: int
    choices: list[Choice]
    action: str
    added: list[str]
    pasted: str

    @classmethod
    def read(cls, data: QueryDict) -> Self:
        paths = [path for path in data.getlist("path") if path]
        mandatory = set(data.getlist("mandatory"))
        action = data.get("action", "")
        added: list[str] = []
        pasted = ""
        if removed := data.get("remove"):
            paths = [path for path in paths if path != removed]
            action = "remove"
        elif move := data.get("move"):
            way, _, path = move.partition(":")
            paths = _moved(paths, path, -1 if way == "up" else 1)
            action = "move"
        elif add := data.getlist("add"):
            added = add
            action = "add"
        elif action == "paste":
            pasted = "\n".join(text for text in data.getlist("paths") if text)
            added = [path for path in re.split(r"[\s,;]+", pasted) if path]
        known = set(paths)
        paths += [path for path in added if path not in known]
        return cls(
            version=version_of(data),
            choices=[Choice(path, path in mandatory) for path in paths],
            action=action,
            added=added,
            pasted=pasted,
        )


def _moved(paths: list[str], path: str, by: int) -> list[str]:
    if path not in paths:
        return paths
    at = paths.index(path)
    to = min(max(at + by, 0), len(paths) - 1)
    rest = paths[:at] + paths[at + 1 :]
    return [*rest[:to], path, *rest[to:]]
