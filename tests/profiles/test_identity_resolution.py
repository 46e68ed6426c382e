"""Identities seen together are one customer's: what links, what merges, and what is too much."""

from __future__ import annotations

import random
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext, override_settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from profiles import selectors, services, xdm
from profiles.ingest import MAX_IN_NAMESPACE, Fragment, Outcome, Result, ingest
from profiles.models import Identity, MergedProfile, Profile, SegmentMembership
from profiles.signals import ProfileChange, Transition
from tests.factories import IdentityFactory, MembershipFactory, ProfileFactory, SegmentFactory
from tests.postgres import wait_for_a_lock

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Announced = list[list[ProfileChange]]


def seen(*identities: str, **attributes: Any) -> Fragment:
    """A fragment with identities as ``Email:a``; without a namespace they are e-mail addresses."""
    named = [name.split(":") if ":" in name else ["Email", name] for name in identities]
    return Fragment(identities=[(code, value) for code, value in named], attributes=attributes)


def one(fragment: Fragment, **options: Any) -> Outcome:
    [outcome] = ingest([fragment], **options)
    return outcome


def profile(outcome: Outcome) -> Profile:
    return Profile.objects.get(pk=str(outcome.profile_id))


def identities() -> dict[str, uuid.UUID]:
    return dict(Identity.objects.values_list("value", "profile_id"))


# --- Two profiles that prove to be one


def test_what_links_two_profiles_merges_them_into_the_older(announced: Announced) -> None:
    first, second = one(seen("a", "CRMID:1")), one(seen("b", "CRMID:2"))
    outcome = one(seen("b", "a"))
    assert (outcome.result, outcome.profile_id) == (Result.UPDATED, first.profile_id)
    assert set(identities().values()) == {first.profile_id}
    assert len(identities()) == 4
    assert Profile.objects.count() == 1
    [change] = announced[-1]
    assert (change.profile_id, change.merged) == (first.profile_id, (second.profile_id,))
    assert change.identities_changed


def test_of_each_attribute_what_was_written_last_stays() -> None:
    first = one(seen("a", person={"name": {"firstName": "Old", "lastName": "Kim"}}, loyalty={"points": 1}))
    one(seen("b", person={"name": {"firstName": "New"}}, homeAddress={"city": "서울"}))
    one(seen("a", loyalty={"points": 2}))
    one(seen("b", "a"))
    assert profile(first).attributes == {
        "person": {"name": {"firstName": "New", "lastName": "Kim"}},
        "loyalty": {"points": 2},
        "homeAddress": {"city": "서울"},
    }


def test_what_was_removed_later_than_the_other_wrote_it_stays_removed() -> None:
    one(seen("a", person={"email": "a@example.com"}, mobilePhone={"number": "1"}))
    one(seen("b", person={"email": "b@example.com"}))
    one(seen("b", person={"email": None}))
    one(seen("a", mobilePhone=None))
    one(seen("b", mobilePhone={"status": "active"}))
    outcome = one(seen("a", "b"))
    assert profile(outcome).attributes == {"person": {}, "mobilePhone": {"status": "active"}}


def test_what_the_linking_fragment_says_is_newest(announced: Announced) -> None:
    one(seen("a", person={"email": "a"}))
    one(seen("b", person={"email": "b"}))
    outcome = one(seen("a", "b", person={"email": "c"}))
    assert profile(outcome).attributes == {"person": {"email": "c"}}
    assert announced[-1][0].written_paths == {"person.email"}


def test_what_came_from_the_other_profile_is_told_as_written(announced: Announced) -> None:
    one(seen("a", person={"email": "a"}, loyalty={"points": 1}))
    one(seen("b", person={"email": "b"}, loyalty={"points": 1}, testProfile=True))
    one(seen("a", "b"))
    assert announced[-1][0].written_paths == {"person.email", "testProfile"}


