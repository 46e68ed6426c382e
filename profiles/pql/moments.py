"""What times mean. A moment is an integer: microseconds since 1970 began, in UTC.

- A date (``YYYY-MM-DD``) is the first moment of its day in UTC; a date-time (RFC 3339) has an offset. Everything else
  is null: a day that its month does not have, a date-time without an offset, the second 60, years before 0001. Of a
  fraction the first six digits count.
- Days, weeks and what is shorter have a fixed length. Months and years are the calendar's, in UTC: one month before 31
  March is the last day of February.
- *This* day, week (from Monday), month or year is the calendar's, in UTC.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from profiles.pql.syntax import Comparison, Date, Last, Occurs, This, Unit

# PostgreSQL reads this pattern, too, before it reads the time: it raises for what is none, and beyond 15:59 hours.
_LEAP = "(?:0[48]|[2468][048]|[13579][26])"  # of a century's years, or of centuries
DATE_TIME = (
    "^(?:(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-"
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
    "(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]+)?(?:Z|[+-](?:0[0-9]|1[0-5]):[0-5][0-9]))?$"
)
_date_time = re.compile(DATE_TIME).fullmatch

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_MONDAY = date(1970, 1, 5).toordinal() - _EPOCH_DAY

MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE
LENGTHS: dict[Unit, int] = {"minute": MINUTE, "hour": 60 * MINUTE, "day": DAY, "week": 7 * DAY}
MONTHS: dict[Unit, int] = {"month": 1, "year": 12}

# A thousand years. PostgreSQL's times begin in 4713 BC.
MOST: dict[Unit, int] = {
    "minute": 525_600_000,
    "hour": 8_760_000,
    "day": 365_000,
    "week": 52_000,
    "month": 12_000,
    "year": 1_000,
}

# The Gregorian calendar repeats itself after 400 years; Python's covers the years 1 to 9999 only.
_CYCLE_DAYS, _CYCLE_MONTHS = 146_097, 4_800


def instant(value: Any) -> int | None:
    """The moment that a profile's text says; None when it says none."""
    return _instant(value) if type(value) is str else None


@lru_cache(maxsize=4096)
def _instant(value: str) -> int | None:
    # Several rules read the same date of a profile.
    if not _date_time(value):
        return None
    if len(value) == len("YYYY-MM-DD"):
        return (date.fromisoformat(value).toordinal() - _EPOCH_DAY) * DAY
    return from_datetime(datetime.fromisoformat(value))


def from_datetime(moment: datetime) -> int:
    """An aware datetime as a moment."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_date(node: Date) -> int:
    return (date(node.year, node.month, node.day).toordinal() - _EPOCH_DAY) * DAY


def start_of_day(moment: int) -> int:
    return moment - moment % DAY


def shift(moment: int, amount: int, unit: Unit) -> int:
    """A moment so much later; earlier, when the amount is negative."""
    if unit in LENGTHS:
        return moment + amount * LENGTHS[unit]
    days, time = divmod(moment, DAY)
    cycle, day = divmod(days + _EPOCH_DAY - 1, _CYCLE_DAYS)
    on = date.fromordinal(day + 1)
    months = (on.year - 1) * 12 + on.month - 1 + amount * MONTHS[unit]
    more, month = divmod(months, _CYCLE_MONTHS)
    year, month = month // 12 + 1, month % 12 + 1
    day = date(year, month, min(on.day, monthrange(year, month)[1])).toordinal() - 1
    return (day + (cycle + more) * _CYCLE_DAYS + 1 - _EPOCH_DAY) * DAY + time


def period(when: This | Last, now: int) -> tuple[int, int]:
    """The first and the last moment of a period."""
    if isinstance(when, Last):
        return shift(now, -when.amount, when.unit), now
    start = _start(now, when.unit)
    return start, shift(start, 1, when.unit) - 1


def _start(now: int, unit: Unit) -> int:
    if unit in LENGTHS:
        first = _FIRST_MONDAY * DAY if unit == "week" else 0
        return now - (now - first) % LENGTHS[unit]
    day = date.fromordinal(now // DAY + _EPOCH_DAY)
    first_day = day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)
    return (first_day.toordinal() - _EPOCH_DAY) * DAY


_MIRRORED: dict[Comparison, Comparison] = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def on_the_axis(when: Occurs) -> tuple[int, Comparison, Comparison | None]:
    """``occurs <= 3 days before now``, said by moments.

    Returns:
        By how much to shift the named moment (negative: into the past), how the profile's moment compares with the
        shifted one, and how with the named one (None: it does not matter): (-3, ">=", "<=").
    """
    near = when.comparison in ("<", "<=")
    if when.direction == "before":
        return -when.amount, _MIRRORED[when.comparison], "<=" if near else None
    return when.amount, when.comparison, ">=" if near else None
