"""A dataflow that somebody watches."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from activation.alerts.services import Wishes, subscribe
from activation.models import Dataflow, Subscription
from destinations.models import AlertKind
from tests.factories import DataflowFactory, UserFactory


@pytest.fixture
def watcher() -> User:
    return UserFactory.create(
        username="watcher",
        permissions=["destinations.view_destination", "activation.view_monitoring"],
    )


@pytest.fixture
def dataflow() -> Dataflow:
    return DataflowFactory.create(destination__name="Seoul")


def watch(dataflow: Dataflow, user: User, **wishes: Any) -> Subscription:
    subscribe(
        destination=dataflow.destination, user=user, wishes=Wishes(**{"kinds": AlertKind.values} | wishes)
    )
    return Subscription.objects.get(destination=dataflow.destination, user=user)


@pytest.fixture
def subscription(dataflow: Dataflow, watcher: User) -> Subscription:
    """All alerts, by e-mail."""
    return watch(dataflow, watcher)
