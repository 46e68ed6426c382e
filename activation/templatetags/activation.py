"""What pages of other apps say of a dataflow, in activation's words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from activation import selectors
from activation.export.records import NO_CONSENT, NOT_THERE
from activation.models import Dataflow
from destinations.connectors.base import Text
from destinations.models import Destination
from kinesis_admin.templatetags import ui
from profiles.models import Segment

register = template.Library()

_ASK = object()


@register.simple_tag
def dataflow_status(dataflow: Dataflow | None, ran: object = _ASK) -> SafeString:
    """The status of a destination's dataflow: a dot and a word.

    Args:
        dataflow: None, or empty, where the destination has none.
        ran: its last run, or whether it has one, where the page knows; else that is asked.
    """
    dataflow = dataflow or None  # a template makes "" of what is not there
    if ran is _ASK:
        ran = dataflow is not None and dataflow.runs.exists()
    status = selectors.status_of(dataflow, ran=bool(ran))
    return ui.status(status.variant, status.word)


@register.simple_tag
def activations_of(segments: Iterable[Segment]) -> dict[str, selectors.Activations]:
    """Where each of these segments is activated; one query for all of them."""
    return selectors.activations_by_segment(segments)


@register.filter
def reason_in_words(reason: str) -> str:
    """Why a profile was not exported, in the reader's language where the words are ours and not the other side's."""
    for words in (NOT_THERE, NO_CONSENT):
        if reason.startswith(words):
            return gettext(words) + reason.removeprefix(words)
    return gettext(reason)


@register.filter
def duration(seconds: float | None) -> str:
    """So many seconds in the unit that suits: 0.25 s, 40 s, 40 min, 3.5 h, 2 d."""
    if seconds is None:
        return ui.NOTHING
    if seconds < 60:
        return gettext("%(n)s s") % {"n": _short(seconds)}
    if seconds < 3600:
        return gettext("%(n)s min") % {"n": _short(seconds / 60)}
    if seconds < 2 * 86_400:
        return gettext("%(n)s h") % {"n": _short(seconds / 3600)}
    return gettext("%(n)s d") % {"n": _short(seconds / 86_400)}


@register.filter
def duration_since(moment: datetime) -> str:
    """How long ago a moment is, as :func:`duration` says it."""
    return duration(max(0, (timezone.now() - moment).total_seconds()) // 1)


@register.filter
def per_second(rate: float) -> str:
    """A rate: with a decimal where it is low."""
    return _short(rate)


@register.simple_tag
def many(count: int) -> str:
    """A count that stops at :data:`activation.selectors.MANY`: then there are at least so many."""
    shown = ui.number(count)
    return f"{shown}+" if count >= selectors.MANY else shown


@register.simple_tag
def hint_for(destination: Destination, dataflow: Dataflow) -> Text:
    """What a person can do about the error that the destination refuses with; may be empty."""
    try:
        return destination.type.hint(dataflow.error_code, dataflow.error_message)
    except LookupError:  # its type is not installed
        return ""


def _short(value: float) -> str:
    """Two digits that matter, at least: 0.25, 4.2, 40, 4,000."""
    places = 2 if value < 1 else 1 if value < 10 else 0
    rounded = round(value, places)
    return ui.number(int(rounded) if rounded == int(rounded) else rounded)
