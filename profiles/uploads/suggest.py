"""What the columns of a file probably are, by their names and by what stands in them. People have the last word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profiles.inlets.messages import SHA256
from profiles.models import IdentityNamespace, SchemaField
from profiles.uploads.values import EMAIL


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Args:
    identity_column: which one names the customers.
    namespace: its code; empty where nothing speaks for one.
    paths: of the columns; empty: ignore.
    """

    identity_column: int
    namespace: str
    paths: Sequence[str]


def suggest(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    namespaces: Iterable[IdentityNamespace],
    fields: Iterable[SchemaField],
) -> Suggestion:
    """Args:
    names: of the columns; empty ones where the file has none.
    rows: the first ones, without the names.
    """
    codes: dict[str, str] = {}
    for namespace in namespaces:
        for word in (namespace.label, namespace.name, namespace.code):
            codes[_plain(word)] = namespace.code
    column, code = _identity([_plain(name) for name in names], rows, codes)

    fields = list(fields)
    keys = Counter(_plain(field.path.rpartition(".")[2]) for field in fields)
    paths: dict[str, str] = {}
    for field in fields:
        key = _plain(field.path.rpartition(".")[2])
        if keys[key] == 1:
            paths.setdefault(key, field.path)
    for field in fields:
        paths |= dict.fromkeys((_plain(field.label), _plain(field.title)), field.path)
    paths |= {_plain(field.path): field.path for field in fields}
    found: list[str] = []
    for name in names:
        path = paths.get(_plain(name), "")
        found.append("" if path in found or len(found) == column else path)
    return Suggestion(column, code, found)


def _identity(names: Sequence[str], rows: Sequence[Sequence[str]], codes: dict[str, str]) -> tuple[int, str]:
    looks = (("email", EMAIL), ("emaillcsha256", SHA256))
    for column in range(len(names)):
        values = [row[column].strip() for row in rows if column < len(row) and row[column].strip()]
        for word, pattern in looks:
            if 2 * sum(bool(pattern.fullmatch(value)) for value in values) > len(values):
                # A hash may be one of something else, and its column say so.
                return column, codes.get(names[column]) or codes.get(word, "")
    for column, name in enumerate(names):
        if name in codes:
            return column, codes[name]
    return 0, ""


def _plain(word: str) -> str:
    """“First name”, “first_name” and “firstName” are the same word."""
    return re.sub(r"[\W_]", "", word).casefold()
