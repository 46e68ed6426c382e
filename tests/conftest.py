"""Fixtures for everybody. Those that start real servers are in tests/services.py and tests/local_kinesis.py."""

from __future__ import annotations

import hypothesis
import pytest
from django.conf import settings
from django.utils import translation

from kinesis_admin.messages import compile_catalogs
from tests import services
from tests.local_kinesis import kinesis_process, local_kinesis
from tests.services import celery_worker, redis_server, start_worker

__all__ = ["celery_worker", "kinesis_process", "local_kinesis", "redis_server", "start_worker"]


@pytest.fixture(autouse=True)
def _english() -> None:
    """A request leaves its language behind in the thread: the next test begins in English nevertheless."""
    translation.activate(settings.LANGUAGE_CODE)


def pytest_configure() -> None:
    # A machine that has other things to do is no failure.
    hypothesis.settings.register_profile("ours", deadline=None)
    hypothesis.settings.load_profile("ours")
    # Korean pages are tested too.
    compile_catalogs([services.ROOT / "locale"])
    # Nobody attacks the passwords of the tests.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if services.FIXTURES & fixtures:
            item.add_marker("worker")
        # Tests that commit empty the database when they end, so pytest-django sorts them behind the others. A file
        # stays in one process (its servers are its own), in two parts, so that this holds there, too.
        django_db = item.get_closest_marker("django_db")
        commits = "transactional_db" in fixtures or (django_db and django_db.kwargs.get("transaction"))
        if commits and isinstance(item, pytest.Function):
            # All of them put back what the migrations insert, or none could follow another.
            item.fixturenames.insert(0, "django_db_serialized_rollback")
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(f"{item.path}{' commits' if commits else ''}"))
