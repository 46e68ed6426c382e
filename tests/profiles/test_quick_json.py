"""The quick reader of JSON says what the careful one says, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import quick_json
from profiles.ingest import Refused
from profiles.xdm import parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63 - 3, 2**64 + 3)
    | st.integers(10**18, 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text("0123456789:,\\u03aA", max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def exactly(value: Any) -> str:
    """With every digit, and telling 1 from 1.0 and true."""
    return json.dumps(value, sort_keys=True)


@given(st.dictionaries(st.text(max_size=8), VALUES), st.booleans(), st.sampled_from([None, 1]))
def test_what_was_written_is_read(value: dict[str, Any], escaped: bool, indent: int | None) -> None:
    written = json.dumps(value, ensure_ascii=escaped, indent=indent)
    assert exactly(parse_json(written.encode())) == exactly(value)
    assert exactly(quick_json.loads(written)) == exactly(value)
    assert exactly(json.loads(quick_json.dumps(value))) == exactly(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a" : 1,"a":2}',
        '{"x": [{"a": {}, "a": {}}]}',
        '{"a": 1, "\\u0061": 2}',
        '{"a:b": 1, "a:b": 1}',
        # As many colons as if it were not there twice
        '{"a": 1, "a": 2, "b": "\\u003a"}',
        '{"a": 1, "a": 2, "b": "\\u003A"}',
        '{"a": 1, "a": 2, "b": ":"}',
    ],
)
def test_a_key_that_stands_twice_is_seen_however_it_is_written(text: str) -> None:
    with pytest.raises(ValueError):
        quick_json.read_plain(text.encode())
    with pytest.raises(Refused, match="twice"):
        parse_json(text.encode())


@pytest.mark.parametrize("before", ["[", "[ ", "[\n", "[1,", "[-", '{"a":', '{"a":\t-'])
def test_long_integers_keep_their_digits(before: str) -> None:
    text = f"{before}{'9' * 40}{'}' if before[0] == '{' else ']'}"
    assert exactly(parse_json(text.encode())) == exactly(json.loads(text))
    assert exactly(quick_json.loads(text)) == exactly(json.loads(text))


def test_a_customer_as_they_come_is_read_quickly() -> None:
    text = (
        '{"identityMap": {"ECID": [{"id": "14575006536349286404619648085736425115"}]}, "name": "김민준: 1"}'
    )
    assert quick_json.read_plain(text.encode()) == json.loads(text)
