"""Sees what people are to be told, now and then, from what the engine has committed.

A trouble is raised once, and cleared once it has stayed away for a while. Of dataflows that have it in common, because
they write to the same stream or with the same credentials, it is told once, and its end when the last of them is well:

    well ──seen──▶ raised ──not seen──▶ calm ──not seen for CALM──▶ cleared (= well)
                      ▲                   │
                      └───────seen────────┘   without a word
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from activation.backlog import Backlog, backlogs
from activation.models import (
    Alert,
    AlertMessage,
    Dataflow,
    DataflowRun,
    Notice,
    PendingExport,
    Subscription,
)
from destinations.models import AlertKind, Destination
from profiles.locks import ALERTS, advisory_lock

log = structlog.get_logger(__name__)

CALM = timedelta(minutes=2)  # without the trouble, before it is said to be over
FEW = 20  # profiles of a run: of fewer, a share says nothing
LOOKS_BACK = timedelta(hours=3)  # to runs that ended: a stop of the workers for longer tells of none of them
KEPT = timedelta(days=90)

MOST_NAMES = 20  # of other destinations with the same trouble
BELL = "bell"

TROUBLES = (AlertKind.DELAYED, AlertKind.SKIPPED, AlertKind.ON_HOLD, AlertKind.CREDENTIALS)
# Troubles of a stream or of an account, and so of all dataflows that use it. Who is skipped, a dataflow's mapping says.
SHARED = (AlertKind.DELAYED, AlertKind.ON_HOLD, AlertKind.CREDENTIALS)

Way = tuple[int, str, str]  # the id of a user, a channel, an address
Listening = dict[Way, tuple[Alert, Subscription]]


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
        .order_by("destination__name")
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
            advisory_lock(ALERTS, shared=False)
            others = _in_common(alert)
            alert.part_of = (others[0].part_of or others[0]) if others else None
            alert.save(force_insert=True)
            _name_to(others, alert.dataflow.destination)
            told = _listening(others, _told(others))
            _tell(_listening([alert]), told, cleared=False, at=alert.raised_at)
    except IntegrityError:
        return
    log.info("alert_raised", dataflow_id=str(alert.dataflow_id), kind=alert.kind)


def _clear(alert: Alert, now: datetime) -> None:
    with transaction.atomic():
        advisory_lock(ALERTS, shared=False)
        mine = Alert.objects.filter(pk=alert.pk, cleared_at=None, well_since=alert.well_since)
        if mine.update(cleared_at=now):
            log.info("alert_cleared", dataflow_id=str(alert.dataflow_id), kind=alert.kind)
            if not _in_common(alert):
                first = alert.part_of_id or alert.pk
                all_of_it = Q(pk=first) | Q(part_of=first)
                every = list(_with_destinations(all_of_it, dataflow__state=Dataflow.State.ENABLED))
                unaware = _told(every) - _told(every, cleared=True)
                _tell(_listening(every, unaware), (), cleared=True, at=now)


def _in_common(alert: Alert) -> list[Alert]:
    """Open alerts of other dataflows that have the same trouble for the same reason, the oldest first.

    Those of dataflows where nothing waits do not count: nobody would see them get well.
    """
    if alert.kind not in SHARED:
        return []
    destination = alert.dataflow.destination
    waiting = PendingExport.objects.filter(dataflow=OuterRef("dataflow"))
    found = _with_destinations(
        Exists(waiting), kind=alert.kind, cleared_at=None, dataflow__destination__account=destination.account
    ).exclude(dataflow=alert.dataflow_id)
    whole_account = alert.kind == AlertKind.CREDENTIALS
    return [
        other for other in found if whole_account or _place(other.dataflow.destination) == _place(destination)
    ]


def _place(destination: Destination) -> str:
    try:
        return destination.target
    except KeyError:  # not installed any more
        return str(destination.settings)


def _with_destinations(*wanted: Any, **fields: Any) -> QuerySet[Alert]:
    found = Alert.objects.filter(*wanted, **fields).order_by("pk")
    return found.select_related("dataflow__destination__account", "part_of")


def _name_to(alerts: Sequence[Alert], destination: Destination) -> None:
    """Let alerts that people were told of say that another destination has the trouble, too."""
    for other in Alert.objects.filter(pk__in=[each.pk for each in alerts], notices__isnull=False).distinct():
        also = other.facts.get("also", [])
        if destination.name not in also and len(also) < MOST_NAMES:
            other.facts["also"] = [*also, destination.name]
            other.save(update_fields=["facts"])


def _told(alerts: Iterable[Alert], *, cleared: bool = False) -> set[int]:
    """Who has a notice of at least one of these alerts."""
    return set(Notice.objects.filter(alert__in=alerts, cleared=cleared).values_list("user", flat=True))


def _listening(alerts: Iterable[Alert], users: Collection[int] | None = None) -> Listening:
    """Who hears of these alerts, in each way once: of the first one, by the subscription to its destination.

    Args:
        users: only they.
    """
    by_destination = {alert.dataflow.destination_id: alert for alert in alerts}
    found = Subscription.objects.filter(destination__in=by_destination).select_related("user")
    if users is not None:
        found = found.filter(user__in=users)
    listening: Listening = {}
    for subscription in sorted(found, key=lambda each: by_destination[each.destination_id].pk):
        alert = by_destination[subscription.destination_id]
        if alert.kind in subscription.kinds:
            for channel, address in _channels(subscription):
                listening.setdefault((subscription.user_id, channel, address), (alert, subscription))
    return listening


def _channels(subscription: Subscription) -> Iterator[tuple[str, str]]:
    """The channels of a subscription, with the address. The bell is one of everybody's."""
    yield BELL, ""
    if subscription.by_email and subscription.user.email:
        yield AlertMessage.Channel.EMAIL.value, ""
    if subscription.webhook_url:
        yield AlertMessage.Channel.WEBHOOK.value, subscription.webhook_url


def _tell(listening: Listening, told: Collection[Way], *, cleared: bool, at: datetime) -> None:
    """A notice and messages for everybody who listens, but in those ways in which they know it already."""
    new = [(way[1], *listening[way]) for way in listening if way not in told]
    Notice.objects.bulk_create(
        Notice(alert=alert, user=subscription.user, cleared=cleared, created_at=at)
        for channel, alert, subscription in new
        if channel == BELL
    )
    AlertMessage.objects.bulk_create(
        AlertMessage(subscription=subscription, alert=alert, cleared=cleared, channel=channel)
        for channel, alert, subscription in new
        if channel != BELL
    )
