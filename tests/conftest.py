"""Fixtures for everybody. Those that start real servers are in tests/services.py and tests/local_kinesis.py."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.test import Client, TransactionTestCase
from django.utils import translation

from access.sessions import SessionStore, cookie_of, key_of
from kinesis_admin.messages import compile_catalogs
from tests import services, trail
from tests.local_kinesis import kinesis_process, local_kinesis
from tests.services import celery_worker, redis_server, start_worker, web_port

__all__ = ["celery_worker", "kinesis_process", "local_kinesis", "redis_server", "start_worker", "web_port"]


DATABASE = {"db", "transactional_db"}  # fixtures

_empty_the_database = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def _with_the_trail(self: TransactionTestCase) -> None:
    """Tests that commit empty the database when they end; the audit trail would refuse to go."""
    with trail.changeable():
        _empty_the_database(self)


TransactionTestCase._fixture_teardown = _with_the_trail  # type: ignore[attr-defined]


_log_in = Client._login  # type: ignore[attr-defined]


def _with_a_signed_cookie(self: Client, *args: Any, **kwargs: Any) -> None:
    """Django's test client takes the cookie of a session for its key."""
    _log_in(self, *args, **kwargs)
    self.cookies[settings.SESSION_COOKIE_NAME] = cookie_of(self.cookies[settings.SESSION_COOKIE_NAME].value)


def _session(self: Client) -> SessionStore:
    cookie = self.cookies.get(settings.SESSION_COOKIE_NAME)
    session = SessionStore(key_of(cookie.value) if cookie else None)
    if session.session_key is None:
        session.save()
        self.cookies[settings.SESSION_COOKIE_NAME] = cookie_of(session.session_key or "")
    return session


Client._login = _with_a_signed_cookie  # type: ignore[attr-defined]
Client.session = property(_session)  # type: ignore[assignment]


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
        django_db = item.get_closest_marker("django_db")
        if django_db or fixtures & DATABASE:
            item.add_marker("database")
        # Tests that commit empty the database when they end, so pytest-django sorts them behind the others. A file
        # stays in one process (its servers are its own), in two parts, so that this holds there, too.
        commits = "transactional_db" in fixtures or (django_db and django_db.kwargs.get("transaction"))
        if commits and isinstance(item, pytest.Function):
            # All of them put back what the migrations insert, or none could follow another.
            item.fixturenames.insert(0, "django_db_serialized_rollback")
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(f"{item.path}{' commits' if commits else ''}"))
    # They wait most of the time: at the end nothing would be done meanwhile. (See tests/faults/conftest.py.)
    items.sort(key=lambda item: not item.get_closest_marker("faults"))
