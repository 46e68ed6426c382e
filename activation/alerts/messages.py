"""Sends what waits in the outbox of alerts, by e-mail and webhook, and again where it does not arrive."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.core.mail import EmailMessage
from django.utils import timezone, translation

from activation.alerts import webhook, words
from activation.alerts.webhook import NotSent
from activation.models import AlertMessage
from destinations.fields import KeyLost
from destinations.models import Destination

log = structlog.get_logger(__name__)

AT_ONCE = 100
CLAIMED_FOR = timedelta(minutes=2)  # longer than sending takes: of two workers, one sends
SHORTEST_BACKOFF, LONGEST_BACKOFF = timedelta(seconds=15), timedelta(hours=2)
ATTEMPTS = 12  # over half a day
MAY_SEE = "destinations.view_destination"


def send_waiting() -> int:
    """Send what is due, each message by one worker, outside of any transaction. Returns how many arrived."""
    due = AlertMessage.objects.filter(available_at__lte=timezone.now()).order_by("available_at")
    sent = 0
    for message in list(
        due.select_related("subscription__user", "alert__dataflow__destination", "alert__run")[:AT_ONCE]
    ):
        if _claim(message):
            sent += _send(message)
    return sent


def _claim(message: AlertMessage) -> bool:
    row = AlertMessage.objects.filter(pk=message.pk, available_at=message.available_at)
    return bool(row.update(available_at=timezone.now() + CLAIMED_FOR))


def _send(message: AlertMessage) -> bool:
    subscription = message.subscription
    if not subscription.user.is_active or not subscription.user.has_perm(MAY_SEE):
        message.delete()  # whoever may not see the destination is not told of it
        return False
    try:
        with translation.override(subscription.language):
            if message.channel == AlertMessage.Channel.EMAIL:
                _mail(message)
            else:
                _post(message)
    except (NotSent, KeyLost, OSError) as error:
        _failed(message, str(error) if isinstance(error, NotSent) else type(error).__name__)
        return False
    message.delete()
    if subscription.problem:
        type(subscription).objects.filter(pk=subscription.pk).update(problem="", problem_at=None)
    return True


def _mail(message: AlertMessage) -> None:
    """Raises OSError (smtplib's errors are)."""
    title = words.title(message.alert, cleared=message.cleared)
    detail = words.detail(message.alert, cleared=message.cleared)
    body = "\n\n".join(
        part for part in (f"{title}.", detail, f"{_at(message):%Y-%m-%d %H:%M:%S} UTC") if part
    )
    # A name may hold what a header must not.
    EmailMessage(" ".join(title.split()), f"{body}\n", to=[message.subscription.user.email]).send()


def _post(message: AlertMessage) -> None:
    """Raises NotSent, KeyLost."""
    subscription, alert = message.subscription, message.alert
    if not subscription.webhook_url:
        return  # it was taken away meanwhile
    secret = subscription.webhook_secret.open()["secret"]
    webhook.post(subscription.webhook_url, secret, payload(message))
    log.info("webhook_sent", alert_id=alert.pk, subscription_id=subscription.pk)


def payload(message: AlertMessage) -> dict[str, Any]:
    """What a webhook gets: codes and counts, nothing of a customer."""
    alert = message.alert
    destination: Destination = alert.dataflow.destination
    return {
        "id": str(message.pk),
        "kind": alert.kind,
        "state": "cleared" if message.cleared else "happened" if alert.run_id else "raised",
        "at": _at(message).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "title": words.title(alert, cleared=message.cleared),
        "destination": {"id": str(destination.pk), "name": destination.name},
        "dataflow": str(alert.dataflow_id),
        "run": str(alert.run_id) if alert.run_id else None,
        "facts": {"also": alert.facts.get("also", [])} if message.cleared else alert.facts,
    }


def _at(message: AlertMessage) -> datetime:
    moment = message.alert.cleared_at if message.cleared else message.alert.raised_at
    return (moment or message.created_at).astimezone(UTC)


def _failed(message: AlertMessage, reason: str) -> None:
    """Try again later, longer every time; give up in the end, and let the page of the subscription say so."""
    log.warning("alert_not_sent", channel=message.channel, attempts=message.attempts + 1, reason=reason)
    subscription = type(message.subscription).objects.filter(pk=message.subscription_id)
    subscription.update(problem=f"{message.get_channel_display()}: {reason}"[:500], problem_at=timezone.now())
    if message.attempts + 1 >= ATTEMPTS:
        message.delete()
        return
    longest = min(SHORTEST_BACKOFF * 2**message.attempts, LONGEST_BACKOFF)
    wait = longest * random.uniform(0.5, 1)
    AlertMessage.objects.filter(pk=message.pk).update(
        attempts=message.attempts + 1, available_at=timezone.now() + wait
    )
