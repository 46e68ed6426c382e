"""The right to deliver: one worker at a time, fenced by its token; holding what is broken."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from activation.export import lanes
from activation.models import Dataflow, Lane
from tests.factories import DataflowFactory

from .exporting import lane

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create()


def take(dataflow: Dataflow) -> uuid.UUID:
    token = lanes.take(dataflow.pk)
    assert token is not None
    return token


def pass_time(dataflow: Dataflow, **ago: float) -> None:
    """Move everything that the lane remembers into the past."""
    row, by = lane(dataflow), timedelta(**ago)
    for name in ("leased_until", "held_until", "error_at"):
        moment = getattr(row, name)
        setattr(row, name, moment and moment - by)
    row.save()


def test_one_at_a_time_has_the_lane(dataflow: Dataflow) -> None:
    token = take(dataflow)
    assert lanes.take(dataflow.pk) is None
    lanes.give_back(dataflow.pk, token)
    assert take(dataflow) != token


def test_each_dataflow_has_a_lane_of_its_own(dataflow: Dataflow) -> None:
    take(dataflow)
    take(DataflowFactory.create())


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_who_take_it_at_the_same_moment_one_gets_it(dataflow: Dataflow) -> None:
    start = threading.Barrier(6)
    tokens: list[uuid.UUID | None] = []

    def run() -> None:
        try:
            start.wait(timeout=10)
            tokens.append(lanes.take(dataflow.pk))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(tokens) == 6
    assert [token for token in tokens if token] == [lane(dataflow).token]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_dataflow_that_is_gone_has_no_lane() -> None:
    assert lanes.take(uuid.uuid4()) is None
    assert not Lane.objects.exists()


def test_who_died_loses_the_lane_by_time(dataflow: Dataflow) -> None:
    take(dataflow)
    pass_time(dataflow, seconds=lanes.LEASE.total_seconds() - 5)
    assert lanes.take(dataflow.pk) is None
    pass_time(dataflow, seconds=6)
    take(dataflow)


def test_who_was_only_slow_keeps_it_if_nobody_else_came(dataflow: Dataflow) -> None:
    token = take(dataflow)
    pass_time(dataflow, minutes=10)
    lanes.renew(dataflow.pk, token)
    assert lanes.take(dataflow.pk) is None


def test_who_was_slower_than_another_has_lost_it(dataflow: Dataflow) -> None:
    slow = take(dataflow)
    pass_time(dataflow, minutes=10)
    other = take(dataflow)
    with pytest.raises(lanes.LeaseLost):
        lanes.renew(dataflow.pk, slow)
    lanes.give_back(dataflow.pk, slow)
    lanes.hold(dataflow.pk, slow, "X", "")
    lanes.reached(dataflow.pk, slow)
    row = lane(dataflow)
    assert (row.token, row.held_until, row.error_code) == (other, None, "")
    lanes.renew(dataflow.pk, other)


def test_who_gave_it_back_has_it_no_more(dataflow: Dataflow) -> None:
    token = take(dataflow)
    lanes.give_back(dataflow.pk, token)
    with pytest.raises(lanes.LeaseLost):
        lanes.renew(dataflow.pk, token)


# -- holding --------------------------------------------------------------------------------------------------------


def fail(dataflow: Dataflow, code: str = "ResourceNotFoundException", message: str = "not found") -> float:
    """Try once, in vain. Seconds until the next try."""
    token = take(dataflow)
    lanes.hold(dataflow.pk, token, code, message)
    lanes.give_back(dataflow.pk, token)
    held_until = lane(dataflow).held_until
    assert held_until
    return (held_until - timezone.now()).total_seconds()


def test_what_is_held_is_not_tried_before_its_time(dataflow: Dataflow) -> None:
    wait = fail(dataflow)
    assert lanes.take(dataflow.pk) is None
    pass_time(dataflow, seconds=wait)
    take(dataflow)


def test_the_error_is_shown_in_the_other_sides_words(dataflow: Dataflow) -> None:
    fail(dataflow, "X" * 200, "Stream gone under account 1 not found.")
    row = lane(dataflow)
    assert (row.error_code, row.error_message) == ("X" * 100, "Stream gone under account 1 not found.")
    assert row.error_at is not None


def test_the_longer_it_is_broken_the_longer_the_wait_within_limits(dataflow: Dataflow) -> None:
    waits = []
    for _ in range(8):
        waits.append(fail(dataflow))
        pass_time(dataflow, seconds=waits[-1] + 1)
    assert waits == pytest.approx([5, 6, 13, 27, 55, 111, 120, 120], abs=3)
    since = lane(dataflow).error_at
    fail(dataflow)
    assert lane(dataflow).error_at == since


def test_an_answer_ends_it(dataflow: Dataflow) -> None:
    fail(dataflow)
    pass_time(dataflow, minutes=5)
    token = take(dataflow)
    lanes.reached(dataflow.pk, token)
    lanes.give_back(dataflow.pk, token)
    row = lane(dataflow)
    assert (row.held_until, row.error_code, row.error_message, row.error_at) == (None, "", "", None)
    assert fail(dataflow) == pytest.approx(5, abs=1)


def test_what_was_released_is_tried_at_once_and_still_shows_its_error(dataflow: Dataflow) -> None:
    other = DataflowFactory.create()
    fail(dataflow)
    fail(other)
    lanes.release([dataflow.pk])
    assert lane(dataflow).error_code == "ResourceNotFoundException"
    take(dataflow)
    assert lanes.take(other.pk) is None
