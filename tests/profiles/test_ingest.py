"""Ingestion: what a batch of fragments does to the store, and what is announced."""

from __future__ import annotations

import math
import threading
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from profiles.fields import FEW
from profiles.ingest import MAX_DEPTH, Fragment, Outcome, Result, ingest
from profiles.merge import same
from profiles.models import Identity, Profile, SchemaField, Segment, SegmentMembership
from profiles.signals import ProfileChange, Transition, profiles_changed
from tests.factories import IdentityFactory, MembershipFactory, ProfileFactory, SegmentFactory
from tests.postgres import beside, wait_for_a_lock
from tests.profiles.segmentation.ruled import ruled

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def email(address: str, **attributes: Any) -> Fragment:
    return Fragment(identities=[("Email", address)], attributes=attributes)


def one(fragment: Fragment, **options: Any) -> Outcome:
    [outcome] = ingest([fragment], **options)
    return outcome


def attributes_of(outcome: Outcome) -> Any:
    return Profile.objects.get(pk=str(outcome.profile_id)).attributes


def reason(fragment: Fragment) -> str:
    outcome = one(fragment)
    assert outcome.result == Result.REJECTED
    return str(outcome.reason)


# --- Finding and making profiles


def test_an_unknown_identity_makes_a_profile() -> None:
    outcome = one(
        Fragment(
            identities=[("Email", "a@example.com"), ("ECID", "1" * 38)], attributes={"testProfile": True}
        )
    )
    assert outcome.result == Result.CREATED
    profile = Profile.objects.get(pk=str(outcome.profile_id))
    assert profile.attributes == {"testProfile": True}
    assert set(profile.identities.values_list("namespace__code", "value")) == {
        ("Email", "a@example.com"),
        ("ECID", "1" * 38),
    }


def test_a_known_identity_names_its_profile_and_new_ones_are_added() -> None:
    known = IdentityFactory.create(value="a@example.com")
    outcome = one(Fragment(identities=[("Email", "a@example.com"), ("CRMID", "C-1")]))
    assert (outcome.result, outcome.profile_id) == (Result.UPDATED, known.profile_id)
    assert known.profile.identities.count() == 2


def test_namespace_codes_are_found_in_any_case() -> None:
    known = IdentityFactory.create(value="a@example.com")
    assert one(Fragment(identities=[("email", "a@example.com")])).profile_id == known.profile_id


def test_identity_values_are_opaque_and_differ_by_their_case() -> None:
    IdentityFactory.create(value="a@example.com")
    assert one(email("A@example.com")).result == Result.CREATED


def test_a_profile_named_by_its_id_and_by_anothers_identity_is_rejected_and_nothing_is_written(
    announced: list[list[ProfileChange]],
) -> None:
    IdentityFactory.create(value="b@example.com")
    fragment = Fragment(
        profile_id=ProfileFactory.create().pk,
        identities=[("Email", "b@example.com"), ("CRMID", "C-1")],
        memberships={"new": ("realized", NOON)},
    )
    assert "different profiles" in reason(fragment)
    assert Identity.objects.count() == 1
    assert not Segment.objects.exists()
    assert announced == []


def test_fragments_of_one_profile_fold_in_their_order(announced: list[list[ProfileChange]]) -> None:
    outcomes = ingest(
        [
            email("a@example.com", person={"email": "1"}, loyalty={"points": 1}),
            Fragment(
                identities=[("Email", "a@example.com"), ("CRMID", "C-1")],
                attributes={"person": {"email": "2"}},
            ),
            Fragment(identities=[("CRMID", "C-1")], attributes={"loyalty": {"points": None}}),
        ]
    )
    assert [outcome.result for outcome in outcomes] == [Result.CREATED, Result.UPDATED, Result.UPDATED]
    assert len({outcome.profile_id for outcome in outcomes}) == 1
    assert attributes_of(outcomes[0]) == {"person": {"email": "2"}, "loyalty": {}}
    [[change]] = announced
    assert change.written_paths == {"person.email", "loyalty.points"}
    assert change.identities_changed


def test_a_profile_can_be_named_by_its_id() -> None:
    profile = ProfileFactory.create(attributes={})
    assert one(Fragment(profile_id=profile.pk, attributes={"testProfile": True})).profile_id == profile.pk
    assert "no such profile" in reason(Fragment(profile_id=uuid.uuid4()))


def test_an_identity_can_be_taken_away_and_given_to_another_in_one_batch(
    announced: list[list[ProfileChange]],
) -> None:
    mine = IdentityFactory.create(value="a@example.com").profile
    other = ProfileFactory.create()
    ingest(
        [
            Fragment(profile_id=mine.pk, identities_removed=[("Email", "a@example.com")]),
            Fragment(profile_id=other.pk, identities=[("Email", "a@example.com")]),
        ]
    )
    assert Identity.objects.get().profile_id == other.pk
    assert {change.profile_id for change in announced[0] if change.identities_changed} == {mine.pk, other.pk}


