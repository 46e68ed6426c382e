from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

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
def destination() -> Destination:
    return DestinationFactory.create()
