from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client

from tests.factories import UserFactory


def person(*roles: str, **fields: object) -> User:
    """Somebody with these roles."""
    made = UserFactory.create(**fields)
    made.groups.set(Group.objects.filter(name__in=roles))
    return made


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def administrator(db: None) -> User:
    return person("Administrator", username="Ahn")


@pytest.fixture
def client(administrator: User) -> Client:
    return signed_in(administrator)


@pytest.fixture(autouse=True)
def _forgotten_attempts() -> Iterator[None]:
    """What one test counted does not limit the next."""
    yield
    cache._own.clear()  # type: ignore[attr-defined]
