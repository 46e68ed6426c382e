"""How many members segments have and had, and when each profile came and left."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from profiles import selectors
from profiles.ingest import Fragment, ingest
from profiles.models import MemberCount, SegmentMembership
from profiles.segmentation import counts, memberships, store
from profiles.segmentation.counts import Change
from profiles.signals import profiles_changed
from tests.elsewhere import Elsewhere
from tests.factories import MembershipFactory, SegmentFactory
from tests.profiles.segmentation.ruled import ruled

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def write(name: str, x: int | None, *also: str) -> None:
    ingest([Fragment([("Email", each) for each in (name, *also)], {} if x is None else {"x": x})])


def told(name: str, status: str, moment: datetime) -> None:
    ingest([Fragment([("Email", name)], memberships={"s": (status, moment)})])


def today(segment_id: str = "s") -> tuple[int, int, int]:
    """Who qualified today, who exited, and how many members there are."""
    day = counts.days_of([segment_id])[segment_id][-1]
    return day.realized, day.exited, day.members


def history(name: str) -> list[tuple[str, datetime]]:
    [membership] = SegmentMembership.objects.filter(profile__identities__value=name)
    return [("in" if came else "out", moment) for came, moment in membership.history]


# --- The numbers


def test_who_comes_and_leaves_is_counted() -> None:
    ruled("s", "x > 1")
    write("a", 2)
    write("b", 1)
    assert today() == (1, 0, 1)
    write("a", 3)  # realized → existing
    assert today() == (1, 0, 1)
    write("a", 0)
    write("b", 5)
    assert today() == (2, 1, 1)


def test_what_is_rolled_back_is_not_counted() -> None:
    def refuse(**_kwargs: Any) -> None:
        raise RuntimeError

    ruled("s", "x > 1")
    profiles_changed.connect(refuse)
    with pytest.raises(RuntimeError):
        write("a", 2)
    profiles_changed.disconnect(refuse)
    assert today() == (0, 0, 0)


def test_an_evaluation_of_the_store_is_counted() -> None:
    for number in range(5):
        write(str(number), number)
    segment = ruled("s", "x > 1")
    store.request([segment.pk])
    store.evaluate(segment.pk)
    assert today() == (3, 0, 3)


def test_two_members_who_are_one_customer_are_one_member_and_nobody_left() -> None:
    ruled("s", "x > 1")
    write("a", 2)
    write("b", 2)
    write("a", None, "b")
    assert today() == (2, 0, 1)


def test_a_member_who_becomes_part_of_another_profile_does_not_qualify_again() -> None:
    told("a", "exited", NOON)
    told("b", "realized", NOON + timedelta(hours=1))
    write("a", None, "b")
    assert today() == (1, 0, 1)
    assert history("a") == [("in", NOON + timedelta(hours=1))]


def test_profiles_deleted_in_the_admin_are_no_members() -> None:
    for number in range(3):
        told(str(number), "realized" if number else "exited", NOON)
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    profiles = [row.profile_id for row in SegmentMembership.objects.order_by("pk")[:2]]
    browser.post(
        reverse("admin:profiles_profile_changelist"),
        {"action": "delete_selected", "_selected_action": [str(key) for key in profiles], "post": "yes"},
    )
    assert SegmentMembership.objects.count() == 1
    assert today() == (2, 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_count_is_that_of_the_memberships_whatever_happens(seed: int) -> None:
    dice = random.Random(seed)
    ruled("s", "x > 5")
    ruled("t", 'inSegment("s") and x < 9')
    for _turn in range(12):
        ingest(
            [
                Fragment(
                    [("Email", str(number)) for number in dice.sample(range(30), dice.choice([1, 1, 1, 2]))],
                    {"x": dice.randrange(10)},
                    {"told": (dice.choice(["realized", "existing", "exited"]), None)}
                    if dice.random() < 0.3
                    else {},
                )
                for _number in range(8)
            ]
        )
        if dice.random() < 0.3:
            counts.fold()
    for segment_id in ("s", "t", "told"):
        stored = SegmentMembership.objects.filter(segment=segment_id).exclude(status="exited").count()
        realized, exited, members = today(segment_id)
        assert members == stored
        assert realized >= members and exited <= realized
    for membership in SegmentMembership.objects.all():
        moments = [moment for _came, moment in reversed(membership.history)]
        assert moments == sorted(moments)
        assert moments or membership.status == "exited"  # it came in with that


# --- By the day


def test_each_day_tells_how_many_there_were_at_its_end() -> None:
    segment = SegmentFactory.create(id="s")
    now = datetime.now(UTC).date()
    for ago, realized, exited in ((40, 10, 0), (3, 5, 1), (3, 0, 2), (1, 0, 4), (0, 1, 0)):
        MemberCount.objects.create(
            segment=segment,
            day=now - timedelta(days=ago),
            realized=realized,
            exited=exited,
            members=realized - exited,
        )

    def week() -> list[tuple[int, int, int]]:
        return [(day.realized, day.exited, day.members) for day in counts.days_of(["s"], 5)["s"]]

    expected = [(0, 0, 10), (5, 3, 12), (0, 0, 12), (0, 4, 8), (1, 0, 9)]
    assert week() == expected
    counts.fold()
    assert week() == expected
    assert MemberCount.objects.count() == 4
    assert len(counts.days_of(["s"])["s"]) == counts.DAYS
    assert sum(day.realized for day in counts.days_of(["s"])["s"]) == 6  # not those of forty days ago


def test_the_rows_of_a_day_become_one() -> None:
    for segment_id in ("s", "t"):
        SegmentFactory.create(id=segment_id)
        for _row in range(30):
            counts.add_counts({segment_id: Change(2, 1, 1)})
    counts.add_counts({"t": Change(0, 30, -30)})
    counts.fold()
    assert MemberCount.objects.count() == 2
    assert (today("s"), today("t")) == ((60, 30, 30), (60, 60, 0))


def test_folding_goes_on_until_all_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "FOLDED_AT_ONCE", 4)
    SegmentFactory.create(id="s")
    for _row in range(30):
        counts.add_counts({"s": Change(1, 0, 1)})
    counts.fold()
    assert MemberCount.objects.count() == 1
    assert today() == (30, 0, 30)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_the_count_of_another() -> None:
    SegmentFactory.create(id="s")

    def count() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        counts.add_counts({"s": Change(1, 0, 1)})
        counts.fold()

    with transaction.atomic():
        counts.add_counts({"s": Change(1, 0, 1)})
        Elsewhere(count).join()
    assert today() == (2, 0, 2)


def test_counts_of_many_segments_are_read_with_one_query(django_assert_num_queries: Any) -> None:
    rows = [MembershipFactory.create() for _number in range(5)]
    keys = [row.segment_id for row in rows]
    with django_assert_num_queries(1):
        assert [days[-1].members for days in counts.days_of(keys).values()] == [1] * 5
    with django_assert_num_queries(1):
        assert selectors.member_counts(keys) == dict.fromkeys(keys, 1)


# --- When a profile came and left


def test_a_membership_knows_when_the_profile_came_and_left() -> None:
    moments = [NOON + timedelta(hours=hour) for hour in range(4)]
    for status, moment in zip(("realized", "existing", "exited", "realized"), moments, strict=True):
        told("a", status, moment)
    assert history("a") == [("in", moments[3]), ("out", moments[2]), ("in", moments[0])]


def test_rules_note_it_too() -> None:
    ruled("s", "x > 1")
    for x in (2, 3, 0, 5):
        write("a", x)
    assert [step for step, _moment in history("a")] == ["in", "out", "in"]


def test_of_a_profile_that_goes_in_and_out_the_newest_changes_are_kept() -> None:
    for hour in range(memberships.MOMENTS_KEPT + 5):
        told("a", "exited" if hour % 2 else "realized", NOON + timedelta(hours=hour))
    found = history("a")
    assert len(found) == memberships.MOMENTS_KEPT
    assert found[0] == ("in", NOON + timedelta(hours=memberships.MOMENTS_KEPT + 4))


def test_of_what_was_before_histories_were_kept_nothing_is_told() -> None:
    membership = MembershipFactory.create(segment=SegmentFactory.create(id="s"), status="existing")
    assert membership.history == []
    name = "old@example.com"
    ingest([Fragment([("Email", name)], profile_id=membership.profile_id)])
    ingest([Fragment([("Email", name)], memberships={"s": ("exited", None)})])
    assert [step for step, _moment in history(name)] == ["out"]
