"""JSON read and written by orjson where it says the same as Python's own json, which keeps the digits of long integers.

orjson takes an integer beyond 64 bits for a float, and of a key that stands twice it keeps the last one silently.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

# Outside of texts a number follows one of these; a text that holds such a thing is only read more slowly.
_MARKS = bytes.maketrans(b"123456789[, \t\r\n-", b"000000000:::::::")
_LONG = b":" + b"0" * 19


def loads(data: str) -> Any:
    """JSON that was written by us: no key stands twice in it."""
    encoded = data.encode()
    if _LONG in encoded.translate(_MARKS):
        return json.loads(data)
    return orjson.loads(encoded)


def dumps(value: Any) -> bytes:
    """As UTF-8. Texts in it have no halves of surrogate pairs."""
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def read_plain(data: bytes) -> Any:
    """JSON from anybody, if there is nothing special about it.

    Raises:
        ValueError, TypeError: there is; a reader that is slower and knows what to say of it has to look.
    """
    if _LONG in data.translate(_MARKS) or b"\\u003a" in data or b"\\u003A" in data:
        raise ValueError
    value = orjson.loads(data)
    # A key that stands twice has lost a colon. (Above: colons that an escape would add.)
    if data.count(b":") != orjson.dumps(value).count(b":"):
        raise ValueError
    return value
