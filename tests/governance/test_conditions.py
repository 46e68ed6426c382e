"""Conditions: all or any of labels, in groups."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import translation

from governance.conditions import MAX_DEPTH, MAX_GROUPS, Condition
from governance.forms import GroupRow, read_condition

NESTED = {"all": ["C3", {"any": ["I1", "I2"]}]}
KNOWN = ["C1", "C2", "C3", "I1", "I2"]


@pytest.mark.parametrize(
    ("tree", "labels", "so"),
    [
        ({"any": ["C1", "C2"]}, "C2", True),
        ({"any": ["C1", "C2"]}, "C3", False),
        ({"all": ["C1", "C2"]}, "C1", False),
        ({"all": ["C1", "C2"]}, "C1 C2 C3", True),
        (NESTED, "C3", False),
        (NESTED, "C3 I2", True),
        (NESTED, "I1 I2", False),
        ({"any": [{"all": ["C1", "C2"]}, {"all": ["I1", "I2"]}]}, "C1 I2", False),
        ({"any": [{"all": ["C1", "C2"]}, {"all": ["I1", "I2"]}]}, "I1 I2", True),
        ({}, "C1", False),
    ],
)
def test_it_holds_for_data_with_such_labels(tree: dict[str, Any], labels: str, so: bool) -> None:
    assert Condition.read(tree).holds(set(labels.split())) is so


def test_it_is_said_in_words() -> None:
    assert str(Condition.read(NESTED)) == "C3 and (I1 or I2)"
    assert str(Condition.read({"any": ["C1", {"all": ["I1"]}]})) == "C1 or I1"
    assert Condition.read(NESTED).tree() == NESTED
    with translation.override("ko"):
        assert "I1" in str(Condition.read(NESTED))


@pytest.mark.parametrize(
    "tree",
    [
        None, [], "C1", {"not": ["C1"]}, {"all": "C1"}, {"all": [1]}, {"all": ["C1"], "any": []}, {"all": [None]},
        {"any": [{"any": [{"any": [{"any": [{"any": ["C1"]}]}]}]}]},
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(tree: Any) -> None:
    with pytest.raises(ValidationError, match="no condition"):
        Condition.read(tree)


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ({}, "at least one label"),
        ({"any": []}, "at least one label"),
        ({"any": ["C1", {"all": []}]}, "A group has no label"),
        ({"any": ["C1", "X9"]}, "no label X9"),
        ({"any": ["C1"] + [{"any": ["C1"]}] * MAX_GROUPS}, "up to 20 groups"),
    ],
)
def test_what_is_unfinished_is_told(tree: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Condition.read(tree).check(KNOWN)
    Condition.read(NESTED).check(KNOWN)


def test_groups_are_added_and_removed_where_they_are() -> None:
    outer = Condition.read({"any": ["C1"]})
    once = outer.with_group(())
    twice = once.with_group((0,)).with_group(())
    assert twice.tree() == {"any": ["C1", {"all": [{"any": []}]}, {"all": []}]}
    assert twice.without_group((0, 0)).tree() == {"any": ["C1", {"all": []}, {"all": []}]}
    assert twice.without_group((0,)).tree() == {"any": ["C1", {"all": []}]}
    # What is not there is left alone.
    assert twice.with_group((7,)) == twice.without_group((7, 1)) == twice.without_group(()) == twice


def test_a_page_sends_back_what_it_showed() -> None:
    condition = Condition.read({"all": ["C3", {"any": ["I1", {"all": ["C1", "C2"]}]}, {"all": []}]})
    sent = QueryDict(mutable=True)

    def send(row: GroupRow) -> None:
        sent.appendlist("group", row.name)
        sent[f"mode-{row.name}"] = row.condition.mode
        sent.setlist(f"label-{row.name}", list(row.condition.labels))
        for inner in row.groups:
            send(inner)

    send(GroupRow.of(condition))
    assert read_condition(sent) == condition


@pytest.mark.parametrize(
    "sent", ["", "group=group-1", "group=x", "group=group&" + "&".join(f"group=group-{n}" for n in range(30))]
)
def test_groups_that_no_page_sends_are_refused(sent: str) -> None:
    with pytest.raises(ValidationError, match="did not arrive"):
        read_condition(QueryDict(sent))


def test_nothing_can_be_added_where_it_is_deep_enough() -> None:
    row, depth = GroupRow.of(Condition.read({"any": [{"any": [{"any": [{"any": ["C1"]}]}]}]})), 1
    while row.groups:
        assert row.may_grow
        [row], depth = row.groups, depth + 1
    assert depth == MAX_DEPTH and not row.may_grow
