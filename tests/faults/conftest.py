from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from audit.models import Entry
from profiles.models import Segment
from tests import trail
from tests.factories import SegmentFactory
from tests.local_kinesis import STREAM, KinesisProcess


@pytest.fixture(scope="package", autouse=True)
def _what_migrations_insert(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """These tests commit, and come before those that do not: what they empty at last is put back."""
    yield
    with django_db_blocker.unblock():
        inserted: str = connection._test_serialized_contents  # type: ignore[attr-defined]  # Django's test runner
        connection.creation.deserialize_db_from_string(inserted)
        with trail.changeable():
            Entry.objects.all().delete()  # of the groups that were put back


@pytest.fixture
def everyone() -> Segment:
    return SegmentFactory.create(id="everyone")


@pytest.fixture
def wide_kinesis() -> Iterator[KinesisProcess]:
    """A stream that takes more than we send."""
    running = KinesisProcess(streams=(f"{STREAM}:64",))
    running.start()
    yield running
    running.stop()
