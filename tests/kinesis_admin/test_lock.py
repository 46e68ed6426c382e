"""requirements.lock is in step with requirements.txt: production installs what was tried, and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.services import ROOT

AGAIN = "run scripts/lock.py"


def test_the_lock_pins_every_requirement_within_its_range() -> None:
    pins: dict[str, list[str]] = defaultdict(list)
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", _text("requirements.lock"), re.MULTILINE):
        pins[canonicalize_name(name)].append(version)

    for line in re.sub(r"#.*", "", _text("requirements.txt")).split("\n"):
        if line.strip():
            wanted = Requirement(line.strip())
            found = pins[canonicalize_name(wanted.name)]
            assert any(wanted.specifier.contains(version) for version in found), f"{line}: {AGAIN}"


def test_every_pin_has_hashes() -> None:
    entries = re.split(r"\n(?=[a-z])", _text("requirements.lock"))

    assert [entry for entry in entries if not entry.startswith("#") and "--hash=sha256:" not in entry] == []


def _text(name: str) -> str:
    return (ROOT / name).read_text()
