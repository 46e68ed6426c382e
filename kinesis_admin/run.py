"""``make run``: everything the product consists of, on this machine, with one command.

It prepares what the first run needs (an ``.env`` with generated keys, the database, messages, static files, sample
data, a user) and then runs Redis, a local Kinesis, the web server, a worker and beat, until Ctrl-C or until one of
them ends. Nothing listens beyond loopback. The terminal shows progress, and warnings; the logs are in ``var/log/``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import environ

from kinesis_admin.messages import compile_catalogs
from kinesis_admin.processes import (
    CannotRun,
    Program,
    port_is_free,
    redis_command,
    socket_path,
    wait_until,
)

BASE_DIR = Path(__file__).resolve().parent.parent
ADMIN = "admin"
STREAM, SHARDS, REGION = "profile-exports", 2, "us-east-1"
READY_WITHIN = 90.0  # seconds

_started = time.monotonic()


def say(text: str) -> None:
    """One line of progress, at once. A terminal that was closed must not keep us from cleaning up."""
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def main() -> int:
    """Run until Ctrl-C (exit code 0) or until something ends by itself or can't start (exit code 1)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    programs: list[Program] = []
    try:
        with only_one(var_dir()):
            try:
                env = environment(BASE_DIR)
                check_ports(env)
                run(env, programs)
            finally:
                # From here on a second Ctrl-C must not leave anything behind.
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                stop(programs)
    except KeyboardInterrupt:
        say("Stopped. `make run` starts again with the same data.")
    except CannotRun as error:
        say(str(error))
        return 1
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


# -- the environment -----------------------------------------------------------------------------------------------


