"""Who does not consent: left out, or told of once more and never again. To a local Kinesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activation.backlog import Dropped
from activation.export import delivery, farewell, lanes, outbox
from activation.export.claims import Claim, Claims
from activation.export.records import Row
from activation.models import Dataflow, Delivery, FailedExport, Farewell, Lane, PendingExport
from activation.services import cancel_backfill, purge, replay, replay_failures, set_lanes
from audit.models import Entry
from destinations.connectors.base import Record
from destinations.connectors.kinesis.local.faults import Fault, Kind
from destinations.models import Destination
from destinations.services import Setup, edit_destination
from governance import services as governance
from governance.models import ConsentPolicy
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.elsewhere import Elsewhere
from tests.factories import IdentityFactory, MembershipFactory, ProfileFactory, SegmentFactory
from tests.governance.governed import (
    SHARE,
    THIRD_PARTY,
    action,
    edit_consent_policy,
    make_consent_policy,
)
from tests.local_kinesis import RunningKinesis
from tests.postgres import wait_for_a_lock

from .exporting import (
    FIRST_NAME,
    before_sending,
    come_due,
    counts,
    dataflow_to,
    deliver,
    hold_is_over,
    members_of,
    pass_time,
    queue,
    waiting,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("told")]

EMAIL = "consents.marketing.email.val"
LAST_YEAR = datetime(2025, 11, 20, tzinfo=UTC)


@pytest.fixture
def segment() -> Segment:
    return SegmentFactory.create(id="members")


@pytest.fixture
def dataflow(kinesis: RunningKinesis, segment: Segment) -> Dataflow:
    """To a third party."""
    dataflow = dataflow_to(kinesis, segment)
    dataflow.destination.marketing_actions.add(action())
    return dataflow


def consents(share: object = None, email: object = None) -> dict[str, Any]:
    """Attributes; None says nothing."""
    said: dict[str, Any] = {}
    if share is not None:
        said["share"] = {"val": share}
    if email is not None:
        said["marketing"] = {"email": {"val": email}}
    return {"consents": said}


def member(segment: Segment, share: object = None, email: object = None) -> Profile:
    [profile] = members_of(segment, 1, **consents(share, email))
    return profile


def say(profile: Profile, share: object = None, email: object = None) -> None:
    """A customer chooses."""
    ingest([Fragment(profile_id=profile.pk, attributes=consents(share, email))])


def rename(profile: Profile, name: str) -> None:
    ingest([Fragment(profile_id=profile.pk, attributes={"person": {"name": {"firstName": name}}})])


def leave(profile: Profile, segment: Segment) -> None:
    ingest([Fragment(profile_id=profile.pk, memberships={segment.pk: ("exited", None)})])


def statuses(kinesis: RunningKinesis, profile: Profile) -> list[str]:
    """The status in the mapped segment in each record of a profile, in the order of their arrival."""
    return [
        record["segmentMembership"]["ups"]["members"]["status"]
        for stored, record in zip(kinesis.records(), kinesis.exported(), strict=True)
        if stored.key == str(profile.pk)
    ]


def codes() -> list[str]:
    return list(FailedExport.objects.order_by("pk").values_list("code", flat=True))


def exported(dataflow: Dataflow, *profiles: Profile) -> None:
    queue(dataflow, profiles)
    deliver(dataflow)


# -- who does not consent ------------------------------------------------------------------------------------------


def test_who_does_not_consent_is_excluded_and_counted(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    agrees, refuses, says_nothing = (member(segment, share) for share in ("y", "n", None))
    exported(dataflow, agrees, refuses, says_nothing)
    assert [record.key for record in kinesis.records()] == [str(agrees.pk)]
    assert counts(dataflow) == {"activated": 1, "excluded": 2}
    failures = FailedExport.objects.order_by("profile")
    assert [(each.profile, each.kind, each.code, each.reason) for each in failures] == [
        (profile, "excluded", "ConsentMissing", f"No consent: {SHARE}") for profile in (refuses, says_nothing)
    ]
    assert waiting(dataflow) == set()


def test_who_withdraws_gets_one_last_record_and_no_second(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    IdentityFactory.create(profile=profile, value="kim@example.com")
    MembershipFactory.create(profile=profile, segment=SegmentFactory.create(id="unmapped"))
    exported(dataflow, profile)
    before = timezone.now() - timedelta(milliseconds=1)
    say(profile, "n")
    deliver(dataflow)
    _first, last = kinesis.exported()
    moment = datetime.fromisoformat(last["segmentMembership"]["ups"]["members"].pop("lastQualificationTime"))
    assert before <= moment <= timezone.now()
    assert last == {
        "segmentMembership": {"ups": {"members": {"status": "exited"}}},
        "identityMap": {"email": [{"id": "kim@example.com"}]},
    }
    assert Delivery.objects.get().reason == "consent"
    assert counts(dataflow) == {"activated": 2, "identities": 2}
    changes: list[Callable[[], object]] = [
        lambda: rename(profile, "Seo-yeon"),
        lambda: say(profile, "p"),
        lambda: leave(profile, segment),
    ]
    for change in changes:
        change()
        deliver(dataflow)
    assert len(kinesis.records()) == 2
    assert codes() == ["ConsentMissing"] * 3


def test_the_last_record_tells_of_its_delivery_where_the_destination_wants_it(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, include_delivery=True, include_segment_names=True)
    dataflow.destination.marketing_actions.add(action())
    make_consent_policy()
    profile = member(segment, "y")
    exported(dataflow, profile)
    say(profile, "n")
    deliver(dataflow)
    told = [(each["_delivery"]["version"], each["_delivery"]["reason"]) for each in kinesis.exported()]
    assert told == [(1, "attribute"), (2, "consent")]
    assert kinesis.exported()[1]["segmentMembership"]["ups"]["members"]["name"] == segment.name


def test_who_consents_again_is_exported_as_before(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    exported(dataflow, profile)
    for share in ("n", "dy", "n"):
        say(profile, share)
        deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited", "realized", "exited"]
    assert Delivery.objects.get().version == 4


def test_several_policies_must_all_be_consented_to(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    make_consent_policy(EMAIL)
    both = member(segment, "y", "y")
    exported(dataflow, both, member(segment, "y", "n"), member(segment, "n", "y"), member(segment, "n", "n"))
    assert [record.key for record in kinesis.records()] == [str(both.pk)]
    reasons = sorted(FailedExport.objects.values_list("reason", flat=True))
    assert reasons == [f"No consent: {EMAIL}", f"No consent: {EMAIL}, {SHARE}", f"No consent: {SHARE}"]


def test_what_is_consented_to_is_read_in_every_batch(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    """Also when the reader has seen which attributes nobody wants."""
    make_consent_policy()
    exported(dataflow, *members_of(segment, 70, loyalty={"points": 1}, **consents("y")))
    assert counts(dataflow) == {"activated": 70}


def test_disabled_policies_and_those_for_other_actions_ask_for_nothing(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy(enabled=False)
    make_consent_policy(EMAIL, "Data Science")
    exported(dataflow, member(segment, "n", "n"))
    assert len(kinesis.records()) == 1


def test_consent_is_asked_before_what_is_mandatory(kinesis: RunningKinesis, segment: Segment) -> None:
    dataflow = dataflow_to(kinesis, segment, attributes=[], mandatory=[FIRST_NAME])
    dataflow.destination.marketing_actions.add(action())
    make_consent_policy()
    profile = member(segment, "y")
    exported(dataflow, profile)
    nameless = [member(segment, share) for share in ("y", "n")]
    for each in [profile, *nameless]:
        ingest([Fragment(profile_id=each.pk, attributes={"person": None})])
    say(profile, "n")
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited"]
    assert sorted(codes()) == ["ConsentMissing", "MandatoryAttributeMissing"]


def test_the_partition_key_of_the_last_record_is_that_of_the_others(
    kinesis: RunningKinesis, segment: Segment
) -> None:
    dataflow = dataflow_to(kinesis, segment, partition_key="attribute:homeAddress.city")
    dataflow.destination.marketing_actions.add(action())
    make_consent_policy()
    [profile] = members_of(segment, 1, homeAddress={"city": "Seoul"}, **consents("y"))
    exported(dataflow, profile)
    say(profile, "n")
    deliver(dataflow)
    assert [record.key for record in kinesis.records()] == ["Seoul", "Seoul"]


# -- who left, and who is erased -----------------------------------------------------------------------------------


def test_who_left_was_told_to_have_and_is_not_told_of_again(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    exported(dataflow, profile)
    leave(profile, segment)
    deliver(dataflow)
    say(profile, "n")
    assert waiting(dataflow) == set()
    say(profile, "y")
    assert waiting(dataflow) == set()
    assert statuses(kinesis, profile) == ["realized", "exited"]


def test_who_leaves_and_withdraws_before_it_is_sent_gets_the_last_record(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    exported(dataflow, profile)
    leave(profile, segment)
    say(profile, "n")
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited"]
    assert "person" not in kinesis.exported()[1]


def test_who_had_the_last_record_gets_no_other_when_erased(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    told, gone = member(segment, "y"), member(segment, "y")
    exported(dataflow, told, gone)
    say(gone, "n")
    deliver(dataflow)
    assert (farewell.queue(told.pk), farewell.queue(gone.pk)) == (1, 0)
    assert Farewell.objects.count() == 1


def test_a_merged_profile_is_known_where_what_it_was_made_of_is(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    stays, goes, silent = (member(segment, share) for share in ("n", "y", "y"))
    for number, profile in enumerate((stays, goes, silent)):
        IdentityFactory.create(profile=profile, value=f"{number}@example.com")
    exported(dataflow, stays, goes)
    say(goes, "n")
    # Of the one that goes there was an ordinary record, and the last is still to come.
    ingest([Fragment(identities=[("Email", "0@example.com"), ("Email", "1@example.com")])])
    deliver(dataflow)
    assert statuses(kinesis, goes) == ["realized"]
    assert statuses(kinesis, stays) == ["exited"]
    assert Delivery.objects.get().profile_id == stays.pk
    # Another one that is known joins one of whom all has been said.
    exported(dataflow, silent)
    say(silent, "n")
    ingest([Fragment(identities=[("Email", "0@example.com"), ("Email", "2@example.com")])])
    deliver(dataflow)
    assert statuses(kinesis, stays) == ["exited", "exited"]


# -- at least once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Kind.RESET, Kind.RESET_AFTER])
def test_a_last_record_is_sent_until_it_arrives(
    fault: Kind, dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    exported(dataflow, profile)
    say(profile, "n")
    kinesis.faults.add(Fault(fault, times=1))
    for _go in range(2):
        deliver(dataflow)
        hold_is_over(dataflow)
        come_due(dataflow)
    again = ["exited"] if fault is Kind.RESET_AFTER else []
    assert statuses(kinesis, profile) == ["realized", "exited", *again]
    assert Delivery.objects.get().reason == "consent"
    assert waiting(dataflow) == set()


def test_a_first_record_that_may_have_arrived_is_followed_by_the_last(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    kinesis.faults.add(Fault(Kind.RESET_AFTER, times=1))
    exported(dataflow, profile)
    [receipt] = Delivery.objects.all()
    assert (receipt.reason, receipt.version, receipt.shard) == ("unsure", 0, "")
    say(profile, "n")
    hold_is_over(dataflow)
    come_due(dataflow)
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited"]
    rename(profile, "Seo-yeon")
    deliver(dataflow)
    assert len(kinesis.records()) == 2


def test_a_record_that_was_throttled_told_nobody_of_anybody(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    kinesis.faults.add(Fault(Kind.RECORDS, times=1, code="ProvisionedThroughputExceededException"))
    exported(dataflow, profile)
    assert PendingExport.objects.get().attempts == 1
    say(profile, "n")
    come_due(dataflow)
    deliver(dataflow)
    assert kinesis.records() == []
    assert codes() == ["ConsentMissing"]


class Killed(BaseException):
    pass


def kill_after_sending(dataflow: Dataflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver; the worker dies before it can tell what became of it, or give its lane back."""

    def die(*_args: Any, **_how: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "settle", die)
        patched.setattr(lanes, "give_back", die)
        with pytest.raises(Killed):
            deliver(dataflow)


