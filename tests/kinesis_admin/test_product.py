"""The whole of `make run`, from the first start to Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from kinesis_admin.processes import port_is_free
from tests.product import Product, running_product

pytestmark = pytest.mark.worker

COUNT = "from profiles.models import Profile; print(Profile.objects.count())"


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, by their id."""
    children: dict[int, list[tuple[int, str]]] = {}
    for line in subprocess.check_output(["ps", "-ww", "-eo", "pid=,ppid=,args="], text=True).splitlines():
        number, parent, command = line.split(None, 2)
        children.setdefault(int(parent), []).append((int(number), command))
    found: dict[int, str] = {}
    below = [pid]
    while below:
        for child, command in children.get(below.pop(), []):
            found[child] = command
            below.append(child)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text() if Path("/proc/self").exists() else True


def test_ctrl_c_ends_every_process_and_a_second_run_keeps_the_data(tmp_path: Path) -> None:
    with running_product(tmp_path, SAMPLE_PROFILES="20") as product:
        with urlopen(f"{product.url}/readyz") as answer:
            assert answer.status == 200
        assert f"Kinesis Admin is ready at {product.url}\n" in product.output
        assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
        processes = descendants(product.process.pid)
        assert len(processes) >= 7, processes  # Redis, Kinesis, web (3), worker (2), beat
        password, profiles = product.password, product.manage("shell", "-v0", "-c", COUNT)
        assert int(profiles) == 20

        assert product.stop() == 0
        assert [command for pid, command in processes.items() if alive(pid)] == []
        assert port_is_free(product.port)
        assert port_is_free(product.kinesis_port)

    with running_product(tmp_path, SAMPLE_PROFILES="20") as again:
        assert again.password == password
        assert again.manage("shell", "-v0", "-c", COUNT) == profiles
        assert not any("Loading" in line for line in again.output)


def test_when_one_program_dies_everything_stops_and_it_is_named(tmp_path: Path) -> None:
    with running_product(tmp_path, SAMPLE_PROFILES="0") as product:
        processes = descendants(product.process.pid)
        stream = next(pid for pid, command in processes.items() if "local_kinesis" in command)

        os.kill(stream, signal.SIGKILL)

        product.wait_for("kinesis ended by itself (exit code -9)", seconds=30)
        assert product.process.wait(30) == 1
        assert [command for pid, command in processes.items() if alive(pid)] == []


def test_a_second_run_beside_the_first_is_refused(tmp_path: Path) -> None:
    with running_product(tmp_path, SAMPLE_PROFILES="0"):
        second = Product(tmp_path)
        second.wait_for("running here already", seconds=30)
        assert second.process.wait(10) == 1
