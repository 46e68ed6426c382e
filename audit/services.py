"""What may go from the trail: entries that are older than they are kept."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from audit.keys import first_key_at
from audit.models import Entry
from audit.trail import record

AT_ONCE = 5_000


def forget_old() -> int:
    """Delete entries that are older than ``AUDIT_DAYS``, some at a time. Returns how many; the act is recorded."""
    # An hour late, so that the database, which goes by its own clock, agrees.
    end = first_key_at(timezone.now() - timedelta(days=settings.AUDIT_DAYS, hours=1))
    gone = 0
    while keys := list(
        Entry.objects.filter(pk__lt=end).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]
    ):
        with transaction.atomic():
            count = Entry.objects.filter(pk__in=keys).delete()[0]
            record("audit.forgotten", after={"count": count})
        gone += count
    return gone
