"""A CSV is read row by row, and gone on with from any place."""

from __future__ import annotations

import csv
import io
import random

import pytest

from profiles.uploads.rows import MAX_LINE, MAX_LINES, Place, Row, Rows


def read(text: str | bytes, encoding: str = "utf-8-sig", delimiter: str = ",") -> list[Row]:
    data = text if isinstance(text, bytes) else text.encode(encoding)
    return list(Rows(io.BytesIO(data), encoding, delimiter))


def good(rows: list[Row]) -> list[list[str]]:
    return [row.cells for row in rows if not row.problem]


def broken(rows: list[Row]) -> list[int]:
    return [row.number for row in rows if row.problem]


def test_rows_are_numbered_as_a_spreadsheet_does() -> None:
    rows = read('email,memo\r\na@b.c,"two\r\nlines"\r\n\r\nb@b.c,"say ""hi"""')
    assert [(row.number, row.cells) for row in rows] == [
        (1, ["email", "memo"]),
        (2, ["a@b.c", "two\r\nlines"]),
        (3, []),
        (4, ["b@b.c", 'say "hi"']),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_system_ends_them(end: str) -> None:
    assert good(read(f"a,b{end}c,d{end}")) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    "line",
    ['"a,1', 'a,"1', '"a"b,1', '"a" ,1', f"{'x' * (MAX_LINE + 1)},1", f'"{"y" * 3 * MAX_LINE}'],
)
def test_a_broken_row_costs_no_other(line: str) -> None:
    rows = read(f"k,1\n{line}\nl,2\nm,3\n")
    assert good(rows) == [["k", "1"], ["l", "2"], ["m", "3"]]
    assert broken(rows) == [2]


def test_a_quotation_mark_is_not_looked_for_far_away() -> None:
    rows = read('"a\n' + "b,1\n" * 2 * MAX_LINES + 'c"\n')
    assert broken(rows) == [1] and len(good(rows)) == 2 * MAX_LINES + 1


def test_where_every_row_is_broken_every_row_is_told() -> None:
    assert broken(read('"a,b\n' * 200)) == list(range(1, 201))


def test_bytes_that_the_encoding_does_not_have_break_their_row_alone() -> None:
    rows = read("이름\n김민준\n".encode("cp949") + b"\xff\xff,x\n" + "이서연\n".encode("cp949"), "cp949")
    assert good(rows) == [["이름"], ["김민준"], ["이서연"]]
    assert broken(rows) == [3]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp949", "cp932", "gb18030"])
def test_who_goes_on_reads_what_one_reader_would_have_read(encoding: str) -> None:
    chance = random.Random(encoding)
    cells = ["김민준", "a@b.c", 'q"uote', "multi\nline", "x\r\ny", "", "a,b", "日本"]
    flaws = ['"open,x\n', '"a"b,c\n', "\n", '"x\n', "z" * 70_000 + "\n"]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    for _row in range(600):
        if chance.random() < 0.1:
            out.write(chance.choice(flaws))
        else:
            writer.writerow(chance.choices(cells, k=3))
    data = out.getvalue().encode(encoding, "replace")
    whole = read(data, encoding)
    assert len(broken(whole)) > 20

    found: list[Row] = []
    place: Place | None = Place()
    while place is not None:
        rows = Rows(io.BytesIO(data), encoding, ",", place)
        place = None
        stop_at = len(found) + chance.randint(1, 9)
        for row in rows:
            found.append(row)
            if len(found) == stop_at:
                place = rows.place()
                break
    assert [(row.number, row.cells, str(row.problem)) for row in found] == [
        (row.number, row.cells, str(row.problem)) for row in whole
    ]
