"""What becomes of the rows of a batch, and the numbers that count it: one transaction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activation.export import lanes, settle
from activation.export.records import Unsendable
from activation.export.settle import LONGEST_BACKOFF, SHORTEST_BACKOFF, Claim, Outcome
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, Lane, PendingExport
from destinations.connectors.base import Delivered, Refused, TryAgain
from profiles.models import Profile
from tests.factories import DataflowFactory, ProfileFactory
from tests.postgres import wait_for_a_lock

from .exporting import Elsewhere, counts, queue, waiting

pytestmark = pytest.mark.django_db

THROTTLED = TryAgain("ProvisionedThroughputExceededException", "Rate exceeded")
TOO_LARGE = Refused("RecordTooLarge", "1,048,582 bytes")
NO_NAME = Unsendable(FailedExport.Kind.EXCLUDED, "MandatoryAttributeMissing", "Mandatory but not there: name")
NO_NUMBER = Unsendable(FailedExport.Kind.FAILED, "InvalidNumber", "A number in it is infinite")

_numbers = count(1)


def delivered() -> Delivered:
    return Delivered("shardId-000000000000", str(next(_numbers)))


class Batch:
    """Profiles of a dataflow that were claimed by a worker that has the lane."""

    def __init__(self, size: int, *, dataflow: Dataflow | None = None) -> None:
        self.dataflow = dataflow or DataflowFactory.create()
        self.profiles = sorted(ProfileFactory.create_batch(size), key=lambda profile: profile.pk)
        queue(self.dataflow, self.profiles)
        token = lanes.take(self.dataflow.pk)
        assert token
        self.token = token
        self.claims = self.claim()

    def claim(self) -> list[Claim]:
        rows = PendingExport.objects.filter(profile__in=self.profiles).order_by("profile_id")
        return [
            Claim(*r) for r in rows.values_list("pk", "profile_id", "generation", "attempts", "created_at")
        ]

    def settle(self, *results: Delivered | TryAgain | Refused | Unsendable | None) -> None:
        outcomes = [
            Outcome(claim, result, bytes=100, identities=2)
            for claim, result in zip(self.claims, results, strict=True)
        ]
        settle.settle(self.dataflow.pk, self.token, outcomes)

    def row(self, place: int = 0) -> PendingExport:
        return PendingExport.objects.get(profile=self.profiles[place])

    @property
    def waiting(self) -> list[int]:
        """Which of the profiles wait, by their places."""
        left = waiting(self.dataflow)
        return [place for place, profile in enumerate(self.profiles) if profile.pk in left]


def test_each_row_gets_what_its_result_says() -> None:
    batch = Batch(6)
    batch.settle(delivered(), THROTTLED, TOO_LARGE, NO_NAME, NO_NUMBER, delivered())
    assert batch.waiting == [1]
    assert counts(batch.dataflow) == {"activated": 2, "excluded": 1, "failed": 2, "identities": 4}
    run = DataflowRun.objects.get()
    assert (run.received, run.bytes) == (5, 200)
    letters = FailedExport.objects.order_by("profile_id").values_list(
        "profile_id", "kind", "code", "reason", "run"
    )
    assert list(letters) == [
        (batch.profiles[2].pk, "failed", "RecordTooLarge", "1,048,582 bytes", run.pk),
        (batch.profiles[3].pk, "excluded", "MandatoryAttributeMissing", NO_NAME.reason, run.pk),
        (batch.profiles[4].pk, "failed", "InvalidNumber", NO_NUMBER.reason, run.pk),
    ]


def test_a_receipt_says_where_in_the_stream_the_latest_record_is() -> None:
    batch = Batch(1)
    batch.settle(Delivered("shardId-000000000000", "1"))
    queue(batch.dataflow, batch.profiles)
    batch.claims = batch.claim()
    batch.settle(Delivered("shardId-000000000001", "2"))
    receipt = Delivery.objects.get()
    assert (receipt.profile, receipt.shard, receipt.sequence_number) == (
        batch.profiles[0],
        "shardId-000000000001",
        "2",
    )
    assert timezone.now() - receipt.delivered_at < timedelta(seconds=10)


def test_a_row_that_was_written_while_it_was_sent_stays_for_another_go() -> None:
    batch = Batch(2)
    batch.settle(THROTTLED, THROTTLED)
    batch.claims = batch.claim()
    queue(batch.dataflow, batch.profiles[:1])
    written = timezone.now()
    batch.settle(delivered(), delivered())
    assert batch.waiting == [0]
    assert counts(batch.dataflow) == {"activated": 2, "retries": 2, "identities": 4}
    # It is an export of its own: neither tried before, nor waiting for as long as the first.
    row = batch.row()
    assert (row.attempts, row.error_code) == (0, "")
    assert row.created_at >= written
    batch.claims = batch.claim()
    batch.settle(delivered())
    assert batch.waiting == []
    assert counts(batch.dataflow) == {"activated": 3, "retries": 2, "identities": 6}


def test_also_when_it_had_no_record() -> None:
    batch = Batch(1)
    queue(batch.dataflow, batch.profiles)
    batch.settle(NO_NAME)
    assert batch.waiting == [0]


# -- again, later ---------------------------------------------------------------------------------------------------


def test_what_was_throttled_waits_longer_every_time_and_never_is_given_up() -> None:
    batch = Batch(1)
    for attempt in range(25):
        before = timezone.now()
        batch.settle(THROTTLED)
        row = batch.row()
        assert (row.attempts, row.error_code) == (attempt + 1, THROTTLED.code)
        longest = min(SHORTEST_BACKOFF * 2**attempt, LONGEST_BACKOFF)
        wait = (row.available_at - before).total_seconds()
        assert longest / 2 <= wait <= longest + 1
        batch.claims = batch.claim()
    assert not FailedExport.objects.exists()


def test_not_all_wait_for_the_same_time() -> None:
    batch = Batch(8)
    batch.settle(*(TryAgain(f"code {place}", "") for place in range(8)))
    assert len({row.available_at for row in PendingExport.objects.all()}) > 1


def test_a_retry_is_no_second_profile() -> None:
    batch = Batch(2)
    batch.settle(THROTTLED, THROTTLED)
    assert not DataflowRun.objects.exists()
    for results in ([THROTTLED, THROTTLED], [THROTTLED, delivered()]):
        batch.claims = batch.claim()
        batch.settle(*results)
    assert counts(batch.dataflow) == {"activated": 1, "retries": 4, "identities": 2}
    batch.claims = batch.claim()
    batch.settle(TOO_LARGE)
    assert counts(batch.dataflow) == {"activated": 1, "failed": 1, "retries": 5, "identities": 2}
    assert batch.waiting == []


# -- whose numbers --------------------------------------------------------------------------------------------------


def test_every_hour_has_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(5)
    claims = batch.claims
    for at, claim in zip(
        [(9, 59, 59, 999_999), (10, 0, 0, 0), (10, 30, 0, 0), (10, 59, 59, 0), (11, 0, 0, 0)],
        claims,
        strict=True,
    ):
        now = datetime(2026, 11, 20, *at, tzinfo=UTC)
        monkeypatch.setattr(timezone, "now", lambda now=now: now)
        batch.claims = [claim]
        batch.settle(delivered())
    runs = DataflowRun.objects.order_by("started_at").values_list(
        "started_at__hour", "activated", "last_at__minute"
    )
    assert list(runs) == [(9, 1, 59), (10, 3, 59), (11, 1, 0)]
    assert all(run.started_at.minute == run.started_at.second == 0 for run in DataflowRun.objects.all())


def test_each_dataflow_counts_its_own() -> None:
    one, two = Batch(2), Batch(1)
    one.settle(delivered(), delivered())
    two.settle(delivered())
    assert (counts(one.dataflow)["activated"], counts(two.dataflow)["activated"]) == (2, 1)


def test_the_wait_is_measured_from_queueing() -> None:
    batch = Batch(2)
    PendingExport.objects.update(created_at=timezone.now() - timedelta(seconds=30))
    batch.claims = batch.claim()
    batch.settle(delivered(), THROTTLED)
    assert DataflowRun.objects.get().waited_seconds == pytest.approx(30, abs=2)


# -- all or nothing -------------------------------------------------------------------------------------------------


def test_who_lost_the_lane_records_nothing() -> None:
    batch = Batch(4)
    lanes.give_back(batch.dataflow.pk, batch.token)
    other = lanes.take(batch.dataflow.pk)
    with pytest.raises(lanes.LeaseLost):
        batch.settle(delivered(), THROTTLED, TOO_LARGE, NO_NAME)
    assert batch.waiting == [0, 1, 2, 3]
    assert set(PendingExport.objects.values_list("attempts", flat=True)) == {0}
    assert not (DataflowRun.objects.exists() or FailedExport.objects.exists() or Delivery.objects.exists())
    assert Lane.objects.get().token == other


def test_rows_go_only_with_the_numbers_that_count_them(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(2)
    monkeypatch.setattr(type(Delivery.objects), "bulk_create", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batch.settle(delivered(), THROTTLED)
    assert batch.waiting == [0, 1]
    assert batch.row(1).attempts == 0
    assert not DataflowRun.objects.exists()


def test_settling_keeps_the_lane_for_another_lease() -> None:
    batch = Batch(1)
    Lane.objects.update(leased_until=timezone.now())
    batch.settle(delivered())
    assert Lane.objects.get().leased_until > timezone.now() + lanes.LEASE / 2  # type: ignore[operator]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_a_profile_that_was_deleted_meanwhile_nothing_is_left() -> None:
    batch = Batch(4)
    Profile.objects.filter(pk__in=[profile.pk for profile in batch.profiles[:3]]).delete()
    batch.settle(delivered(), TOO_LARGE, None, delivered())
    assert counts(batch.dataflow) == {"activated": 2, "identities": 4}  # both were sent
    assert list(Delivery.objects.values_list("profile_id", flat=True)) == [batch.profiles[3].pk]
    assert not FailedExport.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_who_locks_the_same_rows_in_another_order_costs_no_second_record() -> None:
    batch = Batch(2)
    first, second = (PendingExport.objects.select_for_update().filter(pk=claim.id) for claim in batch.claims)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '1min'")  # who looks first is the one to give way
        assert second.get()
        settling = Elsewhere(lambda: batch.settle(delivered(), delivered()))
        wait_for_a_lock()
        assert first.get()  # a deadlock
    settling.join()
    assert batch.waiting == []
    assert counts(batch.dataflow) == {"activated": 2, "identities": 4}


def test_the_queries_do_not_grow_with_the_batch() -> None:
    def queries(size: int) -> int:
        batch = Batch(size)
        kinds: list[Delivered | TryAgain | Refused | Unsendable] = [
            delivered(),
            THROTTLED,
            TOO_LARGE,
            NO_NAME,
        ]
        with CaptureQueriesContext(connection) as captured:
            batch.settle(*(kinds[place % 4] for place in range(size)))
        return len(captured)

    queries(4)
    assert queries(120) == queries(8)
