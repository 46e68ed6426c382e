"""Fixtures for everybody. Those that start real servers are in tests/services.py and tests/local_kinesis.py."""

from __future__ import annotations

import hypothesis
import pytest
from django.conf import settings

from kinesis_admin.messages import compile_catalogs
from tests import services
from tests.local_kinesis import kinesis_process, local_kinesis
from tests.services import celery_worker, redis_server, start_worker

__all__ = ["celery_worker", "kinesis_process", "local_kinesis", "redis_server", "start_worker"]


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
        if services.FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("worker")
