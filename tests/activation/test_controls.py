"""The operator's controls: drain, purge, cancel a backfill, lanes, replay; and the live numbers they go by."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from structlog.testing import capture_logs

from activation import backlog, live, selectors, services, tasks
from activation.export import latency, outbox
from activation.live import Look, Pulse
from activation.models import Dataflow, DataflowRun, Delivery, Lane, PendingExport
from activation.selectors import Period
from destinations.connectors.base import ConnectorError, Target
from destinations.models import Destination
from profiles.models import Profile
from tests.activation.wizard import HTMX, said, signed_in
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

MONITOR = "activation.view_monitoring"
OPERATE = "activation.activate_destinations"
DESTINATIONS = "destinations.view_destination"
CONTROLS = ["drain", "purge", "cancel_backfill", "lanes", "replay"]


@pytest.fixture
def operator() -> User:
    return UserFactory.create(username="Lee", permissions=[MONITOR, OPERATE, DESTINATIONS])


@pytest.fixture
def client(operator: User) -> Client:
    return signed_in(operator)


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create(destination__name="Spring <campaign>")


def url(name: str, dataflow: Dataflow) -> str:
    return reverse(f"activation:{name}", args=[dataflow.destination_id])


def text_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    return str(response.content.decode())


def wait_for(dataflow: Dataflow, count: int, *, bulk: bool = False, **values: Any) -> list[PendingExport]:
    return PendingExport.objects.bulk_create(
        PendingExport(dataflow=dataflow, profile=profile, reason="backfill", bulk=bulk, **values)
        for profile in ProfileFactory.create_batch(count)
    )


def waiting(dataflow: Dataflow) -> tuple[int, int]:
    """Fresh and bulk."""
    found = backlog.backlog(dataflow)
    return found.fresh, found.bulk


def state(dataflow: Dataflow) -> str:
    return Dataflow.objects.get(pk=dataflow.pk).state


def run_of(dataflow: Dataflow, hours_ago: int = 0, **numbers: Any) -> DataflowRun:
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    return DataflowRun.objects.create(dataflow=dataflow, started_at=start, last_at=timezone.now(), **numbers)


# -- who may what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTROLS)
def test_each_control_needs_the_right_to_activate(dataflow: Dataflow, name: str) -> None:
    where = url(name, dataflow)
    assert Client().post(where)["Location"].startswith(reverse("sign_in"))
    onlooker = signed_in(UserFactory.create(permissions=[MONITOR, DESTINATIONS]))
    assert onlooker.get(where).status_code == onlooker.post(where).status_code == 403
    assert signed_in(UserFactory.create(permissions=[OPERATE])).get(where).status_code == 200


@pytest.mark.parametrize("name", CONTROLS)
def test_each_asks_first_in_a_dialog_or_on_a_page(client: Client, dataflow: Dataflow, name: str) -> None:
    wait_for(dataflow, 3)
    wait_for(dataflow, 2, bulk=True)
    assert "<!doctype html>" in text_of(client.get(url(name, dataflow)))
    if name != "replay":
        part = text_of(client.get(url(name, dataflow), headers=HTMX))
        assert "<!doctype html>" not in part
        assert 'id="ask-title"' in part
        assert "Spring &lt;campaign&gt;" in part
    assert waiting(dataflow) == (3, 2)
    assert state(dataflow) == "enabled"


def test_who_may_only_monitor_sees_the_numbers_and_no_controls(dataflow: Dataflow) -> None:
    wait_for(dataflow, 2, bulk=True)
    onlooker = signed_in(UserFactory.create(permissions=[MONITOR]))
    text = text_of(onlooker.get(url("runs", dataflow)))
    assert "Waiting" in text
    for name in CONTROLS:
        assert url(name, dataflow) not in text


# -- pause and drain -----------------------------------------------------------------------------------------------


def test_draining_disables_once_what_waited_is_delivered(client: Client, dataflow: Dataflow) -> None:
    rows = wait_for(dataflow, 2)
    assert "2 records that wait are delivered" in text_of(client.get(url("drain", dataflow)))
    assert "Draining" in said(client.post(url("drain", dataflow)))
    assert state(dataflow) == "enabled"
    assert "Leave it enabled" in text_of(client.get(url("runs", dataflow)))
    later = wait_for(dataflow, 1, created_at=timezone.now() + timedelta(seconds=1))
    services.finish_drains()
    assert state(dataflow) == "enabled"
    for row in rows:
        row.delete()
    services.finish_drains()
    assert state(dataflow) == "disabled"
    assert [row.pk for row in later] == list(PendingExport.objects.values_list("pk", flat=True))
    assert Dataflow.objects.get(pk=dataflow.pk).draining_since is None


def test_the_sweep_ends_what_is_drained_and_that_alone(dataflow: Dataflow) -> None:
    drained = DataflowFactory.create(draining_since=timezone.now())
    tasks.sweep()
    assert (state(drained), state(dataflow)) == ("disabled", "enabled")


def test_draining_what_is_empty_disables_at_once(client: Client, dataflow: Dataflow) -> None:
    assert "Nothing was waiting: it is disabled." in said(client.post(url("drain", dataflow)))
    assert state(dataflow) == "disabled"
    assert "Enable it first" in said(client.post(url("drain", dataflow)))
    assert state(dataflow) == "disabled"


def test_a_second_click_on_drain_changes_nothing(client: Client, dataflow: Dataflow) -> None:
    wait_for(dataflow, 1)
    client.post(url("drain", dataflow))
    since = Dataflow.objects.get(pk=dataflow.pk).draining_since
    assert "drained already" in said(client.post(url("drain", dataflow)))
    assert Dataflow.objects.get(pk=dataflow.pk).draining_since == since


@pytest.mark.parametrize(("name", "after"), [("enable", "enabled"), ("disable", "disabled")])
def test_a_drain_can_be_called_off_or_cut_short(
    client: Client, dataflow: Dataflow, name: str, after: str
) -> None:
    wait_for(dataflow, 1)
    client.post(url("drain", dataflow))
    client.post(url(name, dataflow))
    PendingExport.objects.all().delete()
    services.finish_drains()
    found = Dataflow.objects.get(pk=dataflow.pk)
    assert (found.state, found.draining_since) == (after, None)


def test_the_page_around_is_loaded_again_when_the_state_is_another(
    client: Client, dataflow: Dataflow
) -> None:
    again = client.get(url("runs", dataflow), headers=HTMX).context["again"]
    assert "HX-Refresh" not in client.get(again, headers=HTMX)
    Dataflow.objects.update(state="disabled")
    assert client.get(again, headers=HTMX)["HX-Refresh"] == "true"


# -- purge and cancel ----------------------------------------------------------------------------------------------


def test_purging_drops_what_waits_here_in_a_few_statements(
    client: Client, operator: User, dataflow: Dataflow, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = DataflowFactory.create()
    wait_for(other, 1)
    wait_for(dataflow, 3)
    wait_for(dataflow, 2, bulk=True)
    question = text_of(client.get(url("purge", dataflow)))
    assert "5 records that wait will not be sent" in question
    assert "3 of them are changes of profiles, 2 come from a backfill or replay" in question
    with capture_logs() as logs:
        response = client.post(url("purge", dataflow))
    assert "5 records were dropped" in said(response)
    assert waiting(dataflow) == (0, 0)
    assert waiting(other) == (1, 0)
    [audit] = [line for line in logs if line["event"] == "backlog_purged"]
    assert (audit["dataflow_id"], audit["by"], audit["count"]) == (str(dataflow.pk), operator.pk, 5)
    assert "Nothing was waiting." in said(client.post(url("purge", dataflow)))
    assert "nothing to purge" in text_of(client.get(url("purge", dataflow)))
    wait_for(dataflow, 3)
    with django_assert_num_queries(4 if connection.vendor == "postgresql" else 3):
        assert backlog.drop(dataflow) == backlog.Dropped(3)


def test_cancelling_a_backfill_leaves_changes_of_the_moment(client: Client, dataflow: Dataflow) -> None:
    fresh = wait_for(dataflow, 2)
    wait_for(dataflow, 3, bulk=True)
    assert "3 records of a backfill or replay will not be sent" in text_of(
        client.get(url("cancel_backfill", dataflow))
    )
    assert "Stopped: 3 records" in said(client.post(url("cancel_backfill", dataflow)))
    assert set(PendingExport.objects.all()) == set(fresh)
    assert "Nothing was waiting." in said(client.post(url("cancel_backfill", dataflow)))


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_purging_while_changes_come_stops_nobody() -> None:
    """Whoever queues and whoever purges take their locks in the same order."""
    dataflow = DataflowFactory.create()
    profiles = [profile.pk for profile in ProfileFactory.create_batch(200)]
    errors: list[BaseException] = []

    def queue() -> None:
        for _round in range(10):
            outbox.queue((dataflow.pk, profile, "attribute") for profile in profiles)

    def purge() -> None:
        for _round in range(10):
            services.purge(destination=dataflow.destination, by=None)

    _at_once(errors, queue, queue, purge)
    assert errors == []
    services.purge(destination=dataflow.destination, by=None)
    assert waiting(dataflow) == (0, 0)


def _at_once(errors: list[BaseException], *acts: Callable[[], object]) -> None:
    barrier = threading.Barrier(len(acts))

    def work(act: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            act()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


# -- lanes ---------------------------------------------------------------------------------------------------------


def test_lanes_are_changed_while_it_runs(client: Client, dataflow: Dataflow, woken: list[uuid.UUID]) -> None:
    assert 'value="4"' in text_of(client.get(url("lanes", dataflow), headers=HTMX))
    assert "The lanes were changed" in said(client.post(url("lanes", dataflow), {"count": "8"}))
    assert Dataflow.objects.get(pk=dataflow.pk).lane_count == 8
    assert woken == [dataflow.pk]
    assert "so many lanes already" in said(client.post(url("lanes", dataflow), {"count": "8"}))


@pytest.mark.parametrize("count", ["0", "65", "-1", "", "many", "9" * 30])
def test_a_dataflow_has_1_to_64_lanes(client: Client, dataflow: Dataflow, count: str) -> None:
    text = text_of(client.post(url("lanes", dataflow), {"count": count}), 422)
    assert 'href="#id_count"' in text
    assert Dataflow.objects.get(pk=dataflow.pk).lane_count == 4


def test_what_was_never_finished_has_nothing_to_control(client: Client) -> None:
    draft = DataflowFactory.create(state="draft", finished_at=None)
    for name, data in (("drain", {}), ("lanes", {"count": "8"}), ("replay", {"which": "members"})):
        assert "never finished" in said(client.post(url(name, draft), data))
    bare = DestinationFactory.create()
    for name in ("purge", "cancel_backfill"):
        assert "Nothing was waiting." in said(client.post(reverse(f"activation:{name}", args=[bare.pk])))
    text = text_of(client.get(url("replay", draft)))
    assert "Nothing is activated yet" in text


# -- replay --------------------------------------------------------------------------------------------------------


def members(dataflow: Dataflow, count: int) -> list[Profile]:
    segment = SegmentFactory.create()
    dataflow.segments.add(segment)
    return [MembershipFactory.create(segment=segment).profile for _number in range(count)]


def delivered(dataflow: Dataflow, at: datetime) -> Profile:
    profile = ProfileFactory.create()
    Delivery.objects.create(
        dataflow=dataflow,
        profile=profile,
        delivered_at=at,
        reason="attribute",
        shard="s",
        sequence_number="1",
    )
    return profile


def seen(page: Any) -> str:
    moment = page.context["dataflow"].bulk_at
    return moment.isoformat() if moment else ""


def test_all_members_are_sent_again_after_a_question_with_the_count(
    client: Client, dataflow: Dataflow, woken: list[uuid.UUID]
) -> None:
    profiles = members(dataflow, 3)
    MembershipFactory.create(segment=dataflow.segments.get(), status="exited")
    MembershipFactory.create(profile=profiles[0], segment=SegmentFactory.create())
    where = url("replay", dataflow)
    assert "expected" not in (client.get(where).context or {})
    page = client.get(where, {"which": "members", "since": "", "until": ""})
    assert page.context["expected"] == 3
    text = text_of(page)
    assert "Send them again to “Spring &lt;campaign&gt;” (profile-exports)?" in text
    assert PendingExport.objects.count() == 0
    response = client.post(where, {"which": "members", "seen": seen(page)})
    assert "3 records are on their way again." in said(response)
    rows = PendingExport.objects.filter(dataflow=dataflow).values_list("profile", "reason", "bulk")
    assert sorted(rows) == sorted((profile.pk, "replay", True) for profile in profiles)
    assert woken == [dataflow.pk]
    found = Dataflow.objects.get(pk=dataflow.pk)
    assert found.bulk_total == 3


def test_an_old_question_is_refused_even_where_nothing_is_left_to_send(dataflow: Dataflow) -> None:
    Dataflow.objects.update(bulk_at=timezone.now())  # somebody else's replay, of members who left since
    with pytest.raises(services.Refused, match="Look again"):
        services.replay(destination=dataflow.destination, period=None, seen=None, by=None)


def test_what_was_exported_in_a_period_is_sent_again(client: Client, dataflow: Dataflow) -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    before, at, after = (delivered(dataflow, noon + timedelta(minutes=m)) for m in (-1, 0, 1))
    delivered(DataflowFactory.create(), noon)
    members(dataflow, 1)
    everything = {before.pk, at.pk, after.pk}
    for since, until, expected in (
        (None, None, everything),
        (noon, None, {at.pk, after.pk}),
        (None, noon, {before.pk, at.pk}),
        (noon, noon, {at.pk}),
    ):
        found = selectors.to_replay(dataflow, Period(since, until))
        assert set(found.values_list("pk", flat=True)) == expected
    asked = {"which": "exported", "since": "2026-11-24T12:00", "until": ""}
    page = client.get(url("replay", dataflow), asked)
    assert page.context["expected"] == 2
    assert "since 2026-11-24 12:00:00 UTC" in text_of(page)
    client.post(url("replay", dataflow), asked | {"seen": seen(page)})
    assert set(PendingExport.objects.values_list("profile", flat=True)) == {at.pk, after.pk}


@pytest.mark.parametrize(
    "asked",
    [
        {"which": "everybody"},
        {"which": "exported", "since": "yesterday"},
        {"which": "exported", "since": "2026-11-24T12:00", "until": "2026-11-24T11:59"},
    ],
)
def test_what_can_not_be_meant_is_said_at_its_field(
    client: Client, dataflow: Dataflow, asked: dict[str, str]
) -> None:
    for send in (client.get, client.post):
        assert "field-error" in text_of(send(url("replay", dataflow), asked), 422)
    assert not PendingExport.objects.exists()


def test_a_second_click_sends_nothing_twice(client: Client, dataflow: Dataflow) -> None:
    members(dataflow, 2)
    page = client.get(url("replay", dataflow), {"which": "members"})
    sent = {"which": "members", "seen": seen(page)}
    client.post(url("replay", dataflow), sent)
    PendingExport.objects.all().delete()  # all of it was delivered meanwhile
    assert "Look again" in said(client.post(url("replay", dataflow), sent))
    assert not PendingExport.objects.exists()
    # Who looks again may send again.
    page = client.get(url("replay", dataflow), {"which": "members"})
    client.post(url("replay", dataflow), sent | {"seen": seen(page)})
    assert PendingExport.objects.count() == 2


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_clicks_at_the_same_moment_one_sends() -> None:
    dataflow = DataflowFactory.create()
    members(dataflow, 20)
    errors: list[BaseException] = []
    done: list[services.Replayed] = []

    def click() -> None:
        done.append(
            services.replay(destination=dataflow.destination, period=None, seen=dataflow.bulk_at, by=None)
        )

    _at_once(errors, click, click)
    assert [each.queued for each in done] == [20]
    assert [type(error) for error in errors] == [services.Refused]


def test_nobody_to_send_to_is_said_and_not_offered(client: Client, dataflow: Dataflow) -> None:
    text = text_of(client.get(url("replay", dataflow), {"which": "members"}))
    assert '<strong class="big-number">0</strong>' in text
    assert 'name="seen"' not in text


def test_a_replay_to_a_disabled_destination_waits(
    client: Client, dataflow: Dataflow, woken: list[Any]
) -> None:
    members(dataflow, 1)
    Dataflow.objects.update(state="disabled")
    page = client.get(url("replay", dataflow), {"which": "members"})
    assert "waits until it is enabled" in text_of(page)
    response = client.post(url("replay", dataflow), {"which": "members", "seen": ""})
    assert "once the destination is enabled" in said(response)
    assert woken == []


# -- live numbers --------------------------------------------------------------------------------------------------


def test_the_backlog_is_told_fresh_and_bulk_with_the_oldest(dataflow: Dataflow) -> None:
    now = timezone.now()
    wait_for(dataflow, 2, created_at=now - timedelta(minutes=1))
    [oldest] = wait_for(dataflow, 1, bulk=True, created_at=now - timedelta(hours=2))
    assert backlog.backlog(dataflow) == backlog.Backlog(2, 1, now - timedelta(minutes=1), oldest.created_at)
    assert backlog.backlog(dataflow).since == oldest.created_at
    assert backlog.backlog(None) == backlog.backlog(DataflowFactory.create()) == backlog.Backlog()


def test_the_rate_is_that_of_the_last_minute(dataflow: Dataflow) -> None:
    start = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
    run = DataflowRun(dataflow=dataflow, started_at=start.replace(minute=0), activated=1_000)

    def look(seconds: float, activated: int, looks: str) -> Pulse:
        run.activated = activated
        return Pulse.feel([run], looks, start + timedelta(seconds=seconds))

    first = look(0, 1_000, "")
    assert first.per_second is None
    second = look(3, 1_300, first.looks)
    assert second.per_second == 100
    pulse, sent = second, 1_300
    # A steady 100 a second for a minute, then nothing: a minute later it is forgotten.
    for seconds in range(6, 61, 3):
        sent += 300
        pulse = look(seconds, sent, pulse.looks)
        assert pulse.per_second == 100
    for seconds in range(63, 130, 3):
        pulse = look(seconds, sent, pulse.looks)
    assert pulse.per_second == 0


def test_the_rate_goes_on_over_the_full_hour(dataflow: Dataflow) -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    old = DataflowRun(dataflow=dataflow, started_at=noon - timedelta(hours=1), activated=5_000)
    before = Pulse.feel([old], "", noon - timedelta(seconds=10))
    old.activated = 5_400
    new = DataflowRun(dataflow=dataflow, started_at=noon, activated=600)
    assert Pulse.feel([new, old], before.looks, noon + timedelta(seconds=10)).per_second == 50


@pytest.mark.parametrize(
    "looks", ["x", "-", "1-1", "99999999999999-5.1", f"{10**12}-0.{10**12}-0", "." * 500]
)
def test_looks_that_make_no_sense_begin_anew(dataflow: Dataflow, looks: str) -> None:
    assert Pulse.feel([], looks).per_second is None
    assert Look.of("1795521600000-12") == Look(datetime(2026, 11, 24, 12, tzinfo=UTC), 12)


def test_live_numbers_are_on_the_page_and_ask_again(client: Client, dataflow: Dataflow) -> None:
    wait_for(dataflow, 3)
    wait_for(dataflow, 2, bulk=True)
    Dataflow.objects.update(bulk_total=10, bulk_at=timezone.now())
    Lane.objects.create(dataflow=dataflow, number=0, of=4, leased_until=timezone.now() + timedelta(seconds=9))
    Lane.objects.create(dataflow=dataflow, number=1, of=4, leased_until=timezone.now())
    run = run_of(
        dataflow, activated=1_000, failed=2, excluded=3, throttled=40, retries=41, duplicates=7,
        latencies=latency.add([], [0.1] * 90 + [1.0] * 8 + [60.0] * 2),
    )  # fmt: skip
    page = client.get(url("runs", dataflow), headers=HTMX)
    text = text_of(page)
    for part in (
        "3 changes, 2 of a backfill or replay", "1 of 4 lanes at work", "2 failed, 3 excluded",
        "41 sent again, 7 perhaps twice", "8 of 10 done", "being measured",
    ):  # fmt: skip
        assert part in text
    for name in CONTROLS:
        assert url(name, dataflow) in text
    [(p50, _), (p95, within), (p99, _)] = page.context["live"].latency
    assert (p50, p95, p99) == (50, 95, 99)
    assert 1.0 <= within < 1.2
    DataflowRun.objects.filter(pk=run.pk).update(activated=1_100)
    again = client.get(page.context["again"], headers=HTMX)
    assert again.context["live"].pulse.per_second > 0
    assert again.context["live"].seconds_left >= 0
    assert "for what waits" in text_of(again)


def test_the_part_alone_has_the_switch_that_stands_elsewhere_on_the_page(
    client: Client, dataflow: Dataflow
) -> None:
    switch = url("disable", dataflow)
    alone = client.get(url("runs", dataflow))
    assert switch in text_of(alone)
    assert switch in text_of(client.get(alone.context["again"], headers=HTMX))
    assert switch not in text_of(client.get(url("runs", dataflow), headers=HTMX))


def test_a_hold_tells_how_to_mend_it(client: Client, dataflow: Dataflow) -> None:
    Dataflow.objects.update(
        error_code="ResourceNotFoundException", error_message="Stream x not found.", error_at=timezone.now()
    )
    hint = dataflow.destination.type.hint("ResourceNotFoundException", "Stream x not found.")
    assert hint
    assert str(hint).replace("'", "&#x27;") in text_of(client.get(url("runs", dataflow)))


# -- what the stream takes -----------------------------------------------------------------------------------------


def describe(monkeypatch: pytest.MonkeyPatch, answer: Target | ConnectorError) -> None:
    def described(*_args: Any, **_kwargs: Any) -> Target:
        if isinstance(answer, ConnectorError):
            raise answer
        return answer

    monkeypatch.setattr(type(DestinationFactory.create().type), "describe_target", described)


def test_the_stream_is_set_against_what_waits(
    client: Client, dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(monkeypatch, Target("profile-exports", "ACTIVE", "PROVISIONED", shards=4))
    wait_for(dataflow, 1)
    monkeypatch.setattr(live, "backlog", lambda _dataflow: backlog.Backlog(0, 9_600_000))
    text = text_of(client.get(url("capacity", dataflow), headers=HTMX))
    assert "4 shards" in text
    assert "4,000 records and" in text
    assert "9,600,000 records that wait need at least 40 min" in text


def test_the_busiest_shard_is_told(
    client: Client, dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(monkeypatch, Target("profile-exports", "ACTIVE", "PROVISIONED", shards=4))
    for shard, count in (("shard-a", 6), ("shard-b", 2)):
        for profile in ProfileFactory.create_batch(count):
            Delivery.objects.create(
                dataflow=dataflow, profile=profile, delivered_at=timezone.now(), reason="backfill",
                shard=shard, sequence_number="1",
            )  # fmt: skip
    delivered(DataflowFactory.create(), timezone.now())
    Lane.objects.create(dataflow=dataflow, number=0, of=4, pace={"shard-a": [250.5, 0, 0], "": [10, 0, 0]})
    Lane.objects.create(
        dataflow=dataflow, number=1, of=4, pace={"shard-a": [249.5, 0, 0], "shard-c": [3, 0, 0]}
    )
    page = client.get(url("capacity", dataflow), headers=HTMX)
    found = page.context["capacity"]
    assert [(s.name, s.share, s.pace) for s in found.shards] == [
        ("shard-a", 75.0, 500.0), ("shard-b", 25.0, None), ("shard-c", None, 3),
    ]  # fmt: skip
    assert found.skew == 3.0
    text = text_of(page)
    assert "the busiest got 3.0 times its share" in text
    assert "Nothing waits." in text


def test_a_stream_that_can_not_be_described_is_said(
    client: Client, dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(monkeypatch, ConnectorError("AccessDeniedException", "not <allowed>"))
    assert "AccessDeniedException: not &lt;allowed&gt;" in text_of(client.get(url("capacity", dataflow)))


def test_a_stream_that_ignores_keys_promises_no_order(
    client: Client, dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(monkeypatch, Target("profile-exports", "ACTIVE", "ON_DEMAND", shards=4, ignores_keys=True))
    assert "is not promised" in text_of(client.get(url("capacity", dataflow)))


def test_the_capacity_is_for_who_may_monitor(dataflow: Dataflow) -> None:
    stranger = signed_in(UserFactory.create(permissions=[OPERATE, DESTINATIONS]))
    assert stranger.get(url("capacity", dataflow)).status_code == 403
    bare = DestinationFactory.create()
    monitor = signed_in(UserFactory.create(permissions=[MONITOR]))
    assert monitor.get(reverse("activation:capacity", args=[bare.pk])).status_code == 404


def test_all_controls_are_on_destinations_of_the_dataflow_alone(client: Client, dataflow: Dataflow) -> None:
    for name in CONTROLS:
        assert client.get(reverse(f"activation:{name}", args=[uuid.uuid4()])).status_code == 404
    assert Destination.objects.count() == 1
