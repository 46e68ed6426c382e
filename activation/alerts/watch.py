"""Sees what people are to be told, now and then, from what the engine has committed.

A trouble is raised once, and cleared once it has stayed away for a while:

    well ──seen──▶ raised ──not seen──▶ calm ──not seen for CALM──▶ cleared (= well)
                      ▲                   │
                      └───────seen────────┘   without a word
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from activation.backlog import Backlog, backlogs
from activation.models import Alert, AlertMessage, Dataflow, DataflowRun, Notice, Subscription
from destinations.models import AlertKind

log = structlog.get_logger(__name__)

CALM = timedelta(minutes=2)  # without the trouble, before it is said to be over
FEW = 20  # profiles of a run: of fewer, a share says nothing
LOOKS_BACK = timedelta(hours=3)  # to runs that ended: a stop of the workers for longer tells of none of them
KEPT = timedelta(days=90)

TROUBLES = (AlertKind.DELAYED, AlertKind.SKIPPED, AlertKind.ON_HOLD, AlertKind.CREDENTIALS)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a trouble.

    Args:
        there: None where that can't be told now: it stays as it was.
        facts: for people; nothing of a customer.
    """

    there: bool | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def look(now: datetime | None = None) -> None:
    """Look at every dataflow that somebody wants to be told of. A fixed number of queries while nothing happens."""
    now = now or timezone.now()
    wanted = Subscription.objects.values("destination")
    dataflows = {
        dataflow.pk: dataflow
        for dataflow in Dataflow.objects.filter(destination__in=wanted)
        .exclude(state=Dataflow.State.DRAFT)
        .select_related("destination__account")
    }
    if not dataflows:
        return
    hour = now.replace(minute=0, second=0, microsecond=0)
    runs = list(DataflowRun.objects.filter(dataflow__in=dataflows, started_at__gte=hour - LOOKS_BACK))
    _look_at_runs(dataflows, runs, now)

    current = {run.dataflow_id: run for run in runs if run.started_at == hour}
    waiting = backlogs(list(dataflows.values()))
    alerts = Alert.objects.filter(dataflow__in=dataflows, run=None, cleared_at=None)
    open_alerts = {(alert.dataflow_id, alert.kind): alert for alert in alerts}
    for key, dataflow in dataflows.items():
        seen = _troubles(dataflow, waiting.get(key, Backlog()), current.get(key), now)
        for kind, what in seen.items():
            _step(dataflow, kind, what, open_alerts.get((key, kind)), now)


def forget_old(now: datetime | None = None) -> int:
    """Delete what was told long ago. Returns how many alerts."""
    end = (now or timezone.now()) - KEPT
    return Alert.objects.filter(raised_at__lt=end).exclude(run=None, cleared_at=None).delete()[0]


# -- what is seen --------------------------------------------------------------------------------------------------


def _troubles(
    dataflow: Dataflow, waiting: Backlog, run: DataflowRun | None, now: datetime
) -> dict[AlertKind, Seen]:
    if dataflow.state != Dataflow.State.ENABLED:
        return dict.fromkeys(TROUBLES, Seen(False, {"disabled": True}))
    error = {"code": dataflow.error_code, "message": dataflow.error_message}
    held = bool(dataflow.error_code)
    rejected = held and _about_credentials(dataflow)
    since = waiting.fresh_since
    late = since is not None and since < now - timedelta(seconds=settings.ALERT_DELAY)
    return {
        AlertKind.ON_HOLD: Seen(held and not rejected, error),
        AlertKind.CREDENTIALS: Seen(rejected, error),
        # What waits because nothing is taken is told already.
        AlertKind.DELAYED: Seen(None if held else late, {"since": since.isoformat() if since else None}),
        AlertKind.SKIPPED: _skipped(run),
    }


def _about_credentials(dataflow: Dataflow) -> bool:
    if dataflow.error_code == "CredentialsLost":
        return True
    try:
        type_ = dataflow.destination.type
    except KeyError:  # not installed any more
        return False
    return type_.about_credentials(dataflow.error_code, dataflow.error_message)


