"""What values mean: how a rule reads a profile's JSON, counts, compares texts. The one place where that is decided.

The Python predicate calls these functions, and so does SQLite; postgresql.py says the same in its words.

- A **number** is an IEEE 754 double, as JSON's numbers are for most who read them; an integer beyond all doubles is
  infinite.
- **Arithmetic** whose result is no number is null: division by zero, an operand that is missing or no number. So is
  arithmetic with numbers beyond 1e150, or within 1e-150 but for 0: PostgreSQL raises where doubles end. ``%`` is for
  whole numbers up to 2^53; its result has the sign of the left one.
- **Texts** compare by code points. Ignoring case, and the functions that change it, go character by character: those
  that become several (ß, İ) stay as they are, and Σ, σ and ς are one.
- ``trim`` takes all of Unicode's white space from both ends.
- ``matches`` finds a regular expression (RE2's syntax) anywhere in a text of up to 10,000 characters, and nothing in a
  longer one; ``like`` describes all of a text.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import re2
from django.utils.translation import gettext as _

LARGEST, SMALLEST = 1e150, 1e-150  # of what arithmetic takes, but for 0
LARGEST_WHOLE = 2.0**53  # above, doubles are further apart than 1

# White space as Unicode has it, in one text.
SPACES = "".join(char for char in map(chr, range(0x3001)) if char.isspace())

# Searching for a regular expression takes, at the worst, a time that grows with the length of the text times the size
# of the expression's program. With these limits that is a quarter of a second.
MAX_PROGRAM = 5_000
MAX_SEARCHED = 10_000  # characters

LAST_LETTER = 0x1FFFF  # after it no character has case

Case = Literal["lower", "upper", "fold"]
TextPredicate = Callable[[str], bool]


def text(value: Any) -> str | None:
    return value if type(value) is str else None


def boolean(value: Any) -> bool | None:
    return value if type(value) is bool else None


def number(value: Any) -> float | None:
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return None


def remainder(left: float, right: float) -> float | None:
    whole = left.is_integer() and right.is_integer()
    if not whole or abs(left) > LARGEST_WHOLE or abs(right) > LARGEST_WHOLE:
        return None
    return math.fmod(left, right)


OPERATIONS: dict[str, Callable[[float, float], float | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": remainder,
}


def calculate(sign: str, left: float | None, right: float | None) -> float | None:
    """The result of one of OPERATIONS; None where there is none."""
    for operand in (left, right):
        if operand is None or not (SMALLEST <= abs(operand) <= LARGEST or operand == 0):
            return None
    if right == 0 and sign in "/%":
        return None
    return OPERATIONS[sign](left, right)  # type: ignore[arg-type]  # neither is None


# --- Case ----------------------------------------------------------------------------------------------------------


def _one(char: str, changed: str) -> str:
    return changed if len(changed) == 1 else char


def _fold(char: str) -> str:
    folded = char.casefold()
    return folded if len(folded) == 1 else _one(char, char.lower())


@cache
def case_table(case: Case) -> dict[int, str]:
    """What becomes of the characters that change."""
    change: Callable[[str], str] = {
        "lower": lambda char: _one(char, char.lower()),
        "upper": lambda char: _one(char, char.upper()),
        "fold": _fold,
    }[case]
    pairs = ((char, change(char)) for char in map(chr, range(LAST_LETTER + 1)))
    return {ord(char): changed for char, changed in pairs if changed != char}


def in_case(case: Case, value: str) -> str:
    if value.isascii():
        return value.upper() if case == "upper" else value.lower()
    return value.translate(case_table(case))


_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def namespace_key(code: str) -> str:
    """An identity namespace's code as codes are compared: the case of A to Z does not matter."""
    return code.translate(_ASCII_LOWER)


def fold(value: str) -> str:
    """A text as it is compared where case is ignored."""
    return in_case("fold", value)


# --- Patterns ------------------------------------------------------------------------------------------------------


def like(pattern: str) -> TextPredicate:
    """Whether ``pattern`` describes a text: ``%`` is any characters, ``_`` any one; no character escapes them."""
    first, *others = pattern.split("%")
    if not others:
        whole = _literal(first)
        return lambda value: whole.fullmatch(value) is not None
    *inner, last = others
    begins, between = _literal(first), [_literal(part) for part in inner if part]
    ends, ending = _literal(last), len(last)

    def matches(value: str) -> bool:
        # The leftmost place of each part leaves the most for those that follow: no part is looked for twice.
        found = begins.match(value)
        end = len(value) - ending
        for part in between:
            if found is None:
                return False
            found = part.search(value, found.end(), end if end > 0 else 0)
        return found is not None and found.end() <= end and ends.match(value, end) is not None

    return matches


def _literal(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "_" else re.escape(char) for char in part), re.DOTALL)


def regex(pattern: str, *, ignore_case: bool = False) -> TextPredicate:
    """Whether a text has a place that ``pattern`` describes. RE2: the time grows with the text, never explodes.

    Raises:
        ValueError: the pattern is none of RE2's, or too large; the message is for people.
    """
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.never_capture = True
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
    if compiled.programsize > MAX_PROGRAM:
        raise ValueError(_("it repeats too much"))
    return lambda value: len(value) <= MAX_SEARCHED and compiled.search(value.encode()) is not None