@pytest.mark.parametrize("rule", ["x > 0", 'identityMap.get("Email").count() > 0'])
def test_a_new_customer_may_lose_its_only_identity_at_once(rule: str) -> None:
    ruled("rule", rule)
    fragment = Fragment([("Email", "a")], {"x": 1}, identities_removed=[("Email", "a")])
    assert one(fragment).result == Result.CREATED
    assert not Identity.objects.exists()
    assert SegmentMembership.objects.exists() is (rule == "x > 0")


def test_only_ones_own_identity_can_be_removed(announced: list[list[ProfileChange]]) -> None:
    IdentityFactory.create(value="a@example.com")
    outcome = one(
        Fragment(profile_id=ProfileFactory.create().pk, identities_removed=[("Email", "a@example.com")])
    )
    assert outcome.result == Result.UNCHANGED
    assert Identity.objects.count() == 1
    assert announced == []


# --- What is announced


def test_a_value_that_is_written_again_is_announced_again(announced: list[list[ProfileChange]]) -> None:
    fragment = email("a@example.com", person={"name": {"firstName": "Ada"}}, loyalty={"loyaltyID": ["x"]})
    ingest([fragment])
    ingest([fragment])
    assert [batch[0].written_paths for batch in announced] == [
        {"person.name.firstName", "loyalty.loyaltyID"}
    ] * 2
    assert [batch[0].identities_changed for batch in announced] == [True, False]


def test_what_is_so_already_is_skipped_when_asked(announced: list[list[ProfileChange]]) -> None:
    fragment = Fragment(
        identities=[("Email", "a@example.com")],
        attributes={"person": {"name": {"firstName": "Ada"}}, "loyalty": {"points": 5}},
        memberships={"s": ("realized", NOON)},
    )
    ingest([fragment], skip_unchanged=True)
    before = Profile.objects.get()
    assert one(fragment, skip_unchanged=True).result == Result.UNCHANGED
    assert Profile.objects.get().updated_at == before.updated_at
    assert len(announced) == 1
    one(
        email("a@example.com", person={"name": {"firstName": "Ada"}}, loyalty={"points": 6}),
        skip_unchanged=True,
    )
    assert announced[1][0].written_paths == {"loyalty.points"}


def test_one_batch_is_announced_once_and_inside_its_transaction() -> None:
    inside: list[tuple[bool, int]] = []

    def listen(changes: list[ProfileChange], **kwargs: Any) -> None:
        inside.append((connection.in_atomic_block, len(changes)))

    profiles_changed.connect(listen)
    try:
        ingest([email(f"{n}@example.com") for n in range(3)])
    finally:
        profiles_changed.disconnect(listen)
    assert inside == [(True, 3)]


def test_a_receiver_that_fails_rolls_the_batch_back() -> None:
    def listen(changes: list[ProfileChange], **kwargs: Any) -> None:
        raise RuntimeError("no")

    profiles_changed.connect(listen)
    try:
        with pytest.raises(RuntimeError):
            ingest([email("a@example.com")])
    finally:
        profiles_changed.disconnect(listen)
    assert not Profile.objects.exists()


def test_nothing_is_announced_for_an_empty_batch(announced: list[list[ProfileChange]]) -> None:
    assert ingest([]) == []
    assert announced == []


# --- Memberships


def membership(status: str, moment: datetime | None = NOON, segment: str = "s") -> Fragment:
    return Fragment(identities=[("Email", "a@example.com")], memberships={segment: (status, moment)})


def test_who_joins_and_leaves_is_told(announced: list[list[ProfileChange]]) -> None:
    for hours, status in enumerate(["realized", "existing", "existing", "exited", "realized"]):
        ingest([membership(status, NOON + timedelta(hours=hours))])
    told = [change.transitions for [change] in announced]
    assert told == [
        (Transition("s", None, "realized"),),
        (),
        (),
        (Transition("s", "existing", "exited"),),
        (Transition("s", "exited", "realized"),),
    ]
    assert SegmentMembership.objects.get().last_qualification_time == NOON + timedelta(hours=4)


def test_old_news_about_a_membership_is_passed_over(announced: list[list[ProfileChange]]) -> None:
    ingest([membership("exited")])
    assert one(membership("realized", NOON - timedelta(seconds=1))).result == Result.UNCHANGED
    assert SegmentMembership.objects.get().status == "exited"
    assert len(announced) == 1


def test_within_a_batch_the_first_and_the_last_status_count(announced: list[list[ProfileChange]]) -> None:
    MembershipFactory.create(
        profile=IdentityFactory.create(value="a@example.com").profile,
        segment=SegmentFactory.create(id="s"),
        status="existing",
        last_qualification_time=NOON,
    )
    ingest([membership("exited", NOON + timedelta(1)), membership("existing", NOON + timedelta(2))])
    assert announced[0][0].transitions == ()


