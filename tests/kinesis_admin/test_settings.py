"""The product refuses to start without its secrets, and is secure unless told otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from kinesis_admin.celery import app
from kinesis_admin.settings import _broker_url
from tests.services import ROOT


def manage(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """manage.py in a process of its own, in production's way: nothing is set but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "VAR_DIR", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**kept, "ENV_FILE": os.devnull, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


KEYS = {
    "SECRET_KEY": "k3" * 15 + "abcdefghijklmnopqrstuvwxyz",
    "CREDENTIAL_KEYS": Fernet.generate_key().decode(),
}


def test_deploy_check_is_clean_with_nothing_but_the_secrets_set() -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING", **KEYS)

    assert result.returncode == 0, result.stderr
    assert "no issues (0 silenced)" in result.stdout


@pytest.mark.parametrize("missing", ["SECRET_KEY", "CREDENTIAL_KEYS"])
def test_without_a_secret_it_does_not_start_and_names_it(missing: str) -> None:
    result = manage("check", **{name: value for name, value in KEYS.items() if name != missing})

    assert result.returncode != 0
    assert f"Set {missing} in the environment" in result.stderr


def test_a_credential_key_that_is_none_is_refused_without_showing_it() -> None:
    result = manage("check", SECRET_KEY=KEYS["SECRET_KEY"], CREDENTIAL_KEYS="not-a-fernet-key")

    assert result.returncode != 0
    assert "CREDENTIAL_KEYS" in result.stderr
    assert "not-a-fernet-key" not in result.stderr


@pytest.mark.parametrize(
    ("redis_url", "broker_url"),
    [
        ("redis://cache:6379/2", "redis://cache:6379/2"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
    ],
)
def test_one_variable_names_redis_for_celery_too(redis_url: str, broker_url: str) -> None:
    assert _broker_url(redis_url) == broker_url


def test_what_beat_starts_is_known_to_the_workers() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= app.tasks.keys()


def test_the_tests_touch_no_redis_of_the_machine() -> None:
    assert settings.REDIS_URL.startswith("unix:///tmp/ka-test-")