def var_dir() -> Path:
    """Where everything that is written goes: ``VAR_DIR``, or ``var/`` here. Customers' data: only for its owner."""
    folder = Path(os.environ.get("VAR_DIR") or BASE_DIR / "var").absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for this run alone.

    Raises:
        CannotRun: another run holds it.
    """
    with (folder / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotRun(
                "Kinesis Admin is running here already; stop that one first (Ctrl-C in its terminal)."
            ) from None
        yield


def env_file_text() -> str:
    """A new ``.env`` for this machine, with keys nobody else has."""
    from cryptography.fernet import Fernet

    lines = [
        "# Made by `make run` for this machine; README.md explains every variable. Keep it private.",
        f"SECRET_KEY={secrets.token_urlsafe(48)}",
        "# What account credentials are encrypted with. Without it they have to be entered again.",
        f"CREDENTIAL_KEYS={Fernet.generate_key().decode()}",
        "DEBUG=false",
        "# Plain HTTP, on loopback only.",
        "HTTPS_ONLY=false",
        "# The local Kinesis, the only stand-in for AWS that accounts may name.",
        "KINESIS_ENDPOINT_HOSTS=127.0.0.1:4567",
        f"LOCAL_KINESIS_ACCESS_KEY_ID=LOCAL{secrets.token_hex(8).upper()[:15]}",
        f"LOCAL_KINESIS_SECRET_ACCESS_KEY={secrets.token_urlsafe(30)}",
        f"# The password of the user {ADMIN!r} that the first run makes.",
        f"ADMIN_PASSWORD={secrets.token_urlsafe(12)}",
    ]
    return "\n".join(lines) + "\n"


def make_env_file(path: Path) -> bool:
    """Write a new ``.env`` unless there is one; only its owner may read it. Whether it was written."""
    if path.exists():
        return False
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(env_file_text())
    partial.replace(path)
    return True


def environment(folder: Path) -> dict[str, str]:
    """What all the programs get: the environment, the ``.env`` and, where they say nothing, our own Redis and ports.

    Raises:
        CannotRun: a port is not a number.
    """
    path = Path(os.environ.get("ENV_FILE") or folder / ".env")
    if make_env_file(path):
        say(f"Made {path} with new keys.")
    environ.Env.read_env(path)
    env = dict(os.environ)
    env["ENV_FILE"] = str(path)
    env["VAR_DIR"] = str(var_dir())
    env["DJANGO_SETTINGS_MODULE"] = "kinesis_admin.settings"
    env["PYTHONUNBUFFERED"] = "1"
    for name, default in (("PORT", "8000"), ("KINESIS_PORT", "4567")):
        env[name] = env.get(name) or default
        if not env[name].isdecimal() or not 0 < int(env[name]) < 65536:
            raise CannotRun(f"{name}={env[name]} is not a port: choose a number up to 65535.")
    hosts = [host for host in env.get("KINESIS_ENDPOINT_HOSTS", "").split(",") if host]
    local = f"127.0.0.1:{env['KINESIS_PORT']}"
    env["KINESIS_ENDPOINT_HOSTS"] = ",".join([*hosts, *([] if local in hosts else [local])])
    # One key pair for every run, also where the .env was written by hand.
    env.setdefault("LOCAL_KINESIS_ACCESS_KEY_ID", "LOCALKINESISACCESSKEY")
    env.setdefault("LOCAL_KINESIS_SECRET_ACCESS_KEY", "only-for-the-local-stream")
    return env


def check_ports(env: Mapping[str, str]) -> None:
    """Before anything starts.

    Raises:
        CannotRun: one of them is taken.
    """
    for name in ("PORT", "KINESIS_PORT"):
        port = int(env[name])
        if not port_is_free(port):
            raise CannotRun(
                f"Port {port} is taken by another program; choose another: make run {name}={port + 1}"
            )
    if env["PORT"] == env["KINESIS_PORT"]:
        raise CannotRun(f"PORT and KINESIS_PORT are both {env['PORT']}; choose two.")


# -- preparing -----------------------------------------------------------------------------------------------------


def prepare() -> str:
    """Database, messages, static files; on the first run sample data and a user.

    Returns:
        How to sign in, in words.
    """
    import django

    compile_catalogs([BASE_DIR / "locale"])
    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connections

    say("Preparing the database …")
    call_command("migrate", interactive=False, verbosity=0)
    if collect_static(settings.VAR_DIR / "static.json"):
        say("Collected the static files.")

    users = get_user_model()._default_manager
    if not users.exists():
        # Only when the sample is in: a first run that was interrupted is a first run again.
        count = os.environ.get("SAMPLE_PROFILES") or "5000"
        if count != "0":
            say("Loading sample customers …")
            call_command("load_sample", profiles=int(count))
        password = os.environ.setdefault("ADMIN_PASSWORD", secrets.token_urlsafe(12))
        get_user_model().objects.create_superuser(ADMIN, password=password)
    admin = users.filter(username=ADMIN).first()
    known = os.environ.get("ADMIN_PASSWORD", "")
    if admin is not None and known and admin.check_password(known):
        sign_in = f"{ADMIN} / {known}"
    else:
        sign_in = "with your own user and password"
    connections.close_all()
    return sign_in


def _prepare_or_say() -> str:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management.base import CommandError
    from django.db import OperationalError

    try:
        return prepare()
    except OperationalError as error:
        raise CannotRun(f"The database does not answer: {str(error).strip()}") from None
    except (CommandError, ImproperlyConfigured) as error:
        raise CannotRun(str(error)) from None


def collect_static(stamp: Path) -> bool:
    """Collect the static files if any of them changed since the stamp was written. Whether it did."""
    from django.contrib.staticfiles.finders import get_finders
    from django.core.management import call_command

    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            found = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    state = digest.hexdigest()
    if stamp.exists() and stamp.read_text() == state:
        return False
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(state)
    return True


# -- running -------------------------------------------------------------------------------------------------------


def commands(env: Mapping[str, str]) -> dict[str, list[str]]:
    """The programs beside Redis, in the order of their start."""
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "kinesis_admin"]
    return {
        "kinesis": [
            *(python, str(BASE_DIR / "manage.py"), "local_kinesis", "--host", "127.0.0.1"),
            *("--port", env["KINESIS_PORT"], "--stream", f"{STREAM}:{SHARDS}"),
        ],
        "web": [python, "-m", "gunicorn", "--config", "python:kinesis_admin.gunicorn", "kinesis_admin.wsgi"],
        "worker": [*celery, "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"],
        "beat": [*celery, "beat", "--pidfile="],
    }


def run(env: dict[str, str], programs: list[Program]) -> None:
    """Prepare, start everything into ``programs``, say that it is ready, and watch.

    Raises:
        CannotRun: something ended by itself or did not get ready.
        KeyboardInterrupt: the person had enough.
    """
    folder = Path(env["VAR_DIR"])

    def start(name: str, command: list[str]) -> None:
        programs.append(Program(name, command, env=env, log_folder=folder / "log", tell=say))

    os.chdir(BASE_DIR)
    if not env.get("REDIS_URL"):
        path = socket_path(folder / "redis")
        path.unlink(missing_ok=True)
        env["REDIS_URL"] = f"unix://{path}"
        start("redis", redis_command(path))
    os.environ.update(env)
    sign_in = _prepare_or_say()
    env.setdefault("ADMIN_PASSWORD", os.environ.get("ADMIN_PASSWORD", ""))
    say("Starting Redis, the local Kinesis, the web server, a worker and beat …")
    for name, command in commands(env).items():
        start(name, command)

    url = f"http://127.0.0.1:{env['PORT']}"
    if not wait_until(lambda: stopped(programs) or ready(url) == "", seconds=READY_WITHIN, every=0.1):
        raise CannotRun(
            f"Not ready after {READY_WITHIN:.0f} s: {ready(url)}. The logs are in {folder / 'log'}."
        )
    if not stopped(programs):
        say(welcome(env, url, sign_in))
    wait_until(lambda: stopped(programs), seconds=float("inf"), every=0.5)
    ended = next(program for program in programs if not program.alive)
    for line in ended.last_lines:
        say(f"    {line}")
    raise CannotRun(
        f"{ended.name} ended by itself (exit code {ended.process.returncode}), so everything was stopped. "
        f"Its log: {ended.log_path}"
    )


def stopped(programs: list[Program]) -> bool:
    """Whether one of them has ended."""
    return not all(program.alive for program in programs)


def ready(url: str) -> str:
    """What is not ready yet, in words; empty when all is."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310  (our own)
            return ""
    except urllib.error.HTTPError as error:
        with error:
            found = json.loads(error.read() or b"{}") if error.code == 503 else {"web": str(error)}
        return ", ".join(f"{name}: {word}" for name, word in found.items() if word != "ok")
    except OSError:
        return "web: no answer"


def welcome(env: Mapping[str, str], url: str, sign_in: str) -> str:
    """The line everybody waits for, and what one needs for the first minutes."""
    return f"""
Kinesis Admin is ready at {url}

  Sign in             {sign_in}   (kept in {env["ENV_FILE"]})
  Local Kinesis       http://127.0.0.1:{env["KINESIS_PORT"]}   region {REGION}, stream {STREAM} with {SHARDS} shards
    Access key ID     {env["LOCAL_KINESIS_ACCESS_KEY_ID"]}
    Secret access key {env["LOCAL_KINESIS_SECRET_ACCESS_KEY"]}
  Logs                {Path(env["VAR_DIR"]) / "log"}

Ready after {time.monotonic() - _started:.0f} s. Stop with Ctrl-C.
"""


def stop(programs: list[Program]) -> None:
    """End all of them: first who uses Redis, then Redis."""
    if programs:
        say("Stopping …")
    users = [program for program in programs if program.name != "redis"]
    for program in users:
        program.terminate()
    for program in users:
        program.stop()
    for program in programs:
        program.stop()


if __name__ == "__main__":
    sys.exit(main())
