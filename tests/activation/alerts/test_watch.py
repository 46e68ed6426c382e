"""What is told and when: a trouble once, and once more when it is over; a run's events once each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation.alerts import watch as watching
from activation.alerts import words
from activation.alerts.watch import CALM, Seen, look
from activation.export import lanes
from activation.models import Alert, AlertMessage, Dataflow, DataflowRun, Notice, PendingExport, Subscription
from destinations.models import AlertKind
from tests.activation.alerts.conftest import watch
from tests.destinations.test_services import at_once
from tests.factories import DataflowFactory, ProfileFactory, UserFactory

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 25, 12, 30, tzinfo=timezone.get_current_timezone())


def told() -> list[tuple[str, bool]]:
    return list(Notice.objects.order_by("pk").values_list("alert__kind", "cleared"))


def hold(dataflow: Dataflow, code: str = "ResourceNotFoundException") -> None:
    lanes.hold(dataflow.pk, code, "Stream profile-exports not found.")


def run(dataflow: Dataflow, **counts: int) -> DataflowRun:
    start = NOON.replace(minute=0)
    return DataflowRun.objects.create(dataflow=dataflow, started_at=start, last_at=start, **counts)


# -- the state machine ---------------------------------------------------------------------------------------------


def test_a_broken_stream_sends_one_message_and_one_when_it_is_well_again(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    hold(dataflow)
    for minutes in range(5):
        look(NOON + timedelta(minutes=minutes))
    assert told() == [("on_hold", False)]
    lanes.reached(dataflow.pk)
    well = NOON + timedelta(minutes=5)
    look(well)
    look(well + CALM - timedelta(seconds=1))
    assert told() == [("on_hold", False)]
    look(well + CALM)
    look(well + 2 * CALM)
    assert told() == [("on_hold", False), ("on_hold", True)]
    assert list(AlertMessage.objects.values_list("channel", "cleared")) == [("email", False), ("email", True)]


def test_a_stream_that_flaps_is_one_trouble(dataflow: Dataflow, subscription: Subscription) -> None:
    for minutes in range(0, 20, 2):
        hold(dataflow)
        look(NOON + timedelta(minutes=minutes))
        lanes.reached(dataflow.pk)
        look(NOON + timedelta(minutes=minutes + 1))
    assert told() == [("on_hold", False)]
    assert Alert.objects.get().cleared_at is None


def test_what_comes_after_the_all_clear_is_another_trouble(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    for round_ in (0, 1):
        start = NOON + timedelta(hours=round_)
        hold(dataflow)
        look(start)
        lanes.reached(dataflow.pk)
        look(start + timedelta(minutes=1))
        look(start + timedelta(minutes=1) + CALM)
    assert told() == [("on_hold", False), ("on_hold", True)] * 2


@pytest.mark.parametrize(
    ("there", "state", "becomes"),
    [
        (True, "well", "raised"),
        (True, "raised", "raised"),
        (True, "calm", "raised"),
        (False, "well", "well"),
        (False, "raised", "calm"),
        (False, "calm", "cleared"),
        (None, "well", "well"),
        (None, "raised", "raised"),
        (None, "calm", "calm"),
    ],
)
def test_every_step(dataflow: Dataflow, there: bool | None, state: str, becomes: str) -> None:
    alert = None
    if state != "well":
        since = NOON - CALM if state == "calm" else None
        alert = Alert.objects.create(dataflow=dataflow, kind="delayed", well_since=since)
    watching._step(dataflow, AlertKind.DELAYED, Seen(there), alert, NOON)
    now = Alert.objects.first()
    state = "well" if now is None else "cleared" if now.cleared_at else "calm" if now.well_since else "raised"
    assert state == becomes


def test_who_stops_a_broken_dataflow_is_not_told_that_it_is_well(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    hold(dataflow)
    look(NOON)
    Dataflow.objects.update(state="disabled")
    look(NOON + timedelta(hours=1))
    assert told() == [("on_hold", False)]
    assert Alert.objects.get().cleared_at == NOON + timedelta(hours=1)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_workers_raise_it_once() -> None:
    dataflow, watcher = DataflowFactory.create(), UserFactory.create()
    watch(dataflow, watcher)
    hold(dataflow)
    now = timezone.now()
    assert at_once(lambda: look(now), lambda: look(now)) == [None, None]
    assert (Alert.objects.count(), Notice.objects.count(), AlertMessage.objects.count()) == (1, 1, 1)
    lanes.reached(dataflow.pk)
    look(now + timedelta(minutes=1))
    end = now + timedelta(minutes=1) + CALM
    assert at_once(lambda: look(end), lambda: look(end)) == [None, None]
    assert (Alert.objects.count(), Notice.objects.count(), AlertMessage.objects.count()) == (1, 2, 2)


def test_the_database_knows_a_trouble_once(dataflow: Dataflow) -> None:
    def again() -> None:
        with transaction.atomic():
            watching._raise(Alert(dataflow=dataflow, kind="on_hold", raised_at=NOON))

    again()
    again()
    assert Alert.objects.count() == 1


# -- what several dataflows have in common -------------------------------------------------------------------------


@pytest.fixture
def same_stream(dataflow: Dataflow, watcher: User, subscription: Subscription) -> list[Dataflow]:
    """Three dataflows with changes that wait for one stream; somebody watches all of them."""
    account = dataflow.destination.account
    dataflow.destination.settings |= {"aggregate": True}  # another way to the same stream
    dataflow.destination.save()
    others = [
        DataflowFactory.create(destination__name=name, destination__account=account)
        for name in ("Busan", "Jeju")
    ]
    for each in others:
        watch(each, watcher)
    for each in (dataflow, *others):
        PendingExport.objects.create(dataflow=each, profile=ProfileFactory.create(), reason="attribute")
    return [dataflow, *others]


def messages() -> list[tuple[str, str, bool]]:
    found = AlertMessage.objects.order_by("created_at", "cleared")
    return list(found.values_list("alert__dataflow__destination__name", "channel", "cleared"))


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "UnrecognizedClientException"])
def test_what_breaks_many_dataflows_is_told_once_and_its_end_when_the_last_is_well(
    same_stream: list[Dataflow], code: str
) -> None:
    for minutes, each in enumerate(same_stream):
        hold(each, code)
        look(NOON + timedelta(minutes=minutes))
    assert messages() == [("Seoul", "email", False)]
    assert len(told()) == 1
    assert "The same goes for “Busan”, “Jeju”." in words.detail(Alert.objects.earliest("pk"), cleared=False)
    for minutes, each in enumerate(same_stream):
        lanes.reached(each.pk)
        look(NOON + timedelta(minutes=10 + 10 * minutes))
        look(NOON + timedelta(minutes=15 + 10 * minutes))
        assert len(told()) == (2 if each == same_stream[-1] else 1)
    assert messages() == [("Seoul", "email", False), ("Seoul", "email", True)]
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_what_nothing_waits_for_does_not_hold_up_the_all_clear(same_stream: list[Dataflow]) -> None:
    first, idle, _third = same_stream
    for each in (first, idle):
        hold(each)
    look(NOON)
    PendingExport.objects.filter(dataflow=idle).delete()
    lanes.reached(first.pk)
    look(NOON + timedelta(minutes=1))
    look(NOON + timedelta(minutes=1) + CALM)
    assert told() == [("on_hold", False), ("on_hold", True)]
    hold(first)
    look(NOON + timedelta(minutes=10))
    assert told()[2:] == [("on_hold", False)]


def test_streams_of_one_account_break_one_by_one_and_its_credentials_for_all(
    same_stream: list[Dataflow],
) -> None:
    _seoul, busan, _jeju = same_stream
    busan.destination.settings = {"stream": "another"}
    busan.destination.save()
    for each in same_stream:
        hold(each)
    look(NOON)
    assert {name for name, _channel, _cleared in messages()} == {"Busan", "Jeju"}
    AlertMessage.objects.all().delete()
    for each in same_stream:
        hold(each, "ExpiredTokenException")
    look(NOON + timedelta(minutes=1))
    assert len(messages()) == 1


def test_everybody_is_told_of_theirs_and_every_address_once(same_stream: list[Dataflow]) -> None:
    seoul, _busan, jeju = same_stream
    other = UserFactory.create(permissions=["destinations.view_destination"])
    hook = {"by_email": False, "webhook_secret": "x" * 16}
    watch(jeju, other, webhook_url="https://hooks.example.com/a", **hook)
    watch(seoul, other, webhook_url="https://hooks.example.com/a", **hook)
    watch(seoul, UserFactory.create(email=""), kinds=["credentials"])
    for each in same_stream:
        hold(each)
    look(NOON)
    assert sorted(messages()) == [("Busan", "email", False), ("Jeju", "webhook", False)]
    assert Notice.objects.count() == 2
    for each in same_stream:
        lanes.reached(each.pk)
    look(NOON + timedelta(minutes=1))
    look(NOON + timedelta(minutes=1) + CALM)
    assert sorted(messages())[1::2] == [("Busan", "email", True), ("Jeju", "webhook", True)]
    assert Notice.objects.count() == 4


# -- the kinds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ResourceNotFoundException", "on_hold"),
        ("AccessDeniedException", "on_hold"),
        ("UnrecognizedClientException", "credentials"),
        ("ExpiredTokenException", "credentials"),
        ("CredentialsLost", "credentials"),
    ],
)
def test_credentials_that_fail_are_told_as_such(
    dataflow: Dataflow, subscription: Subscription, code: str, kind: str
) -> None:
    hold(dataflow, code)
    look(NOON)
    assert told() == [(kind, False)]
    assert Alert.objects.get().facts == {"code": code, "message": "Stream profile-exports not found."}


def test_a_change_that_waits_too_long_is_a_delay_and_a_backfill_is_none(
    dataflow: Dataflow, subscription: Subscription, settings: Any
) -> None:
    settings.ALERT_DELAY = 600
    for bulk, minutes in ((True, 60), (False, 9)):
        PendingExport.objects.create(
            dataflow=dataflow,
            profile=ProfileFactory.create(),
            reason="attribute",
            bulk=bulk,
            created_at=NOON - timedelta(minutes=minutes),
        )
    look(NOON)
    assert told() == []
    look(NOON + timedelta(minutes=2))
    assert told() == [("delayed", False)]


def test_many_skipped_profiles_are_told_once_there_are_enough_to_tell(
    dataflow: Dataflow, subscription: Subscription, settings: Any
) -> None:
    settings.ALERT_SKIP_PERCENT = 10
    this = run(dataflow, activated=10, excluded=9)
    look(NOON)
    assert (AlertKind.SKIPPED, False) not in told()
    DataflowRun.objects.filter(pk=this.pk).update(activated=90, excluded=10)
    look(NOON)
    assert (AlertKind.SKIPPED, False) not in told()
    DataflowRun.objects.filter(pk=this.pk).update(activated=89, excluded=11)
    look(NOON)
    assert Alert.objects.get(kind="skipped").facts == {"percent": 11.0, "excluded": 11, "received": 100}


@pytest.mark.parametrize(
    ("counts", "kind"),
    [({"activated": 5}, "run_succeeded"), ({"failed": 5}, "run_failed"), ({"excluded": 5}, "run_succeeded")],
)
def test_a_run_is_told_when_it_starts_and_how_it_ended_once_each(
    dataflow: Dataflow, subscription: Subscription, counts: dict[str, int], kind: str
) -> None:
    run(dataflow, **counts)
    look(NOON)
    look(NOON)
    assert told() == [("run_started", False)]
    look(NOON + timedelta(hours=1))
    look(NOON + timedelta(hours=1))
    assert told() == [("run_started", False), (kind, False)]


def test_only_who_asked_is_told_and_only_of_what_they_asked(dataflow: Dataflow, watcher: User) -> None:
    watch(dataflow, watcher, kinds=["credentials"])
    other = UserFactory.create(email="")
    watch(dataflow, other, kinds=["on_hold"])
    hold(dataflow)
    look(NOON)
    assert list(Notice.objects.values_list("user", flat=True)) == [other.pk]
    assert not AlertMessage.objects.exists()  # there is no address


def test_who_was_not_told_of_the_trouble_is_not_told_of_its_end(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    hold(dataflow)
    look(NOON)
    watch(dataflow, UserFactory.create())
    lanes.reached(dataflow.pk)
    look(NOON + timedelta(minutes=1))
    look(NOON + timedelta(minutes=1) + CALM)
    assert set(Notice.objects.values_list("user", flat=True)) == {subscription.user_id}


def test_looking_takes_as_many_queries_for_many_dataflows_as_for_one(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            look(NOON)
        return len(captured)

    run(dataflow, activated=1)
    look(NOON)
    few = queries()
    for _number in range(5):
        other = DataflowFactory.create()
        watch(other, subscription.user)
        run(other, activated=1)
    look(NOON)
    assert queries() == few <= 6


def test_nobody_watching_costs_one_query(
    dataflow: Dataflow, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        look(NOON)
