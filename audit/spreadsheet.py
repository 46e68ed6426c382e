"""CSV that spreadsheets read in any language, and take for nothing but text."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain

# What a spreadsheet takes for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def lines(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[bytes]:
    """A file line by line, while it is sent: in UTF-8 with a mark, without which Excel does not believe it."""
    writer = csv.writer(_Echo())
    yield "\N{BYTE ORDER MARK}".encode()
    for row in chain([head], rows):
        yield writer.writerow(map(harmless, row))


def harmless(value: object) -> object:
    """A cell with an apostrophe before what would begin a formula. Numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> bytes:
        return text.encode()
