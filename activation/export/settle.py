"""What became of each row of a batch, in one transaction with the numbers that count it."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from activation.export import lanes
from activation.export.records import Unsendable
from activation.models import DataflowRun, Delivery, FailedExport, PendingExport
from destinations.connectors.base import Delivered, Refused, TryAgain
from profiles.models import Profile

ATTEMPTS = 3  # of a transaction that runs into another's changes
SHORTEST_BACKOFF = 0.2  # seconds, doubled with every attempt
LONGEST_BACKOFF = 30.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of the outbox as it was read."""

    id: int
    profile_id: uuid.UUID
    generation: int
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim.

    Args:
        result: the sender's answer, why nothing was sent, or None where the profile is gone.
        bytes: of the record's data.
        identities: how many the record holds.
    """

    claim: Claim
    result: Delivered | TryAgain | Refused | Unsendable | None
    bytes: int = 0
    identities: int = 0


def settle(dataflow_id: uuid.UUID, token: uuid.UUID, outcomes: Sequence[Outcome]) -> None:
    """Record what became of a batch: rows go, wait or stay; run, receipts and dead letters are written.

    A row that was written again since it was claimed stays for another go, though its delivery is counted.

    Raises:
        LeaseLost: the lane is another worker's by now; nothing was recorded.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                lanes.renew(dataflow_id, token)
                _settle(dataflow_id, outcomes)
            return
        except (IntegrityError, OperationalError):
            # A profile was deleted between our look and our commit, or a deletion of several locked their rows in
            # another order. What was sent can't be called back: it is worth a second look, which sees what they left.
            if attempt == ATTEMPTS:
                raise


def _settle(dataflow_id: uuid.UUID, outcomes: Sequence[Outcome]) -> None:
    now = timezone.now()
    # Locked in the order in which changes are queued. What was written again has another generation by now.
    rows = PendingExport.objects.select_for_update().filter(pk__in=[o.claim.id for o in outcomes])
    generations = dict(rows.order_by("profile_id").values_list("pk", "generation"))
    profiles = Profile.objects.filter(pk__in=[o.claim.profile_id for o in outcomes])
    there = set(profiles.values_list("pk", flat=True))

    claims = [o.claim for o in outcomes if not isinstance(o.result, TryAgain) and o.claim.id in generations]
    done = [claim.id for claim in claims if generations[claim.id] == claim.generation]
    PendingExport.objects.filter(pk__in=done).delete()
    if len(done) < len(claims):
        # Written again meanwhile: that is another export, with a history of its own.
        again = PendingExport.objects.filter(pk__in=[claim.id for claim in claims])
        again.update(attempts=0, error_code="", created_at=now)
    _back_off([o for o in outcomes if isinstance(o.result, TryAgain)], now)

    delivered = [(o, o.result) for o in outcomes if isinstance(o.result, Delivered)]
    dead = [
        (o, _letter(o.result))
        for o in outcomes
        if isinstance(o.result, (Refused, Unsendable)) and o.claim.profile_id in there
    ]
    retries = sum(
        o.claim.attempts > 0 for o in outcomes if isinstance(o.result, (Delivered, TryAgain, Refused))
    )
    if not (delivered or dead or retries):
        return
    run, _ = DataflowRun.objects.get_or_create(
        dataflow_id=dataflow_id,
        started_at=now.replace(minute=0, second=0, microsecond=0),
        defaults={"last_at": now},
    )
    excluded = sum(letter.kind == FailedExport.Kind.EXCLUDED for _, letter in dead)
    DataflowRun.objects.filter(pk=run.pk).update(
        last_at=now,
        activated=F("activated") + len(delivered),
        excluded=F("excluded") + excluded,
        failed=F("failed") + len(dead) - excluded,
        identities=F("identities") + sum(o.identities for o, _ in delivered),
        retries=F("retries") + retries,
        bytes=F("bytes") + sum(o.bytes for o, _ in delivered),
        waited_seconds=F("waited_seconds")
        + sum((now - o.claim.created_at).total_seconds() for o, _ in delivered),
    )
    FailedExport.objects.bulk_create(
        FailedExport(
            run=run,
            profile_id=o.claim.profile_id,
            kind=letter.kind,
            code=letter.code[:100],
            reason=letter.reason,
            created_at=now,
        )
        for o, letter in dead
    )
    Delivery.objects.bulk_create(
        [
            Delivery(
                dataflow_id=dataflow_id,
                profile_id=o.claim.profile_id,
                delivered_at=now,
                shard=result.shard,
                sequence_number=result.sequence_number,
            )
            for o, result in delivered
            if o.claim.profile_id in there
        ],
        update_conflicts=True,
        unique_fields=["profile", "dataflow"],
        update_fields=["delivered_at", "shard", "sequence_number"],
    )


def _letter(result: Refused | Unsendable) -> Unsendable:
    if isinstance(result, Refused):
        return Unsendable(FailedExport.Kind.FAILED, result.code, result.message)
    return result


def _back_off(outcomes: Sequence[Outcome], now: datetime) -> None:
    """Let rows wait: longer with every attempt, and not all for the same time."""
    alike: dict[tuple[int, str], list[int]] = defaultdict(list)
    for outcome in outcomes:
        assert isinstance(outcome.result, TryAgain)
        alike[min(outcome.claim.attempts, 10), outcome.result.code].append(outcome.claim.id)
    for (attempts, code), ids in alike.items():
        longest = min(SHORTEST_BACKOFF * 2**attempts, LONGEST_BACKOFF)
        wait = timedelta(seconds=random.uniform(longest / 2, longest))
        PendingExport.objects.filter(pk__in=ids).update(
            attempts=F("attempts") + 1, available_at=now + wait, error_code=code[:100]
        )
