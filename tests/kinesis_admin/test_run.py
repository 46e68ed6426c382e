"""What `make run` does before and after the programs run."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import environ
import pytest
from cryptography.fernet import Fernet

from kinesis_admin import run
from kinesis_admin.processes import CannotRun, Program, free_port, port_is_free, socket_path, wait_until


def test_the_env_file_is_private_and_holds_keys_of_its_own(tmp_path: Path) -> None:
    assert run.make_env_file(tmp_path / "one")
    assert run.make_env_file(tmp_path / "two")

    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    values = dict(
        line.split("=", 1) for line in (tmp_path / "one").read_text().splitlines() if line[0] != "#"
    )
    assert len(values["SECRET_KEY"]) >= 50
    Fernet(values["CREDENTIAL_KEYS"])
    assert values["SECRET_KEY"] not in (tmp_path / "two").read_text()
    assert [path.name for path in tmp_path.iterdir()].count("one") == 1
    assert len(list(tmp_path.iterdir())) == 2, "no partial files are left"


def test_a_second_run_keeps_the_env_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("SECRET_KEY=mine\n")

    assert not run.make_env_file(path)
    assert path.read_text() == "SECRET_KEY=mine\n"


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that `make run` finds; what it adds is gone after the test."""
    found = {**os.environ, "ENV_FILE": str(tmp_path / ".env")}
    monkeypatch.setattr(os, "environ", found)
    monkeypatch.setattr(environ.Env, "ENVIRON", found)
    return found


def test_a_moved_stream_is_allowed_as_an_endpoint(tmp_path: Path, variables: dict[str, str]) -> None:
    variables |= {"KINESIS_ENDPOINT_HOSTS": "127.0.0.1:4567", "KINESIS_PORT": "5678"}

    assert run.environment(tmp_path)["KINESIS_ENDPOINT_HOSTS"] == "127.0.0.1:4567,127.0.0.1:5678"


def test_what_the_environment_says_wins_over_the_file(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nENVIRONMENT_NAME=from the file\n")
    variables["PORT"] = "2222"

    env = run.environment(tmp_path)

    assert env["PORT"] == "2222"
    assert env["ENVIRONMENT_NAME"] == "from the file"


@pytest.mark.parametrize("port", ["http", "0", "70000"])
def test_a_port_that_is_none_is_said(tmp_path: Path, variables: dict[str, str], port: str) -> None:
    variables["PORT"] = port

    with pytest.raises(CannotRun, match=f"PORT={port} is not a port"):
        run.environment(tmp_path)


def test_a_taken_port_is_said_in_one_line_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        result = subprocess.run(
            [sys.executable, "-m", "kinesis_admin.run"],
            cwd=run.BASE_DIR,
            env={
                **os.environ,
                "ENV_FILE": str(tmp_path / ".env"),
                "VAR_DIR": str(tmp_path),
                "PORT": str(port),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert result.returncode == 1
    assert result.stderr == ""
    line = f"Port {port} is taken by another program; choose another: make run PORT={port + 1}"
    assert result.stdout.splitlines()[-1] == line
    assert not (tmp_path / "log").exists()


def test_a_folder_is_run_once_at_a_time(tmp_path: Path) -> None:
    with (
        run.only_one(tmp_path),
        pytest.raises(CannotRun, match="running here already"),
        run.only_one(tmp_path),
    ):
        pass
    with run.only_one(tmp_path):
        pass


def test_the_socket_is_in_a_folder_of_our_own_however_deep_the_clone_is(tmp_path: Path) -> None:
    near = socket_path(Path(os.environ["TEST_FOLDER"]) / "redis")
    far = socket_path(tmp_path / ("deep" * 30))

    assert near.parent.name == "redis"
    for path in (near, far):
        assert len(str(path)) <= 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    far.parent.rmdir()


def program(tmp_path: Path, source: str, told: list[str] | None = None) -> Program:
    command = [sys.executable, "-u", "-c", source]
    tell = told.append if told is not None else None
    return Program("child", command, env=os.environ, log_folder=tmp_path, tell=tell)


def test_a_program_ends_with_everything_it_started(tmp_path: Path) -> None:
    child = program(
        tmp_path,
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)\n"
        "time.sleep(600)\n",
    )
    assert wait_until(lambda: bool(child.last_lines), seconds=20)
    grandchild = Path(f"/proc/{child.last_lines[0]}/stat")

    child.stop(grace=0.1)

    assert not child.alive
    if Path("/proc/self").exists():
        assert wait_until(lambda: not grandchild.exists() or ") Z " in grandchild.read_text(), seconds=5)


def test_warnings_are_told_and_everything_is_logged(tmp_path: Path) -> None:
    told: list[str] = []
    child = program(
        tmp_path,
        'print(\'{"level": "info", "event": "fine"}\')\n'
        'print(\'{"level": "error", "event": "100% broken"}\')\n'
        "print('Traceback')\n",
        told,
    )
    child.process.wait(20)
    child.stop()

    assert told == ["child: 100% broken"]
    assert (tmp_path / "child.log").read_text().splitlines()[1:] == [
        '{"level": "error", "event": "100% broken"}',
        "Traceback",
    ]


def test_free_ports_are_free() -> None:
    port = free_port()
    assert port_is_free(port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert not port_is_free(port)
