"""Delivers what waits: takes a dataflow's lane, and batch after batch reads, builds, sends and settles."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Exists, Min, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from activation.export import lanes, outbox, records
from activation.export.records import Builder, Layout, Snapshot, Unsendable
from activation.export.settle import Claim, Outcome, settle
from activation.models import Dataflow, PendingExport
from destinations.connectors.base import ConnectorError, Record, Result, Sender, TryAgain
from destinations.fields import KeyLost

log = structlog.get_logger(__name__)

SLICE = 10.0  # seconds that a task works before it queues behind the others
SOON = 1.0  # seconds: rows that are due within them are waited for
THROTTLED_PAUSE = 0.5  # seconds, when the whole batch was throttled
FIRST_BATCH = 64  # profiles; doubled with every full batch that fits, up to what the sender takes
BATCH_BYTES = 10 * 1024 * 1024  # of records at once: memory is bounded, however much profiles hold


def deliver(dataflow_id: uuid.UUID) -> None:
    """Deliver what waits for a dataflow, for :data:`SLICE` seconds at most, then let the workers be told again.

    Does nothing while another worker does the same, while the dataflow is held for an error, or not enabled.
    """
    token = lanes.take(dataflow_id)
    if token is None:
        return
    with structlog.contextvars.bound_contextvars(dataflow_id=str(dataflow_id)):
        try:
            _Delivery(dataflow_id, token).run()
        except lanes.LeaseLost:
            log.warning("lease_lost")
        finally:
            lanes.give_back(dataflow_id, token)
    # Also for what came after our last look: whoever queued it found the lane taken.
    if dataflow_id in startable(dataflow_id):
        outbox.wake_all([dataflow_id])


def startable(dataflow_id: uuid.UUID | None = None) -> list[uuid.UUID]:
    """Enabled dataflows (or this one, if it is) with rows that are due and nobody to deliver them. One query."""
    now = timezone.now()
    due = PendingExport.objects.filter(dataflow=OuterRef("pk"), available_at__lte=now)
    found = Dataflow.objects.filter(Exists(due), state=Dataflow.State.ENABLED).exclude(
        Q(lane__leased_until__gt=now) | Q(lane__held_until__gt=now)
    )
    if dataflow_id is not None:
        found = found.filter(pk=dataflow_id)
    return list(found.order_by().values_list("pk", flat=True))


class _Delivery:
    """One worker's time with one lane."""

    def __init__(self, dataflow_id: uuid.UUID, token: uuid.UUID) -> None:
        self._dataflow_id = dataflow_id
        self._token = token
        self._sender: Sender | None = None
        self._connected: Any = None  # what the sender was opened with
        self._builder: Builder | None = None
        self._built: Any = None  # what the builder was compiled from
        self._most = FIRST_BATCH

    def run(self) -> None:
        deadline = time.monotonic() + SLICE
        try:
            while time.monotonic() < deadline:
                dataflow = self._dataflow()
                if dataflow is None:
                    return
                self._open(dataflow)
                assert self._sender is not None
                claims, snapshots = self._claim(min(self._most, self._sender.batch_size))
                if not claims:
                    wait = self._seconds_to_next()
                    if wait is None or wait > SOON:
                        return
                    time.sleep(wait)
                    continue
                pause = self._send(self._sender, claims, snapshots)
                time.sleep(pause)
        except (ConnectorError, KeyLost) as error:
            self._hold(error)
        finally:
            self._close()

    # -- one step each -----------------------------------------------------------------------------------------

    def _dataflow(self) -> Dataflow | None:
        """The dataflow as it is now, if it is enabled: asked before every batch, so that disabling works at once."""
        dataflows = Dataflow.objects.select_related("destination__account")
        return dataflows.filter(pk=self._dataflow_id, state=Dataflow.State.ENABLED).first()

    def _open(self, dataflow: Dataflow) -> None:
        """Have a builder and a sender for what the dataflow is now.

        Raises:
            ConnectorError, KeyLost: there is no way to the destination.
        """
        destination = dataflow.destination
        built = (dataflow.version, destination.version)
        if self._builder is None or built != self._built:
            self._builder, self._built = Builder(Layout.of(dataflow)), built
        connected = (destination.version, destination.account.credentials, destination.account.updated_at)
        if self._sender is None or connected != self._connected:
            self._close()
            try:
                type_ = destination.type
            except KeyError:
                name = destination.account.connector
                raise ConnectorError(
                    "NotAvailable", f"The destination type “{name}” is not installed."
                ) from None
            self._sender = type_.open_sender(destination.account.connection(), destination.settings)
            self._connected = connected

    def _claim(self, most: int) -> tuple[list[Claim], dict[uuid.UUID, Snapshot]]:
        """The next rows that are due and the profiles they name, both as of one moment. Four queries."""
        with _one_moment():
            rows = PendingExport.objects.filter(
                dataflow=self._dataflow_id, available_at__lte=timezone.now()
            ).order_by("available_at", "id")
            claims = [
                Claim(*row)
                for row in rows.values_list("pk", "profile_id", "generation", "attempts", "created_at")[:most]
            ]
            return claims, records.read(claim.profile_id for claim in claims) if claims else {}

    def _seconds_to_next(self) -> float | None:
        next_at: datetime | None = PendingExport.objects.filter(dataflow=self._dataflow_id).aggregate(
            next=Min("available_at")
        )["next"]
        return None if next_at is None else max(0.0, (next_at - timezone.now()).total_seconds())

    def _send(self, sender: Sender, claims: Sequence[Claim], snapshots: dict[uuid.UUID, Snapshot]) -> float:
        """Build, send and settle a batch.

        Returns:
            Seconds to wait before the next, so that a stream that throttles is not asked in vain.

        Raises:
            ConnectorError: the destination as a whole refused; what has no record is settled nevertheless.
        """
        outcomes, sending = self._build(claims, snapshots)
        all_fit = len(outcomes) + len(sending) == len(claims)
        self._most = max(self._most, 2 * len(claims)) if all_fit else len(sending)
        refusal: ConnectorError | None = None
        results: Sequence[Result] = ()
        if sending:
            try:
                results = sender.send([record for _, record in sending])
            except ConnectorError as error:
                refusal = error
        outcomes += [
            Outcome(claim, result, len(record.data), len(snapshots[claim.profile_id].identities))
            for (claim, record), result in zip(sending, results, strict=False)
        ]
        if outcomes:
            settle(self._dataflow_id, self._token, outcomes)
        if refusal:
            raise refusal
        throttled = sum(isinstance(result, TryAgain) for result in results)
        log.info(
            "batch_settled",
            sent=len(results) - throttled,
            throttled=throttled,
            unsendable=sum(isinstance(o.result, Unsendable) for o in outcomes),
        )
        if sending:
            lanes.reached(self._dataflow_id, self._token)
        share = throttled / len(sending) if sending else 0.0
        return THROTTLED_PAUSE * share * random.uniform(0.8, 1.2)

    def _build(
        self, claims: Sequence[Claim], snapshots: dict[uuid.UUID, Snapshot]
    ) -> tuple[list[Outcome], list[tuple[Claim, Record]]]:
        """What became of the claims that have no record, and the records of the others, in their order.

        Ends with the last record that :data:`BATCH_BYTES` have room for: the rows after it go on waiting.
        """
        assert self._builder is not None
        outcomes: list[Outcome] = []
        sending: list[tuple[Claim, Record]] = []
        room = BATCH_BYTES
        for claim in claims:
            snapshot = snapshots.get(claim.profile_id)
            built = self._builder.build(snapshot) if snapshot else None
            if not isinstance(built, Record):
                outcomes.append(Outcome(claim, built))
                continue
            room -= len(built.data)
            if room < 0 and sending:
                break
            sending.append((claim, built))
        return outcomes, sending

    def _hold(self, error: ConnectorError | KeyLost) -> None:
        if isinstance(error, KeyLost):
            code, message = (
                "CredentialsLost",
                gettext_noop("The account's credentials can't be decrypted. Enter them again."),
            )
        else:
            code, message = error.code, error.message
        log.warning("dataflow_held", code=code)
        lanes.hold(self._dataflow_id, self._token, code, message)

    def _close(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


@contextmanager
def _one_moment() -> Iterator[None]:
    """What is read inside is of one moment, where the database can do that without keeping writers out.

    Elsewhere (SQLite, or inside a transaction) a profile may be newer than its row's generation. That is no loss: the
    row is written again with the change, so it stays for another go.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
