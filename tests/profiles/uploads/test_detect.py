"""How a file is written is found out, from a few words, too."""

from __future__ import annotations

import pytest

from profiles.uploads import detect

KOREAN = (
    "이메일,이름\nkim@example.com,김민준\n",
    "이메일\nkim@example.com\n",
    "이름\n김\n",
    "email,name\na@example.com,홍길동\n",
    "고객번호;등급\n1001;골드\n1002;실버\n",
    "email,memo\na@b.kr,서울특별시 강남구 테헤란로 152 똠방각하 펲시콜라\n",
    "email,name\na@b.kr,金哲秀 김철수\n",
)


@pytest.mark.parametrize("text", KOREAN)
@pytest.mark.parametrize(
    "written, found",
    [
        ("cp949", "cp949"),
        ("utf-8", "utf-8-sig"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_korean_is_told_from_a_few_words(text: str, written: str, found: str) -> None:
    data = text.encode(written)
    assert detect.encoding(data) == found
    assert data.decode(found).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    "text, name",
    [
        ("email,name\nm@x.de,Jürgen Müller\nf@x.fr,Hélène Façade\n", "cp1252"),
        ("a,é\n", "cp1252"),
        ("メール,名前\nt@x.jp,田中太郎\ns@x.jp,鈴木 花子\n", "cp932"),
        ("邮箱,姓名\nw@x.cn,王小明\nl@x.cn,李华\n", "gb18030"),
        ("郵箱,姓名\nw@x.tw,王小明\n", "big5"),
    ],
)
def test_other_languages_are_not_taken_for_korean(text: str, name: str) -> None:
    assert detect.encoding(text.encode(name)) == name


@pytest.mark.parametrize("name, found", [("utf-8", "utf-8-sig"), ("cp949", "cp949")])
def test_a_sample_may_end_in_the_middle_of_a_character(name: str, found: str) -> None:
    data = "이름\n김민준".encode(name)
    assert {detect.encoding(data[:length]) for length in range(len(data) - 2, len(data))} == {found}


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", b"a\0\0\0b\0\0\0", bytes(1000)])
def test_what_is_no_text_is_no_text(data: bytes) -> None:
    with pytest.raises(ValueError, match="no text"):
        detect.encoding(data)


@pytest.mark.parametrize("char", [",", ";", "\t", "|"])
def test_separators_are_what_makes_columns_alike(char: str) -> None:
    rows = ["email", "memo, long; or | short\tone", "n"], ["a@b.c", "x, y", "1"], ["b@b.c", "", "2"]
    text = "".join(char.join(f'"{cell}"' if char in cell else cell for cell in row) + "\n" for row in rows)
    assert detect.delimiter(text.encode(), "utf-8") == char


def test_one_column_has_no_separator() -> None:
    assert detect.delimiter(b"email\na@b.c\n", "utf-8") == ","


@pytest.mark.parametrize(
    "row, names",
    [
        (["email", "first name", "address 2"], True),
        (["이메일", "이름"], True),
        (["customer_identification_number of the web shop"], True),
        (["email", ""], True),
        (["kim@example.com", "Kim"], False),
        (["C-000123"], False),
        (["010-1234-5678"], False),
        (["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"], False),
        (["deadbeefdeadbeefdeadbeefdeadbeef"], False),
    ],
)
def test_names_of_columns_are_told_from_values(row: list[str], names: bool) -> None:
    assert detect.has_header([row]) is names
