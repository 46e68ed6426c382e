"""Dead letters: looked at, sent again, discarded, downloaded."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from structlog.testing import capture_logs

from activation import ndjson, selectors, services
from activation.export import outbox
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, PendingExport
from activation.selectors import FailureFilter
from destinations.models import Destination
from profiles.models import Profile
from tests.activation.wizard import HTMX, said, signed_in
from tests.factories import DataflowFactory, ProfileFactory, UserFactory
from tests.governance.governed import SHARE, action, make_consent_policy

pytestmark = pytest.mark.django_db

MONITOR = "activation.view_monitoring"
OPERATE = "activation.activate_destinations"
PROFILES = "profiles.view_profile"
DESTINATIONS = "destinations.view_destination"
FIRST_NAME = "person.name.firstName"


@pytest.fixture
def operator() -> User:
    return UserFactory.create(username="Lee", permissions=[MONITOR, OPERATE, PROFILES, DESTINATIONS])


@pytest.fixture
def client(operator: User) -> Client:
    return signed_in(operator)


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create(attributes=[FIRST_NAME], destination__name="Spring <campaign>")


@pytest.fixture
def run(dataflow: Dataflow) -> DataflowRun:
    return run_of(dataflow)


def run_of(dataflow: Dataflow, **values: Any) -> DataflowRun:
    now = timezone.now()
    return DataflowRun.objects.create(
        dataflow=dataflow,
        **{"started_at": now.replace(minute=0, second=0, microsecond=0), "last_at": now} | values,
    )


def fail(run: DataflowRun, code: str = "RecordTooLarge", **more: Any) -> FailedExport:
    values = {"profile": None, "kind": "failed", "reason": f"reason of {code}"} | more
    values["profile"] = values["profile"] or ProfileFactory.create()
    return FailedExport.objects.create(run=run, code=code, **values)


def url(name: str, dataflow: Dataflow) -> str:
    return reverse(f"activation:{name}", args=[dataflow.destination_id])


def text_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    return str(response.content.decode())


def shown(response: Any) -> list[int]:
    return [failure.pk for failure in response.context["slice"].rows]


def queued(dataflow: Dataflow) -> dict[uuid.UUID, tuple[str, bool]]:
    """Profiles that wait, with their reason, and whether changes overtake them."""
    rows = PendingExport.objects.filter(dataflow=dataflow).values_list("profile_id", "reason", "bulk")
    return {profile_id: (reason, bulk) for profile_id, reason, bulk in rows}


def lines_of(response: Any) -> list[Any]:
    assert response.status_code == 200
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


# -- who may what --------------------------------------------------------------------------------------------------

NEEDED = {
    "failures": [MONITOR],
    "failures_download": [MONITOR],
    "failures_replay": [MONITOR, OPERATE],
    "failures_discard": [MONITOR, OPERATE],
}


@pytest.mark.parametrize("name", NEEDED)
def test_each_page_needs_its_rights_and_no_others(dataflow: Dataflow, name: str) -> None:
    where, needed = url(name, dataflow), NEEDED[name]
    assert Client().get(where)["Location"].startswith(reverse("sign_in"))
    for lacking in needed:
        rest = [right for right in (MONITOR, OPERATE, PROFILES, DESTINATIONS) if right != lacking]
        assert signed_in(UserFactory.create(permissions=rest)).get(where).status_code == 403
        assert signed_in(UserFactory.create(permissions=rest)).post(where).status_code == 403
    assert signed_in(UserFactory.create(permissions=needed)).get(where).status_code == 200


@pytest.mark.parametrize("lacking", [MONITOR, PROFILES])
def test_a_record_is_shown_only_to_who_may_see_profiles(run: DataflowRun, lacking: str) -> None:
    where = reverse("activation:failure", args=[fail(run).pk])
    rest = [right for right in (MONITOR, OPERATE, PROFILES, DESTINATIONS) if right != lacking]
    assert signed_in(UserFactory.create(permissions=rest)).get(where).status_code == 403
    assert signed_in(UserFactory.create(permissions=[MONITOR, PROFILES])).get(where).status_code == 200


def test_who_may_only_look_is_offered_nothing_to_do(run: DataflowRun) -> None:
    failure = fail(run)
    onlooker = signed_in(UserFactory.create(permissions=[MONITOR]))
    text = text_of(onlooker.get(url("failures", run.dataflow)))
    assert "RecordTooLarge" in text
    for hidden in (
        "Replay all",
        "Discard all",
        "replay-chosen",
        reverse("activation:failure", args=[failure.pk]),
    ):
        assert hidden not in text
    seeing = signed_in(UserFactory.create(permissions=[MONITOR, PROFILES]))
    assert "Replay" not in text_of(seeing.get(reverse("activation:failure", args=[failure.pk])))


# -- the list ------------------------------------------------------------------------------------------------------


def test_the_open_ones_of_the_dataflow_are_listed_newest_first(client: Client, run: DataflowRun) -> None:
    older, newer = fail(run), fail(run, "InvalidNumber", kind="excluded")
    fail(run, "Discarded", state="discarded", closed_at=timezone.now())
    fail(run_of(DataflowFactory.create()))
    page = client.get(url("failures", run.dataflow))
    assert shown(page) == [newer.pk, older.pk]
    text = text_of(page)
    for part in (
        "reason of InvalidNumber",
        str(newer.profile_id),
        "Excluded",
        "2 found",
        "Spring &lt;campaign&gt;",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        ({"state": "any"}, ["D", "C", "B", "A"]),
        ({"state": "discarded"}, ["D"]),
        ({"state": "nonsense"}, ["C", "B", "A"]),
        ({"code": "B"}, ["B"]),
        ({"kind": "excluded"}, ["C"]),
        ({"since": "2026-11-24T12:00"}, ["C", "B"]),
        ({"until": "2026-11-24T12:00"}, ["B", "A"]),
        ({"since": "2026-11-24T12:00", "until": "2026-11-24T12:00:30Z", "code": "B"}, ["B"]),
        ({"since": "2026-02-31T12:00", "until": "tomorrow", "run": "no"}, ["C", "B", "A"]),
        ({"code": "\0"}, ["C", "B", "A"]),
    ],
)
def test_it_is_filtered_by_code_kind_state_and_time(
    client: Client, run: DataflowRun, query: dict[str, str], codes: list[str]
) -> None:
    noon = timezone.now().replace(year=2026, month=11, day=24, hour=12, minute=0, second=0, microsecond=0)
    fail(run, "A", created_at=noon - timedelta(minutes=1))
    fail(run, "B", created_at=noon)
    fail(run, "C", created_at=noon + timedelta(minutes=1), kind="excluded")
    fail(run, "D", created_at=noon - timedelta(days=1), state="discarded", closed_at=noon)
    page = client.get(url("failures", run.dataflow), query)
    assert [failure.code for failure in page.context["slice"].rows] == codes


def test_one_run_alone_can_be_looked_at(client: Client, run: DataflowRun) -> None:
    fail(run)
    other = run_of(run.dataflow, started_at=run.started_at - timedelta(hours=1))
    there = fail(other)
    assert shown(client.get(url("failures", run.dataflow), {"run": str(other.pk)})) == [there.pk]
    assert f"?state=any&amp;run={other.pk}" in text_of(client.get(reverse("activation:run", args=[other.pk])))


def test_it_goes_on_where_a_page_ends_with_the_filter_kept(client: Client, run: DataflowRun) -> None:
    failures = [fail(run, "A").pk for _number in range(30)][::-1]
    fail(run, "B")
    where = url("failures", run.dataflow)
    first = client.get(where, {"code": "A"})
    assert shown(first) == failures[:25]
    assert f'href="?code=A&amp;before={failures[24]}"' in text_of(first)
    assert shown(client.get(where, {"code": "A", "before": str(failures[24])})) == failures[25:]
    assert shown(client.get(where, {"before": "9" * 30})) != []


def test_empty_lists_say_why_and_offer_a_way_on(client: Client, dataflow: Dataflow, run: DataflowRun) -> None:
    where = url("failures", dataflow)
    assert "Nothing failed" in text_of(client.get(where))
    fail(run, state="replayed", closed_at=timezone.now())
    assert "Nothing is open" in text_of(client.get(where))
    assert "No failed export is as the filters ask" in text_of(client.get(where, {"code": "Other"}))
    undone = reverse("activation:failures", args=[DataflowFactory.create().destination_id])
    assert "Nothing failed" in text_of(client.get(undone))


@pytest.mark.parametrize("count", [1, 25])
def test_the_list_takes_the_same_queries_however_long(
    client: Client, run: DataflowRun, django_assert_max_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    for number in range(count):
        fail(
            run, f"Code{number}", state="discarded", closed_at=timezone.now(), closed_by=UserFactory.create()
        )
    with django_assert_max_num_queries(9):
        page = client.get(url("failures", run.dataflow), {"state": "any"})
    assert len(shown(page)) == count


# -- one of them ---------------------------------------------------------------------------------------------------


def test_one_is_shown_with_its_answer_and_the_record_as_it_would_be_built_now(
    client: Client, run: DataflowRun
) -> None:
    failure = fail(run, reason="The record has <1,200,000> bytes.")
    Profile.objects.update(attributes={"person": {"name": {"firstName": "Seo-yeon"}}})
    page = client.get(reverse("activation:failure", args=[failure.pk]))
    text = text_of(page)
    assert "The record has &lt;1,200,000&gt; bytes." in text
    assert "&quot;firstName&quot;: &quot;Seo-yeon&quot;" in text
    for link in (
        reverse("profiles:profile", args=[failure.profile_id]),
        reverse("activation:run", args=[run.pk]),
        url("failures_discard", run.dataflow) + f"?id={failure.pk}",
    ):
        assert link in text


def test_why_it_can_not_be_built_is_said(client: Client, run: DataflowRun) -> None:
    run.dataflow.mapped_attributes.update(mandatory=True)
    failure = fail(
        run, "MandatoryAttributeMissing", kind="excluded", profile=ProfileFactory.create(attributes={})
    )
    text = text_of(client.get(reverse("activation:failure", args=[failure.pk])))
    assert "It can&#x27;t be built" in text or "It can't be built" in text
    assert f"Mandatory but not there: {FIRST_NAME}" in text


@pytest.mark.parametrize(
    ("language", "words", "name"), [("en", "No consent", "No consent"), ("ko", "동의 없음", "동의 없음")]
)
def test_who_does_not_consent_is_said_in_the_readers_language(
    client: Client, run: DataflowRun, language: str, words: str, name: str
) -> None:
    make_consent_policy()
    run.dataflow.destination.marketing_actions.add(action())
    profile = ProfileFactory.create(attributes={"consents": {"share": {"val": "n"}}})
    reason = f"No consent: {SHARE}"
    failure = fail(run, "ConsentMissing", kind="excluded", profile=profile, reason=reason)
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    shown = text_of(client.get(reverse("activation:failure", args=[failure.pk])))
    # Why it was left out, and why it would be now.
    assert shown.count(f"{words}: {SHARE}") == 2
    for where in (url("failures", run.dataflow), reverse("activation:run", args=[run.pk])):
        page = text_of(client.get(where))
        assert name in page and "ConsentMissing" in page


def test_an_export_that_got_through_since_is_said(client: Client, run: DataflowRun) -> None:
    failure = fail(run)
    where = reverse("activation:failure", args=[failure.pk])
    delivery = Delivery.objects.create(
        dataflow=run.dataflow,
        profile=failure.profile,
        delivered_at=failure.created_at - timedelta(seconds=1),
        reason="attribute",
        shard="shardId-000000000007",
        sequence_number="1",
    )
    assert "shardId-000000000007" not in text_of(client.get(where))
    Delivery.objects.filter(pk=delivery.pk).update(delivered_at=timezone.now())
    assert "shardId-000000000007" in text_of(client.get(where))
    Delivery.objects.filter(pk=delivery.pk).update(reason="unsure")
    assert "shardId-000000000007" not in text_of(client.get(where))


def test_a_closed_one_says_by_whom_and_why_and_offers_nothing_to_do(
    client: Client, operator: User, run: DataflowRun
) -> None:
    failure = fail(
        run, state="discarded", closed_at=timezone.now(), closed_by=operator, note="A <test> customer"
    )
    text = text_of(client.get(reverse("activation:failure", args=[failure.pk])))
    assert "A &lt;test&gt; customer" in text
    assert "Lee" in text
    assert "Replay" not in text


def test_one_takes_few_queries(
    client: Client, run: DataflowRun, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Destination.objects.update(include_delivery=True, include_segment_timestamps=True)
    failure = fail(run)
    with django_assert_max_num_queries(11):
        client.get(reverse("activation:failure", args=[failure.pk]))


def test_what_does_not_exist_is_a_404(client: Client) -> None:
    assert client.get(reverse("activation:failure", args=[1])).status_code == 404
    for name in NEEDED:
        assert client.get(reverse(f"activation:{name}", args=[uuid.uuid4()])).status_code == 404


# -- replay --------------------------------------------------------------------------------------------------------


def test_one_is_sent_again_through_the_outbox(client: Client, operator: User, run: DataflowRun) -> None:
    failure, other = fail(run), fail(run)
    with capture_logs() as logs:
        response = client.post(url("failures_replay", run.dataflow), {"id": failure.pk})
    assert response["Location"] == url("failures", run.dataflow)
    assert "1 record is queued. It is sent when the workers are back." in said(response)
    assert queued(run.dataflow) == {failure.profile_id: ("replay", True)}
    failure.refresh_from_db()
    assert (failure.state, failure.closed_by) == ("replayed", operator)
    assert timezone.now() - (failure.closed_at or run.started_at) < timedelta(minutes=1)
    other.refresh_from_db()
    assert other.state == "open"
    [audit] = [line for line in logs if line["event"] == "failures_replayed"]
    assert (audit["by"], audit["count"]) == (operator.pk, 1)


def test_a_second_click_queues_nothing_and_says_so(client: Client, run: DataflowRun) -> None:
    failure = fail(run)
    where = url("failures_replay", run.dataflow)
    client.post(where, {"id": failure.pk})
    PendingExport.objects.all().delete()
    response = client.post(where, {"id": failure.pk})
    assert "replayed or discarded already" in said(response)
    assert queued(run.dataflow) == {}
    assert "Nothing was chosen." in said(client.post(where))


def test_a_profile_that_failed_twice_is_sent_once_and_one_that_waits_keeps_its_place(
    client: Client, run: DataflowRun
) -> None:
    first = fail(run)
    second = fail(run, "Other", profile=first.profile)
    waiting = fail(run)
    outbox.queue([(run.dataflow.pk, waiting.profile_id, "attribute")])
    client.post(url("failures_replay", run.dataflow), {"id": [first.pk, second.pk, waiting.pk]})
    assert queued(run.dataflow) == {
        first.profile_id: ("replay", True),
        waiting.profile_id: ("replay", False),
    }
    assert set(FailedExport.objects.values_list("state", flat=True)) == {"replayed"}


def test_the_question_counts_by_code_and_names_the_destination(client: Client, run: DataflowRun) -> None:
    chosen = [fail(run, "A"), fail(run, "A"), fail(run, "B")]
    fail(run, "C")
    closed = fail(run, "B", state="replayed", closed_at=timezone.now())
    where = url("failures_replay", run.dataflow)
    page = client.get(where, {"id": [each.pk for each in (*chosen, closed)]})
    assert [(group.code, group.count) for group in page.context["groups"]] == [("A", 2), ("B", 1)]
    text = text_of(page)
    assert "Replay 3 failed exports to “Spring &lt;campaign&gt;”?" in text
    assert "<!doctype html>" in text
    part = text_of(client.get(where, {"id": [chosen[0].pk]}, headers=HTMX))
    assert "Replay 1 failed export to" in part
    assert "<!doctype html>" not in part
    assert "Nothing to replay" in text_of(client.get(where, {"id": [closed.pk]}))
    assert queued(run.dataflow) == {}


def test_all_of_a_code_are_sent_again_but_none_that_came_after_they_were_counted(
    client: Client, run: DataflowRun
) -> None:
    wanted = [fail(run, "A"), fail(run, "A")]
    fail(run, "B")
    page = client.get(url("failures_replay", run.dataflow), {"code": "A", "all": "1"})
    assert page.context["count"] == 2
    late = fail(run, "A")
    sent = {"code": "A", "all": "1", "up_to": page.context["up_to"]}
    assert f'name="up_to" value="{wanted[1].pk}"' in text_of(page)
    response = client.post(url("failures_replay", run.dataflow), sent)
    assert response["Location"] == url("failures", run.dataflow) + "?code=A"
    assert set(queued(run.dataflow)) == {each.profile_id for each in wanted}
    late.refresh_from_db()
    assert late.state == "open"


def test_dead_letters_of_another_destination_are_not_touched(client: Client, run: DataflowRun) -> None:
    foreign = fail(run_of(DataflowFactory.create()))
    for name in ("failures_replay", "failures_discard"):
        client.post(url(name, run.dataflow), {"id": foreign.pk, "note": "Not mine"})
    foreign.refresh_from_db()
    assert foreign.state == "open"
    assert not PendingExport.objects.exists()


def test_what_is_queued_for_a_disabled_destination_waits_and_that_is_said(
    client: Client, run: DataflowRun
) -> None:
    Dataflow.objects.update(state="disabled")
    failure = fail(run)
    question = client.get(url("failures_replay", run.dataflow), {"id": failure.pk})
    assert "waits until it is enabled" in text_of(question)
    response = client.post(url("failures_replay", run.dataflow), {"id": failure.pk})
    assert "once the destination is enabled" in said(response)


def test_thousands_are_replayed_in_as_many_statements_as_one(run: DataflowRun) -> None:
    def statements(count: int) -> int:
        profiles = Profile.objects.bulk_create(ProfileFactory.build_batch(count))
        FailedExport.objects.bulk_create(
            FailedExport(run=run, profile=profile, kind="failed", code="A", reason="") for profile in profiles
        )
        with CaptureQueriesContext(connection) as captured:
            found = selectors.failed_exports(run.dataflow, FailureFilter())
            done = services.replay_failures(destination=run.dataflow.destination, failures=found, by=None)
        assert done.failures == count
        return len(captured)

    assert statements(1) == statements(3_000)


# -- discard -------------------------------------------------------------------------------------------------------


def test_they_are_discarded_with_a_word_why(client: Client, operator: User, run: DataflowRun) -> None:
    chosen, other = fail(run), fail(run)
    where = url("failures_discard", run.dataflow)
    assert "Discard 1 failed export to" in text_of(client.get(where, {"id": chosen.pk}))
    response = client.post(where, {"id": chosen.pk, "note": "  A test customer "})
    assert "1 failed export was discarded." in said(response)
    chosen.refresh_from_db()
    assert (chosen.state, chosen.note, chosen.closed_by) == ("discarded", "A test customer", operator)
    other.refresh_from_db()
    assert other.state == "open"
    assert queued(run.dataflow) == {}
    assert "replayed or discarded already" in said(client.post(where, {"id": chosen.pk, "note": "Again"}))
    chosen.refresh_from_db()
    assert chosen.note == "A test customer"


@pytest.mark.parametrize("note", ["", "   ", "x" * 501])
def test_without_a_word_why_nothing_is_discarded(client: Client, run: DataflowRun, note: str) -> None:
    failure = fail(run)
    response = client.post(url("failures_discard", run.dataflow), {"id": failure.pk, "note": note})
    text = text_of(response, 422)
    assert f'name="id" value="{failure.pk}"' in text
    assert 'href="#id_note"' in text
    failure.refresh_from_db()
    assert failure.state == "open"
    with pytest.raises(services.Refused):
        services.discard_failures(
            destination=run.dataflow.destination, failures=FailedExport.objects.all(), note=" ", by=None
        )


# -- download ------------------------------------------------------------------------------------------------------


def test_what_is_chosen_is_downloaded_a_line_each(client: Client, run: DataflowRun) -> None:
    failure = fail(run, "MandatoryAttributeMissing", kind="excluded")
    fail(run)
    response = client.get(url("failures_download", run.dataflow), {"id": failure.pk})
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["Content-Disposition"].startswith('attachment; filename="failed-exports-')
    [line] = lines_of(response)
    record = line.pop("record")
    assert record["person"] == {"name": {"firstName": "Min-jun"}}
    at = failure.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert line == {
        "id": failure.pk, "profileId": str(failure.profile_id), "kind": "excluded",
        "code": "MandatoryAttributeMissing", "reason": "reason of MandatoryAttributeMissing", "at": at,
        "runId": str(run.pk), "state": "open", "closedAt": None, "note": "",
    }  # fmt: skip


def test_without_the_right_to_see_profiles_the_records_are_left_out(run: DataflowRun) -> None:
    fail(run)
    onlooker = signed_in(UserFactory.create(permissions=[MONITOR]))
    [line] = lines_of(onlooker.get(url("failures_download", run.dataflow)))
    assert "record" not in line
    assert "Min-jun" not in json.dumps(line)


def test_a_record_that_can_not_be_built_is_null(client: Client, run: DataflowRun) -> None:
    run.dataflow.mapped_attributes.update(mandatory=True)
    fail(run, profile=ProfileFactory.create(attributes={}))
    assert [line["record"] for line in lines_of(client.get(url("failures_download", run.dataflow)))] == [None]


def test_all_that_the_filter_finds_is_downloaded_in_order_a_batch_at_a_time(
    client: Client, run: DataflowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ndjson, "BATCH", 10)
    failures = [fail(run, "A").pk for _number in range(35)]
    fail(run, "B")
    response: Any = client.get(url("failures_download", run.dataflow), {"code": "A", "all": "1"})
    stream = iter(response.streaming_content)
    next(stream)
    with CaptureQueriesContext(connection) as captured:
        for _line in range(9):
            next(stream)
    # The first batch is all that was read: the rest follows when it is asked for.
    assert len(captured) == 0
    # What is deleted meanwhile is not in it, and nothing else is missing.
    FailedExport.objects.filter(pk=failures[20]).delete()
    rest = [json.loads(line)["id"] for line in stream]
    assert rest == [pk for pk in failures[10:] if pk != failures[20]]


# -- at the same moment --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_clicks_at_the_same_moment_one_replays() -> None:
    run = run_of(DataflowFactory.create())
    for _number in range(20):
        fail(run)
    barrier = threading.Barrier(2)
    done: list[services.Replayed] = []

    def click() -> None:
        barrier.wait(10)
        try:
            done.append(
                services.replay_failures(
                    destination=run.dataflow.destination,
                    failures=selectors.failed_exports(run.dataflow, FailureFilter()),
                    by=None,
                )
            )
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted((each.failures, each.queued) for each in done) == [(0, 0), (20, 20)]
    assert len(queued(run.dataflow)) == 20
