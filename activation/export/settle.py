"""What became of each row of a batch, in one transaction with the numbers that count it."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from activation import consent
from activation.export import lanes, latency, outbox
from activation.export.claims import Claim, array
from activation.export.lanes import Lease
from activation.export.records import Unsendable
from activation.models import Dataflow, DataflowRun, Delivery, ExportReason, FailedExport, PendingExport
from destinations.connectors.base import Delivered, Refused, TryAgain
from profiles.locks import commit_without_waiting
from profiles.models import MergedProfile, Profile

SHORTEST_BACKOFF = 0.2  # seconds, doubled with every attempt
LONGEST_BACKOFF = 30.0
ATTEMPTS = 3  # at settling a batch


@dataclass(frozen=True, slots=True)
class Later:
    """Not sent: its shard has no room for it before so many seconds."""

    seconds: float


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a claim.

    Args:
        result: the sender's answer, or why nothing was sent.
        bytes: of the record's data.
        identities: how many the record holds.
    """

    claim: Claim
    result: Delivered | TryAgain | Refused | Unsendable | Later
    bytes: int = 0
    identities: int = 0


def settle(lease: Lease, outcomes: Sequence[Outcome]) -> None:
    """Record what became of a batch: rows go, wait or stay; run, receipts and dead letters are written.

    A row that was written again since it was claimed stays for another go, though its delivery is counted.

    Raises:
        LeaseLost: the lane is another worker's by now; nothing was recorded.
    """
    if not outcomes:
        return
    until: datetime | None = None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if until and lanes.is_leased_until(lease, until):
                return  # only the answer to the commit was lost
            with transaction.atomic():
                _prepare()
                until = lanes.renew(lease)
                _settle(lease.dataflow_id, outcomes, timezone.now())
            return
        except (IntegrityError, OperationalError):
            # A profile was deleted between our look and our commit, a deletion of several locked their rows in
            # another order, or the database started anew. What was sent can't be called back: it is worth a second
            # look, which sees what they left.
            if attempt == ATTEMPTS:
                raise


def suspect(lease: Lease) -> None:
    """Write receipts of what others, who are dead or lost the lane, may have delivered.

    Raises:
        LeaseLost: the lane is another worker's by now; nothing was recorded.
    """
    with transaction.atomic():
        lanes.renew(lease)
        _suspect(lease.dataflow_id, lanes.take_under_way(lease), timezone.now())


def _suspect(dataflow_id: uuid.UUID, sent: Collection[uuid.UUID], now: datetime) -> None:
    """The destination may know these profiles from now on, or what they were merged into. Receipts of what it knows for
    sure stay. Who does not consent by now is queued for a last record: the row may have been dropped while it was sent,
    or looked at by somebody who did not know.
    """
    merged = dict(MergedProfile.objects.filter(pk__in=sent).values_list("pk", "survivor_id"))
    profile_ids = {merged.get(profile_id, profile_id) for profile_id in sent}
    rows = PendingExport.objects.filter(dataflow=dataflow_id, profile__in=profile_ids)
    list(rows.select_for_update().order_by("profile_id").values_list("pk"))
    there = Profile.objects.filter(pk__in=profile_ids).order_by("pk").values_list("pk", flat=True)
    Delivery.objects.bulk_create(
        [
            Delivery(
                dataflow_id=dataflow_id,
                profile_id=profile_id,
                delivered_at=now,
                reason=ExportReason.UNSURE,
                version=0,
            )
            for profile_id in there
        ],
        ignore_conflicts=True,
    )
    told = Delivery.objects.filter(dataflow=dataflow_id, profile__in=profile_ids, reason=ExportReason.CONSENT)
    told.update(reason=ExportReason.UNSURE)
    if asked := consent.paths(Dataflow.objects.get(pk=dataflow_id)):
        denying = consent.denying(asked).filter(pk__in=profile_ids).values_list("pk", flat=True)
        outbox.queue((dataflow_id, profile_id, ExportReason.ATTRIBUTE.value) for profile_id in denying)


def _prepare() -> None:
    """For the transaction alone. Where a crash of PostgreSQL takes it back, the rows wait again and are sent twice, as
    after any crash between the answer and the commit. And rows are found by their index: by the statistics of an outbox
    that was just filled or emptied, reading all of it may look cheaper. (Where there is no other way, that looks so
    dear that PostgreSQL would compile it: not for a batch.)
    """
    commit_without_waiting()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan TO off")
            cursor.execute("SET LOCAL jit TO off")


