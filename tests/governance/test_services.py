"""Marketing actions: the ten core ones stay as they are, and no name comes twice."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import translation

from governance.models import CORE_MARKETING_ACTIONS, MarketingAction
from governance.services import create_marketing_action, delete_marketing_action, edit_marketing_action

pytestmark = pytest.mark.django_db


@pytest.fixture
def analytics() -> MarketingAction:
    return MarketingAction.objects.get(name="Analytics")


def test_the_core_ones_are_there_with_their_words() -> None:
    core = MarketingAction.objects.filter(core=True)
    with translation.override("en"):
        assert set(core.values_list("name", flat=True)) == {str(name) for name in CORE_MARKETING_ACTIONS}
        assert core.count() == 10
    assert all(core.values_list("description", flat=True))


def test_a_core_one_is_called_in_the_language_of_the_reader(analytics: MarketingAction) -> None:
    with translation.override("ko"):
        assert str(analytics) == "분석"
    own = create_marketing_action(name="Data Science of ours")
    with translation.override("ko"):
        assert str(own) == "Data Science of ours"


def test_an_own_one_is_made_changed_and_deleted() -> None:
    made = create_marketing_action(name="  Spring \n campaign ", description=" For the spring. ")
    assert (made.name, made.description, made.core) == ("Spring campaign", "For the spring.", False)
    edit_marketing_action(made, name="spring campaign", description="")
    made.refresh_from_db()
    assert (made.name, made.description) == ("spring campaign", "")
    delete_marketing_action(made)
    assert not MarketingAction.objects.filter(core=False).exists()


def test_core_ones_do_not_change(analytics: MarketingAction) -> None:
    with pytest.raises(ValidationError, match="can't be changed"):
        edit_marketing_action(analytics, name="Other", description="")
    with pytest.raises(ValidationError, match="can't be changed"):
        delete_marketing_action(analytics)
    analytics.refresh_from_db()
    assert analytics.name == "Analytics"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "Give it a name"),
        (" \t ", "Give it a name"),
        ("x" * 101, "up to 100"),
        ("analytics", "already"),
        ("EMAIL  targeting", "already"),
        ("ÉTÉ", "already"),
    ],
)
def test_a_name_that_can_not_be_is_refused(name: str, why: str) -> None:
    own = create_marketing_action(name="été")
    other = create_marketing_action(name="Other")
    with pytest.raises(ValidationError, match=why) as refused:
        create_marketing_action(name=name)
    assert list(refused.value.message_dict) == ["name"]
    with pytest.raises(ValidationError, match=why):
        edit_marketing_action(other, name=name, description="")
    other.refresh_from_db()
    assert other.name == "Other"
    assert set(MarketingAction.objects.filter(core=False)) == {own, other}


def test_the_name_of_a_core_one_is_taken_in_every_language() -> None:
    with translation.override("ko"), pytest.raises(ValidationError):
        create_marketing_action(name="분석")
    with translation.override("ko"), pytest.raises(ValidationError):
        create_marketing_action(name="Analytics")


def test_the_database_refuses_a_name_twice_when_two_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    create_marketing_action(name="Spring")
    monkeypatch.setattr("governance.services.checked_name", lambda model, name, own=None: name)
    with pytest.raises(ValidationError, match="already"):
        create_marketing_action(name="SPRING")
    with pytest.raises(IntegrityError), transaction.atomic():
        MarketingAction.objects.create(name="sPRING")
    assert MarketingAction.objects.filter(core=False).count() == 1
