"""A CSV row by row, from any place in it. What is broken costs its own row and no other."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from profiles.reasons import NO_REASON, Reason
from profiles.reasons import Reason as _

MAX_LINE = 64 * 1024  # characters
MAX_LINES = 50  # of one row: in quotation marks a text may have several
UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # stands for bytes that the encoding does not have


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row begins.

    Args:
        cookie: of a text file's ``tell``; byte and state of the decoder in one number.
        lines: after it.
        rows: before the place.
    """

    cookie: int = 0
    lines: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row as a spreadsheet shows it.

    Args:
        number: the first is 1.
        cells: empty where the line is; of a broken row, the line as it stands.
        problem: why it can't be read.
    """

    number: int
    cells: list[str]
    problem: Reason = NO_REASON


class Rows:
    """Iterates over the rows of a CSV; :meth:`place` leads back to where it is.

    Args:
        file: opened for bytes, seekable.
        encoding: a name that Python knows.
        place: where to begin.
    """

    def __init__(self, file: BinaryIO, encoding: str, delimiter: str, place: Place | None = None) -> None:
        place = place or Place()
        self._text = io.TextIOWrapper(file, encoding, errors="replace", newline="")
        self._delimiter = delimiter
        self._text.seek(place.cookie)
        self._cookie, self._behind, self._number = place.cookie, 0, place.rows
        # Lines that were read as part of a row that proved to be broken.
        self._again: deque[str] = deque()
        for _line in range(place.lines):
            self._line()

    def place(self) -> Place:
        """Where the next row begins."""
        if not self._again:
            self._cookie, self._behind = self._text.tell(), 0
        return Place(self._cookie, self._behind - len(self._again), self._number)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        lines: list[str] = []

        def feed() -> Iterator[str]:
            while len(lines) < MAX_LINES and (line := self._line()):
                lines.append(line)
                yield line

        problem: Reason = NO_REASON
        try:
            # A reader a row: it takes as many lines as the row has, and what it says of them is of this row.
            cells = next(csv.reader(feed(), delimiter=self._delimiter, strict=True))
        except csv.Error:
            self._again.extendleft(reversed(lines[1:]))
            del lines[1:]
            cells = [lines[0].rstrip("\r\n")]
            problem = _("A quotation mark is not closed, or stands in the middle of a value.")
        self._number += 1
        if max(map(len, lines)) > MAX_LINE:
            problem = _("The row is longer than %(limit)s characters.") % {"limit": MAX_LINE}
        elif not problem and any(UNREADABLE in cell for cell in cells):
            problem = _("The row has characters that can't be read. Choose another encoding for the file.")
        return Row(self._number, cells, problem)

    def _line(self) -> str:
        """The next line, or of one that is too long the beginning; empty at the end."""
        if self._again:
            return self._again.popleft()
        line = rest = self._text.readline(MAX_LINE + 1)
        while len(rest) > MAX_LINE and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(MAX_LINE + 1)
        self._behind += bool(line)
        return line
