"""What pages of other apps say of a dataflow, in activation's words."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from activation import selectors
from activation.export.records import NOT_THERE
from activation.models import Dataflow
from kinesis_admin.templatetags import ui

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
    status = selectors.status_of(dataflow, selectors.lane_of(dataflow), ran=bool(ran))
    return ui.status(status.variant, status.word)


@register.filter
def reason_in_words(reason: str) -> str:
    """Why a profile was not exported, in the reader's language where the words are ours and not the other side's."""
    if reason.startswith(NOT_THERE):
        return gettext(NOT_THERE) + reason.removeprefix(NOT_THERE)
    return gettext(reason)
