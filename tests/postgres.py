"""A PostgreSQL of our own for the tests: started in a temporary folder, on loopback, gone afterwards."""

from __future__ import annotations

import atexit
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from django.db import connection, transaction
from psycopg.sql import SQL, Identifier

from kinesis_admin.processes import CannotRun, Program, free_port, wait_until
from tests.elsewhere import Elsewhere

# A crash may lose it all: nobody needs it afterwards.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "80"}


def binary(name: str) -> str:
    """The path of one of PostgreSQL's programs; Debian keeps them out of PATH.

    Raises:
        CannotRun: it is not installed.
    """
    installed = sorted(
        glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4])
    )
    path = installed[-1] if installed else shutil.which(name)
    if not path:
        raise CannotRun(f"PostgreSQL 15 or newer is needed for the tests: {name} is missing.")
    return path


def unprivileged_user() -> str:
    """Debian's package makes the user postgres; elsewhere there is nobody."""
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def create_database(server_url: str, name: str) -> str:
    """Make a database beside the one in ``server_url``, until this process ends. Its URL."""
    with psycopg.connect(server_url, autocommit=True) as server:
        known = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not known:
            server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
            atexit.register(_drop_database, server_url, name)
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def _drop_database(server_url: str, name: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def private_postgres(options: Mapping[str, str] = FAST) -> Iterator[str]:
    """A running server with these settings; gives the URL for ``DATABASE_URL``."""
    user = unprivileged_user() if os.getuid() == 0 else None  # PostgreSQL does not run as root
    folder = Path(tempfile.mkdtemp(prefix="ka-pg-", dir="/tmp"))
    try:
        if user:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        data, port = folder / "data", free_port()
        subprocess.run(
            [
                binary("initdb"),
                "-D",
                str(data),
                "-U",
                "test",
                "--auth=trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        given = {**options, "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
        server = Program(
            "postgres",
            [binary("postgres"), "-D", str(data), *(f"--{key}={value}" for key, value in given.items())],
            env={"PATH": os.defpath, "LC_ALL": "C"},
            log_folder=folder / "log",
            user=user,
        )
        try:
            asked = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            if not wait_until(lambda: subprocess.run(asked).returncode == 0, seconds=30):
                raise CannotRun("PostgreSQL does not start: " + " ".join(server.last_lines))
            yield f"postgres://test@127.0.0.1:{port}/postgres"
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_a_lock() -> None:
    """Until some other connection of the test's database waits for a lock; fails after 10 seconds."""
    deadline = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_sleep(0.02)")
    raise AssertionError("nobody waits")


def beside(work: Callable[[], None]) -> None:
    """Do some work in a transaction that waits for this one."""
    transaction.on_commit(Elsewhere(work).join)
    wait_for_a_lock()
