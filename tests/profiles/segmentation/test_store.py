"""Rules that are asked of the whole store, beside everything that goes on."""

from __future__ import annotations

import random
import threading
import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activation.models import PendingExport
from kinesis_admin.processes import Program, wait_until
from profiles import services, tasks
from profiles.ingest import Fragment, ingest
from profiles.models import Evaluation, Profile, Segment, SegmentMembership
from profiles.pql import parse
from profiles.segmentation import counts, memberships, store
from profiles.signals import ProfileChange, Transition
from tests.elsewhere import Elsewhere
from tests.factories import DataflowFactory, MembershipFactory, SchemaFieldFactory, SegmentFactory
from tests.postgres import beside
from tests.profiles.segmentation.ruled import members, ruled, statuses

pytestmark = pytest.mark.django_db

Announced = list[list[ProfileChange]]
pages_of_three = pytest.mark.usefixtures("_pages_of_three")


@pytest.fixture
def _pages_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one where somebody comes or goes the next one is locked whole."""
    monkeypatch.setattr(store, "PAGE", 3)
    monkeypatch.setattr(store, "MANY", 1)
    monkeypatch.setattr(memberships, "FEW", 1)
    monkeypatch.setattr(store, "FEW", 1)


def customers(**values: Any) -> None:
    ingest([Fragment([("Email", name)], {"x": value}) for name, value in values.items()])


def rewritten(segment: Segment, rule: str) -> None:
    """Give it another rule, past the schema."""
    Segment.objects.filter(pk=segment.pk).update(rule=rule, rule_version=segment.rule_version + 1)
    segment.rule_version += 1
    store.request([segment.pk])


def evaluated(segment: Segment) -> None:
    store.request([segment.pk])
    store.evaluate(segment.pk)


# --- What it does


@pages_of_three
@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 10])
def test_everybody_is_asked_page_by_page(count: int) -> None:
    customers(**{f"c{n}": n for n in range(count)})
    evaluated(ruled("even", "x % 2 = 0"))
    assert members("even") == {f"c{n}" for n in range(0, count, 2)}
    assert Segment.objects.get().evaluated_at is not None
    assert not Evaluation.objects.exists()


@pages_of_three
def test_transitions_are_made_and_told(announced: Announced) -> None:
    customers(a=1, b=2, c=3, d=4, e=5)
    segment = ruled("s", "x > 2")
    evaluated(segment)
    assert statuses("s") == {"c": "realized", "d": "realized", "e": "realized"}
    rewritten(segment, "x < 5 and x > 1")
    announced.clear()
    store.evaluate("s")
    assert statuses("s") == {"b": "realized", "c": "existing", "d": "existing", "e": "exited"}
    told = [change.transitions for batch in announced for change in batch]
    assert sorted(told, key=str) == sorted(
        [
            (Transition("s", None, "realized"),),
            (Transition("s", "realized", "exited"),),
        ],
        key=str,
    )
    announced.clear()
    evaluated(segment)
    assert statuses("s") == {"b": "existing", "c": "existing", "d": "existing", "e": "exited"}
    confirmed = SegmentMembership.objects.order_by("pk").values_list("last_qualification_time", flat=True)
    before = list(confirmed)
    evaluated(segment)
    assert list(confirmed) == before  # existing members have nothing to be confirmed
    assert announced == []


def test_transitions_are_exported_in_the_transaction_that_makes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    customers(a=1, b=2)
    segment = ruled("s", "x > 1")
    DataflowFactory.create(segments=[segment])
    monkeypatch.setattr("activation.export.outbox.queue", _fail)
    with pytest.raises(RuntimeError):
        evaluated(segment)
    assert statuses("s") == {}
    monkeypatch.undo()
    store.evaluate("s")
    assert members("s") == {"b"}
    assert PendingExport.objects.get().reason == "membership"


def _fail(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError


def test_rules_that_ask_about_the_segment_follow_it(announced: Announced) -> None:
    customers(a=1, b=2, c=3)
    ruled("third", 'inSegment("second") and x < 3')
    ruled("second", 'inSegment("first") and not inSegment("given")')
    first = ruled("first", "x > 1")
    ruled("other", 'inSegment("given")')
    announced.clear()
    evaluated(first)
    assert (members("first"), members("second"), members("third")) == ({"b", "c"}, {"b", "c"}, {"b"})
    [batch] = announced
    assert [[step.segment_id for step in change.transitions] for change in batch] == [
        ["first", "second", "third"],
        ["first", "second"],
    ]
    rewritten(first, "x > 2")
    store.evaluate("first")
    assert (members("first"), members("second"), members("third")) == ({"c"}, {"c"}, set())
    assert statuses("third") == {"b": "exited"}


@pytest.mark.parametrize("first", ["one", "other"])
def test_a_rule_in_a_circle_that_was_stored_is_asked_of_everybody(first: str) -> None:
    customers(a=1, b=2)
    both = {
        "one": ruled("one", 'x > 1 or inSegment("other")'),
        "other": ruled("other", 'x > 1 or inSegment("one")'),
    }
    evaluated(both[first])
    assert members(first) == {"b"}
    evaluated(both[first])
    assert members(first) == {"b"}


def test_a_rule_with_a_regular_expression_has_the_same_members_in_every_database() -> None:
    ingest([Fragment([("Email", name)], {"name": name}) for name in ("Min-jun", "Ruth", "민준")])
    evaluated(ruled("s", 'name.matches("^.{2,4}$")'))
    assert members("s") == {"Ruth", "민준"}


@pages_of_three
def test_progress_is_seen_and_a_page_that_failed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    customers(**{f"c{n}": n for n in range(10)})
    store.request([ruled("s", "x >= 0").pk])
    left = [True, True, False]
    settle = store._settle

    def die_on_the_third(*args: Any) -> int:
        changed = settle(*args)
        if left and not left.pop(0):
            raise SystemExit
        return changed

    monkeypatch.setattr(store, "_settle", die_on_the_third)
    with pytest.raises(SystemExit):
        store.evaluate("s")
    evaluation = Evaluation.objects.get()
    assert (evaluation.done, evaluation.total, evaluation.percent) == (6, 10, 60)
    assert len(members("s")) == 6
    store.evaluate("s")
    assert len(members("s")) == 10
    assert set(statuses("s").values()) == {"realized"}


@pages_of_three
def test_a_worker_does_something_else_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    customers(**{f"c{n}": n for n in range(10)})
    store.request([ruled("s", "x >= 0").pk])
    told: list[str] = []
    monkeypatch.setattr(store, "wake", told.extend)
    store.evaluate("s", seconds=0)
    assert (told, Evaluation.objects.get().done) == (["s"], 3)


@pages_of_three
def test_a_rule_that_is_saved_meanwhile_begins_anew() -> None:
    customers(**{f"c{n}": n for n in range(10)})
    segment = ruled("s", "x > 4")
    store.request(["s"])
    store.evaluate("s", seconds=0)
    rewritten(segment, "x < 1")
    assert Evaluation.objects.get().done == 0
    store.evaluate("s")
    assert members("s") == {"c0"}


@pages_of_three
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite counts")
def test_of_a_great_many_it_is_estimated_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COUNTED", 2)
    customers(**{f"c{n}": n for n in range(10)})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE profiles_profile")
    customers(**{f"d{n}": n for n in range(10)})
    store.request([ruled("s", "x >= 0").pk])
    store.evaluate("s", seconds=0)
    evaluation = Evaluation.objects.get()
    assert evaluation.total is not None and 10 <= evaluation.total <= 20
    while Evaluation.objects.exists():
        store.evaluate("s", seconds=0)
    assert len(members("s")) == 20


@pages_of_three
def test_whoever_comes_leaves_or_stays_is_right_where_pages_are_locked_whole() -> None:
    customers(**{f"c{n:02d}": n for n in range(20)})
    ruled("follows", 'inSegment("s") and x < 17')
    segment = ruled("s", "x > 4")
    evaluated(segment)
    assert members("s") == {f"c{n:02d}" for n in range(5, 20)}
    assert members("follows") == {f"c{n:02d}" for n in range(5, 17)}
    evaluated(segment)
    assert set(statuses("s").values()) == {"existing"}
    rewritten(segment, "x < 8")
    store.evaluate("s")
    assert members("s") == {f"c{n:02d}" for n in range(8)}
    assert statuses("s")["c10"] == "exited"
    rewritten(segment, "x > 9")
    store.evaluate("s")
    assert members("s") == {f"c{n:02d}" for n in range(10, 20)}
    assert statuses("s")["c10"] == "realized" and statuses("s")["c01"] == "exited"
    assert members("follows") == {f"c{n:02d}" for n in range(10, 17)}


def test_what_was_written_meanwhile_is_asked_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    customers(a=1, b=2)
    segment = ruled("s", "x > 1")
    differing = store._differing

    def and_then_something_is_written(*args: Any) -> tuple[set[uuid.UUID], list[int]]:
        found = differing(*args)
        monkeypatch.undo()
        customers(a=5, b=0)
        return found

    monkeypatch.setattr(store, "_differing", and_then_something_is_written)
    evaluated(segment)
    assert members("s") == {"a"}


def test_who_left_meanwhile_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    customers(a=2, b=2)
    segment = ruled("s", "x > 1")
    evaluated(segment)
    differing = store._differing

    def and_then_somebody_leaves(*args: Any) -> tuple[set[uuid.UUID], list[int]]:
        found = differing(*args)
        customers(a=0)
        return found

    monkeypatch.setattr(store, "_differing", and_then_somebody_leaves)
    evaluated(segment)
    assert statuses("s") == {"a": "exited", "b": "existing"}


def test_the_number_of_queries_does_not_depend_on_how_many_change() -> None:
    def queries(first: int, count: int) -> int:
        customers(**{f"c{n}": n for n in range(first, first + count)})
        store.request([segment.pk])
        with CaptureQueriesContext(connection) as captured:
            store.evaluate(segment.pk)
        return len(captured)

    segment = ruled("s", "x > 1")
    ruled("t", 'inSegment("s")')
    ruled("u", "y = 1")
    Segment.objects.filter(pk="s").update(state=Segment.State.DRAFT)
    customers(**{f"c{n}": n for n in range(50)})
    Segment.objects.filter(pk="s").update(state=Segment.State.LIVE)
    many = queries(100, 1)
    assert len(members("t")) == 49
    assert queries(101, 1) <= many <= 27


# --- Time


def test_time_changes_members_while_nothing_is_written() -> None:
    now = timezone.now()
    ingest(
        [
            Fragment([("Email", "old")], {"d": (now - timedelta(days=6)).isoformat()}),
            Fragment([("Email", "new")], {"d": (now - timedelta(hours=1)).isoformat()}),
        ]
    )
    week = ruled("week", "d occurs last 7 days")
    ruled("untimed", "isNotNull(d)")
    evaluated(week)
    assert members("week") == {"old", "new"}
    # Two days later
    for profile in Profile.objects.all():
        moved = datetime.fromisoformat(profile.attributes["d"]) - timedelta(days=2)
        Profile.objects.filter(pk=profile.pk).update(attributes={"d": moved.isoformat()})
    tasks.evaluate_timed()
    assert [evaluation.segment_id for evaluation in Evaluation.objects.all()] == ["week"]
    tasks.evaluate("week")
    assert members("week") == {"new"}


@pages_of_three
def test_the_schedule_does_not_begin_anew_what_is_going_on() -> None:
    customers(**{f"c{n}": n for n in range(10)})
    ruled("timed", "date(2020, 1, 1) occurs before now")
    tasks.evaluate_timed()
    store.evaluate("timed", seconds=0)
    tasks.evaluate_timed()
    assert Evaluation.objects.get().done == 3


# --- Exited


def test_who_left_long_ago_is_forgotten_and_nobody_is_told(
    announced: Announced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE", 2)
    segment = SegmentFactory.create(id="s")
    now = timezone.now()
    for status, days in [("exited", 31)] * 5 + [("exited", 29), ("existing", 31), ("realized", 400)]:
        MembershipFactory.create(
            segment=segment, status=status, last_qualification_time=now - timedelta(days=days)
        )
    tasks.forget_exited()
    left = SegmentMembership.objects.order_by("status").values_list("status", flat=True)
    assert list(left) == ["existing", "exited", "realized"]
    assert announced == []


# --- Beside everything else

committing = pytest.mark.django_db(transaction=True, serialized_rollback=True)
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one writer at a time"
)


@committing
def test_a_saved_rule_is_asked_by_the_worker(celery_worker: Program) -> None:
    customers(a=1, b=2)
    SchemaFieldFactory.create(path="x", type="integer")
    services.create_segment(id="s", name="s", origin="segmentation", rule="x > 1")
    assert wait_until(lambda: members("s") == {"b"}, seconds=20)
    assert wait_until(lambda: not Evaluation.objects.exists(), seconds=20)


@committing
def test_an_evaluation_that_stands_is_swept(celery_worker: Program) -> None:
    customers(a=1, b=2)
    segment = ruled("s", "x > 1")
    Evaluation.objects.create(segment=segment)
    tasks.evaluate_waiting()
    assert wait_until(lambda: not Evaluation.objects.exists(), seconds=20)
    assert members("s") == {"b"}


@committing
@on_postgresql
def test_a_batch_that_began_by_the_old_rule_is_seen_by_the_new_one() -> None:
    """A new profile, not committed when the rule is saved: the save waits, so the evaluation finds it."""
    SchemaFieldFactory.create(path="x", type="integer")
    ruled("s", "x = 1")

    def save() -> None:
        services.edit_segment(Segment.objects.get(), name="s", description="", rule="x = 2")
        store.evaluate("s")

    with transaction.atomic():
        customers(new=2)
        beside(save)
    assert members("s") == {"new"}


@committing
@on_postgresql
def test_a_profile_that_is_being_written_is_waited_for() -> None:
    customers(a=5, b=5)
    store.request([ruled("s", "x > 1").pk])
    with transaction.atomic():
        customers(a=0)
        beside(partial(store.evaluate, "s"))
    assert statuses("s") == {"b": "realized"}


@committing
@on_postgresql
def test_members_are_confirmed_while_their_profiles_are_locked() -> None:
    """By somebody who writes what the rule does not ask for."""
    customers(a=5, b=5, c=0)
    segment = ruled("s", "x > 1")
    evaluated(segment)
    store.request(["s"])
    with transaction.atomic():
        list(Profile.objects.select_for_update())
        Elsewhere(partial(store.evaluate, "s")).join()
    assert statuses("s") == {"a": "existing", "b": "existing"}


@committing
@on_postgresql
def test_a_member_that_is_leaving_is_not_confirmed() -> None:
    customers(a=5, b=5)
    segment = ruled("s", "x > 1")
    evaluated(segment)
    store.request(["s"])
    with transaction.atomic():
        customers(a=0)
        beside(partial(store.evaluate, "s"))
    assert statuses("s") == {"a": "exited", "b": "existing"}


@committing
@on_postgresql
@pages_of_three
def test_a_page_that_is_locked_whole_waits_for_what_is_being_written() -> None:
    customers(a=5, b=5, c=5, d=5, e=5)
    store.request([ruled("s", "x > 1").pk])
    with transaction.atomic():
        customers(d=0)
        beside(partial(store.evaluate, "s"))
    assert members("s") == {"a", "b", "c", "e"}


@committing
@on_postgresql
def test_a_second_worker_leaves_the_first_one_alone() -> None:
    customers(a=1)
    store.request([ruled("s", "x = 1").pk])
    with transaction.atomic():
        Evaluation.objects.select_for_update().get()
        Elsewhere(partial(store.evaluate, "s")).join()
    assert Evaluation.objects.exists()


@committing
@on_postgresql
def test_importers_evaluations_and_editors_end_with_the_members_of_a_recomputation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two importers hammer the same customers, merging some, while rules are saved and asked of the store."""
    monkeypatch.setattr(store, "PAGE", 7)
    monkeypatch.setattr(store, "MANY", 2)
    monkeypatch.setattr(memberships, "FEW", 3)
    monkeypatch.setattr(store, "wake", lambda *_args: None)
    for path in ("x", "y", "z"):
        SchemaFieldFactory.create(path=path, type="integer")
    segments = [
        ruled("x", "x > 5"),
        ruled("either", "x = y or not (z > 3)"),
        ruled("known", 'identityMap.get("Email").count() > 1'),
    ]
    asking = ruled("asking", 'inSegment("x") and not inSegment("either")')
    DataflowFactory.create(segments=segments)
    errors: list[BaseException] = []
    stop = threading.Event()

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    def hammer(writer: int) -> None:
        dice = random.Random(writer)
        for _turn in range(25):
            names = dice.sample(range(40), 12)
            ingest(
                [
                    Fragment(
                        [
                            ("Email", f"{n}"),
                            *([("Email", f"{n + 40}")] if n < 20 and dice.random() < 0.3 else []),
                        ],
                        {dice.choice("xyz"): dice.randrange(10)},
                    )
                    for n in names
                ]
            )

    def edit() -> None:
        dice = random.Random(99)
        while not stop.is_set():
            rule = f"x > {dice.randrange(10)}"
            services.edit_segment(Segment.objects.get(pk="x"), name="x", description="", rule=rule)
            for segment in segments:
                store.request([segment.pk], anew=False)

    def ask() -> None:
        while not stop.is_set():
            for segment in segments:
                store.evaluate(segment.pk)
            counts.fold()

    importers = [threading.Thread(target=run, args=[partial(hammer, n)]) for n in range(2)]
    others = [threading.Thread(target=run, args=[work]) for work in (edit, ask, ask)]
    for thread in (*importers, *others):
        thread.start()
    for thread in importers:
        thread.join(timeout=120)
    stop.set()
    for thread in others:
        thread.join(timeout=60)
    assert errors == []
    for evaluation in Evaluation.objects.all():
        store.evaluate(evaluation.pk)
    assert not Evaluation.objects.exists()

    for segment in (*segments, asking):
        segment.refresh_from_db()
        stored = segment.memberships.filter(status__in=["realized", "existing"])
        expected = set(parse(segment.rule).members(timezone.now()))
        assert set(stored.values_list("profile_id", flat=True)) == expected, segment.pk
        assert counts.days_of([segment.pk])[segment.pk][-1].members == len(expected)
    assert {membership.status for membership in SegmentMembership.objects.all()} >= {"existing", "exited"}