def test_the_latest_qualification_of_either_stays(announced: Announced) -> None:
    stays = IdentityFactory.create(value="a").profile
    goes = IdentityFactory.create(value="b").profile
    segments = [SegmentFactory.create(id=f"s{n}") for n in range(4)]
    for owner, segment, status, days in (
        (stays, 0, "realized", 1), (goes, 0, "exited", 2),
        (stays, 1, "exited", 2), (goes, 1, "realized", 1),
        (goes, 2, "existing", 1),
        (stays, 3, "realized", 1),
    ):  # fmt: skip
        MembershipFactory.create(
            profile=owner, segment=segments[segment], status=status,
            last_qualification_time=NOON + timedelta(days=days),
        )  # fmt: skip
    one(seen("a", "b"))
    rows = SegmentMembership.objects.values_list(
        "segment_id", "profile_id", "status", "last_qualification_time"
    )
    assert sorted(rows) == [
        ("s0", stays.pk, "exited", NOON + timedelta(days=2)),
        ("s1", stays.pk, "exited", NOON + timedelta(days=2)),
        ("s2", stays.pk, "existing", NOON + timedelta(days=1)),
        ("s3", stays.pk, "realized", NOON + timedelta(days=1)),
    ]
    assert set(announced[-1][0].transitions) == {
        Transition("s0", "realized", "exited"),
        Transition("s2", None, "existing"),
    }


def test_the_linking_fragment_may_bring_memberships_too() -> None:
    one(Fragment(identities=[("Email", "a")], memberships={"s": ("realized", NOON)}))
    one(Fragment(identities=[("Email", "b")], memberships={"s": ("exited", NOON + timedelta(1))}))
    one(
        Fragment(
            identities=[("Email", "a"), ("Email", "b")],
            memberships={"s": ("existing", NOON + timedelta(2))},
        )
    )
    assert SegmentMembership.objects.get().status == "existing"


def test_many_profiles_become_one_at_once() -> None:
    made = [one(seen(name, **{f"_{name}": True})) for name in "abcdef"]
    outcome = one(seen(*"fedcba"))
    assert outcome.profile_id == made[0].profile_id
    assert profile(outcome).attributes == {f"_{name}": True for name in "abcdef"}
    assert MergedProfile.objects.count() == 5


# --- Within a batch


def test_a_chain_in_one_batch_ends_in_one_profile(announced: Announced) -> None:
    outcomes = ingest(
        [seen("a", _ours={"n": 1}), seen("b", _ours={"n": 2}), seen("c"), seen("c", "b"), seen("b", "a")]
    )
    assert len({outcome.profile_id for outcome in outcomes}) == 1
    assert profile(outcomes[0]).attributes == {"_ours": {"n": 2}}
    # The ids of the others were never anywhere.
    assert not MergedProfile.objects.exists()
    assert sum(outcome.result == Result.CREATED for outcome in outcomes) == 1
    [[change]] = announced
    assert change.merged == ()


def test_what_a_batch_wrote_keeps_its_order_through_a_merge() -> None:
    one(seen("a"))
    one(seen("b"))
    outcomes = ingest([seen("b", x=1), seen("a", x=2), seen("a", y=1), seen("b", y=2), seen("a", "b")])
    assert profile(outcomes[0]).attributes == {"x": 2, "y": 2}


def test_a_stored_profile_stays_before_one_that_the_batch_made() -> None:
    stored = one(seen("z"))
    outcomes = ingest([seen("new"), seen("new", "z")])
    assert {outcome.profile_id for outcome in outcomes} == {stored.profile_id}


def test_the_primary_identity_comes_first() -> None:
    fragment = xdm.fragment(
        {"identityMap": {"Email": [{"id": "a"}], "CRMID": [{"id": "1"}, {"id": "2", "primary": True}]}}
    )
    assert list(fragment.identities) == [("CRMID", "2"), ("Email", "a"), ("CRMID", "1")]


