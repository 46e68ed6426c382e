"""What the tests of profiles share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from profiles.signals import ProfileChange, profiles_changed
from tests.factories import UserFactory

READS = ["profiles.view_profile", "profiles.view_segment"]


@pytest.fixture
def announced() -> Iterator[list[list[ProfileChange]]]:
    """The batches that were announced."""
    batches: list[list[ProfileChange]] = []

    def listen(changes: list[ProfileChange], **kwargs: Any) -> None:
        batches.append(changes)

    profiles_changed.connect(listen)
    yield batches
    profiles_changed.disconnect(listen)


@pytest.fixture
def reader(db: None) -> Client:
    """The browser of a person who may see profiles and segments."""
    client = Client()
    client.force_login(UserFactory.create(permissions=READS))
    return client
