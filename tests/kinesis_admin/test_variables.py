"""README.md, .env.example and the code name the same variables."""

from __future__ import annotations

import re

from tests.services import ROOT

# Not for users: the tests' database, and what Django itself reads.
INTERNAL = {"TEST_SQLITE", "DJANGO_SETTINGS_MODULE"}


def in_code() -> set[str]:
    names: set[str] = set()
    for name in ("settings", "run", "gunicorn"):
        source = (ROOT / "kinesis_admin" / f"{name}.py").read_text()
        names |= set(re.findall(r"\benv\.[a-z_]+\(\s*\"([A-Z_]+)\"", source))
        names |= set(re.findall(r"\benviron\.[a-z]+\(\s*[\"']([A-Z_]+)[\"']", source))
        names |= set(re.findall(r"\benv\[\"([A-Z_]+)\"\]", source))
    return names - INTERNAL - {"PYTHONUNBUFFERED"}


def test_the_variables_of_the_code_are_those_of_the_example() -> None:
    example = (ROOT / ".env.example").read_text()

    assert set(re.findall(r"^#?([A-Z][A-Z_]+)=", example, re.MULTILINE)) == in_code()


def test_the_variables_of_the_code_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()

    assert set(re.findall(r"^\| `([A-Z_]+)` \|", readme, re.MULTILINE)) == in_code()
