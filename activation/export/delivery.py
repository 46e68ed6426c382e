"""Delivers what waits: takes a lane, and batch after batch reads, builds, sends and settles.

While one batch is at the destination, the one before it is settled and the one after it is read and built. No profile
is in two of them: rows that are under way are not claimed again, and a lane has one worker.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from django.db import connection
from django.db.models import Exists, Min, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from activation import consent
from activation.export import lanes, outbox
from activation.export.claims import Claim, Claims
from activation.export.lanes import Lease
from activation.export.pace import Pace
from activation.export.records import Builder, LastRecord, Layout, Reader, Row
from activation.export.settle import Later, Outcome, settle, suspect
from activation.export.ways import Way, open_way
from activation.models import Dataflow, ExportReason, Lane, PendingExport
from destinations.connectors.base import ConnectorError, Delivered, Record, Refused, Result, TryAgain
from destinations.fields import KeyLost

log = structlog.get_logger(__name__)

SLICE = 2.0  # seconds that a task works before it queues behind the others
TURN = 0.25  # the same where shards throttle: all lanes are to have their share of them all the time
PROBE = 25  # records of the first batch to a destination that refused before
FIRST_BATCH = 64  # profiles; four times as many with every batch that fits, up to what the sender takes
BATCH_BYTES = 10 * 1024 * 1024  # of records at once: memory is bounded, however much profiles hold
RENEW_EVERY = lanes.LEASE.total_seconds() / 4
LONGEST_PLAN = timedelta(minutes=1)  # what is due later is the sweep's to find

# Becomes another with whatever delivery wants to know of a dataflow, its destination and its account. Asked with every
# batch: Django takes longer to write such a query than the database to answer it.
_STATE = """
    SELECT f.version, f.error_at, d.version, a.id, a.updated_at, a.credentials
    FROM activation_dataflow f
    JOIN destinations_destination d ON d.id = f.destination_id
    JOIN destinations_account a ON a.id = d.account_id
    WHERE f.id = %s AND f.state = %s AND f.lane_count = %s"""


def deliver(dataflow_id: uuid.UUID, number: int) -> None:
    """Deliver what waits in a lane, for :data:`SLICE` seconds at most, then let the workers be told again.

    Does nothing while another worker does the same, while the dataflow is held for an error, or not enabled.
    """
    lane = (dataflow_id, number)
    with structlog.contextvars.bound_contextvars(dataflow_id=str(dataflow_id), lane=number):
        lease = lanes.take(dataflow_id, number)
        if lease is None:
            return
        with outbox.working(lane):
            if lease.unsure:
                suspect(lease)
            delivery = _Delivery(lease)
            try:
                delivery.run()
            except lanes.LeaseLost:
                log.warning("lease_lost")
            finally:
                lanes.give_back(lease, delivery.pace.learned, settled=not delivery.flown)
        # From here on others are told of new rows; the look is for those that came while nobody was.
        _go_on(lane, delivery)


def _go_on(lane: lanes.LaneKey, delivery: _Delivery) -> None:
    dataflow_id, number = lane
    if delivery.cured:
        outbox.wake_lanes(lanes.every_lane([dataflow_id]), again=True)
        return
    row = Dataflow.objects.filter(pk=dataflow_id, state=Dataflow.State.ENABLED, lane_count__gt=number)
    of = row.filter(held_until=None).values_list("lane_count", flat=True).first()
    due = _due(Lease(dataflow_id, number, of, uuid.UUID(int=0))) if of else None
    if due is None:
        return
    now = timezone.now()
    at = max(due, now + timedelta(seconds=delivery.wait))
    if at <= now:
        outbox.wake_lanes([lane])
    elif at <= now + LONGEST_PLAN and lanes.plan_wake(lane, at):
        outbox.wake_later(lane, (at - now).total_seconds())


def _due(lease: Lease) -> datetime | None:
    """When the next row of a lane is due."""
    due: datetime | None = _rows(lease).aggregate(due=Min("available_at"))["due"]
    return due


def _rows(lease: Lease) -> QuerySet[PendingExport]:
    return PendingExport.objects.filter(dataflow=lease.dataflow_id, slot__range=lease.slots)


def startable() -> list[lanes.LaneKey]:
    """Lanes that nobody delivers, of enabled dataflows with rows that are due. Two queries."""
    now = timezone.now()
    due = PendingExport.objects.filter(dataflow=OuterRef("pk"), available_at__lte=now)
    found = Dataflow.objects.filter(Exists(due), state=Dataflow.State.ENABLED).exclude(held_until__gt=now)
    wanted = [
        (dataflow_id, number)
        for dataflow_id, count in found.order_by().values_list("pk", "lane_count")
        for number in range(count)
    ]
    leased = Lane.objects.filter(leased_until__gt=now).values_list("dataflow_id", "number")
    return sorted(set(wanted).difference(leased))


@dataclass(slots=True)
class _Batch:
    """Some rows on their way.

    Args:
        way: where they go.
        sending: those that have a record, and how many ``identities`` are in each.
        outcomes: what became of the others; in the end, of all.
    """

    way: Way
    sending: list[tuple[Claim, Record]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    identities: list[int] = field(default_factory=list)
    future: Future[list[Result]] | None = None

    @property
    def ids(self) -> set[int]:
        return {claim.id for claim, _ in self.sending} | {outcome.claim.id for outcome in self.outcomes}

    @property
    def profiles(self) -> list[uuid.UUID]:
        """Of whom the destination knows once it has this. A last record tells it nothing new."""
        return [claim.profile_id for claim, record in self.sending if not isinstance(record, LastRecord)]


class _Delivery:
    """One worker's time with one lane."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.pace = Pace(lease.pace, time.time())
        self.wait = 0.0  # seconds until the destination has room
        self.cured = False  # it refused before, and takes records again
        self.flown = 0  # batches that are, or were, at the destination and are not settled
        self._probing = lease.probing
        self._erring = False
        self._renewed = time.monotonic()
        self._reader: Reader | None = None
        self._builder: Builder | None = None
        self._built: Any = None  # what the builder was compiled from
        self._known: Dataflow | None = None
        self._state: Any = None  # in which the dataflow was read
        self._consents: tuple[str, ...] = ()
        self._most = FIRST_BATCH
        self._claims = Claims(lease)

    def run(self) -> None:
        """Until the time is over, nothing is due, or the destination refuses."""
        began = time.monotonic()
        flying: _Batch | None = None
        refusal: ConnectorError | KeyLost | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="wire") as wire:
            try:
                while refusal is None:
                    batch = None
                    try:
                        spent = time.monotonic() - began
                        if spent < (TURN if self.pace.limited else SLICE) and not (flying and self._probing):
                            batch = self._next(flying)
                    except (ConnectorError, KeyLost) as error:
                        refusal = error
                    if landed := flying:
                        refusal = self._land(landed) or refusal
                    flying = self._fly(wire, batch) if batch and not refusal else None
                    # What has no record is settled whatever the destination says.
                    for done in (landed, None if flying else batch):
                        if done:
                            refusal = self._settle(done) or refusal
                    if not (batch or landed):
                        break
            finally:
                # Also when something failed here: what is at the destination may have been taken. And whatever was
                # said before, this is its newest answer.
                if flying:
                    refusal = self._land(flying)
                    refusal = self._settle(flying) or refusal
        if refusal:
            self._hold(refusal)

    # -- one step each -----------------------------------------------------------------------------------------

    def _next(self, flying: _Batch | None) -> _Batch | None:
        """Claim, read and build a batch; None when nothing is due."""
        dataflow = self._dataflow()
        if dataflow is None:
            return None
        way = self._open(dataflow)
        assert self._reader is not None
        now = time.time()
        most = self.pace.room(min(self._most, PROBE if self._probing else way.sender.batch_size), now)
        if most == 0:
            self.wait = self.pace.wait(now)
            return None
        self.wait = 0.0
        under_way = flying.ids if flying else ()
        claimed = self._claims.next(self._reader, most, under_way)
        # Asked after the claim: a policy that is enabled later queues whom it concerns anew, and these rows stay.
        while claimed and (consents := consent.paths(dataflow)) != self._consents:
            self._consents = consents
            way = self._open(dataflow)
            claimed = self._claims.next(self._reader, most, under_way)
        if not claimed:
            return None
        batch = self._build(claimed, way, now)
        if profiles := batch.profiles:
            # What flies already is settled after this one has begun.
            lanes.mark_under_way(self._lease, [*profiles, *(flying.profiles if flying else ())])
            self._renewed = time.monotonic()
        return batch

    def _build(self, claimed: Sequence[tuple[Claim, Row]], way: Way, now: float) -> _Batch:
        """The records of the claims, up to :data:`BATCH_BYTES`: the rows after that go on waiting."""
        assert self._reader is not None and self._builder is not None
        batch = _Batch(way)
        limited, room = self.pace.limited, BATCH_BYTES
        for claim, row in claimed:
            snapshot = self._reader.snapshot(row)
            built = self._builder.build(snapshot, reason=claim.reason)
            if isinstance(built, LastRecord):
                # For the receipt: it is told once.
                claim = msgspec.structs.replace(claim, reason=ExportReason.CONSENT.value)
            if not isinstance(built, Record):
                batch.outcomes.append(Outcome(claim, built))
            elif len(built.data) > room and batch.sending:
                self._most = len(batch.sending)
                break
            elif limited and (seconds := self.pace.turn(way.shards.shard(built.partition_key), now)):
                batch.outcomes.append(Outcome(claim, Later(seconds)))
            else:
                room -= len(built.data)
                batch.sending.append((claim, built))
                batch.identities.append(len(snapshot.identities))
            if claim.bulk:
                self._claims.passed(claim)
        else:
            # All of them fitted: take more, but no more than will fit.
            fit = len(claimed) * BATCH_BYTES // max(BATCH_BYTES - room, 1)
            self._most = max(self._most, min(4 * len(claimed), fit))
        return batch

    def _dataflow(self) -> Dataflow | None:
        """The dataflow as it is now, if it is enabled with the same lanes: asked before every batch, so that disabling
        works at once, but read as a whole only where something changed.
        """
        lease, enabled = self._lease, Dataflow.State.ENABLED
        with connection.cursor() as cursor:
            key = lease.dataflow_id if connection.vendor == "postgresql" else lease.dataflow_id.hex
            cursor.execute(_STATE, [key, enabled.value, lease.of])
            state = cursor.fetchone()
        if state != self._state:
            self._state = state
            dataflows = Dataflow.objects.select_related("destination__account")
            self._known = dataflows.filter(pk=lease.dataflow_id, state=enabled, lane_count=lease.of).first()
        self._erring = self._known is not None and self._known.error_at is not None
        return self._known

    def _open(self, dataflow: Dataflow) -> Way:
        """Have a builder and a way for what the dataflow is now.

        Raises:
            ConnectorError, KeyLost: there is no way to the destination.
        """
        built = (dataflow.version, dataflow.destination.version, self._consents)
        if built != self._built:
            layout = Layout.of(dataflow, self._consents)
            self._builder, self._built = Builder(layout), built
            self._reader = Reader(
                dataflow_id=dataflow.pk if layout.delivery_of else None,
                told_by=dataflow.pk if layout.consents else None,
                bare=not layout.tells_of_segments,
                groups=layout.groups,
            )
        return open_way(dataflow.destination)

    def _fly(self, wire: ThreadPoolExecutor, batch: _Batch) -> _Batch | None:
        if not batch.sending:
            return None
        if time.monotonic() - self._renewed > RENEW_EVERY:
            # Reading took its time: whoever lost the lane meanwhile sends nothing that is old by now.
            self._renew()
        self.flown += 1
        batch.future = wire.submit(batch.way.sender.send, [record for _, record in batch.sending])
        return batch

    def _renew(self) -> None:
        lanes.renew(self._lease)
        self._renewed = time.monotonic()

    def _land(self, batch: _Batch) -> ConnectorError | None:
        """Wait for the answer, and keep the lane meanwhile. An error where the destination as a whole refused."""
        assert batch.future is not None
        while True:
            try:
                results = batch.future.result(RENEW_EVERY)
                break
            except NotYet:
                self._renew()
            except ConnectorError as error:
                return error
        took: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        shards = batch.way.shards
        learn = (
            self.pace.limited
            or not shards.complete
            or any(isinstance(one, TryAgain) and one.throttled for one in results)
        )
        for (claim, record), identities, result in zip(batch.sending, batch.identities, results, strict=True):
            batch.outcomes.append(Outcome(claim, result, len(record.data), identities))
            if isinstance(result, Delivered):
                took[result.shard] += 1
                if learn:
                    shards.learn(record.partition_key, result.shard)
            elif isinstance(result, TryAgain) and result.throttled:
                refused[result.shard or shards.shard(record.partition_key)] += 1
        self.pace.heard(took, refused, time.time())
        return None

    def _settle(self, batch: _Batch) -> ConnectorError | None:
        """Record what became of a batch. An error where the destination did not answer for a single record."""
        settle(self._lease, batch.outcomes)
        self.flown -= batch.future is not None
        self._renewed = time.monotonic()
        results = [o.result for o in batch.outcomes if isinstance(o.result, (Delivered, Refused, TryAgain))]
        delivered = sum(isinstance(result, Delivered) for result in results)
        log.info("batch_settled", delivered=delivered, others=len(batch.outcomes) - delivered)
        if not results:
            return None
        failures = [result for result in results if isinstance(result, TryAgain) and not result.throttled]
        if len(failures) == len(results):
            return ConnectorError(failures[0].code, failures[0].message)
        self.cured = self.cured or self._probing
        self._probing = False
        if self._erring:
            lanes.reached(self._lease.dataflow_id)
        return None

    def _hold(self, error: ConnectorError | KeyLost) -> None:
        if isinstance(error, KeyLost):
            code, message = (
                "CredentialsLost",
                gettext_noop("The account's credentials can't be decrypted. Enter them again."),
            )
        else:
            code, message = error.code, error.message
        log.warning("dataflow_held", code=code)
        lanes.hold(self._lease.dataflow_id, code, message)
