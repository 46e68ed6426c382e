"""The builder beside the text of a rule: which of them says what the rule is, and what the other then shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _

from profiles.pql import PQLError, Rule, parse
from profiles.segmentation.builder.changes import Focus, change, entries
from profiles.segmentation.builder.forms import ROOT, GroupForm, PartForm, all_forms, form_of, read
from profiles.segmentation.builder.parts import MAX_DEPTH, MAX_ROWS, MAX_VALUE, Group, empty
from profiles.segmentation.builder.sources import Sources
from profiles.segmentation.builder.tree import TooRich, parts_of


@dataclass(slots=True)
class Bench:
    """What the page shows of a rule.

    Args:
        text: the rule. While a condition of the builder is not finished, as it was before.
        root: the builder's form; None when it can't show the rule.
        reason: why it can't.
        readable: the text is a rule.
        finished: every condition of the builder is.
        changed: the text is another one than the page has shown.
        picking: the condition whose field is being chosen.
    """

    text: str
    root: GroupForm | None = None
    reason: str = ""
    readable: bool = True
    finished: bool = True
    changed: bool = False
    picking: PartForm | None = None
    sources: Sources | None = None

    @classmethod
    def stored(cls, text: str, sources: Sources) -> Bench:
        """As a rule is opened."""
        return _from_text(text, sources)

    @classmethod
    def posted(cls, data: Mapping[str, str], sources: Sources, *, complain: bool = False) -> Bench:
        """As the page was posted.

        1. Whoever changed the text meant the text: the builder shows what that says.
        2. Else the builder says what the rule is, after the button's change, and the text follows.

        Args:
            data: of the form: ``rule`` the text, ``shown`` the text that the builder stood for, ``do`` the button.
            complain: about what is missing, too; it is to be saved.
        """
        text, shown = (data.get(name, "").replace("\r\n", "\n") for name in ("rule", "shown"))
        if text != shown or f"{ROOT}-mode" not in data:
            bench = _from_text(text, sources, complain)
            bench.changed = text != shown
            return bench
        root = read(data)
        focus = change(root, data.get("do", ""))
        focus = entries(root) or focus
        bench = _from_parts(root, text, sources, complain, focus)
        bench.changed = bench.text != shown
        return bench

    @property
    def forms(self) -> Iterable[PartForm]:
        return all_forms(self.root) if self.root else ()

    @property
    def problem(self) -> str:
        """Why what the builder says can't be saved; empty when it can."""
        return "" if self.finished else _("Complete the conditions that are marked, or remove them.")

    @property
    def full(self) -> bool:
        return sum(1 for _row in self.root.group.rows()) >= MAX_ROWS if self.root else False

    @property
    def limits(self) -> Mapping[str, int]:
        return {"rows": MAX_ROWS, "depth": MAX_DEPTH, "value": MAX_VALUE}


def _from_text(text: str, sources: Sources, complain: bool = False) -> Bench:
    if not text.strip():
        return _from_parts(empty(), "", sources, False, None)
    try:
        root = parts_of(parse(text).tree, sources.schema.fields)
    except PQLError as error:
        return Bench(text, reason=error.message, readable=False)
    except TooRich as error:
        return Bench(text, reason=str(error))
    return _from_parts(root, text, sources, complain, None)


def _from_parts(root: Group, text: str, sources: Sources, complain: bool, focus: Focus | None) -> Bench:
    if root.untouched:
        text, complain = "", False
    sources.ask_values({row.subject for row in root.rows() if row.subject})
    form = form_of(root, (), sources, complain=complain)
    assert isinstance(form, GroupForm)
    bench = Bench(text, form, sources=sources)
    if root.depth > MAX_DEPTH or sum(1 for _row in root.rows()) > MAX_ROWS:
        bench.finished = False
        form.add_error(
            "mode", _("The builder takes %(rows)s conditions, in %(depth)s levels.") % bench.limits
        )
    elif (found := form.found) is not None:
        bench.text = _written(Rule(found, ""), text)
    else:
        bench.finished = root.untouched
    for part in all_forms(form):
        if focus is not None and part.place == focus.place:
            part.take_focus(focus.control)
            bench.picking = part if focus.picking else None
    return bench


def _written(rule: Rule, text: str) -> str:
    """A rule as it was written, if it was: to be opened in the builder does not change it."""
    try:
        return text if parse(text) == rule else str(rule)
    except PQLError:
        return str(rule)
