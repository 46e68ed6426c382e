"""Django admin of the activation models: everything found, nothing written."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation.models import (
    Alert,
    AlertMessage,
    DataflowRun,
    Delivery,
    DraftAttribute,
    DraftSegment,
    FailedExport,
    Farewell,
    Lane,
    Notice,
    PendingExport,
    Subscription,
)
from profiles.models import SchemaField
from tests.factories import DataflowFactory, ProfileFactory, SegmentFactory, UserFactory

pytestmark = pytest.mark.django_db

MODELS = list(apps.get_app_config("activation").get_models())


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def rows() -> None:
    """A row of each model."""
    dataflow = DataflowFactory.create(segments=[SegmentFactory.create()], attributes=["personID"])
    profile = ProfileFactory.create()
    now = timezone.now()
    run = DataflowRun.objects.create(dataflow=dataflow, started_at=now, last_at=now)
    FailedExport.objects.create(
        run=run, profile=profile, kind="failed", code="RecordTooLarge", reason="too large"
    )
    PendingExport.objects.create(dataflow=dataflow, profile=profile, reason="backfill")
    Delivery.objects.create(
        dataflow=dataflow,
        profile=profile,
        delivered_at=now,
        reason="backfill",
        shard="s",
        sequence_number="1",
    )
    Lane.objects.create(dataflow=dataflow, number=0, of=4)
    DraftSegment.objects.create(dataflow=dataflow, segment=SegmentFactory.create())
    field = SchemaField.objects.get(path="personID")
    DraftAttribute.objects.create(dataflow=dataflow, field=field, position=0)
    watcher = UserFactory.create()
    subscription = Subscription.objects.create(destination=dataflow.destination, user=watcher)
    alert = Alert.objects.create(dataflow=dataflow, kind="on_hold")
    Notice.objects.create(alert=alert, user=watcher)
    AlertMessage.objects.create(subscription=subscription, alert=alert, channel="email")
    Farewell.objects.create(dataflow=dataflow, partition_key="k", data=b"{}", available_at=now)


def test_every_model_is_in_the_admin() -> None:
    assert [model for model in MODELS if model not in admin.site._registry] == []


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("model", MODELS)
def test_rows_are_listed_found_and_shown_but_not_written(client: Client, model: type) -> None:
    name = f"admin:activation_{model.__name__.lower()}"
    row = model._default_manager.first()  # type: ignore[attr-defined]
    assert client.get(reverse(f"{name}_changelist")).status_code == 200
    assert client.get(reverse(f"{name}_changelist"), {"q": "x'%"}).status_code == 200
    assert client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
    assert client.get(reverse(f"{name}_add")).status_code == 403
    assert client.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403
    assert client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_a_long_list_takes_no_query_a_row(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    dataflow = DataflowFactory.create()
    PendingExport.objects.bulk_create(
        [
            PendingExport(dataflow=dataflow, profile=p, reason="backfill")
            for p in ProfileFactory.create_batch(40)
        ]
    )
    with django_assert_max_num_queries(12):
        client.get(reverse("admin:activation_pendingexport_changelist"))
