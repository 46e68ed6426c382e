from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client

from activation.export import outbox
from activation.models import Dataflow
from activation.views.wizard import WIZARD
from destinations.models import Destination
from tests.activation.wizard import signed_in
from tests.factories import DestinationFactory, UserFactory


@pytest.fixture
def marketer() -> User:
    return UserFactory.create(username="Kim", permissions=[*WIZARD, "destinations.view_destination"])


@pytest.fixture
def client(marketer: User) -> Client:
    return signed_in(marketer)


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Redis takes what is sent. The dataflows that were woken."""
    ids: list[uuid.UUID] = []

    def wake(dataflow: Dataflow) -> bool:
        ids.append(dataflow.pk)
        return True

    monkeypatch.setattr(outbox, "wake", wake)
    return ids


@pytest.fixture
def destination() -> Destination:
    return DestinationFactory.create()
