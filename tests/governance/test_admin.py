"""Marketing actions in the Django admin: core ones are only looked at."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from governance.models import MarketingAction
from governance.services import create_marketing_action
from tests.factories import DestinationFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def own() -> MarketingAction:
    return create_marketing_action(name="Spring campaign")


@pytest.fixture
def core() -> MarketingAction:
    return MarketingAction.objects.get(name="Analytics")


def url(what: str, *args: Any) -> str:
    return reverse(f"admin:governance_marketingaction_{what}", args=args)


def test_they_are_listed_and_found(admin: Client, own: MarketingAction) -> None:
    found = admin.get(url("changelist"), {"q": "spring"})
    assert list(found.context["cl"].queryset) == [own]
    for query in ("", "?q=%00", "?core__exact=1"):
        assert admin.get(url("changelist") + query).status_code == 200


def test_the_list_takes_no_query_a_row(admin: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin.get(url("changelist"))
        return len(captured)

    few = queries()
    for number in range(10):
        create_marketing_action(name=f"Own {number}")
    assert queries() <= few


def test_an_own_one_is_added_and_changed(admin: Client) -> None:
    assert admin.post(url("add"), {"name": " Spring  sale ", "description": "x"}).status_code == 302
    made = MarketingAction.objects.get(name="Spring sale")
    assert not made.core
    assert admin.post(url("change", made.pk), {"name": "Sale", "description": ""}).status_code == 302
    made.refresh_from_db()
    assert made.name == "Sale"


@pytest.mark.parametrize("name", ["analytics", "SPRING campaign", ""])
def test_a_name_that_can_not_be_is_told_at_the_field(admin: Client, own: MarketingAction, name: str) -> None:
    other = create_marketing_action(name="Other")
    for page in (url("add"), url("change", other.pk)):
        response = admin.post(page, {"name": name, "description": ""})
        assert list(response.context["adminform"].form.errors) == ["name"]
    assert MarketingAction.objects.filter(core=False).count() == 2


def test_core_ones_are_only_looked_at(admin: Client, core: MarketingAction, own: MarketingAction) -> None:
    assert admin.get(url("change", core.pk)).status_code == 200
    assert admin.post(url("change", core.pk), {"name": "Other"}).status_code == 403
    assert admin.post(url("delete", core.pk), {"post": "yes"}).status_code == 403
    # Among others, they stop the whole deletion.
    chosen = {"action": "delete_selected", "_selected_action": [core.pk, own.pk], "post": "yes"}
    admin.post(url("changelist"), chosen)
    assert MarketingAction.objects.filter(pk__in=[core.pk, own.pk]).count() == 2
    core.refresh_from_db()
    assert core.name == "Analytics"


def test_an_own_one_is_deleted_and_destinations_stay(admin: Client, own: MarketingAction) -> None:
    destination = DestinationFactory.create()
    destination.marketing_actions.add(own)
    assert admin.get(url("delete", own.pk)).status_code == 200
    assert admin.post(url("delete", own.pk), {"post": "yes"}).status_code == 302
    assert list(destination.marketing_actions.all()) == []
    more = [create_marketing_action(name=f"Own {number}").pk for number in range(2)]
    admin.post(url("changelist"), {"action": "delete_selected", "_selected_action": more, "post": "yes"})
    assert not MarketingAction.objects.filter(core=False).exists()
