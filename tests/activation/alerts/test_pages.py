"""The bell, the list, and the form that says what one wants to be told."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activation.alerts.watch import look
from activation.export import lanes
from activation.models import Dataflow, Notice, Subscription
from audit.models import Entry
from tests.activation.alerts.conftest import watch
from tests.activation.wizard import HTMX
from tests.factories import DataflowFactory, UserFactory, permissions_named

pytestmark = pytest.mark.django_db
ALERTS = "/activation/alerts/"


@pytest.fixture
def client(watcher: User) -> Client:
    client = Client()
    client.force_login(watcher)
    return client


def url(dataflow: Dataflow) -> str:
    return reverse("activation:subscription", args=[dataflow.destination_id])


def text(response: Any) -> str:
    return str(response.content.decode())


def trouble(dataflow: Dataflow) -> None:
    lanes.hold(dataflow.pk, "ResourceNotFoundException", "<b>not</b> found")
    look()


def test_one_chooses_and_takes_it_back(client: Client, dataflow: Dataflow, watcher: User) -> None:
    assert "A flow run fails" in text(client.get(url(dataflow)))
    response = client.post(url(dataflow), {"kinds": ["on_hold", "delayed"], "by_email": "on"})
    assert response["Location"] == dataflow.destination.get_absolute_url()
    found = Subscription.objects.get(user=watcher)
    assert (found.kinds, found.by_email) == (["delayed", "on_hold"], True)
    client.post(url(dataflow), {})
    assert not Subscription.objects.exists()
    assert Entry.objects.filter(action="alerts.subscribed", actor="watcher").count() == 2


def test_a_kind_that_there_is_not_is_refused_at_the_field(client: Client, dataflow: Dataflow) -> None:
    response = client.post(url(dataflow), {"kinds": ["everything"]})
    assert response.status_code == 422 and list(response.context["form"].errors) == ["kinds"]


def test_the_secret_of_a_webhook_is_written_and_never_shown(
    client: Client, dataflow: Dataflow, watcher: User
) -> None:
    watcher.user_permissions.add(*permissions_named(["destinations.manage_destinations"]))
    sent = {"kinds": "on_hold", "webhook_url": "https://hooks.example.com/x"}
    refused = client.post(url(dataflow), sent)
    assert list(refused.context["form"].errors) == ["webhook_secret"]
    refused = client.post(
        url(dataflow), sent | {"webhook_url": "https://10.0.0.1/", "webhook_secret": "x" * 16}
    )
    assert "not one of the public internet" in text(refused)
    client.post(url(dataflow), sent | {"webhook_secret": "hush-hush-hush-hush"})
    client.post(url(dataflow), sent | {"webhook_url": "https://hooks.example.com/y"})
    found = Subscription.objects.get()
    assert found.webhook_secret.open() == {"secret": "hush-hush-hush-hush"}
    assert found.webhook_url.endswith("/y")
    assert "hush" not in text(client.get(url(dataflow)))
    [first, second] = Entry.objects.filter(action="alerts.subscribed").order_by("pk")
    assert first.changes["webhook_secret"] == "changed"
    assert second.changes == {"webhook_url": ["https://hooks.example.com/x", "https://hooks.example.com/y"]}
    client.post(url(dataflow), {"kinds": "on_hold"})
    assert Subscription.objects.get().webhook_secret.open() == {}


def test_without_the_right_to_manage_destinations_there_is_no_webhook(
    client: Client, dataflow: Dataflow
) -> None:
    assert "webhook" not in text(client.get(url(dataflow))).lower()
    sent = {"kinds": "on_hold", "webhook_url": "https://evil.example.com/", "webhook_secret": "x" * 16}
    client.post(url(dataflow), sent)
    assert Subscription.objects.get().webhook_url == ""


def test_the_bell_counts_what_is_not_read_and_answers_only_when_there_is_something_new(
    client: Client, dataflow: Dataflow, subscription: Subscription
) -> None:
    bell = f"{ALERTS}bell/"
    first = client.get(bell, headers=HTMX)
    assert first.context["count"] == 0
    trouble(dataflow)
    rung = client.get(bell, {"state": first.context["state"]}, headers=HTMX)
    assert "Alerts: 1 unread" in text(rung) and "takes no records" in text(rung)
    assert client.get(bell, {"state": rung.context["state"]}, headers=HTMX).status_code == 204
    assert client.get(bell)["Location"] == ALERTS  # without JavaScript
    assert "&lt;b&gt;not&lt;/b&gt; found" in text(client.get(ALERTS))
    client.post(f"{ALERTS}read/", {"up_to": rung.context["lines"][0].notice.pk})
    assert client.get(bell, headers=HTMX).context["count"] == 0
    assert "You have read everything" in text(client.get(ALERTS, {"unread": "1"}))


def test_nobody_reads_or_sees_what_others_were_told(client: Client, dataflow: Dataflow) -> None:
    watch(dataflow, UserFactory.create())
    trouble(dataflow)
    assert "Nothing was told yet" in text(client.get(ALERTS))
    client.post(f"{ALERTS}read/", {"up_to": 2**62})
    assert Notice.objects.filter(read_at=None).count() == 1


def test_pages_take_as_many_queries_for_many_as_for_one(
    client: Client, dataflow: Dataflow, subscription: Subscription
) -> None:
    def queries(address: str, **headers: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(address, headers=headers)
        return len(captured)

    trouble(dataflow)
    few = queries(ALERTS), queries(f"{ALERTS}bell/", **HTMX)
    for _number in range(8):
        other = DataflowFactory.create()
        watch(other, subscription.user)
        trouble(other)
    assert (queries(ALERTS), queries(f"{ALERTS}bell/", **HTMX)) == few
    assert max(few) <= 6