def _skipped(run: DataflowRun | None) -> Seen:
    received = run.activated + run.problems if run else 0
    if run is None or received < FEW:
        return Seen(None)
    percent = 100 * run.excluded / received
    facts = {"percent": round(percent, 1), "excluded": run.excluded, "received": received}
    return Seen(percent > settings.ALERT_SKIP_PERCENT, facts)


def _look_at_runs(dataflows: Mapping[Any, Dataflow], runs: Iterable[DataflowRun], now: datetime) -> None:
    wanted = [(run, kind) for run in runs for kind in _kinds_of(run, now)]
    told = set(Alert.objects.filter(run__in=[run for run, _kind in wanted]).values_list("run", "kind"))
    for run, kind in wanted:
        if (run.pk, kind) not in told:
            facts = {"activated": run.activated, "failed": run.failed, "excluded": run.excluded}
            _raise(Alert(dataflow=dataflows[run.dataflow_id], kind=kind, run=run, facts=facts, raised_at=now))


def _kinds_of(run: DataflowRun, now: datetime) -> list[AlertKind]:
    if run.ends_at > now:
        return [AlertKind.RUN_STARTED]
    failed = run.failed and not run.activated
    return [AlertKind.RUN_FAILED if failed else AlertKind.RUN_SUCCEEDED]


# -- what is done about it -----------------------------------------------------------------------------------------


def _step(dataflow: Dataflow, kind: AlertKind, seen: Seen, alert: Alert | None, now: datetime) -> None:
    """One step of the state machine."""
    if seen.there and alert is None:
        _raise(Alert(dataflow=dataflow, kind=kind, facts=dict(seen.facts), raised_at=now))
    elif alert is None or seen.there is None:
        return
    elif seen.there:
        Alert.objects.filter(pk=alert.pk).exclude(well_since=None).update(well_since=None)
    elif "disabled" in seen.facts:
        # Nobody needs to hear that what they stopped is well.
        Alert.objects.filter(pk=alert.pk, cleared_at=None).update(cleared_at=now)
    elif alert.well_since is None:
        Alert.objects.filter(pk=alert.pk, well_since=None).update(well_since=now)
    elif now - alert.well_since >= CALM:
        _clear(alert, now)


def _raise(alert: Alert) -> None:
    """Tell it, unless another worker was faster: the database takes it once."""
    try:
        with transaction.atomic():
            alert.save(force_insert=True)
            _tell(alert, cleared=False, at=alert.raised_at)
    except IntegrityError:
        return
    log.info("alert_raised", dataflow_id=str(alert.dataflow_id), kind=alert.kind)


def _clear(alert: Alert, now: datetime) -> None:
    with transaction.atomic():
        mine = Alert.objects.filter(pk=alert.pk, cleared_at=None, well_since=alert.well_since)
        if mine.update(cleared_at=now):
            _tell(alert, cleared=True, at=now)
            log.info("alert_cleared", dataflow_id=str(alert.dataflow_id), kind=alert.kind)


def _tell(alert: Alert, *, cleared: bool, at: datetime) -> None:
    """A notice and messages for everybody who wants to know. Of the end of a trouble: who was told of its beginning."""
    found = Subscription.objects.filter(destination=alert.dataflow.destination).select_related("user")
    subscriptions = [subscription for subscription in found if alert.kind in subscription.kinds]
    if cleared:
        told = set(alert.notices.filter(cleared=False).values_list("user", flat=True))
        subscriptions = [subscription for subscription in subscriptions if subscription.user_id in told]
    Notice.objects.bulk_create(
        Notice(alert=alert, user=subscription.user, cleared=cleared, created_at=at)
        for subscription in subscriptions
    )
    AlertMessage.objects.bulk_create(
        AlertMessage(subscription=subscription, alert=alert, cleared=cleared, channel=channel)
        for subscription in subscriptions
        for channel in _channels(subscription)
    )


def _channels(subscription: Subscription) -> list[str]:
    channels = []
    if subscription.by_email and subscription.user.email:
        channels.append(AlertMessage.Channel.EMAIL)
    if subscription.webhook_url:
        channels.append(AlertMessage.Channel.WEBHOOK)
    return [channel.value for channel in channels]
