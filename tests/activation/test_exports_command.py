"""`manage.py exports`."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation import status
from activation.management.commands import exports
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, Lane, PendingExport
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    MembershipFactory,
    ProfileFactory,
    SegmentFactory,
)

pytestmark = pytest.mark.django_db

NAME = "Spring campaign"


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create(destination__name=NAME)


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("exports", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def refused(*arguments: str, code: int = 1) -> str:
    with pytest.raises(CommandError) as error:
        run(*arguments)
    assert error.value.returncode == code
    return str(error.value)


def wait_for(dataflow: Dataflow, count: int, **values: Any) -> None:
    PendingExport.objects.bulk_create(
        PendingExport(dataflow=dataflow, profile=profile, reason="backfill", **values)
        for profile in ProfileFactory.create_batch(count)
    )


def run_of(dataflow: Dataflow, hours_ago: int = 0, **numbers: Any) -> DataflowRun:
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    return DataflowRun.objects.create(dataflow=dataflow, started_at=start, last_at=start, **numbers)


def fail(dataflow: Dataflow, code: str) -> FailedExport:
    run = dataflow.runs.first() or run_of(dataflow)
    return FailedExport.objects.create(
        run=run, profile=ProfileFactory.create(), kind="failed", code=code, reason=""
    )


def queued() -> set[Any]:
    return set(PendingExport.objects.values_list("profile", flat=True))


def state(dataflow: Dataflow) -> str:
    return Dataflow.objects.get(pk=dataflow.pk).state


# -- status --------------------------------------------------------------------------------------------------------


def test_status_tells_of_every_dataflow(dataflow: Dataflow) -> None:
    wait_for(dataflow, 3, created_at=timezone.now() - timedelta(minutes=5))
    wait_for(dataflow, 2, bulk=True)
    run_of(dataflow, activated=12_345, failed=2)
    Dataflow.objects.update(
        error_code="AccessDenied[Exception]", error_message="You may not", error_at=timezone.now()
    )
    DataflowFactory.create(destination__name="Winter", state="disabled")
    DataflowFactory.create(destination__name="Draft", state="draft", finished_at=None)
    text = run("status")
    for part in (
        NAME,
        "12,345",
        "5 min",
        "0/4",
        "error",
        "AccessDenied[Exception]: You may not",
        "Winter",
        "disabled",
    ):
        assert part in text
    assert "Draft" not in text
    assert NAME not in run("status", "winter")


def test_status_as_json_is_for_programs(dataflow: Dataflow) -> None:
    wait_for(dataflow, 3)
    wait_for(dataflow, 2, bulk=True)
    run_of(dataflow, hours_ago=1, activated=100, bytes=2**60)
    run_of(dataflow, activated=11, throttled=4, latencies=[])
    Lane.objects.create(dataflow=dataflow, number=0, of=4, leased_until=timezone.now() + timedelta(minutes=1))
    [told] = json.loads(run("status", NAME.upper(), "--json"))["dataflows"]
    assert told["destination"] == {"id": str(dataflow.destination_id), "name": NAME}
    assert (told["state"], told["lanes"], told["error"]) == ("enabled", {"count": 4, "atWork": 1}, None)
    assert (told["waiting"]["fresh"], told["waiting"]["bulk"]) == (3, 2)
    assert (told["thisHour"]["activated"], told["thisHour"]["throttled"]) == (11, 4)
    assert (told["total"]["activated"], told["total"]["bytes"]) == (111, 2**60)


def test_status_of_nothing_says_so() -> None:
    assert "Nothing is activated yet." in run("status")
    destination = DestinationFactory.create()
    assert "Nothing is activated to it yet." in run("status", str(destination.pk))
    assert json.loads(run("status", "--json"))["dataflows"] == []


@pytest.mark.parametrize("count", [1, 30])
def test_status_takes_the_same_queries_however_many(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for dataflow in DataflowFactory.create_batch(count):
        wait_for(dataflow, 1)
        run_of(dataflow, activated=1)
    with django_assert_num_queries(5):
        assert len(status.statuses(status.finished())) == count


# -- the destination -----------------------------------------------------------------------------------------------


def test_a_destination_is_named_or_given_by_its_id(dataflow: Dataflow) -> None:
    run("pause", str(dataflow.destination_id))
    assert state(dataflow) == "disabled"
    run("resume", "spring CAMPAIGN")
    assert state(dataflow) == "enabled"


def test_a_destination_that_is_not_there_is_said_with_those_that_are_like_it(dataflow: Dataflow) -> None:
    assert refused("pause", "spring") == f"There is no destination “spring”. There is “{NAME}”."
    assert refused("pause", str(dataflow.pk)) == f"There is no destination “{dataflow.pk}”."
    assert state(dataflow) == "enabled"


def test_what_was_never_finished_is_not_controlled() -> None:
    draft = DataflowFactory.create(state="draft", finished_at=None)
    for arguments in (["pause"], ["resume"], ["drain"], ["replay", "--members"]):
        action, *options = arguments
        assert "never finished" in refused(action, draft.destination.name, *options)
    assert "never finished" in refused("lanes", draft.destination.name, "8")


# -- the controls --------------------------------------------------------------------------------------------------


def test_pausing_and_resuming_twice_is_no_error(dataflow: Dataflow) -> None:
    assert "Paused" in run("pause", NAME)
    assert "paused already" in run("pause", NAME)
    assert "Enable it first" in refused("drain", NAME)
    assert "when Redis and the workers are back" in run("resume", NAME)
    assert "runs already" in run("resume", NAME)


def test_purging_asks_unless_told_not_to(dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(dataflow, 3)
    wait_for(dataflow, 2, bulk=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "Drop 5 records" in (text := refused("purge", NAME))
    assert "Say --yes" in text

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert refused("purge", NAME) == "Nothing was done."
    assert PendingExport.objects.count() == 5
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert "Dropped: 2." in run("purge", NAME, "--backfill")
    assert "Dropped: 3." in run("purge", NAME, "--yes")
    assert "Dropped: 0." in run("purge", NAME)


def test_lanes_are_changed_within_their_bounds(dataflow: Dataflow) -> None:
    assert "8 lanes now" in run("lanes", NAME, "8")
    assert "8 lanes already" in run("lanes", NAME, "8")
    assert "1 to 64 lanes" in refused("lanes", NAME, "65")
    assert Dataflow.objects.get().lane_count == 8


def test_members_are_replayed(dataflow: Dataflow) -> None:
    segment = SegmentFactory.create()
    dataflow.segments.add(segment)
    member = MembershipFactory.create(segment=segment).profile
    ProfileFactory.create()
    assert "Queued: 1." in run("replay", NAME, "--members", "--yes")
    assert queued() == {member.pk}


def test_what_was_exported_in_a_period_is_replayed(dataflow: Dataflow) -> None:
    now = timezone.now()
    old, new = ProfileFactory.create_batch(2)
    for profile, at in ((old, now - timedelta(days=2)), (new, now - timedelta(hours=1))):
        Delivery.objects.create(
            dataflow=dataflow,
            profile=profile,
            delivered_at=at,
            reason="backfill",
            shard="s",
            sequence_number="1",
        )
    since = (now - timedelta(days=1)).isoformat()
    assert "Queued: 1." in run("replay", NAME, "--exported", "--since", since, "--yes")
    assert queued() == {new.pk}


def test_failed_exports_of_a_code_are_replayed(dataflow: Dataflow) -> None:
    wanted, other = fail(dataflow, "A"), fail(dataflow, "B")
    Dataflow.objects.update(state="disabled")
    assert "It is paused, so they wait" in run("replay", NAME, "--failed", "--code", "A", "--yes")
    assert queued() == {wanted.profile_id}
    assert FailedExport.objects.get(state="open") == other
    run("replay", NAME, "--failed", "--yes")
    assert not FailedExport.objects.filter(state="open").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "required"),
        (["--members", "--failed"], "not allowed"),
        (["--members", "--since", "2026-11-24"], "--exported"),
        (["--members", "--code", "A"], "--failed"),
        (["--exported", "--since", "2026-02-31T00:00"], "is not a time"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    dataflow: Dataflow, options: list[str], said: str
) -> None:
    assert said in refused("replay", NAME, "--yes", *options)
    assert queued() == set()


# -- waiting -------------------------------------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, *steps: Any) -> None:
    """Between two looks, one step after the other happens."""
    rest = list(steps)
    monkeypatch.setattr(f"{exports.__name__}.time.sleep", lambda _seconds: rest.pop(0)())


def deliver_one() -> None:
    PendingExport.objects.order_by("pk")[:1].get().delete()


def test_waiting_ends_when_nothing_waits_any_more(
    dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(dataflow, 2)
    run("pause", NAME)
    meanwhile(monkeypatch, deliver_one, deliver_one)
    assert "2 went out" in run("resume", NAME, "--wait")


def test_a_drain_is_waited_for_until_it_is_paused(
    dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activation import services

    wait_for(dataflow, 1)
    meanwhile(monkeypatch, deliver_one, services.finish_drains)
    assert "1 went out" in run("drain", NAME, "--wait")
    assert state(dataflow) == "disabled"


def test_waiting_has_an_end_and_tells_what_is_wrong(
    dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(dataflow, 2)
    Dataflow.objects.update(error_code="AccessDeniedException", error_message="No.")
    meanwhile(monkeypatch)
    text = refused("drain", NAME, "--wait", "--timeout", "0", code=2)
    assert text == "2 records still wait. AccessDeniedException: No."


def test_waiting_ends_where_somebody_pauses(dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(dataflow, 2)
    meanwhile(monkeypatch, lambda: run("pause", NAME))
    assert refused("drain", NAME, "--wait", code=2) == "It is paused; 2 records wait."


def test_ctrl_c_ends_the_waiting_and_not_the_export(
    dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    wait_for(dataflow, 1)
    meanwhile(monkeypatch, interrupted)
    assert "the export goes on" in refused("drain", NAME, "--wait", code=130)
