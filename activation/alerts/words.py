"""An alert in words, in the language that is active."""

from __future__ import annotations

from datetime import datetime

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from activation.models import Alert
from destinations.models import AlertKind


def title(alert: Alert, *, cleared: bool) -> str:
    """What happened, with the name of the destination."""
    name = {"name": alert.dataflow.destination.name}
    if cleared:
        return str(_CLEARED[AlertKind(alert.kind)]) % name
    return str(_RAISED[AlertKind(alert.kind)]) % name


def detail(alert: Alert, *, cleared: bool) -> str:
    """A sentence more, and which other destinations have the same trouble; empty where there is nothing to say."""
    names = ", ".join(f"“{name}”" for name in alert.facts.get("also", ()))
    also = _("The same goes for %(names)s.") % {"names": names} if names else ""
    return " ".join(part for part in ("" if cleared else _detail(alert), also) if part)


def _detail(alert: Alert) -> str:
    facts = alert.facts
    if alert.run_id:
        return _("%(activated)s profiles activated, %(excluded)s excluded, %(failed)s failed.") % {
            key: _number(facts.get(key, 0)) for key in ("activated", "excluded", "failed")
        }
    if alert.kind == AlertKind.SKIPPED:
        return _("%(excluded)s of the %(received)s profiles of this hour: %(percent)s %%.") % {
            key: _number(facts[key]) for key in ("excluded", "received", "percent")
        }
    if alert.kind == AlertKind.DELAYED:
        since = datetime.fromisoformat(facts["since"])
        return _("The oldest change has waited since %(since)s UTC.") % {
            "since": f"{since:%Y-%m-%d %H:%M:%S}"
        }
    message = facts["message"]
    return f"{facts['code']}: {_(message) if message else ''}".removesuffix(": ")


def _number(value: float) -> str:
    return number_format(value, force_grouping=True)


_RAISED = {
    AlertKind.RUN_STARTED: gettext_lazy("A flow run of “%(name)s” has started"),
    AlertKind.RUN_SUCCEEDED: gettext_lazy("A flow run of “%(name)s” succeeded"),
    AlertKind.RUN_FAILED: gettext_lazy("A flow run of “%(name)s” failed"),
    AlertKind.DELAYED: gettext_lazy("Records of “%(name)s” are delayed"),
    AlertKind.SKIPPED: gettext_lazy("Many profiles of “%(name)s” are skipped"),
    AlertKind.ON_HOLD: gettext_lazy("“%(name)s” takes no records"),
    AlertKind.CREDENTIALS: gettext_lazy("The credentials of “%(name)s” fail"),
}
_CLEARED = {
    AlertKind.DELAYED: gettext_lazy("Records of “%(name)s” are in time again"),
    AlertKind.SKIPPED: gettext_lazy("Few profiles of “%(name)s” are skipped again"),
    AlertKind.ON_HOLD: gettext_lazy("“%(name)s” takes records again"),
    AlertKind.CREDENTIALS: gettext_lazy("The credentials of “%(name)s” work again"),
}
