"""How a file is written: its encoding, what is between its columns, whether its first row names them."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from itertools import islice

from charset_normalizer import from_bytes
from django.utils.translation import gettext_lazy as _

from profiles.uploads.rows import Rows

# The names that Python knows, in the order in which a list shows them.
ENCODINGS = {
    "utf-8-sig": _("UTF-8"),
    "utf-16": _("UTF-16"),
    "utf-16-be": _("UTF-16, big-endian without a mark"),
    "cp949": _("CP949, EUC-KR (Korean)"),
    "cp1252": _("Windows-1252 (Western European)"),
    "cp932": _("Shift JIS (Japanese)"),
    "gb18030": _("GB 18030 (simplified Chinese)"),
    "big5": _("Big5 (traditional Chinese)"),
}
DELIMITERS = {",": _("Comma"), ";": _("Semicolon"), "\t": _("Tab"), "|": _("Vertical bar")}

LOOKED_AT = 50  # rows
HANGUL = 0.8  # of what is not ASCII, in a file that is Korean
ID_LENGTH = 32  # of a UUID or a hash; no name of a column is so long without a space


def encoding(sample: bytes) -> str:
    """The encoding of which a part of a file is, as a key of ENCODINGS; the last character may be cut.

    Raises:
        ValueError: it is no text.
    """
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in sample:
        # ASCII, which every CSV has some of, is every second byte of UTF-16.
        odd, even = sample[1::2].count(0), sample[::2].count(0)
        if min(odd, even) * 10 > max(odd, even) or max(odd, even) * 10 < len(sample):
            raise ValueError("This is no text.")
        return "utf-16" if odd > even else "utf-16-be"
    if _decoded(sample, "utf-8") is not None:
        return "utf-8-sig"
    if _is_korean(sample):
        return "cp949"
    others = [name for name in ENCODINGS if name.startswith(("cp", "gb", "big"))]
    best = from_bytes(sample, cp_isolation=others).best()
    names = {name.replace("-", "_"): name for name in others}
    return names.get(best.encoding, "cp1252") if best else "cp1252"


def _decoded(sample: bytes, name: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)().decode(sample)  # the end may be half a character
    except UnicodeDecodeError:
        return None


def _is_korean(sample: bytes) -> bool:
    """Whether it can be CP949, and reads like Korean then: a few words are enough to tell, as they often must be."""
    text = _decoded(sample, "cp949")
    if not text:
        return False
    foreign = [char for char in text if not char.isascii()]
    # EUC-KR has the syllables that Korean uses in two bytes; Chinese that is read as CP949 has many of the others.
    hangul = [char for char in foreign if "가" <= char <= "힣" and len(char.encode("euc_kr")) == 2]
    return len(hangul) >= HANGUL * len(foreign)


def delimiter(head: bytes, encoding: str) -> str:
    """What stands between the columns at the beginning of a file: what makes the most columns of most rows alike."""

    def alike(candidate: str) -> tuple[int, int]:
        widths = [len(cells) for cells in first_rows(head, encoding, candidate) if cells]
        usual = max(set(widths), key=widths.count, default=1)
        return (widths.count(usual) if usual > 1 else 0, usual)

    return max(DELIMITERS, key=alike)


def first_rows(head: bytes, encoding: str, delimiter: str, count: int = LOOKED_AT) -> list[list[str]]:
    """The first rows of a file, those that are broken left out."""
    rows = islice(Rows(io.BytesIO(head), encoding, delimiter), count)
    return [row.cells for row in rows if not row.problem]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds names of columns and not values."""
    return bool(rows) and all(_is_name(cell) for cell in rows[0])


def _is_name(cell: str) -> bool:
    cell = cell.strip()
    digits = sum(char.isdigit() for char in cell)
    is_id = len(cell) >= ID_LENGTH and " " not in cell
    return not cell or (
        "@" not in cell and 2 * digits < len(cell) and not is_id and bool(re.search(r"\w", cell))
    )
