"""Keys that sort by time, to the microsecond: UUIDs of version 7. A time range is a range of keys."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key_at(moment: datetime) -> uuid.UUID:
    """A new key of a moment (RFC 9562, 5.7; the microseconds as in 6.2, method 3)."""
    return _key(moment, secrets.randbits(62))


def first_key_at(moment: datetime) -> uuid.UUID:
    """No key of this moment or a later one is smaller."""
    return _key(moment, 0)


def _key(moment: datetime, random: int) -> uuid.UUID:
    # Before 1970 there were no keys.
    milliseconds, rest = divmod(max(moment - _EPOCH, timedelta()), timedelta(milliseconds=1))
    fraction = (rest // timedelta(microseconds=1)) * 4096 // 1000
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)
