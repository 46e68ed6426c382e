"""What the bell and the pages of alerts read. Every function has a fixed number of queries."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet

from activation.alerts import words
from activation.models import Notice, Subscription
from destinations.models import AlertKind, Destination

MANY = 100  # the bell counts to it

_VARIANTS = {
    AlertKind.RUN_STARTED: "processing",
    AlertKind.RUN_SUCCEEDED: "positive",
    AlertKind.RUN_FAILED: "negative",
    AlertKind.DELAYED: "notice",
    AlertKind.SKIPPED: "notice",
    AlertKind.ON_HOLD: "negative",
    AlertKind.CREDENTIALS: "negative",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A notice in words."""

    notice: Notice

    @property
    def title(self) -> str:
        return words.title(self.notice.alert, cleared=self.notice.cleared)

    @property
    def detail(self) -> str:
        return words.detail(self.notice.alert, cleared=self.notice.cleared)

    @property
    def variant(self) -> str:
        return "positive" if self.notice.cleared else _VARIANTS[AlertKind(self.notice.alert.kind)]

    @property
    def destination(self) -> Destination:
        return self.notice.alert.dataflow.destination


def notices(user: AbstractBaseUser, *, unread: bool = False) -> QuerySet[Notice]:
    """What a person was told, with what it is about."""
    found = Notice.objects.filter(user=user.pk).select_related("alert__dataflow__destination")
    return found.filter(read_at=None) if unread else found


def count_unread(user: AbstractBaseUser) -> int:
    """How many are not read; :data:`MANY` where there are more."""
    return Notice.objects.filter(user=user.pk, read_at=None).order_by()[:MANY].count()


def subscription_of(destination: Destination, user: AbstractBaseUser) -> Subscription | None:
    return Subscription.objects.filter(destination=destination, user=user.pk).first()
