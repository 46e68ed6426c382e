"""No write without an entry: every public function of every ``services.py``, read as source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import ROOT

APPS = ("audit", "access", "profiles", "governance", "destinations", "activation", "flowservice")

# What is not recorded, and why.
DRAFT = "a draft: what becomes live of it is recorded by finish"
READ = "reads"
WATCHED = "its model is watched: see audit.watch"
NOT_RECORDED = {
    "access/services.py:create_person": WATCHED,
    "access/services.py:create_service_account": WATCHED,
    "access/services.py:delete_person": WATCHED,
    "access/services.py:edit_person": WATCHED,
    "access/services.py:switch_person": WATCHED,
    "access/services.py:keep_an_administrator": READ,
    "access/services.py:lock": READ,
    "access/services.py:rotate_second_factors": "the same secrets, encrypted anew by the command that is recorded",
    "activation/alerts/services.py:mark_read": "a person's own bell",
    "activation/services.py:follow_consent": "what changed what policies ask is recorded",
    "activation/services.py:save_segments": DRAFT,
    "activation/services.py:add_found_segments": DRAFT,
    "activation/services.py:clear_segments": DRAFT,
    "activation/services.py:save_attributes": DRAFT,
    "destinations/services.py:test": "asks the other side",
    "destinations/services.py:test_account": "asks the other side, and notes that it answered",
    "destinations/services.py:in_use": READ,
    "governance/services.py:checked_name": READ,
    "governance/services.py:checked_code": READ,
    "governance/services.py:check_actions": READ,
    "governance/services.py:check_draft": READ,
    "governance/services.py:users_of": READ,
    "governance/services.py:start_policy": DRAFT,
    "governance/services.py:save_draft": DRAFT,
    "governance/services.py:discard_draft": DRAFT,
    "profiles/namespaces/services.py:create_namespace": WATCHED,
    "profiles/namespaces/services.py:edit_namespace": WATCHED,
    "profiles/namespaces/services.py:delete_namespace": WATCHED,
    "profiles/namespaces/services.py:uses": READ,
    "profiles/uploads/services.py:receive": DRAFT,
    "profiles/uploads/services.py:read_as": DRAFT,
    "profiles/services.py:add_field": WATCHED,
    "profiles/services.py:checked_path": READ,
    "profiles/services.py:delete_profiles": "erasing is recorded, and calls it",
    "profiles/inlets/services.py:digest": READ,
    "profiles/services.py:write": "ingestion: the acts that call it are recorded",
    "profiles/services.py:check_rule": READ,
    "profiles/services.py:rule_error": READ,
    "profiles/services.py:protecting": READ,
    "profiles/services.py:hanging_on": READ,
    "profiles/services.py:in_use": READ,
}


def modules() -> Iterator[Path]:
    for app in APPS:
        yield from sorted((ROOT / app).rglob("services.py"))


def calls(function: ast.FunctionDef) -> set[str]:
    """What a function calls, ``audit.record`` among it; a name that it only mentions, too."""
    found = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
    return found


def functions() -> dict[str, bool]:
    """Every public function, and whether it records something, itself or through a function of its module."""
    found = {}
    for path in modules():
        own = {
            node.name: calls(node)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        recording = {name for name, called in own.items() if {"audit.record", "record"} & called}
        while more := {name for name, called in own.items() if called & recording} - recording:
            recording |= more
        for name in own:
            if not name.startswith("_"):
                found[f"{path.relative_to(ROOT)}:{name}"] = name in recording
    return found


def test_every_write_is_recorded_or_says_why_not() -> None:
    silent = {name for name, recorded in functions().items() if not recorded}
    assert silent - NOT_RECORDED.keys() == set(), "call audit.record there, or say here why not"
    assert NOT_RECORDED.keys() - silent == set(), "these are recorded, or gone"


@pytest.mark.parametrize(
    "name", ["destinations/services.py:edit_destination", "activation/services.py:purge"]
)
def test_the_ones_that_matter_are_seen(name: str) -> None:
    assert functions()[name]
