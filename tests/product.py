"""The product as a user gets it: ``python -m kinesis_admin.run`` with ports, a data folder and keys of its own."""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kinesis_admin.processes import free_port
from tests.environment import OURS, SET
from tests.postgres import create_database
from tests.services import ROOT


class Product:
    """One run of it.

    Args:
        folder: where its ``.env`` and ``var/`` go; a second run in the same folder keeps the data.
        env: variables on top, e.g. ``SAMPLE_PROFILES``.

    ``url`` is the web server, ``kinesis_url`` with ``access_key_id`` and ``secret_access_key`` the local Kinesis with
    its stream ``profile-exports``; ``user`` and ``password`` sign in. ``output`` is what the terminal showed.
    """

    user = "admin"

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.port, self.kinesis_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.kinesis_url = f"http://127.0.0.1:{self.kinesis_port}"
        self.env_file = folder / ".env"
        self.log_folder = folder / "var" / "log"
        self.output: list[str] = []
        # What the tests set for themselves is not what a user has.
        clean = {name: value for name, value in os.environ.items() if name not in OURS | SET}
        self.env = {
            **clean,
            "ENV_FILE": str(self.env_file),
            "VAR_DIR": str(folder / "var"),
            "PORT": str(self.port),
            "KINESIS_PORT": str(self.kinesis_port),
            **(env or {}),
        }
        if server := clean.get("DATABASE_URL"):
            # A database for each folder, as with SQLite.
            name = "product_" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
            self.env["DATABASE_URL"] = create_database(server, name)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kinesis_admin.run"],
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, text: str, *, seconds: float = 120) -> str:
        """The next line of the terminal that holds ``text``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is not None:
                    break
                continue
            if text in line:
                return line
        raise AssertionError(f"The product did not say {text!r}:\n" + "".join(self.output))

    def stop(self) -> int:
        """Ctrl-C, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def manage(self, *arguments: str) -> str:
        """What ``manage.py`` prints on the product's data, e.g. ``product.manage("shell", "-c", "print(1)")``."""
        variables = {**self.env, "KINESIS_ENDPOINT_HOSTS": f"127.0.0.1:{self.kinesis_port}"}
        redis_socket = self.log_folder.parent / "redis" / "redis.sock"
        if redis_socket.exists():
            variables["REDIS_URL"] = f"unix://{redis_socket}"
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def password(self) -> str:
        return self._from_env_file("ADMIN_PASSWORD")

    @property
    def access_key_id(self) -> str:
        return self._from_env_file("LOCAL_KINESIS_ACCESS_KEY_ID")

    @property
    def secret_access_key(self) -> str:
        return self._from_env_file("LOCAL_KINESIS_SECRET_ACCESS_KEY")

    def _from_env_file(self, name: str) -> str:
        lines = self.env_file.read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            self._lines.put(line)


@contextmanager
def running_product(folder: Path, **env: str) -> Iterator[Product]:
    """A product that is ready; ended, with all its programs, afterwards."""
    product = Product(folder, env)
    try:
        product.wait_for("Ready after")
        yield product
    finally:
        product.stop()