def _settle(dataflow_id: uuid.UUID, outcomes: Sequence[Outcome], now: datetime) -> None:
    """1. The rows. 2. Receipts and dead letters. 3. The run, last: several lanes write it."""
    rows = _Rows()
    received = delivered = [(o, o.result) for o in outcomes if isinstance(o.result, Delivered)]
    others = [o for o in outcomes if not isinstance(o.result, Delivered)]
    dead = [(o, _letter(o.result)) for o in others if isinstance(o.result, (Refused, Unsendable))]
    waiting = [o for o in others if isinstance(o.result, (TryAgain, Later))]
    unsure = [o for o in waiting if isinstance(o.result, TryAgain) and o.result.maybe_taken]
    done = [o.claim for o, _ in [*delivered, *dead]]
    gone = len(done) - rows.delete(outcomes)
    if gone:
        # Written again meanwhile: that is another export, with a history of its own.
        again = PendingExport.objects.filter(pk__in=[claim.id for claim in done])
        gone -= again.update(attempts=0, error_code="", created_at=now)
    if gone:
        # Dropped meanwhile, perhaps with the profile.
        unsure += [o for o, _ in delivered]
        profiles = Profile.objects.filter(pk__in=[claim.profile_id for claim in done])
        there = set(profiles.values_list("pk", flat=True))
        received = [(o, result) for o, result in delivered if o.claim.profile_id in there]
        dead = [(o, letter) for o, letter in dead if o.claim.profile_id in there]
    rows.put_off(waiting, now)
    if received:
        rows.receive(dataflow_id, received, now)
    if ordinary := [o.claim.profile_id for o in unsure if o.claim.reason != ExportReason.CONSENT]:
        _suspect(dataflow_id, ordinary, now)
    sent = [o for o, _ in delivered] + [o for o in others if isinstance(o.result, (TryAgain, Refused))]
    if sent or dead:
        run = _count(dataflow_id, delivered, dead, sent, now)
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


def _letter(result: Any) -> Unsendable:
    if isinstance(result, Refused):
        return Unsendable(FailedExport.Kind.FAILED, result.code, result.message)
    assert isinstance(result, Unsendable)
    return result


def _count(
    dataflow_id: uuid.UUID,
    delivered: Sequence[tuple[Outcome, Delivered]],
    dead: Sequence[tuple[Outcome, Unsendable]],
    sent: Sequence[Outcome],
    now: datetime,
) -> DataflowRun:
    """Add a batch to the run of this hour."""
    started_at = DataflowRun.start_of(now)
    runs = DataflowRun.objects.select_for_update(no_key=True)
    run = runs.filter(dataflow_id=dataflow_id, started_at=started_at).first()
    if run is None:
        new = DataflowRun(dataflow_id=dataflow_id, started_at=started_at, last_at=now)
        DataflowRun.objects.bulk_create([new], ignore_conflicts=True)
        run = runs.get(dataflow_id=dataflow_id, started_at=started_at)
    excluded = sum(letter.kind == FailedExport.Kind.EXCLUDED for _, letter in dead)
    refusals = [o.result for o in sent if isinstance(o.result, TryAgain)]
    seconds = now.timestamp()
    run.last_at = now
    run.activated += len(delivered)
    run.excluded += excluded
    run.failed += len(dead) - excluded
    run.identities += sum(o.identities for o, _ in delivered)
    run.attempts += len(sent)
    run.retries += sum(o.claim.attempts > 0 for o in sent)
    run.throttled += sum(result.throttled for result in refusals)
    run.duplicates += sum(result.maybe_taken for result in refusals)
    run.bytes += sum(o.bytes for o, _ in delivered)
    run.latencies = latency.add(run.latencies, (seconds - o.claim.queued for o, _ in delivered))
    run.save(update_fields=[*DataflowRun.COUNTS, "latencies", "last_at"])
    return run


def backoff(attempts: int) -> float:
    """Seconds that a record waits after its ``attempts`` + 1st refusal: with full jitter, longer every time."""
    longest = min(SHORTEST_BACKOFF * 2 ** min(attempts, 20), LONGEST_BACKOFF)
    return random.uniform(longest / 2, longest)


# Locked in the order in which changes are queued, so that nobody waits in a circle, those that stay included. What was
# locked is found again by its place.
_DELETE_POSTGRESQL = """
    WITH locked AS (
        SELECT ctid AS place, id, generation FROM activation_pendingexport WHERE id = ANY (%s::bigint[])
        ORDER BY profile_id FOR UPDATE
    )
    DELETE FROM activation_pendingexport WHERE ctid = ANY (ARRAY(
        SELECT place FROM locked JOIN unnest(%s::bigint[], %s::bigint[]) AS t (id, generation) USING (id, generation)
    ))"""
