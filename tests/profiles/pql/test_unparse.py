"""There is one way to write a rule; reading it gives the rule again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from profiles.pql import Rule, parse
from profiles.pql.syntax import Condition
from tests.profiles.pql.strategies import conditions


@settings(max_examples=200, derandomize=True, database=None)
@given(conditions())
def test_what_was_written_is_read_as_the_same_rule(tree: Condition) -> None:
    assert parse(str(Rule(tree, ""))).tree == tree


@pytest.mark.parametrize(
    "text, written",
    [
        ("$1.a   AND\n!b", "a and not b"),
        ("(a or b) and ((c))", "(a or b) and c"),
        ("a or (b and c)", "a or b and c"),
        ("not (a = 1)", "not (a = 1)"),
        ("!(not a)", "not (not a)"),
        ("a - (b - c) > (1 + 2) * 3", "a - (b - c) > (1 + 2) * 3"),
        ("(a - b) - c > 1 + 2 * 3", "a - b - c > 1 + 2 * 3"),
        ("-a > 1", "0 - a > 1"),
        ('(a + 1).trim() = ""', '(a + 1).trim() = ""'),
        ('a.equals("x", true)', 'equals(a, "x")'),
        ('a.like("x")', 'a like "x"'),
        ('a.like("x", false)', 'a.like("x", false)'),
        (r'a = "\"\\"', r'a = "\"\\"'),
        ('$1.not.get("x y") and $1.today', '$1.not.get("x y") and $1.today'),
        ("exists(a from b where a and $1.a)", "exists(a from b where a and $1.a)"),
        ("a occurs = 1 days after now", "a occurs = 1 day after now"),
        ("a occurs this day", "a occurs today"),
        ("a occurs > 0 days before now", "a occurs before now"),
        ("identityMap.Email.count() = 0", 'identityMap.get("Email").count() = 0'),
    ],
)
def test_there_is_one_way_to_write_it(text: str, written: str) -> None:
    assert str(parse(text)) == written
    assert parse(written) == parse(text)