def test_identities_that_were_removed_do_not_link() -> None:
    mine, other = one(seen("a", "shared")), one(seen("b"))
    outcomes = ingest(
        [
            Fragment(profile_id=mine.profile_id, identities_removed=[("Email", "shared")]),
            seen("b", "shared"),
        ]
    )
    assert outcomes[1].profile_id == other.profile_id
    assert identities() == {"a": mine.profile_id, "b": other.profile_id, "shared": other.profile_id}


# --- The id of a merged profile


def merged() -> tuple[Outcome, Outcome]:
    """A profile that stayed and one that went."""
    stays, goes = one(seen("a")), one(seen("b"))
    one(seen("a", "b"))
    return stays, goes


def test_a_merged_id_leads_to_the_profile_that_stayed() -> None:
    stays, goes = merged()
    outcome = one(Fragment(profile_id=goes.profile_id, attributes={"testProfile": True}))
    assert outcome.profile_id == stays.profile_id
    assert profile(stays).attributes == {"testProfile": True}


def test_it_still_leads_there_after_another_merge() -> None:
    b, c = one(seen("b")), one(seen("c"))
    one(seen("b", "c"))
    a = Profile.objects.create(id=uuid.UUID(int=1))  # older than all
    Identity.objects.create(profile=a, namespace=Identity.objects.all()[0].namespace, value="a")
    one(seen("c", "a"))
    assert set(MergedProfile.objects.values_list("pk", "survivor_id")) == {
        (b.profile_id, a.pk),
        (c.profile_id, a.pk),
    }
    for gone in (b, c):
        found = selectors.find_profile(gone.profile_id or uuid.uuid4())
        assert found == a


def test_a_merged_id_finds_the_profile_that_stayed() -> None:
    stays, goes = merged()
    assert [found.pk for found in selectors.profiles_named(str(goes.profile_id))] == [stays.profile_id]


def test_the_id_goes_when_the_profile_that_stayed_is_deleted() -> None:
    stays, goes = merged()
    profile(stays).delete()
    outcome = one(Fragment(profile_id=goes.profile_id))
    assert outcome.result == Result.REJECTED


def test_a_profile_named_by_its_id_is_not_merged_with_another() -> None:
    stays = one(seen("a"))
    one(seen("b"))
    outcome = one(Fragment(profile_id=stays.profile_id, identities=[("Email", "b")]))
    assert outcome.result == Result.REJECTED
    assert "different profiles" in str(outcome.reason)
    assert Profile.objects.count() == 2


# --- When was it written


def test_each_path_is_dated_when_it_is_written() -> None:
    outcome = one(seen("a", person={"name": {"firstName": "Ada"}}, loyalty={"loyaltyID": ["x"]}))
    first = selectors.last_written(profile(outcome))
    assert first.keys() == {"person.name.firstName", "loyalty.loyaltyID"}
    assert abs(datetime.now(UTC) - first["loyalty.loyaltyID"]) < timedelta(minutes=1)
    one(seen("a", person={"name": {"firstName": "Ada"}}))
    again = selectors.last_written(profile(outcome))
    assert again["loyalty.loyaltyID"] == first["loyalty.loyaltyID"]
    assert again["person.name.firstName"] > first["person.name.firstName"]
    one(seen("a", person={"name": {"firstName": "Ada"}}), skip_unchanged=True)
    assert selectors.last_written(profile(outcome)) == again


# --- Too much


def test_a_shared_device_does_not_swallow_a_city(announced: Announced) -> None:
    made = [one(seen("ECID:kiosk", f"{n}@example.com")) for n in range(MAX_IN_NAMESPACE)]
    assert {outcome.profile_id for outcome in made} == {made[0].profile_id}
    assert not any(outcome.reason for outcome in made)
    next_one = one(seen("next@example.com", "ECID:kiosk", person={"email": "next"}))
    assert next_one.result == Result.CREATED
    assert "not linked" in str(next_one.reason) and "“Email”" in str(next_one.reason)
    assert next_one.profile_id != made[0].profile_id
    assert profile(next_one).attributes == {"person": {"email": "next"}}
    assert identities()["kiosk"] == made[0].profile_id


