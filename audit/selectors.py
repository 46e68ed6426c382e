"""Looking through the trail: by who, what, which object and when, in a time that does not grow with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from audit.keys import first_key_at
from audit.models import Entry

BATCH = 1_000  # rows of an export in memory


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries.

    Args:
        actor: a user name, whole.
        action: one of audit.actions.
        object: the name or the id of an object, whole.
        since, until: both are in it.
    """

    actor: str = ""
    action: str = ""
    object: str = ""
    since: datetime | None = None
    until: datetime | None = None


def entries(wanted: Wanted) -> QuerySet[Entry]:
    """Entries. Every filter has an index that goes on with the key, and the key is the time."""
    found = Entry.objects.all()
    if wanted.actor:
        found = found.filter(actor=wanted.actor)
    if wanted.action:
        found = found.filter(action=wanted.action)
    if wanted.object:
        # One or the other: for both at once PostgreSQL would walk through the whole trail.
        is_id = Entry.objects.filter(object_id=wanted.object).exists()
        found = found.filter(**{"object_id" if is_id else "object_name": wanted.object})
    if wanted.since:
        found = found.filter(pk__gte=first_key_at(wanted.since))
    if wanted.until:
        found = found.filter(pk__lt=first_key_at(wanted.until + timedelta(microseconds=1)))
    return found


def oldest_first(found: QuerySet[Entry]) -> Iterator[Entry]:
    """All of them, a batch in memory at a time."""
    last = uuid.UUID(int=0)
    while batch := list(found.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield from batch
        last = batch[-1].pk
