"""Rules that are asked as data arrives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activation.models import PendingExport
from profiles.ingest import Fragment, Outcome, ingest
from profiles.models import Profile, Segment, SegmentMembership
from profiles.pql import Index, Rule, parse
from profiles.segmentation.rules import live_rules
from profiles.signals import ProfileChange, Transition
from tests.factories import DataflowFactory, MembershipFactory, ProfileFactory, SegmentFactory
from tests.profiles.segmentation.ruled import members, ruled, statuses

pytestmark = pytest.mark.django_db

Announced = list[list[ProfileChange]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def write(name: str, *others: str, memberships: dict[str, Any] | None = None, **attributes: Any) -> Outcome:
    identities = [("Email", value) for value in (name, *others)]
    [outcome] = ingest([Fragment(identities, attributes, memberships or {})])
    return outcome


def transitions(announced: Announced) -> list[tuple[str, str | None, str]]:
    """Those of the last batch."""
    return [
        (transition.segment_id, transition.before, transition.after)
        for change in announced[-1]
        for transition in change.transitions
    ]


# --- Coming and going


def test_a_profile_comes_stays_leaves_and_comes_again(announced: Announced) -> None:
    ruled("rich", "points > 1000")
    for points, status, told in [
        (1, None, []),
        (2000, "realized", [("rich", None, "realized")]),
        (3000, "existing", []),
        (4000, "existing", []),
        (5, "exited", [("rich", "existing", "exited")]),
        (6, "exited", []),
        (7000, "realized", [("rich", "exited", "realized")]),
        (8, "exited", [("rich", "realized", "exited")]),
    ]:
        write("a", points=points)
        assert statuses("rich").get("a") == status
        assert transitions(announced) == told


def test_the_last_qualification_is_the_last_change_of_status() -> None:
    ruled("rich", "points > 1000")
    write("a", points=2000)
    first = SegmentMembership.objects.get().last_qualification_time
    write("a", points=2001)
    second = SegmentMembership.objects.get().last_qualification_time
    assert first < second
    write("a", points=2002)
    assert SegmentMembership.objects.get().last_qualification_time == second
    write("a", points=None)
    assert SegmentMembership.objects.get().last_qualification_time > second


def test_a_batch_is_one_evaluation_however_often_it_writes_a_profile(announced: Announced) -> None:
    ruled("rich", "points > 1000")
    ingest([Fragment([("Email", "a")], {"points": points}) for points in (5000, 1, 2000)])
    assert transitions(announced) == [("rich", None, "realized")]
    ingest([Fragment([("Email", "a")], {"points": points}) for points in (1, 3000)])
    assert statuses("rich") == {"a": "existing"}


def test_what_is_written_below_above_or_removed_is_seen() -> None:
    ruled("city", 'homeAddress.city = "Seoul"')
    ruled("mapped", "isNotNull(homeAddress)")
    write("a", homeAddress={"city": "Seoul"})
    assert members("city") == members("mapped") == {"a"}
    write("a", homeAddress={"city": None})
    assert (members("city"), members("mapped")) == (set(), {"a"})
    write("a", homeAddress={"city": "Seoul"})
    write("a", homeAddress=None)
    assert (members("city"), members("mapped")) == (set(), set())


def test_a_new_profile_is_in_the_segments_of_those_who_have_nothing() -> None:
    ruled("silent", "isNull(consents)")
    ruled("unfit", "not (points > 1000)")
    ruled("odd", "date(2020, 1, 1) occurs before now")
    write("a", x=1)
    assert members("silent") == members("unfit") == members("odd") == {"a"}


def test_only_live_rules_of_segments_by_rule_are_asked() -> None:
    ruled("draft", "x = 1", Segment.State.DRAFT)
    ruled("archived", "x = 1", Segment.State.ARCHIVED)
    SegmentFactory.create(id="upload", rule="x = 1", origin=Segment.Origin.UPLOAD)
    ruled("without", "")
    ruled("unreadable", "what the x")
    ruled("live", "x = 1")
    write("a", x=1)
    assert {membership.segment_id for membership in SegmentMembership.objects.all()} == {"live"}


def test_a_changed_rule_is_used_at_once() -> None:
    segment = ruled("s", "x = 1")
    write("a", x=1)
    Segment.objects.filter(pk=segment.pk).update(rule="x = 2", rule_version=segment.rule_version + 1)
    write("b", x=1)
    write("c", x=2)
    assert members("s") == {"a", "c"}


def test_a_rule_is_read_and_compiled_once() -> None:
    ruled("s", "x = 1")
    write("a", x=1)
    rules = live_rules()
    with CaptureQueriesContext(connection) as captured:
        assert live_rules() is rules
    assert len(captured) == 1
    ruled("t", "x = 2")
    assert live_rules()["s"] is rules["s"]


# --- Which rules are asked


def asked(monkeypatch: pytest.MonkeyPatch, *segments: tuple[str, str]) -> list[str]:
    """The segments whose rules are asked from here on, in their order."""
    found: list[str] = []
    compile_rule = Rule.compile

    def compiled(rule: Rule) -> Any:
        predicate = compile_rule(rule)

        def test(subject: Any) -> bool:
            found.append(names[str(rule)])
            return predicate(subject)

        return test

    names = {str(parse(rule)): segment_id for segment_id, rule in segments}
    for segment_id, rule in segments:
        ruled(segment_id, rule)
    monkeypatch.setattr(Rule, "compile", compiled)
    return found


def test_only_rules_whose_fields_were_written_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ProfileFactory.create()
    write("a", x=0, y=0)
    found = asked(
        monkeypatch,
        ("x", "x = 1"),
        ("y", "y = 1"),
        ("both", "x = 1 or y = 1"),
        ("identity", "mapNotEmpty(identityMap)"),
    )
    write("a", x=1)
    found.clear()
    write("a", x=2)
    assert sorted(found) == ["both", "x"]
    found.clear()
    write("a", z=2)
    assert found == []
    write("a", "b")
    assert found == ["identity"]


def test_rules_that_ask_about_a_segment_are_asked_when_a_profile_comes_or_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("a", x=0)
    found = asked(
        monkeypatch,
        ("third", 'inSegment("second") and not inSegment("given")'),
        ("second", 'inSegment("first")'),
        ("first", "x = 1"),
    )
    SegmentFactory.create(id="given")
    write("a", x=0)
    found.clear()
    write("a", x=1)
    assert found == ["first", "second", "third"]
    assert members("third") == {"a"}
    found.clear()
    write("a", x=1)  # nobody came or went
    assert found == ["first"]
    found.clear()
    write("a", memberships={"given": ("realized", None)})
    assert found == ["third"]
    assert (members("second"), members("third")) == ({"a"}, set())
    write("a", x=2)
    assert members("second") == members("first") == set()


def test_an_index_finds_rules_by_what_they_read() -> None:
    index = Index(
        {
            "deep": parse("a.b.c = 1"),
            "group": parse("mapNotEmpty(a.b)"),
            "other": parse("a.bc = 1"),
            "timed": parse("d occurs today"),
            "asks": parse('inSegment("deep")'),
            "first": parse('inSegment("asks") and z'),
        }
    )
    assert index.concerned(["a.b.c"]).now == {"deep", "group"}
    assert index.concerned(["a.b.x"]).now == {"group"}
    assert index.concerned(["a"]).now == {"deep", "group", "other"}
    assert index.concerned(["a.b.c.d"]).now == {"deep", "group"}
    assert index.concerned(["b.c", "a.bcd"]).now == frozenset()
    assert index.concerned(["z"]).in_order == ("first",)
    assert index.concerned(["a.b.c"]).in_order[-2:] == ("asks", "first")
    assert index.concerned(created=True).now == {"timed"}
    assert index.timed == {"timed"}


def test_rules_in_a_circle_that_was_stored_are_answered() -> None:
    ruled("one", 'x = 1 and not inSegment("two")')
    ruled("two", 'x = 1 and not inSegment("one")')
    write("a", x=1)
    assert len(members("one") | members("two")) == 1


# --- Identities


def test_rules_that_ask_about_identities_are_asked_when_those_change() -> None:
    ruled("mail", 'exists(i from identityMap.get("email") where i.id.endsWith("@example.com"))')
    ruled("many", 'identityMap.get("Email").count() > 1')
    write("a@example.com")
    assert (members("mail"), members("many")) == ({"a@example.com"}, set())
    write("a@example.com", "b@example.org")
    assert members("many") == {"a@example.com"}
    profile = Profile.objects.get()
    ingest([Fragment(profile_id=profile.pk, identities_removed=[("Email", "a@example.com")])])
    assert (members("mail"), members("many")) == (set(), set())


def test_profiles_that_are_merged_are_asked_anew(announced: Announced) -> None:
    ruled("sum", "x = 1 and y = 1")
    ruled("either", "z = 1")
    ruled("alone", 'identityMap.get("Email").count() = 1')
    write("a", x=1, z=1)
    write("b", y=1, z=2)
    assert members("alone") == {"a", "b"}
    assert (members("sum"), members("either")) == (set(), {"a"})
    write("a", "b")
    assert members("sum") == {"a"}
    assert statuses("either") == {"a": "exited"}  # z = 2 was written later
    assert statuses("alone") == {"a": "exited"}


def test_who_was_in_a_segment_by_what_it_is_not_any_more_leaves_it(announced: Announced) -> None:
    ruled("s", "x = 1")
    write("a", x=2)
    write("b", x=1)
    write("a", x=3)
    assert members("s") == {"b"}
    write("a", "b")
    assert statuses("s") == {"a": "exited"}
    assert transitions(announced) == []  # that it is one customer is told, not that one of them was a member


# --- What others say of a ruled segment


@pytest.mark.parametrize("status", ["realized", "existing"])
def test_a_membership_that_agrees_with_the_rule_stays_as_it_was_told(status: str) -> None:
    ruled("s", "x = 1")
    write("a", x=1, memberships={"s": (status, NOON)})
    membership = SegmentMembership.objects.get()
    assert (membership.status, membership.last_qualification_time) == (status, NOON)
    write("b", x=2, memberships={"s": ("exited", NOON)})
    assert statuses("s") == {"a": status, "b": "exited"}


def test_a_membership_that_the_rule_contradicts_is_not_taken(announced: Announced) -> None:
    ruled("s", "x = 1")
    write("a", x=2, memberships={"s": ("realized", NOON)})
    assert statuses("s") == {}
    assert transitions(announced) == []
    write("b", x=1)
    write("b", memberships={"s": ("exited", timezone.now() + timedelta(hours=1))})
    assert statuses("s") == {"b": "existing"}
    write("b", x=2, memberships={"s": ("realized", timezone.now() + timedelta(hours=1))})
    assert statuses("s") == {"b": "exited"}
    write("b", memberships={"s": ("realized", timezone.now() + timedelta(hours=1))})
    assert statuses("s") == {"b": "exited"}


def test_memberships_of_other_segments_are_taken_as_they_are_told() -> None:
    ruled("s", "x = 1")
    write("a", x=2, memberships={"given": ("realized", NOON)})
    assert statuses("given") == {"a": "realized"}


# --- What follows


def test_a_transition_is_exported_in_the_transaction_of_the_write() -> None:
    segment = ruled("s", "x = 1")
    dataflow = DataflowFactory.create(segments=[segment], attributes=["y"])
    write("a", x=2, y=1)
    assert not PendingExport.objects.exists()
    write("a", x=1)
    assert PendingExport.objects.get().reason == "membership"
    PendingExport.objects.all().delete()
    write("a", x=1)  # a member still
    assert not PendingExport.objects.exists()
    write("a", x=2)
    assert PendingExport.objects.get().dataflow_id == dataflow.pk


def test_what_rolls_the_batch_back_rolls_its_memberships_back(
    monkeypatch: pytest.MonkeyPatch, announced: Announced
) -> None:
    ruled("s", "x = 1")
    write("a", x=2)

    def fail(**_kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("profiles.ingest.profiles_changed.send", fail)
    with pytest.raises(RuntimeError):
        write("a", x=1)
    assert statuses("s") == {}
    assert Profile.objects.get().attributes == {"x": 2}


# --- Queries


@pytest.mark.parametrize("rules", [1, 10])
def test_the_number_of_queries_depends_on_neither_the_rules_nor_the_batch(rules: int) -> None:
    def queries(size: int, first: int, value: int) -> int:
        fragments = [Fragment([("Email", f"{n}")], {"x": value}) for n in range(first, first + size)]
        with CaptureQueriesContext(connection) as captured:
            ingest(fragments)
        return len(captured)

    queries(1, 10_000, 0)
    without = [queries(5, 0, 0), queries(5, 0, 1)]
    for number in range(rules):
        ruled(f"s{number}", f"x > {number} and mapNotEmpty(identityMap)")
        ruled(f"t{number}", f'inSegment("s{number}") and x < 100')
    ruled("given", "")
    queries(1, 20_000, 0)  # compiles them
    added = [queries(5, 100, 0) - without[0], queries(5, 0, 50) - without[1]]
    assert added == [queries(9, 200, 0) - without[0], queries(9, 200, 50) - without[1]]
    assert added[0] <= 1  # identities
    assert added[1] <= 4  # memberships, identities, the memberships that are written, and their count
    assert len(members("t0")) == 14


def test_nothing_is_asked_of_whom_no_rule_concerns() -> None:
    ruled("s", "x = 1")
    MembershipFactory.create(segment=SegmentFactory.create(id="s2"))
    write("a", y=1)
    with CaptureQueriesContext(connection) as captured:
        write("a", y=2)
    assert not any("profiles_segmentmembership" in query["sql"] for query in captured.captured_queries)


def test_a_batch_tells_each_transition_once(announced: Announced) -> None:
    ruled("s", "x = 1")
    ruled("t", 'inSegment("s")')
    ingest([Fragment([("Email", f"{n}")], {"x": n % 2}) for n in range(4)])
    told = [change.transitions for change in announced[-1]]
    came = (Transition("s", None, "realized"), Transition("t", None, "realized"))
    assert told == [(), came, (), came]