def test_without_a_time_a_status_is_of_now_and_the_same_status_changes_nothing() -> None:
    ingest([membership("realized", None)])
    first = SegmentMembership.objects.get().last_qualification_time
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)
    assert one(membership("realized", None)).result == Result.UNCHANGED
    assert one(membership("exited", None)).result == Result.UPDATED
    assert SegmentMembership.objects.get().last_qualification_time > first


def test_a_segment_that_is_not_known_is_made() -> None:
    ingest([membership("realized", segment="7841ba61-00d3g5fe1e93/엠")])
    segment = Segment.objects.get()
    assert (segment.id, segment.name, segment.origin) == (
        "7841ba61-00d3g5fe1e93/엠",
        "7841ba61-00d3g5fe1e93/엠",
        "import",
    )


# --- Bad input


@pytest.mark.parametrize(
    "fragment, words",
    [
        (Fragment(attributes={"a": 1}), "no identity"),
        (Fragment(identities=[("Fax", "1")]), "“Fax”"),
        (Fragment(identities=[("Email", " ")]), "no value"),
        (Fragment(identities=[("Email", "x" * 1025)]), "longer than"),
        (Fragment(identities=[("Email", "한" * 1000)]), "longer than"),
        (Fragment(identities=[("Email", "a\0b")]), "NUL"),
        (Fragment(identities=[("Email", "a\ud800b")]), "surrogate"),
        (email("a@example.com", x="\0"), "NUL"),
        (email("a@example.com", x={"\udfff": 1}), "surrogate"),
        (email("a@example.com", x=[{"y": math.nan}]), "NaN"),
        (email("a@example.com", x=-math.inf), "infinite"),
        (email("a@example.com", x=10**5000), "digits"),
        (email("a@example.com", x=object()), "not JSON"),
        (email("a@example.com", x="x" * 1024 * 1024), "bytes"),
        (email("a@example.com", **{"a.b": 1}), "“a.b”"),
        (email("a@example.com", x={"": 1}), "“”"),
        (email("a@example.com", identityMap={}), "identityMap"),
        (email("a@example.com", segmentMembership={}), "segmentMembership"),
        (Fragment(identities=[("Email", "a")], attributes=["x"]), "not a JSON object"),  # type: ignore[arg-type]
        (Fragment(identities=[("Email", "a")], memberships={"s": ("member", NOON)}), "none of"),
        (Fragment(identities=[("Email", "a")], memberships={"": ("realized", NOON)}), "no segment id"),
        (Fragment(identities=[("Email", "a")], memberships={"a\nb": ("realized", NOON)}), "control"),
        (Fragment(identities=[("Email", "a")], memberships={"x" * 256: ("realized", NOON)}), "longer than"),
        (
            Fragment(identities=[("Email", "a")], memberships={"s": ("realized", NOON.replace(tzinfo=None))}),
            "offset",
        ),
        (
            Fragment(identities=[("Email", "a")], memberships={"s": ("realized", NOON.replace(year=1))}),
            "offset",
        ),
    ],
)
def test_bad_fragments_are_rejected_with_a_reason_and_the_rest_goes_in(
    fragment: Fragment, words: str
) -> None:
    outcomes = ingest([email("before@example.com"), fragment, email("after@example.com")])
    assert [outcome.result for outcome in outcomes] == [Result.CREATED, Result.REJECTED, Result.CREATED]
    assert words in str(outcomes[1].reason)
    assert Profile.objects.count() == 2


def nested(levels: int) -> Any:
    value: Any = {}
    for _level in range(levels - 1):
        value = {"x": value}
    return value


