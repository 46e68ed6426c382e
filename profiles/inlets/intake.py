"""What an inlet takes in: one transaction for the messages, the memory of their ids, and the counts."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from profiles import bulk
from profiles.ingest import Outcome, Refused, Result, ingest
from profiles.inlets.messages import Message
from profiles.models import Inlet, InletHour, InletSample, ReceivedMessage
from profiles.reasons import NO_REASON, Reason

SAMPLES_KEPT = 20  # of an inlet
SAMPLES_AT_ONCE = 5  # of a request
SAMPLE_LENGTH = 2000  # characters
HOURS_KEPT = timedelta(days=31)
FORGOTTEN_AT_ONCE = 5000


class Fate(StrEnum):
    ACCEPTED = "accepted"
    REPEATED = "repeated"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message.

    Args:
        reason: of a rejected one, why; of an accepted one, why its identities were not linked.
    """

    fate: Fate
    reason: Reason = NO_REASON


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it came, or why it can't be one.

    Args:
        raw: what is shown of it as a sample: parsed JSON, or the bytes.
    """

    message: Message | Refused
    raw: Any


def receive(inlet: Inlet, batch: uuid.UUID, sent: Sequence[Sent], size: int) -> list[Receipt]:
    """Take in what one request brought: the good messages all or, where the database fails, none.

    1. Note the ids of the messages: those that were known already are repeated ones. 2. Ingest the others. 3. Forget
    the ids of those that were rejected: put right, they may come again. 4. Count, and keep samples.

    Args:
        batch: the request's id.
        size: of its body, in bytes.

    Returns:
        A receipt for every message, in their order. Of messages with the same id the first is taken in; if it is
        rejected, so are the others.

    Raises:
        django.db.Error: nothing was taken in.
    """
    keys = [_key(inlet, entry.message) for entry in sent]
    first: dict[uuid.UUID, int] = {}
    for place, key in enumerate(keys):
        if key is not None:
            first.setdefault(key, place)
    with transaction.atomic():
        known = _remember(first, batch)
        fragments = {
            place: entry.message.fragment
            for place, (entry, key) in enumerate(zip(sent, keys, strict=True))
            if isinstance(entry.message, Message)
            and (key is None or (key not in known and first[key] == place))
        }
        outcomes = ingest(list(fragments.values()))
        taken = dict(zip(fragments, map(_receipt, outcomes), strict=True))
        receipts = []
        for place, (entry, key) in enumerate(zip(sent, keys, strict=True)):
            if isinstance(entry.message, Refused):
                receipts.append(Receipt(Fate.REJECTED, entry.message.reason))
            elif place in taken:
                receipts.append(taken[place])
            elif key is None or key in known or taken[first[key]].fate != Fate.REJECTED:
                receipts.append(Receipt(Fate.REPEATED))
            else:
                receipts.append(taken[first[key]])
        _forget(key for key, place in first.items() if receipts[place].fate == Fate.REJECTED)
        _note(inlet, receipts, sent, size)
    return receipts


def _receipt(outcome: Outcome) -> Receipt:
    fate = Fate.REJECTED if outcome.result == Result.REJECTED else Fate.ACCEPTED
    return Receipt(fate, outcome.reason)


def note_refusal(inlet: Inlet, reason: Reason, body: bytes) -> None:
    """Count a request of which nothing could be read as a rejected message."""
    with transaction.atomic():
        _note(inlet, [Receipt(Fate.REJECTED, reason)], [Sent(Refused(reason), body)], len(body))


# --- The memory of ids ---------------------------------------------------------------------------------------------


def _key(inlet: Inlet, message: Message | Refused) -> uuid.UUID | None:
    if isinstance(message, Refused) or not message.id:
        return None
    return uuid.uuid5(uuid.UUID(inlet.pk[:32]), message.id)


def _remember(keys: Iterable[uuid.UUID], batch: uuid.UUID) -> set[uuid.UUID]:
    """Note keys, and find those that were noted before. Two requests with the same one wait for each other here."""
    wanted = sorted(keys)
    if not wanted:
        return set()
    same = {"batch": batch, "at": timezone.now()}
    bulk.insert(ReceivedMessage, ["id"], [(key,) for key in wanted], same=same, unique=["id"])
    return set(
        ReceivedMessage.objects.filter(pk__among=wanted).exclude(batch=batch).values_list("pk", flat=True)
    )


def _forget(keys: Iterable[uuid.UUID]) -> None:
    if forgotten := list(keys):
        ReceivedMessage.objects.filter(pk__in=forgotten).delete()


def forget_old() -> int:
    """Forget messages after ``INLET_REMEMBER_DAYS``, and hours that no page shows any more.

    Returns:
        How many messages were forgotten.
    """
    now = timezone.now()
    InletHour.objects.filter(started_at__lt=now - HOURS_KEPT).delete()
    old = ReceivedMessage.objects.filter(at__lt=now - timedelta(days=settings.INLET_REMEMBER_DAYS))
    forgotten = 0
    # A part at a time, so that nobody waits for it long.
    while some := list(old.order_by("at").values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]):
        ReceivedMessage.objects.filter(pk__in=some).delete()
        forgotten += len(some)
    return forgotten


# --- Counts and samples --------------------------------------------------------------------------------------------


def _note(inlet: Inlet, receipts: Sequence[Receipt], sent: Sequence[Sent], size: int) -> None:
    """Last in its transaction: whoever counts for the same inlet waits until it is committed."""
    told = [(receipt, entry) for receipt, entry in zip(receipts, sent, strict=True) if receipt.reason]
    if told:
        _keep_samples(inlet, told[-SAMPLES_AT_ONCE:])
    _count(inlet, receipts, size)


def _keep_samples(inlet: Inlet, told: Sequence[tuple[Receipt, Sent]]) -> None:
    now = timezone.now()
    samples = [
        InletSample(
            inlet=inlet,
            at=now,
            accepted=receipt.fate != Fate.REJECTED,
            reason=receipt.reason.message,
            params=_storable(receipt.reason),
            text=sample_text(entry.raw),
        )
        for receipt, entry in told
    ]
    # First the inlet's own row: whoever keeps samples of it at the same time waits here.
    newest = samples[-1]
    Inlet.objects.filter(pk=inlet.pk).update(
        last_error=newest.reason, last_error_params=newest.params, last_error_at=now
    )
    InletSample.objects.bulk_create(samples)
    kept = InletSample.objects.filter(inlet=inlet).order_by("-pk").values_list("pk", flat=True)
    if surplus := list(kept[SAMPLES_KEPT : SAMPLES_KEPT + 1]):
        InletSample.objects.filter(inlet=inlet, pk__lte=surplus[0]).delete()


def _count(inlet: Inlet, receipts: Sequence[Receipt], size: int) -> None:
    now = timezone.now()
    start = now.replace(minute=0, second=0, microsecond=0)
    fates = Counter(receipt.fate.value for receipt in receipts)
    fates["unlinked"] = sum(receipt.fate == Fate.ACCEPTED and bool(receipt.reason) for receipt in receipts)
    fates["bytes"] = size
    hour = InletHour.objects.filter(inlet=inlet, started_at=start)
    numbers = {name: F(name) + count for name, count in fates.items()}
    if not hour.update(last_at=now, **numbers):
        # The first of the hour; or one of several, who all count what they brought.
        first = InletHour(inlet=inlet, started_at=start, last_at=now)
        InletHour.objects.bulk_create([first], ignore_conflicts=True)
        hour.update(last_at=now, **numbers)


def _storable(reason: Reason) -> dict[str, str | int]:
    """What is filled in; some of it are keys and codes as they came."""
    return {
        name: sample_text(value.encode(errors="backslashreplace")) if isinstance(value, str) else value
        for name, value in reason.params.items()
    }


def sample_text(raw: Any) -> str:
    """The beginning of a message, as text that any database holds."""
    if not isinstance(raw, bytes):
        try:
            raw = json.dumps(raw, ensure_ascii=False, default=lambda flaw: "…")
        except (ValueError, RecursionError):
            return "…"
        raw = raw.encode(errors="backslashreplace")
    text = raw[: 4 * SAMPLE_LENGTH].decode(errors="backslashreplace").replace("\0", "\\0")
    return text if len(text) <= SAMPLE_LENGTH else f"{text[:SAMPLE_LENGTH]}…"
