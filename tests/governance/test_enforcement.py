"""What a use of data violates, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from pytest_django import DjangoAssertNumQueries

from governance import services
from governance.enforcement import Use, Violated, Violation, enforced, judge
from governance.models import Policy
from governance.signals import asking_uses
from profiles.models import Segment
from profiles.services import create_segment, edit_segment
from tests.factories import SegmentFactory
from tests.governance.governed import action, codes_of, labels, make_policy, mark, use

pytestmark = pytest.mark.django_db

EMAIL, CITY = "personalEmail.address", "homeAddress.city"
I1 = {"any": ["I1"]}


def ruled(rule: str, name: str = "Ruled") -> Segment:
    return create_segment(name=name, rule=rule, origin=Segment.Origin.SEGMENTATION)


def carriers(violations: list[Violation]) -> list[str]:
    return [str(carrier) for violation in violations for carrier in violation.carriers]


# -- what carries labels -------------------------------------------------------------------------------------------


def test_a_mapped_attribute_with_a_forbidden_label_violates() -> None:
    policy = make_policy(I1)
    mark(EMAIL, "I1", "C2")
    [violation] = judge([use(EMAIL, CITY)])
    assert violation.policy == policy
    assert violation.actions == (action(),)
    assert carriers([violation]) == ["personalEmail.address (I1)"]
    assert str(violation) == (
        "“Exports” would violate the policy “Ours”: data with I1 must not be used for Export to Third Party. "
        "It uses personalEmail.address (I1)."
    )


def test_only_enabled_policies_and_their_own_actions_count() -> None:
    policy = make_policy(I1, enabled=False)
    mark(EMAIL, "I1")
    assert judge([use(EMAIL)]) == []
    services.enable_policy(policy.pk)
    assert len(judge([use(EMAIL)])) == 1
    assert judge([use(EMAIL, actions=["Analytics"])]) == judge([use(EMAIL, actions=[])]) == []
    assert judge([use(CITY)]) == []


def test_labels_are_inherited_down_the_tree_and_count_for_what_holds_the_field() -> None:
    make_policy(I1)
    mark("person", "I1")
    assert carriers(judge([use("person.name.firstName")])) == ["person.name.firstName (I1)"]
    [violation] = judge([use("person.name.firstName")])
    assert violation.carriers[0].marks[0].at == "person"
    assert judge([use("personality.type")]) == []

    services.remove_labels(list(labels("I1")[0].fields.all()), labels("I1"))
    mark("loyalty.loyaltyID.deep", "I1")
    assert carriers(judge([use("loyalty.loyaltyID")])) == ["loyalty.loyaltyID (I1)"]


def test_a_segment_has_the_labels_of_the_fields_that_its_rule_reads() -> None:
    make_policy(I1)
    mark(CITY, "I1")
    segment = ruled(f'{CITY} = "Seoul" and loyalty.points > 10', "Seoulites")
    assert carriers(judge([use(EMAIL, segments=[segment])])) == ["segment “Seoulites”: homeAddress.city (I1)"]
    # Also where it asks who is in another one, that asks the field.
    asking = ruled(f'inSegment("{segment.pk}")', "Asking")
    further = ruled(f'not (inSegment("{asking.pk}"))', "Further")
    assert carriers(judge([use(EMAIL, segments=[further])])) == ["segment “Further”: homeAddress.city (I1)"]


def test_a_segment_carries_labels_itself() -> None:
    make_policy(I1)
    uploaded = SegmentFactory.create(name="Bought list")
    mark(uploaded, "I1")
    assert carriers(judge([use(EMAIL, segments=[uploaded])])) == ["segment “Bought list” (I1)"]
    asking = ruled(f'inSegment("{uploaded.pk}")', "Asking")
    assert carriers(judge([use(EMAIL, segments=[asking])])) == ["segment “Asking” (I1)"]


def test_a_rule_that_nobody_asks_carries_nothing() -> None:
    make_policy(I1)
    mark(CITY, "I1")
    uploaded = SegmentFactory.create(rule=f'{CITY} = "Seoul"')
    broken = Segment.objects.create(name="Draft", rule="((", origin="segmentation", state="draft")
    assert judge([use(EMAIL, segments=[uploaded, broken])]) == []


def test_identities_are_in_every_record() -> None:
    make_policy(I1)
    mark("identityMap", "I1")
    [violation] = judge([use(CITY)])
    assert violation.carriers[0].always
    assert violation.attributes == []


# -- conditions over them ------------------------------------------------------------------------------------------


def test_each_segment_is_judged_by_itself_together_with_the_attributes() -> None:
    make_policy({"all": ["C3", "I1"]})
    mark(EMAIL, "I1")
    mark(CITY, "C3")
    mark("loyalty.points", "I1")
    city, points = ruled(f'{CITY} = "Seoul"', "City"), ruled("loyalty.points > 1", "Points")
    # C3 in one segment and I1 in another: no record's attributes and segment have both.
    assert judge([use("person.gender", segments=[city, points])]) == []
    assert carriers(judge([use(EMAIL, segments=[city, points])])) == [
        "personalEmail.address (I1)", "segment “City”: homeAddress.city (C3)",
    ]  # fmt: skip


def test_groups_are_weighed() -> None:
    make_policy({"all": ["C2", {"any": ["S1", "S2"]}]})
    mark(EMAIL, "C2")
    assert judge([use(EMAIL)]) == []
    mark(CITY, "S2")
    assert carriers(judge([use(EMAIL, CITY)])) == ["personalEmail.address (C2)", "homeAddress.city (S2)"]


def test_every_policy_that_is_violated_is_told() -> None:
    make_policy(I1, name="First")
    make_policy({"any": ["C2"]}, "Export to Third Party", "Analytics", name="Second")
    mark(EMAIL, "I1", "C2")
    found = judge([use(EMAIL, actions=["Analytics", "Export to Third Party"])])
    assert [(str(each.policy), each.action_names) for each in found] == [
        ("First", "Export to Third Party"),
        ("Second", "Analytics, Export to Third Party"),
    ]


# -- how much it costs ---------------------------------------------------------------------------------------------


def test_it_takes_few_queries_however_much_there_is(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    make_policy(I1)
    with django_assert_num_queries(2):
        judge([])
    mark(CITY, "I1")
    first = ruled("loyalty.points > 0", "First")
    segments = [first]
    for number in range(200):
        Segment.objects.create(
            id=f"s{number}", name=f"Segment {number}", origin="segmentation",
            rule=f'loyalty.points > {number} and inSegment("{segments[-1].pk}")',
        )  # fmt: skip
        segments.append(Segment.objects.get(pk=f"s{number}"))
    uses = [use(EMAIL, CITY, segments=segments) for _number in range(20)]
    with django_assert_num_queries(5):
        assert len(judge(uses)) == 20


# -- changes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def live() -> Iterator[list[Use]]:
    """What is in it is used by somebody, now."""
    uses: list[Use] = []

    def answer(sender: Any, **_kwargs: Any) -> list[Use]:
        return uses

    asking_uses.connect(answer)
    yield uses
    asking_uses.disconnect(answer)


def test_a_label_that_would_stop_what_is_live_is_refused(live: list[Use]) -> None:
    make_policy(I1)
    live.append(use(EMAIL))
    with pytest.raises(Violated, match="“Exports” would violate") as refused:
        mark(EMAIL, "C1", "I1")
    assert [str(each.policy) for each in refused.value.violations] == ["Ours"]
    assert codes_of(EMAIL) == set()
    mark(EMAIL, "C1")
    mark(CITY, "I1")
    assert (codes_of(EMAIL), codes_of(CITY)) == ({"C1"}, {"I1"})


def test_a_policy_that_would_stop_what_is_live_is_not_enabled(live: list[Use]) -> None:
    mark(EMAIL, "I1")
    live.append(use(EMAIL))
    policy = make_policy(I1, enabled=False)
    with pytest.raises(Violated):
        services.enable_policy(policy.pk)
    policy.refresh_from_db()
    assert policy.state == Policy.State.DISABLED


def test_an_enabled_policy_is_not_changed_to_stop_what_is_live(live: list[Use]) -> None:
    from governance.conditions import Condition

    mark(EMAIL, "I1")
    live.append(use(EMAIL))
    policy = make_policy({"any": ["C2"]})
    policy = services.save_draft(policy.pk, policy.version, condition=Condition.read(I1))
    with pytest.raises(Violated):
        services.finish_policy(policy.pk, policy.version)
    policy.refresh_from_db()
    assert policy.condition == {"any": ["C2"]}
    assert policy.draft is not None


def test_a_rule_is_not_changed_to_read_what_it_must_not(live: list[Use]) -> None:
    make_policy(I1)
    mark(CITY, "I1")
    segment = ruled("loyalty.points > 1")
    live.append(use(EMAIL, segments=[segment]))
    with pytest.raises(ValidationError, match=r"segment “Ruled”: homeAddress\.city"):
        edit_segment(segment, name="Ruled", description="", rule=f'{CITY} = "Seoul"')
    segment.refresh_from_db()
    assert segment.rule == "loyalty.points > 1"
    edit_segment(segment, name="Ruled", description="", rule="loyalty.points > 2")


def test_what_loosens_is_never_refused(live: list[Use]) -> None:
    policy = make_policy(I1)
    mark(EMAIL, "I1")
    live.append(use(EMAIL))  # came past the checks, e.g. from a backup
    with pytest.raises(Violated), enforced():
        pass
    services.remove_labels(list(labels("I1")[0].fields.all()), labels("I1"))
    services.disable_policy(policy.pk)
    services.delete_policy(policy.pk)
    assert not Policy.objects.filter(pk=policy.pk).exists()