def test_what_is_not_linked_goes_to_the_profile_of_the_first_identity() -> None:
    kiosk = one(seen("ECID:kiosk", *(f"{n}@example.com" for n in range(MAX_IN_NAMESPACE))))
    outcome = one(seen("ECID:kiosk", "next@example.com", testProfile=True))
    assert (outcome.result, outcome.profile_id) == (Result.UPDATED, kiosk.profile_id)
    assert "next@example.com" not in identities()
    assert profile(kiosk).attributes == {"testProfile": True}


def test_profiles_that_would_be_too_much_together_stay_apart() -> None:
    half = MAX_IN_NAMESPACE // 2 + 1
    first = one(seen("CRMID:1", *(f"a{n}" for n in range(half))))
    second = one(seen("CRMID:2", *(f"b{n}" for n in range(half))))
    outcome = one(seen("CRMID:2", "CRMID:1", testProfile=True))
    assert outcome.profile_id == second.profile_id
    assert outcome.reason
    assert Profile.objects.count() == 2
    assert profile(first).attributes == {}


def test_the_size_of_a_graph_is_a_setting(settings: Any) -> None:
    settings.IDENTITY_GRAPH_LIMIT = 3
    assert not one(seen("a", "CRMID:1", "ECID:1")).reason
    outcome = one(seen("a", "Phone:1"))
    assert "more than 3" in str(outcome.reason)
    assert Identity.objects.count() == 3


def test_a_graph_that_is_too_large_already_goes_on_but_does_not_grow(settings: Any) -> None:
    known = one(seen("a", "CRMID:1", "ECID:1"))
    settings.IDENTITY_GRAPH_LIMIT = 2
    outcome = one(seen("a", "CRMID:1", "ECID:1", testProfile=True))
    assert outcome.profile_id == known.profile_id and not outcome.reason
    assert one(seen("a", "b")).reason


def test_within_one_batch_the_limit_is_the_same(settings: Any) -> None:
    settings.IDENTITY_GRAPH_LIMIT = 3
    one(seen("a"))
    outcomes = ingest([seen("a", "b"), seen("c", "d"), seen("b", "c"), seen("b", "e"), seen("e", "c")])
    assert [bool(outcome.reason) for outcome in outcomes] == [False, False, True, False, True]
    assert identities()["e"] == identities()["a"] != identities()["c"]


def test_a_person_is_told_that_it_is_one_identity_too_many(settings: Any) -> None:
    settings.IDENTITY_GRAPH_LIMIT = 2
    known = one(seen("a", "b"))
    with pytest.raises(ValidationError, match="not linked"):
        services.add_identity(known.profile_id or uuid.uuid4(), namespace="Email", value="c")


# --- In any order


def parts(fragments: Iterable[Sequence[int]]) -> set[frozenset[int]]:
    """Which numbers hang together: the union of whatever was seen together, the plain way."""
    found: list[set[int]] = []
    for fragment in fragments:
        touching = [part for part in found if part & set(fragment)]
        found = [part for part in found if part not in touching]
        found.append(set(fragment).union(*touching))
    return {frozenset(part) for part in found}


def stored_parts() -> set[frozenset[int]]:
    by_profile: dict[uuid.UUID, set[int]] = defaultdict(set)
    for value, profile_id in identities().items():
        by_profile[profile_id].add(int(value))
    return {frozenset(part) for part in by_profile.values()}


@given(
    fragments=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=10),
    order=st.randoms(use_true_random=False),
    cuts=st.sets(st.integers(1, 9)),
)
@hypothesis_settings(max_examples=60)
def test_any_order_and_any_batches_end_in_the_same_parts(
    fragments: list[list[int]], order: random.Random, cuts: set[int]
) -> None:
    order.shuffle(fragments)
    with transaction.atomic():
        for at in range(len(fragments)):
            if at == 0 or at in cuts:
                end = min((cut for cut in cuts if cut > at), default=len(fragments))
                ingest([seen(*map(str, numbers)) for numbers in fragments[at:end]])
        assert stored_parts() == parts(fragments)
        assert Profile.objects.count() == len(parts(fragments))
        transaction.set_rollback(True)


