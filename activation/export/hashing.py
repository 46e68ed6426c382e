"""Mapped attributes as hashes: who knows a value can tell that it is the same, and nobody can read it.

A text is normalised first, so that the same address gives the same hash however it was typed: NFC, without spaces
around it, in lower case. That is the form of ``email_lc_sha256`` in AEP. A value of few possibilities (a birthday, a
city) can be found by trying them all: that is what a hash does not help against.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from typing import Any


def hashed(value: Any) -> Any:
    """The SHA-256, in hexadecimal digits, of a value; of each value in a list or an object. Nothing stays nothing."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: hashed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [hashed(each) for each in value]
    text = (
        unicodedata.normalize("NFC", value).strip().lower() if isinstance(value, str) else json.dumps(value)
    )
    return hashlib.sha256(text.encode()).hexdigest()


def hash_at(tree: dict[str, Any], keys: Sequence[str]) -> None:
    """Put the hash in the place of what is at a path. What ``tree`` shares with others is copied, not changed."""
    *above, last = keys
    for key in above:
        if not isinstance(tree.get(key), dict):
            return
        tree[key] = dict(tree[key])
        tree = tree[key]
    if tree.get(last) is not None:
        tree[last] = hashed(tree[last])
