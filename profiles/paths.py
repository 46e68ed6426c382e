"""Which paths are written to: noted once, so that the page *Schema* can tell those that the schema does not know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from django.db import transaction

from profiles.models import IngestedPath, SchemaField

MOST = 5_000  # paths: whoever writes customer numbers as keys does not fill the table
DATE = re.compile(r"\d{4}-\d\d-\d\d")
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")

Type = SchemaField.Type

# Those that this process has seen noted.
_noted: set[str] = set()


def note(written: Iterable[tuple[Mapping[str, Any], Iterable[str]]]) -> None:
    """Note the paths of a batch that are new, once it is committed. No query where there is none.

    Args:
        written: attributes of profiles as they are now, and the paths that were written in them.
    """
    new: dict[str, Type] = {}
    for attributes, paths in written:
        for path in paths:
            if path not in _noted and path not in new and (kind := _type_at(attributes, path)):
                new[path] = kind
    if new and len(_noted) < 2 * MOST:
        transaction.on_commit(partial(_save, new))


def _save(new: Mapping[str, Type]) -> None:
    most = IngestedPath._meta.get_field("path").max_length or 0
    room = MOST - IngestedPath.objects.count()
    rows = [IngestedPath(path=path, type=kind) for path, kind in sorted(new.items()) if len(path) <= most]
    IngestedPath.objects.bulk_create(rows[: max(0, room)], ignore_conflicts=True)
    _noted.update(new)


def _type_at(attributes: Mapping[str, Any], path: str) -> Type | None:
    """The type of what stands at a path; None where nothing does: it was removed."""
    value: Any = attributes
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return type_of(value)


def type_of(value: Any) -> Type | None:
    """The type of a field that would hold such a value."""
    match value:
        case None:
            return None
        case bool():
            return Type.BOOLEAN
        case int():
            return Type.INTEGER
        case float():
            return Type.NUMBER
        case str() if DATE.fullmatch(value):
            return Type.DATE
        case str() if DATE_TIME.fullmatch(value):
            return Type.DATE_TIME
        case str():
            return Type.STRING
        case list():
            return Type.ARRAY
    return Type.OBJECT