@given(fragments=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=12))
@hypothesis_settings(max_examples=40)
def test_no_graph_outgrows_the_limit_whatever_comes(fragments: list[list[int]]) -> None:
    with override_settings(IDENTITY_GRAPH_LIMIT=3), transaction.atomic():
        outcomes = ingest([seen(*map(str, numbers)) for numbers in fragments])
        assert all(outcome.result != Result.REJECTED for outcome in outcomes)
        assert all(len(part) <= 3 for part in stored_parts())
        # The first identity of each is known: what it said is said of somebody.
        assert {numbers[0] for numbers in fragments} <= {int(value) for value in identities()}
        transaction.set_rollback(True)


# --- Queries and races


def test_the_number_of_queries_does_not_depend_on_what_is_merged() -> None:
    def queries(pairs: int, first: int) -> int:
        names = range(first, first + pairs)
        for side in "ab":
            ingest(
                [
                    Fragment(
                        identities=[("Email", f"{side}{n}")],
                        attributes={"_ours": {side: n}},
                        memberships={side: ("realized", NOON), "both": ("existing", NOON)},
                    )
                    for n in names
                ]
            )
        with CaptureQueriesContext(connection) as captured:
            ingest([seen(f"a{n}", f"b{n}") for n in names])
        assert MergedProfile.objects.count() >= pairs
        return len(captured)

    assert queries(1, first=1000) == queries(40, first=0) <= 27


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_writers_that_merge_the_same_customers_lose_nothing() -> None:
    """Four writers link a hundred identities into ten customers, each in an order of its own."""
    writers, numbers, customers = 4, 100, 10
    errors: list[BaseException] = []
    begin = threading.Barrier(writers)

    def write(writer: int) -> None:
        dice = random.Random(writer)
        # Each number with the next of its customer: a chain that ends in one profile.
        pairs = [(n, n + customers) for n in range(numbers - customers)]
        dice.shuffle(pairs)
        begin.wait(timeout=20)
        try:
            for start in range(0, len(pairs), 15):
                ingest(
                    [
                        seen(str(a), str(b), _ours={f"w{writer}": {f"n{a}": a}})
                        for a, b in pairs[start : start + 15]
                    ]
                )
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []
    assert stored_parts() == {frozenset(range(n, numbers, customers)) for n in range(customers)}
    assert Profile.objects.count() == customers
    for customer in range(customers):
        found = Profile.objects.get(identities__value=str(customer))
        mine = {f"n{n}": n for n in range(customer, numbers - customers, customers)}
        assert found.attributes == {"_ours": {f"w{writer}": mine for writer in range(writers)}}
    assert set(MergedProfile.objects.values_list("survivor_id", flat=True)) <= set(identities().values())


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_write_that_waits_for_a_merge_goes_to_the_profile_that_stayed() -> None:
    stays, goes = one(seen("a")), one(seen("b"))
    outcomes: list[Outcome] = []

    def write() -> None:
        try:
            outcomes.extend(
                ingest([seen("b", x=1), Fragment(profile_id=goes.profile_id, attributes={"y": 1})])
            )
        finally:
            connections.close_all()

    with transaction.atomic():
        one(seen("a", "b"))
        other = threading.Thread(target=write)
        other.start()
        wait_for_a_lock()
    other.join(timeout=20)
    assert {outcome.profile_id for outcome in outcomes} == {stays.profile_id}
    assert profile(stays).attributes == {"x": 1, "y": 1}


def test_the_factory_makes_profiles_without_moments() -> None:
    # Data from before paths were dated: as old as its profile.
    old = IdentityFactory.create(value="a", profile=ProfileFactory.create(attributes={"x": "old"})).profile
    new = one(seen("b", x="new"))
    outcome = one(seen("a", "b"))
    assert outcome.profile_id == min(old.pk, new.profile_id or old.pk)
    assert profile(outcome).attributes["x"] == "new"
