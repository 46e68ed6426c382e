"""What people do about alerts: say what they want to be told, and that they have read it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone
from django.utils.translation import get_language

import audit
from activation.models import Notice, Subscription
from destinations.fields import Encrypted
from destinations.models import AlertKind, Destination


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants to be told, and how.

    Args:
        kinds: of AlertKind; none ends the subscription.
        webhook_url: checked already (activation.alerts.webhook); empty for none.
        webhook_secret: empty to keep the one that is stored.
    """

    kinds: Collection[str]
    by_email: bool = True
    webhook_url: str = ""
    webhook_secret: str = field(default="", repr=False)


def subscribe(*, destination: Destination, user: AbstractBaseUser, wishes: Wishes) -> None:
    """Save what a person wants to be told of a destination, in the language that they read now."""
    kinds = [kind for kind in AlertKind.values if kind in wishes.kinds]
    with transaction.atomic():
        rows = Subscription.objects.select_for_update()
        found = rows.filter(destination=destination, user=user.pk).first()
        if not kinds:
            if found is not None:
                audit.record("alerts.subscribed", destination, _told(found))
                found.delete()
            return
        subscription = found or Subscription(destination=destination, user_id=user.pk)
        before = _told(subscription) if found else {}
        subscription.kinds, subscription.by_email = kinds, wishes.by_email
        subscription.language = get_language() or subscription.language
        subscription.webhook_url = wishes.webhook_url
        if not wishes.webhook_url:
            subscription.webhook_secret = Encrypted.of({})
        elif wishes.webhook_secret:
            subscription.webhook_secret = Encrypted.of({"secret": wishes.webhook_secret})
        subscription.problem, subscription.problem_at = "", None
        subscription.save()
        audit.record("alerts.subscribed", destination, before, _told(subscription))


def mark_read(*, user: AbstractBaseUser, up_to: int) -> int:
    """Everything up to a notice is read. Returns how many were not."""
    unread = Notice.objects.filter(user=user.pk, pk__lte=up_to, read_at=None)
    return unread.update(read_at=timezone.now())


def _told(subscription: Subscription) -> dict[str, Any]:
    webhook = ("webhook_url", "webhook_secret") if subscription.webhook_url else ()
    return audit.state(subscription, "kinds", "by_email", *webhook)