def take_over(dataflow: Dataflow) -> None:
    """The dead worker's lease ends, and another one delivers."""
    pass_time(dataflow, seconds=21)
    deliver(dataflow)


def withdraw(profile: Profile, _policy: ConsentPolicy) -> None:
    say(profile, "n")


def withdraw_and_purge(profile: Profile, _policy: ConsentPolicy) -> None:
    say(profile, "n")
    purge(destination=Destination.objects.get(), by=None)


def purge_and_withdraw(profile: Profile, _policy: ConsentPolicy) -> None:
    purge(destination=Destination.objects.get(), by=None)
    say(profile, "n")


def ask_for_email(_profile: Profile, policy: ConsentPolicy) -> None:
    edit_consent_policy(policy, field=EMAIL)


def withdraw_with_other_lanes(profile: Profile, _policy: ConsentPolicy) -> None:
    say(profile, "n")
    set_lanes(destination=Destination.objects.get(), count=2, by=None)


@pytest.mark.parametrize(
    "act", [withdraw, withdraw_and_purge, purge_and_withdraw, ask_for_email, withdraw_with_other_lanes]
)
def test_whom_a_killed_worker_had_sent_gets_the_last_record_and_nobody_else(
    act: Callable[[Profile, ConsentPolicy], None],
    dataflow: Dataflow,
    segment: Segment,
    kinesis: RunningKinesis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = make_consent_policy()
    profile, never = member(segment, "y", "n"), member(segment, "n", "n")
    queue(dataflow, [profile, never])
    kill_after_sending(dataflow, monkeypatch)
    assert not Delivery.objects.exists()
    act(profile, policy)
    take_over(dataflow)
    dataflow.refresh_from_db()
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited"]
    assert statuses(kinesis, never) == []
    assert waiting(dataflow) == set()


def test_what_was_under_way_is_forgotten_once_it_is_settled(
    dataflow: Dataflow, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = members_of(segment, 70)
    marks = []
    before_sending(monkeypatch, *[lambda _records: marks.append(set(lanes.sending(profiles[0].pk)))] * 2)
    exported(dataflow, *profiles)
    assert marks[0] == {dataflow.pk}
    assert bytes(Lane.objects.get().under_way) == b""
    assert not Delivery.objects.filter(reason="unsure").exists()


def test_what_was_sent_and_could_not_be_settled_is_known_to_the_next_worker(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database failed for a while: the worker lives on, and gives its lane back."""
    make_consent_policy()
    profile = member(segment, "y")
    queue(dataflow, [profile])

    def fail(*_args: Any) -> None:
        raise OperationalError

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "settle", fail)
        with pytest.raises(OperationalError):
            deliver(dataflow)
    say(profile, "n")
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited"]


def test_a_killed_worker_of_a_merged_or_erased_profile_is_remembered(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_consent_policy()
    stays, goes, erased, never = (member(segment, share) for share in ("n", "y", "y", "n"))
    for number, profile in enumerate((stays, goes)):
        IdentityFactory.create(profile=profile, value=f"{number}@example.com")
    queue(dataflow, [goes, erased, never])
    kill_after_sending(dataflow, monkeypatch)
    assert (farewell.queue(erased.pk), farewell.queue(never.pk)) == (1, 0)
    say(goes, "n")
    ingest([Fragment(identities=[("Email", "0@example.com"), ("Email", "1@example.com")])])
    take_over(dataflow)
    assert statuses(kinesis, goes) == ["realized"]
    assert statuses(kinesis, stays) == ["exited"]


def test_who_is_merged_while_the_record_is_under_way_is_known_as_the_other(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_consent_policy()
    stays, goes = member(segment, "n"), member(segment, "y")
    for number, profile in enumerate((stays, goes)):
        IdentityFactory.create(profile=profile, value=f"{number}@example.com")

    def merge(_records: Sequence[Record]) -> None:
        say(goes, "n")
        ingest([Fragment(identities=[("Email", "0@example.com"), ("Email", "1@example.com")])])

    before_sending(monkeypatch, merge)
    exported(dataflow, goes)
    deliver(dataflow)
    assert statuses(kinesis, stays) == ["exited"]


# -- what waits is dropped -----------------------------------------------------------------------------------------


def test_last_records_are_not_purged(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, caplog: pytest.LogCaptureFixture
) -> None:
    make_consent_policy()
    told, gone, agrees, never = (member(segment, share) for share in ("y", "y", "y", "n"))
    exported(dataflow, told, gone, agrees)
    say(gone, "n")
    deliver(dataflow)
    say(told, "n")
    queue(dataflow, [agrees, never, gone])
    assert purge(destination=dataflow.destination, by=None) == Dropped(3, kept=1)
    assert Entry.objects.get(action="dataflow.backlog_purged").changes == {
        "count": [None, 3],
        "kept": [None, 1],
    }
    assert waiting(dataflow) == {told.pk}
    deliver(dataflow)
    assert statuses(kinesis, told) == ["realized", "exited"]


def test_last_records_are_sent_though_the_backfill_of_a_policy_is_stopped(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    policy = make_consent_policy(enabled=False)
    told, agrees = member(segment, "n"), member(segment, "y")
    exported(dataflow, told)
    governance.switch_consent_policy(policy.pk, enabled=True)
    outbox.backfill(dataflow, [segment.pk])
    queue(dataflow, [agrees])
    fresh = member(segment, "y")
    outbox.backfill(dataflow, [segment.pk])
    assert cancel_backfill(destination=dataflow.destination, by=None) == Dropped(1, kept=1)
    assert waiting(dataflow) == {told.pk, agrees.pk}
    deliver(dataflow)
    assert (statuses(kinesis, told), statuses(kinesis, fresh)) == (["realized", "exited"], [])


@pytest.mark.parametrize("first", ["withdraw", "purge"])
def test_who_withdraws_is_told_of_though_the_row_is_purged_while_it_is_sent(
    first: str,
    dataflow: Dataflow,
    segment: Segment,
    kinesis: RunningKinesis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_consent_policy()
    profile, agrees = member(segment, "y"), member(segment, "y")

    def act(_records: Sequence[Record]) -> None:
        acts: list[Callable[[], object]] = [
            lambda: say(profile, "n"),
            lambda: purge(destination=dataflow.destination, by=None),
        ]
        for each in acts if first == "withdraw" else reversed(acts):
            each()

    before_sending(monkeypatch, act)
    exported(dataflow, profile, agrees)
    assert statuses(kinesis, profile) == ["realized", "exited"]
    assert statuses(kinesis, agrees) == ["realized"]


def test_who_withdraws_while_the_record_is_under_way_gets_the_last_one_next(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_consent_policy()
    profile = member(segment, "y")
    before_sending(monkeypatch, lambda _records: say(profile, "n"))
    exported(dataflow, profile)
    assert statuses(kinesis, profile) == ["realized", "exited"]


# -- policies come and go ------------------------------------------------------------------------------------------


def test_a_policy_that_is_enabled_between_two_batches_holds_for_the_next(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse, agree = members_of(segment, 70, **consents("n")), members_of(segment, 3, **consents("y"))
    policy = make_consent_policy(enabled=False)

    def enable(_records: Sequence[Record]) -> None:
        governance.switch_consent_policy(policy.pk, enabled=True)

    before_sending(monkeypatch, enable)
    exported(dataflow, *refuse, *agree)
    # 64 were under way. They get the last record; the others are left out.
    told = [statuses(kinesis, profile) for profile in refuse]
    assert told == [["realized", "exited"]] * 64 + [[]] * 6
    assert [statuses(kinesis, profile) for profile in agree] == [["realized"]] * 3
    assert counts(dataflow) == {"activated": 64 + 3 + 64, "excluded": 6}
    assert waiting(dataflow) == set()


def test_a_policy_that_is_enabled_before_the_rows_are_claimed_holds_for_them(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has compiled its records by then."""
    policy = make_consent_policy(enabled=False)
    original = Claims.next

    def enable(*args: Any) -> list[tuple[Claim, Row]]:
        governance.switch_consent_policy(policy.pk, enabled=True)
        return original(*args)

    monkeypatch.setattr(Claims, "next", enable)
    exported(dataflow, member(segment, "n"))
    assert kinesis.records() == []
    assert counts(dataflow) == {"excluded": 1}


def disable(policy: ConsentPolicy) -> None:
    governance.switch_consent_policy(policy.pk, enabled=False)


def delete(policy: ConsentPolicy) -> None:
    governance.delete_consent_policy(policy.pk)


def ask_for_another_field(policy: ConsentPolicy) -> None:
    edit_consent_policy(policy, field=EMAIL)


def ask_for_another_action(policy: ConsentPolicy) -> None:
    edit_consent_policy(policy, actions=[str(action("Data Science").pk)])


def give_the_destination_another_action(_policy: ConsentPolicy) -> None:
    mean(Destination.objects.get(), "Data Science")


def mean(destination: Destination, *actions: str) -> None:
    """Let a destination be meant for these marketing actions."""
    destination.refresh_from_db()
    setup = Setup(
        destination.name,
        destination.settings,
        marketing_actions=[action(each).pk for each in actions],
    )
    edit_destination(destination_id=destination.pk, version=destination.version, setup=setup)


@pytest.mark.parametrize(
    "change",
    [disable, delete, ask_for_another_field, ask_for_another_action, give_the_destination_another_action],
)
def test_who_was_left_out_is_exported_once_that_is_not_asked_any_more(
    change: Any, dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    policy = make_consent_policy()
    profile, agrees = member(segment, "n", "y"), member(segment, "y", "y")
    exported(dataflow, profile, agrees)
    assert statuses(kinesis, profile) == []
    change(policy)
    assert waiting(dataflow) == {profile.pk}
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized"]


@pytest.mark.parametrize("way", ["policy", "destination", "action", "field"])
def test_whom_a_change_leaves_out_gets_the_last_record(
    way: str, dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    if way == "policy":
        policy = make_consent_policy(enabled=False)
    elif way == "action":
        policy = make_consent_policy(SHARE, "Data Science")
    elif way == "field":
        policy = make_consent_policy(EMAIL)
    else:
        mean(dataflow.destination, "Data Science")
        policy = make_consent_policy()
    profile, agrees = member(segment, "n", "y"), member(segment, "y", "y")
    exported(dataflow, profile, agrees)
    if way == "policy":
        governance.switch_consent_policy(policy.pk, enabled=True)
    elif way == "action":
        edit_consent_policy(policy, actions=[str(action().pk)])
    elif way == "field":
        edit_consent_policy(policy, field=SHARE)
    else:
        mean(dataflow.destination, THIRD_PARTY)
    assert waiting(dataflow) == {profile.pk}
    deliver(dataflow)
    assert statuses(kinesis, profile) == ["realized", "exited"]
    assert statuses(kinesis, agrees) == ["realized"]


def test_who_is_left_out_by_another_policy_is_not_excluded_again(
    dataflow: Dataflow, segment: Segment
) -> None:
    make_consent_policy()
    refuses_both, refuses_one = member(segment, "n", "n"), member(segment, "y", "n")
    exported(dataflow, refuses_both, refuses_one)
    make_consent_policy(EMAIL)
    assert waiting(dataflow) == {refuses_one.pk}


def test_a_change_that_changes_nothing_for_a_dataflow_queues_nobody(
    dataflow: Dataflow, segment: Segment
) -> None:
    member(segment, "n")
    make_consent_policy(SHARE, "Data Science")
    policy = make_consent_policy(enabled=False, name="Second")
    governance.delete_consent_policy(policy.pk)
    assert waiting(dataflow) == set()
    first = make_consent_policy(name="Third")
    assert len(waiting(dataflow)) == 1
    PendingExport.objects.all().delete()
    make_consent_policy(name="The same again")
    edit_consent_policy(first, name="Renamed")
    assert waiting(dataflow) == set()


def test_drafts_are_not_concerned_and_disabled_ones_wait(kinesis: RunningKinesis, segment: Segment) -> None:
    draft = dataflow_to(kinesis, segment, state=Dataflow.State.DRAFT)
    disabled = dataflow_to(kinesis, segment, state=Dataflow.State.DISABLED)
    for dataflow in (draft, disabled):
        dataflow.destination.marketing_actions.add(action())
    profile = member(segment, "n")
    make_consent_policy()
    assert (waiting(draft), waiting(disabled)) == (set(), {profile.pk})


def test_workers_are_told_when_it_is_committed(
    dataflow: Dataflow, segment: Segment, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    member(segment, "n")
    with django_capture_on_commit_callbacks(execute=True):
        make_consent_policy()
        assert told == []
    assert (dataflow.pk, 0) in told
    dataflow.refresh_from_db()
    assert dataflow.bulk_total == 1


# -- triggers and queries ------------------------------------------------------------------------------------------


def test_what_a_member_consents_to_starts_an_export_where_it_is_asked_for(
    dataflow: Dataflow, segment: Segment, kinesis: RunningKinesis
) -> None:
    other = dataflow_to(kinesis, segment)
    profile, stranger = member(segment, "y"), ProfileFactory.create()
    say(profile, "n")
    assert waiting(dataflow) == set()
    make_consent_policy()
    PendingExport.objects.all().delete()
    say(profile, "n")
    say(profile, email="y")
    say(stranger, "n")
    assert (waiting(dataflow), waiting(other)) == ({profile.pk}, set())
    # Also when all that is known of their choices goes.
    PendingExport.objects.all().delete()
    ingest([Fragment(profile_id=profile.pk, attributes={"consents": None})])
    assert waiting(dataflow) == {profile.pk}


def test_triggers_ask_no_more_queries_with_policies_than_without(
    dataflow: Dataflow, segment: Segment
) -> None:
    profiles = members_of(segment, 3, **consents("y"))

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            ingest([Fragment(profile_id=each.pk, attributes=consents("y", "y")) for each in profiles])
        return len(captured)

    queries()
    before = queries()
    for field in (SHARE, EMAIL):
        make_consent_policy(field)
    assert waiting(dataflow) == set()
    assert queries() == before + 3  # what is mapped, who is a member, and their rows
    assert len(waiting(dataflow)) == 3


def test_without_policies_a_batch_asks_for_them_and_for_nothing_else(
    dataflow: Dataflow, segment: Segment
) -> None:
    queue(dataflow, members_of(segment, 3, **consents("n")))
    with CaptureQueriesContext(connection) as captured:
        deliver(dataflow)
    asked = [query["sql"] for query in captured]
    assert sum("governance_consentpolicy" in sql for sql in asked) == 1
    assert not any("d.reason" in sql and "SELECT p.id" in sql for sql in asked)


def test_the_queries_of_a_change_do_not_grow_with_profiles(dataflow: Dataflow, segment: Segment) -> None:
    def queries() -> int:
        policy = make_consent_policy(enabled=False)
        with CaptureQueriesContext(connection) as captured:
            governance.switch_consent_policy(policy.pk, enabled=True)
        governance.delete_consent_policy(policy.pk)
        return len(captured)

    member(segment, "n")
    few = queries()
    members_of(segment, 50, **consents("n"))
    assert queries() == few <= 20


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("first", ["customer", "steward"])
def test_who_withdraws_while_a_policy_is_enabled_is_not_forgotten(
    first: str, dataflow: Dataflow, segment: Segment
) -> None:
    profile = member(segment, "y")
    policy = make_consent_policy(enabled=False)
    acts: list[Callable[[], object]] = [
        lambda: say(profile, "n"),
        lambda: governance.switch_consent_policy(policy.pk, enabled=True),
    ]
    if first == "steward":
        acts.reverse()
    with transaction.atomic():
        acts[0]()
        other = Elsewhere(acts[1])
        wait_for_a_lock()
    other.join()
    assert waiting(dataflow) == {profile.pk}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("way", ["members", "failures"])
def test_a_replay_while_a_policy_is_enabled_waits_in_no_circle(
    way: str, dataflow: Dataflow, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = member(segment, "n")
    if way == "failures":
        make_consent_policy(name="First")
        exported(dataflow, profile)
    policy = make_consent_policy(EMAIL, enabled=False)
    queue_many, others = outbox.queue_many, []

    def meanwhile(*args: Any) -> int:
        monkeypatch.setattr(outbox, "queue_many", queue_many)
        queued = queue_many(*args)
        others.append(Elsewhere(lambda: governance.switch_consent_policy(policy.pk, enabled=True)))
        wait_for_a_lock()
        return queued

    monkeypatch.setattr(outbox, "queue_many", meanwhile)
    if way == "failures":
        replay_failures(destination=dataflow.destination, failures=FailedExport.objects.all(), by=None)
    else:
        replay(destination=dataflow.destination, period=None, seen=None, by=None)
    others[0].join()
    assert waiting(dataflow) == {profile.pk}