_DELETE_SQLITE = """
    DELETE FROM activation_pendingexport WHERE (id, generation) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s)
    )"""
_RECEIPTS_POSTGRESQL = """
    INSERT INTO activation_delivery AS d
        (dataflow_id, delivered_at, profile_id, reason, shard, sequence_number, version)
    SELECT %s, %s, t.*, 1 FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[]) AS t"""
_RECEIPTS_SQLITE = """
    INSERT INTO activation_delivery AS d
        (dataflow_id, delivered_at, profile_id, reason, shard, sequence_number, version)
    SELECT %s, %s, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]'), 1
    FROM json_each(%s)"""
_RECEIPTS_AGAIN = """
    WHERE true ON CONFLICT (profile_id, dataflow_id) DO UPDATE SET delivered_at = excluded.delivered_at,
        reason = excluded.reason, shard = excluded.shard, sequence_number = excluded.sequence_number,
        version = d.version + 1"""


class _Rows:
    """The statements for many rows at once, as each database has them."""

    def __init__(self) -> None:
        self._postgresql = connection.vendor == "postgresql"

    def delete(self, outcomes: Sequence[Outcome]) -> int:
        """Lock the rows of all outcomes, and delete those that are done and as they were claimed.

        Returns:
            How many were deleted.
        """
        ids = [o.claim.id for o in outcomes]
        # Nothing has generation -1.
        wanted = [-1 if isinstance(o.result, (TryAgain, Later)) else o.claim.generation for o in outcomes]
        with connection.cursor() as cursor:
            if self._postgresql:
                text = array(ids)
                cursor.execute(_DELETE_POSTGRESQL, [text, text, array(wanted)])
            else:
                cursor.execute(_DELETE_SQLITE, [json.dumps(list(zip(ids, wanted, strict=True)))])
            return int(cursor.rowcount)

    def put_off(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """What was refused for now, or not sent: not before its time."""
        rows = []
        for o in outcomes:
            if isinstance(o.result, TryAgain):
                # Where a shard throttles, its pace says when there is room; other failures may last.
                wait = backoff(0 if o.result.throttled else o.claim.attempts)
                rows.append((1, now + timedelta(seconds=wait), o.result.code[:100], o.claim.id))
            elif isinstance(o.result, Later):
                rows.append((0, now + timedelta(seconds=o.result.seconds), "", o.claim.id))
        if not rows:
            return
        if self._postgresql:
            self._run(
                "UPDATE activation_pendingexport p SET attempts = p.attempts + t.sent, available_at = t.at,"
                " error_code = CASE WHEN t.sent = 1 THEN t.code ELSE p.error_code END"
                " FROM unnest(%s::int[], %s::timestamptz[], %s::text[], %s::bigint[]) AS t (sent, at, code, id)"
                " WHERE p.id = t.id",
                [list(column) for column in zip(*rows, strict=True)],
            )
        else:
            at = connection.ops.adapt_datetimefield_value
            self._run_each(
                "UPDATE activation_pendingexport SET attempts = attempts + %s, available_at = %s,"
                " error_code = CASE WHEN %s = 1 THEN %s ELSE error_code END WHERE id = %s",
                [(sent, at(moment), sent, code, row_id) for sent, moment, code, row_id in rows],
            )

    def receive(
        self, dataflow_id: uuid.UUID, delivered: Sequence[tuple[Outcome, Delivered]], now: datetime
    ) -> None:
        """The receipts, of profiles that are there."""
        rows = [
            (o.claim.profile_id, o.claim.reason, result.shard, result.sequence_number)
            for o, result in sorted(delivered, key=lambda each: each[0].claim.profile_id.int)
        ]
        if self._postgresql:
            ids, *texts = zip(*rows, strict=True)
            columns = [array(profile_id.hex for profile_id in ids), *map(_texts, texts)]
            self._run(_RECEIPTS_POSTGRESQL + _RECEIPTS_AGAIN, [dataflow_id, now, *columns])
        else:
            at = connection.ops.adapt_datetimefield_value(now)
            text = json.dumps([(profile_id.hex, *rest) for profile_id, *rest in rows])
            self._run(_RECEIPTS_SQLITE + _RECEIPTS_AGAIN, [dataflow_id.hex, at, text])

    @staticmethod
    def _run(sql: str, params: Sequence[Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)

    @staticmethod
    def _run_each(sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(sql, rows)


def _texts(values: Iterable[str]) -> str:
    """Texts as PostgreSQL writes an array; none of its texts has a zero byte."""
    joined = "\0".join(values).replace("\\", r"\\").replace('"', r"\"")
    return '{"' + joined.replace("\0", '","') + '"}'
