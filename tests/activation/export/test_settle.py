"""What becomes of the rows of a batch, and the numbers that count it: one transaction."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from activation.export import lanes, latency, settle
from activation.export.claims import Claim
from activation.export.records import Unsendable
from activation.export.settle import LONGEST_BACKOFF, SHORTEST_BACKOFF, Later, Outcome
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, Lane, PendingExport
from destinations.connectors.base import Delivered, Refused, TryAgain
from profiles.models import Profile
from tests.elsewhere import Elsewhere
from tests.factories import DataflowFactory, ProfileFactory
from tests.postgres import wait_for_a_lock

from .exporting import counts, queue, sendings, waiting

pytestmark = pytest.mark.django_db

THROTTLED = TryAgain("ProvisionedThroughputExceededException", "Rate exceeded", throttled=True)
FAILED = TryAgain("InternalFailure", "Internal service failure.")
UNKNOWN = TryAgain("ReadTimeout", "No answer came.", maybe_taken=True)
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
        lease = lanes.take(self.dataflow.pk, 0)
        assert lease
        self.lease = lease
        self.claims = self.claim()

    def claim(self) -> list[Claim]:
        rows = PendingExport.objects.filter(profile__in=self.profiles).order_by("profile_id")
        return [
            Claim(
                row.pk,
                row.profile_id,
                row.generation,
                row.attempts,
                row.created_at.timestamp(),
                row.reason,
                row.bulk,
            )
            for row in rows
        ]

    def settle(self, *results: Delivered | TryAgain | Refused | Unsendable | Later) -> None:
        outcomes = [
            Outcome(claim, result, bytes=100, identities=2)
            for claim, result in zip(self.claims, results, strict=True)
        ]
        settle.settle(self.lease, outcomes)

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
    assert (receipt.version, receipt.reason) == (2, "attribute")


def test_a_receipt_says_why_and_which_record_of_the_profile_it_is() -> None:
    batch = Batch(2)
    PendingExport.objects.filter(profile=batch.profiles[0]).update(reason="replay")
    batch.claims = batch.claim()
    PendingExport.objects.filter(profile=batch.profiles[1]).update(reason="identity")
    batch.settle(delivered(), UNKNOWN)
    batch.claims = batch.claim()
    batch.settle(delivered())
    receipts = dict(Delivery.objects.values_list("profile_id", "reason"))
    assert receipts == {batch.profiles[0].pk: "replay", batch.profiles[1].pk: "identity"}
    assert set(Delivery.objects.values_list("version", flat=True)) == {1}
    for version in (2, 3):
        queue(batch.dataflow, batch.profiles)
        batch.claims = batch.claim()
        batch.settle(delivered(), TOO_LARGE)
        assert dict(Delivery.objects.values_list("profile_id", "version")) == {
            batch.profiles[0].pk: version,
            batch.profiles[1].pk: 1,
        }


def test_each_dataflow_has_receipts_of_its_own() -> None:
    one = Batch(1)
    one.settle(delivered())
    other = DataflowFactory.create()
    queue(other, one.profiles)
    lease = lanes.take(other.pk, 0)
    assert lease
    settle.settle(lease, [Outcome(claim, delivered()) for claim in one.claim()])
    assert list(Delivery.objects.values_list("version", flat=True)) == [1, 1]


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


def test_what_failed_waits_longer_every_time_and_never_is_given_up() -> None:
    batch = Batch(1)
    for attempt in range(25):
        before = timezone.now()
        batch.settle(FAILED)
        row = batch.row()
        assert (row.attempts, row.error_code) == (attempt + 1, FAILED.code)
        longest = min(SHORTEST_BACKOFF * 2**attempt, LONGEST_BACKOFF)
        wait = (row.available_at - before).total_seconds()
        assert longest / 2 <= wait <= longest + 1
        batch.claims = batch.claim()
    assert not FailedExport.objects.exists()


def test_what_was_throttled_is_tried_as_soon_as_its_shard_has_room_and_never_is_given_up() -> None:
    """Its pace says when: see test_pace.py."""
    batch = Batch(1)
    for attempt in range(25):
        before = timezone.now()
        batch.settle(THROTTLED)
        row = batch.row()
        assert (row.attempts, row.error_code) == (attempt + 1, THROTTLED.code)
        assert SHORTEST_BACKOFF / 2 <= (row.available_at - before).total_seconds() <= SHORTEST_BACKOFF + 1
        batch.claims = batch.claim()
    assert not FailedExport.objects.exists()


def test_what_was_not_sent_waits_for_its_turn_and_was_not_tried() -> None:
    batch = Batch(2)
    batch.settle(FAILED, delivered())
    batch.claims = batch.claim()
    before = timezone.now()
    batch.settle(Later(12.5))
    row = batch.row()
    assert (row.attempts, row.error_code) == (1, FAILED.code)
    assert (row.available_at - before).total_seconds() == pytest.approx(12.5, abs=1)
    assert sendings(batch.dataflow) == {"attempts": 2}


def test_not_all_wait_for_the_same_time() -> None:
    batch = Batch(8)
    batch.settle(*(TryAgain(f"code {place}", "") for place in range(8)))
    assert len({row.available_at for row in PendingExport.objects.all()}) > 1


def test_a_retry_is_no_second_profile() -> None:
    batch = Batch(2)
    batch.settle(THROTTLED, THROTTLED)
    assert counts(batch.dataflow) == {}
    for results in ([THROTTLED, THROTTLED], [THROTTLED, delivered()]):
        batch.claims = batch.claim()
        batch.settle(*results)
    assert counts(batch.dataflow) == {"activated": 1, "retries": 4, "identities": 2}
    batch.claims = batch.claim()
    batch.settle(TOO_LARGE)
    assert counts(batch.dataflow) == {"activated": 1, "failed": 1, "retries": 5, "identities": 2}
    assert batch.waiting == []


def test_what_was_sent_is_counted_record_by_record() -> None:
    batch = Batch(7)
    batch.settle(delivered(), THROTTLED, FAILED, UNKNOWN, TOO_LARGE, Later(1), NO_NAME)
    assert sendings(batch.dataflow) == {"attempts": 5, "throttled": 1, "duplicates": 1}
    assert counts(batch.dataflow) == {"activated": 1, "failed": 1, "excluded": 1, "identities": 2}
    batch.claims = batch.claim()
    batch.settle(THROTTLED, delivered(), UNKNOWN, delivered())
    assert sendings(batch.dataflow) == {"attempts": 9, "retries": 3, "throttled": 2, "duplicates": 2}
    assert counts(batch.dataflow)["activated"] == 3
    assert DataflowRun.objects.get().bytes == 300


def test_what_only_waits_makes_no_run() -> None:
    batch = Batch(2)
    batch.settle(Later(1), Later(2))
    assert not DataflowRun.objects.exists()


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


def test_the_latency_is_measured_from_queueing_to_the_acknowledgement() -> None:
    batch = Batch(4)
    for place, seconds in enumerate([0, 30, 3000]):
        queued = timezone.now() - timedelta(seconds=seconds)
        PendingExport.objects.filter(profile=batch.profiles[place]).update(created_at=queued)
    batch.claims = batch.claim()
    batch.settle(delivered(), delivered(), delivered(), THROTTLED)
    counted = DataflowRun.objects.get().latencies
    assert sum(counted) == 3
    assert latency.percentile(counted, 50) == pytest.approx(30, rel=0.25)
    assert latency.percentile(counted, 99) == pytest.approx(3000, rel=0.25)
    batch.claims = batch.claim()
    batch.settle(delivered())
    assert sum(DataflowRun.objects.get().latencies) == 4


@given(st.lists(st.floats(0, 200_000), min_size=1, max_size=50), st.integers(1, 100))
def test_a_percentile_is_at_most_a_fifth_too_long(seconds: list[float], percent: int) -> None:
    half = len(seconds) // 2
    counted = latency.add(latency.add([], seconds[:half]), seconds[half:])
    assert sum(counted) == len(seconds)
    exact = sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]
    told = latency.percentile(counted, percent)
    assert told is not None
    if exact <= latency.BOUNDS[-1]:
        assert exact <= told <= max(exact * 1.2001, latency.BOUNDS[0])
    else:
        assert told == latency.BOUNDS[-1]


def test_without_records_there_is_no_percentile() -> None:
    assert latency.percentile([], 50) is None
    assert latency.percentile(latency.add([], []), 50) is None


def test_the_bounds_reach_from_milliseconds_to_a_day() -> None:
    assert latency.BOUNDS[0] == 0.005
    assert 60_000 < latency.BOUNDS[-1] < 90_000


# -- all or nothing -------------------------------------------------------------------------------------------------


def test_who_lost_the_lane_records_nothing() -> None:
    batch = Batch(4)
    lanes.give_back(batch.lease, {})
    other = lanes.take(batch.dataflow.pk, 0)
    assert other
    with pytest.raises(lanes.LeaseLost):
        batch.settle(delivered(), THROTTLED, TOO_LARGE, NO_NAME)
    assert batch.waiting == [0, 1, 2, 3]
    assert set(PendingExport.objects.values_list("attempts", flat=True)) == {0}
    assert not (DataflowRun.objects.exists() or FailedExport.objects.exists() or Delivery.objects.exists())
    assert Lane.objects.get().token == other.token


def test_rows_go_only_with_the_numbers_that_count_them(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(2)
    monkeypatch.setattr(settle, "_count", lambda *args: 1 / 0)  # the last that is written
    with pytest.raises(ZeroDivisionError):
        batch.settle(delivered(), THROTTLED)
    assert batch.waiting == [0, 1]
    assert batch.row(1).attempts == 0
    assert not (DataflowRun.objects.exists() or Delivery.objects.exists())


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_commit_whose_answer_is_lost_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(3)
    commit, times = BaseDatabaseWrapper.commit, count(1)

    def lose_the_answer(database: Any) -> None:
        commit(database)
        if next(times) == 1:
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(BaseDatabaseWrapper, "commit", lose_the_answer)
    batch.settle(delivered(), THROTTLED, NO_NAME)
    assert next(times) == 2
    assert batch.waiting == [1]
    assert batch.row(1).attempts == 1
    assert counts(batch.dataflow) == {"activated": 1, "excluded": 1, "identities": 2}
    assert sendings(batch.dataflow) == {"attempts": 2, "throttled": 1}
    assert Delivery.objects.get().version == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_commit_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(3)
    commit, times = BaseDatabaseWrapper.commit, count(1)

    def fail(database: Any) -> None:
        if next(times) == 1:
            database.rollback()
            raise OperationalError("deadlock detected")
        commit(database)

    monkeypatch.setattr(BaseDatabaseWrapper, "commit", fail)
    batch.settle(delivered(), THROTTLED, NO_NAME)
    assert batch.waiting == [1]
    assert counts(batch.dataflow) == {"activated": 1, "excluded": 1, "identities": 2}
    assert Delivery.objects.get().version == 1


def test_settling_keeps_the_lane_for_another_lease() -> None:
    batch = Batch(1)
    Lane.objects.update(leased_until=timezone.now())
    batch.settle(delivered())
    assert Lane.objects.get().leased_until > timezone.now() + lanes.LEASE / 2  # type: ignore[operator]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_a_profile_that_was_deleted_meanwhile_nothing_is_left() -> None:
    batch = Batch(4)
    Profile.objects.filter(pk__in=[profile.pk for profile in batch.profiles[:3]]).delete()
    batch.settle(delivered(), TOO_LARGE, NO_NAME, delivered())
    assert counts(batch.dataflow) == {"activated": 2, "identities": 4}  # both were sent
    assert list(Delivery.objects.values_list("profile_id", flat=True)) == [batch.profiles[3].pk]
    assert not FailedExport.objects.exists()


def test_what_was_purged_while_it_was_sent_has_its_receipt() -> None:
    batch = Batch(2)
    PendingExport.objects.filter(pk=batch.claims[0].id).delete()
    batch.settle(delivered(), delivered())
    assert batch.waiting == []
    assert Delivery.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize(("committed", "waiting"), [(True, [0]), (False, [])])
def test_a_row_that_is_just_being_written_is_waited_for(committed: bool, waiting: list[int]) -> None:
    batch = Batch(2)
    with transaction.atomic():
        queue(batch.dataflow, batch.profiles[:1])
        settling = Elsewhere(lambda: batch.settle(delivered(), delivered()))
        wait_for_a_lock()
        transaction.set_rollback(not committed)
    settling.join()
    assert batch.waiting == waiting
    assert Delivery.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no such choice")
def test_rows_are_found_by_their_index_however_few_there_are() -> None:
    def scans() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'activation_pendingexport'"
            )
            return int(cursor.fetchone()[0])

    batch = Batch(5)
    before = scans()
    batch.settle(delivered(), THROTTLED, TOO_LARGE, NO_NAME, Later(1))
    assert scans() == before
    assert batch.waiting == [1, 4]


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
        kinds: list[Delivered | TryAgain | Refused | Unsendable | Later] = [
            delivered(),
            THROTTLED,
            TOO_LARGE,
            NO_NAME,
            Later(1),
        ]
        with CaptureQueriesContext(connection) as captured:
            batch.settle(*(kinds[place % 5] for place in range(size)))
        return len(captured)

    queries(5)
    assert queries(120) == queries(10)
