"""What the pages send: read once, bounded, and never trusted to name what exists."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from activation.models import MAX_LANES, FailedExport
from activation.selectors import SEGMENT_SORTS, FailureFilter, Period
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


# -- what operators send -------------------------------------------------------------------------------------------

MAX_CHOSEN = 1_000  # ids in one request; more are chosen by a filter
MAX_ID = 2**63 - 1
TO_THE_SECOND = "%Y-%m-%dT%H:%M:%S"
_STATES = {"any": ""} | {state: state for state in FailedExport.State.values}  # as in an address


def moment_of(data: QueryDict, name: str) -> datetime | None:
    """A moment as browsers and our own addresses write it, UTC where it does not say; None for anything else."""
    try:
        moment = parse_datetime(data.get(name, ""))
    except ValueError:  # well-formed, but there is no such day
        return None
    return timezone.make_aware(moment) if moment and timezone.is_naive(moment) else moment


def id_of(text: str) -> int | None:
    """A key of the database; None for anything else."""
    return min(int(text), MAX_ID) if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) else None


@dataclass(frozen=True, slots=True)
class FailureQuery:
    """Which dead letters a page shows, and which of them something is to be done to.

    Args:
        filter: what is shown; ``state`` is open where nothing is said, and empty for any.
        chosen: ids that were ticked.
        everything: all that the filter finds, and not the ticked ones.
    """

    filter: FailureFilter
    chosen: tuple[int, ...] = ()
    everything: bool = False

    @classmethod
    def read(cls, data: QueryDict) -> Self:
        kind = data.get("kind", "")
        try:
            run = uuid.UUID(data.get("run", ""))
        except ValueError:
            run = None
        ids = (id_of(text) for text in data.getlist("id")[:MAX_CHOSEN])
        return cls(
            FailureFilter(
                code=data.get("code", "").replace("\0", "")[:100],
                kind=kind if kind in FailedExport.Kind.values else "",
                state=_STATES.get(data.get("state", ""), FailedExport.State.OPEN.value),
                period=Period(moment_of(data, "since"), moment_of(data, "until")),
                run=run,
            ),
            chosen=tuple(sorted({each for each in ids if each is not None})),
            everything=data.get("all") == "1",
        )

    @property
    def filtered(self) -> bool:
        """Something else than all that is open."""
        return self.filter != FailureFilter()

    @property
    def selection(self) -> FailureFilter:
        """What is to be acted on."""
        return self.filter if self.everything else FailureFilter(state="", ids=self.chosen)

    def params(self) -> list[tuple[str, str]]:
        """The filter as in an address, without what is the default anyway."""
        wanted = self.filter
        values = {
            "code": wanted.code,
            "kind": wanted.kind,
            "state": "any"
            if not wanted.state
            else ""
            if wanted.state == FailedExport.State.OPEN
            else wanted.state,
            "since": wanted.period.since and wanted.period.since.isoformat(),
            "until": wanted.period.until and wanted.period.until.isoformat(),
            "run": wanted.run and str(wanted.run),
        }
        return [(name, value) for name, value in values.items() if value]

    def chosen_params(self) -> list[tuple[str, str]]:
        """What is to be acted on, and the filter, as in an address."""
        chosen = [("all", "1")] if self.everything else [("id", str(each)) for each in self.chosen]
        return [*self.params(), *chosen]


class LanesForm(forms.Form):
    """How many lanes a dataflow has."""

    count = forms.IntegerField(label=_("Lanes"), min_value=1, max_value=MAX_LANES)


class DiscardForm(forms.Form):
    """Why dead letters are discarded."""

    note = forms.CharField(
        label=_("Why"),
        max_length=500,
        widget=forms.Textarea({"rows": 3}),
    )


def _moment_input() -> forms.DateTimeInput:
    return forms.DateTimeInput({"type": "datetime-local", "step": "1"}, format=TO_THE_SECOND)


class ReplayForm(forms.Form):
    """What a replay sends again."""

    MEMBERS, EXPORTED = "members", "exported"

    which = forms.ChoiceField(
        label=_("What to send again"),
        widget=forms.RadioSelect,
        choices=[
            (MEMBERS, _("All members of the activated segments")),
            (EXPORTED, _("Profiles whose last record was exported in a period")),
        ],
    )
    since = forms.DateTimeField(label=_("From (UTC)"), required=False, widget=_moment_input())
    until = forms.DateTimeField(label=_("To (UTC)"), required=False, widget=_moment_input())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", _("The end is before the beginning."))
        return cleaned

    @property
    def period(self) -> Period | None:
        """Of a valid form: the period; None for the members."""
        if self.cleaned_data["which"] == self.MEMBERS:
            return None
        return Period(self.cleaned_data["since"], self.cleaned_data["until"])