def test_nesting_has_a_limit() -> None:
    assert attributes_of(one(email("a@example.com", **nested(MAX_DEPTH)))) == nested(MAX_DEPTH)
    assert "nested deeper" in reason(email("b@example.com", **nested(MAX_DEPTH + 1)))
    assert "nested deeper" in reason(email("b@example.com", **nested(100_000 // 2)))


def test_keys_with_dots_are_fine_inside_maps_and_arrays() -> None:
    SchemaField.objects.create(path="_ours.visits", title="Visits", type=SchemaField.Type.MAP)
    attributes = {"_ours": {"visits": {"example.com": 3}}, "organizations": [{"a.b": 1}]}
    assert attributes_of(one(email("a@example.com", **attributes))) == attributes


@pytest.mark.parametrize(
    "value",
    [
        10**60,
        -(2**63) - 1,
        1e308,
        5e-324,
        -0.0,
        0.1,
        "𝄞 \u202e \x01\x1f \ufffe \U0001f469\u200d\U0001f469",
        "\\u0000",
        [],
        {},
        [None],
    ],
)
def test_odd_values_come_back_as_they_were(value: Any) -> None:
    # PostgreSQL gives large floats back as integers: the same numbers.
    assert same(attributes_of(one(email("a@example.com", x=value))), {"x": value})
    assert one(email("a@example.com", x=value), skip_unchanged=True).result == Result.UNCHANGED


# --- Queries and races


def batch(size: int, first: int = 0) -> list[Fragment]:
    return [
        Fragment(
            identities=[("Email", f"{n}@example.com"), ("CRMID", f"C-{n}")],
            attributes={"loyalty": {"points": n}},
            memberships={"a": ("realized", NOON), "b": ("exited", NOON)},
        )
        for n in range(first, first + size)
    ]


def test_the_number_of_queries_does_not_depend_on_the_batch() -> None:
    def queries(fragments: list[Fragment]) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            ingest(fragments)
        return len(captured)

    ingest(batch(1, first=10_000))  # the segments
    assert queries(batch(2)) == queries(batch(40, first=100)) <= 15
    assert queries(batch(2)) == queries(batch(40, first=100)) <= 15


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_transactions_that_make_the_same_identity_end_with_one_profile() -> None:
    results: list[Outcome] = []
    errors: list[BaseException] = []

    def write(points: int) -> None:
        try:
            results.extend(ingest([email("same@example.com", loyalty={f"from{points}": points})]))
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    with transaction.atomic():
        ingest([email("same@example.com", loyalty={"from0": 0})])
        other = threading.Thread(target=write, args=(1,))
        other.start()
        wait_for_a_lock()
    other.join(timeout=20)
    assert not errors
    assert results[0].result == Result.UPDATED
    assert Profile.objects.get().attributes == {"loyalty": {"from0": 0, "from1": 1}}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_many_writers_of_the_same_profiles_lose_nothing() -> None:
    errors: list[BaseException] = []
    writers, profiles, rounds = 4, 20, 5

    def write(writer: int) -> None:
        try:
            for turn in range(rounds):
                order = range(profiles) if (writer + turn) % 2 else reversed(range(profiles))
                ingest(
                    [
                        Fragment(
                            identities=[("Email", f"{n}@example.com"), ("CRMID", f"{writer}-{turn}-{n}")],
                            attributes={"_ours": {f"w{writer}": turn}},
                            memberships={f"s{turn}": ("realized", NOON)},
                        )
                        for n in order
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
        thread.join(timeout=60)
    assert not errors
    assert Profile.objects.count() == profiles
    for profile in Profile.objects.all():
        assert profile.attributes == {"_ours": {f"w{writer}": rounds - 1 for writer in range(writers)}}
    assert Identity.objects.count() == profiles * (1 + writers * rounds)
    assert SegmentMembership.objects.count() == profiles * rounds


def test_many_identities_of_any_text_are_found_again() -> None:
    texts = [f"{number} '\"\\,{{}} 민준 %s" for number in range(2 * FEW)]
    fragments = [Fragment([("CRMID", text)], {"x": 1}) for text in texts]
    assert {outcome.result for outcome in ingest(fragments)} == {Result.CREATED}
    again = ingest(fragments, skip_unchanged=True)
    assert {outcome.result for outcome in again} == {Result.UNCHANGED}
    assert len({outcome.profile_id for outcome in again}) == len(texts)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("given", [True, False])
def test_an_identity_that_goes_meanwhile_names_its_profile_no_more(given: bool) -> None:
    """Whoever waited for the profile that it named does not write there what is said of another customer."""
    shared = ("Email", "shared@example.com")
    first = one(Fragment([("CRMID", "1"), shared], {"x": 1})).profile_id
    second = one(Fragment([("CRMID", "2")], {"x": 2})).profile_id
    with transaction.atomic():
        ingest([Fragment(profile_id=first, identities_removed=[shared])])
        if given:
            ingest([Fragment(profile_id=second, identities=[shared])])
        beside(partial(_write, Fragment([shared], {"x": 3})))
    owner = Identity.objects.get(value=shared[1]).profile
    assert owner.attributes == {"x": 3} and owner.pk != first and (owner.pk == second) is given
    assert Profile.objects.get(identities__value="1").attributes == {"x": 1}


def _write(fragment: Fragment) -> None:
    ingest([fragment])


def _ids() -> set[bytes]:
    """Of 5,000 ids what is left to chance."""
    return {uuid7().bytes[10:] for _ in range(5_000)}


def test_processes_that_are_forked_give_customers_different_ids() -> None:
    """An import forks processes, which make customers. One with the id of another would be written over it."""
    uuid7()
    forking = get_context("fork")
    with forking.Pool(1) as one_process, forking.Pool(1) as other_process:
        assert one_process.apply(_ids).isdisjoint(other_process.apply(_ids))
