"""The environment of the tests, set before Django reads its settings (a pytest plugin: ``-p tests.environment``).

Nothing of the developer's own ``.env``, database or Redis is touched: the data is in a temporary folder, and
``REDIS_URL`` names a socket in it where nobody listens unless a test asks for the fixture ``redis_server``.
``DATABASE_URL`` alone is taken from outside: it chooses the engine.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet

# Variables of the product that no test takes from outside, and those that the tests set for themselves.
OURS = {
    "ADMINS", "ADMIN_PASSWORD", "ALERT_DELAY", "ALERT_SKIP_PERCENT", "ALLOWED_HOSTS", "API_REQUESTS_PER_MINUTE",
    "AUDIT_DAYS", "BEHIND_TLS_PROXY", "CSRF_TRUSTED_ORIGINS", "DATABASE_POOL_SIZE", "DEFAULT_FROM_EMAIL", "EMAIL_URL",
    "ENVIRONMENT_NAME", "IDENTITY_GRAPH_LIMIT", "INLET_REMEMBER_DAYS", "INLET_REQUESTS_PER_SECOND", "KINESIS_PORT",
    "LOCAL_KINESIS_ACCESS_KEY_ID", "LOCAL_KINESIS_SECRET_ACCESS_KEY", "LOG_FORMAT", "METRICS_TOKEN", "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET", "OIDC_ISSUER", "OIDC_NAME", "OIDC_TRUST_EMAILS", "PORT", "REDIS_URL", "SAMPLE_PROFILES",
    "SECRET_KEY_FALLBACKS", "WEBHOOK_HOSTS", "WEB_CONCURRENCY", "WORKER_CONCURRENCY",
}  # fmt: skip
SET = {
    "AWS_EC2_METADATA_DISABLED", "CREDENTIAL_KEYS", "DEBUG", "ENV_FILE", "HTTPS_ONLY", "KINESIS_ENDPOINT_HOSTS",
    "LOG_LEVEL", "SECRET_KEY", "TEST_FOLDER", "TEST_SQLITE", "VAR_DIR",
}  # fmt: skip


def _remove(folder: str, owner: int) -> None:
    # Forked children come by here too: only the process that made the folder removes it.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def prepare() -> None:
    """Fill ``os.environ``. pytest-xdist's processes share the folder, and each has its own files in it."""
    for name in OURS:
        os.environ.pop(name, None)
    folder = os.environ.get("TEST_FOLDER")
    if folder is None:
        # /tmp and not TMPDIR: the path of a socket may have 100 characters.
        folder = os.environ["TEST_FOLDER"] = tempfile.mkdtemp(prefix="ka-test-", dir="/tmp")
        atexit.register(_remove, folder, os.getpid())
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    os.environ.update(
        ENV_FILE=os.devnull,
        VAR_DIR=str(Path(folder) / process),
        TEST_SQLITE=str(Path(folder) / "test.sqlite3"),
        REDIS_URL=f"unix://{folder}/{process}.sock",
        SECRET_KEY="only for tests: " + "0123456789abcdef" * 3,
        CREDENTIAL_KEYS=os.environ.get("CREDENTIAL_KEYS") or Fernet.generate_key().decode(),
        DEBUG="false",
        HTTPS_ONLY="false",
        LOG_LEVEL="INFO",
        # Emulators and local streams of the tests listen on loopback, on ports of their own.
        KINESIS_ENDPOINT_HOSTS="127.0.0.1",
        AWS_EC2_METADATA_DISABLED="true",
    )


prepare()
