"""What can be written as a rule, and what is said of what can't: where it is wrong, and what was expected there."""

from __future__ import annotations

import time

import pytest
from django.utils import translation

from profiles.pql import PQLError, parse, values
from profiles.pql.parse import MAX_CHOICES, MAX_LENGTH, MAX_NESTING
from profiles.pql.predicate import Subject
from profiles.pql.syntax import (
    Altered,
    Arithmetic,
    Boolean,
    Compare,
    Condition,
    Count,
    Date,
    Every,
    Exists,
    Holds,
    Identities,
    InSegment,
    IsNull,
    Last,
    MapNotEmpty,
    Not,
    Now,
    Null,
    Number,
    Occurs,
    OneOf,
    Path,
    Some,
    Text,
    TextTest,
    This,
    Today,
    Truth,
)

A, B, C, D = (Path((name,)) for name in "abcd")
X = Path((), "x")


def error(text: str) -> PQLError:
    with pytest.raises(PQLError) as caught:
        parse(text)
    return caught.value


# --- What can be written


@pytest.mark.parametrize(
    "text, tree",
    [
        # References
        ("a", Truth(A)),
        ("$1.a", Truth(A)),
        ("$1.a.b", Truth(Path(("a", "b")))),
        ("person . name", Truth(Path(("person", "name")))),
        ("이름", Truth(Path(("이름",)))),
        ('a.get("x y")', Truth(Path(("a", "x y")))),
        ("a.date", Truth(Path(("a", "date")))),
        ("a.not", Truth(Path(("a", "not")))),
        ("today.last", Truth(Path(("today", "last")))),
        # Literals
        ('a = "x"', Compare("=", A, Text("x"))),
        (r'a = "\"x\\ \n"', Compare("=", A, Text(r'"x\ \n'))),
        ('a = "two\nlines"', Compare("=", A, Text("two\nlines"))),
        ("a = 12", Compare("=", A, Number(12))),
        ("a = -3.5", Compare("=", A, Number(-3.5))),
        ("a = 1e3", Compare("=", A, Number(1000.0))),
        ("a = TRUE", Compare("=", A, Boolean(True))),
        ("a != null", Compare("!=", A, Null())),
        ("a < date(2020, 3, 14)", Compare("<", A, Date(2020, 3, 14))),
        ('a in ["KR", "US"]', OneOf(A, (Text("KR"), Text("US")))),
        ("a not in [1, -2]", OneOf(A, (Number(1), Number(-2)), negated=True)),
        # Boolean
        ("a and b or c and d", Some((Every((Truth(A), Truth(B))), Every((Truth(C), Truth(D)))))),
        ("a and (b or c)", Every((Truth(A), Some((Truth(B), Truth(C)))))),
        ("a AND b And c", Every((Truth(A), Truth(B), Truth(C)))),
        ("a or (b or c)", Some((Truth(A), Truth(B), Truth(C)))),
        ("not a and b", Every((Not(Truth(A)), Truth(B)))),
        ("!a = 1", Not(Compare("=", A, Number(1)))),
        # Texts
        ('a.startsWith("x")', TextTest("startsWith", A, Text("x"))),
        ('a.endsWith("x", false)', TextTest("endsWith", A, Text("x"), ignore_case=True)),
        ("a.contains(b, true)", TextTest("contains", A, B)),
        ('a.doesNotContain("x")', TextTest("doesNotContain", A, Text("x"))),
        ('equals(a, "x", false)', TextTest("equals", A, Text("x"), ignore_case=True)),
        ('a like "J%n"', TextTest("like", A, Text("J%n"))),
        ('a.like("J%n", false)', TextTest("like", A, Text("J%n"), ignore_case=True)),
        ('a.matches("^J.n$")', TextTest("matches", A, Text("^J.n$"))),
        ('a.trim().toUpperCase() = "X"', Compare("=", Altered("toUpperCase", Altered("trim", A)), Text("X"))),
        # Null
        ("isNull(a)", IsNull(A)),
        ("isNotNull($1.a)", IsNull(A, negated=True)),
        # Numbers
        (
            "a + b * c > 1",
            Compare(">", Arithmetic("+", A, Arithmetic("*", B, C)), Number(1)),
        ),
        ("a - b - c = 0", Compare("=", Arithmetic("-", Arithmetic("-", A, B), C), Number(0))),
        ("a % 2 = -b", Compare("=", Arithmetic("%", A, Number(2)), Arithmetic("-", Number(0), B))),
        # Time
        ("a occurs today", This(A, "day")),
        ("a occurs this month", This(A, "month")),
        ("a occurs last 7 days", Last(A, 7, "day")),
        ("a occurs <= 3 days before now", Occurs(A, "<=", 3, "day", "before", Now())),
        (
            "a occurs > 1 year after date(2020,1,1)",
            Occurs(A, ">", 1, "year", "after", Date(2020, 1, 1)),
        ),
        ("a occurs = 2 Weeks after b", Occurs(A, "=", 2, "week", "after", B)),
        ("a occurs before today", Occurs(A, ">", 0, "day", "before", Today())),
        # Lists
        ('"x" in a', Holds(Text("x"), A)),
        ("a not in b", Holds(A, B, negated=True)),
        ('exists(x from a where x.b = "y")', Exists("x", A, Compare("=", Path(("b",), "x"), Text("y")))),
        ("exists(x from a where x = 1)", Exists("x", A, Compare("=", X, Number(1)))),
        ("a.count() > 2", Compare(">", Count(A), Number(2))),
        # Other segments
        ('inSegment("s-1")', InSegment("s-1")),
        # Maps
        ('isNull(identityMap.get("Email"))', IsNull(Identities("Email"))),
        ("isNull(identityMap.Email)", IsNull(Identities("Email"))),
        ("mapNotEmpty(identityMap)", MapNotEmpty(Identities(None))),
        ("mapNotEmpty(a.b)", MapNotEmpty(Path(("a", "b")))),
    ],
)
def test_a_rule_is_read(text: str, tree: Condition) -> None:
    assert parse(text).tree == tree


def test_rules_that_say_the_same_are_equal() -> None:
    assert parse('a = "x"   and\nnot b') == parse('$1.a="x" AND !b')
    assert parse("a") != parse("b")


def test_a_variable_hides_a_field_of_the_same_name() -> None:
    tree = parse("exists(a from b where a.c) and a").tree
    assert tree == Every((Exists("a", B, Truth(Path(("c",), "a"))), Truth(A)))


# --- What can't


@pytest.mark.parametrize(
    "text, at, message",
    [
        # Not finished
        ("", 0, "not finished. Expected: a condition"),
        ("a =", 3, "not finished. Expected: a field or a value"),
        ("a and ", 6, "not finished. Expected: a condition"),
        ("(a = 1", 6, "not finished. Expected: a closing bracket )"),
        ("a.", 2, "not finished. Expected: a name"),
        ("a occurs last", 13, "not finished. Expected: a whole number"),
        ("a occurs last 3", 15, "not finished. Expected: a unit of time"),
        ("a occurs < 3 days", 17, "not finished. Expected: “before” or “after”"),
        # Does not fit
        ("a = 1)", 5, "“)” does not fit here. Expected: the end of the rule"),
        ("a = 1 b", 6, "“b” does not fit here. Expected: “and”, “or” or the end of the rule"),
        ("a = {}", 4, "“{” does not fit here. Expected: a field or a value"),
        ("a occurs last 3 moons", 16, "“moons” does not fit here. Expected: a unit of time"),
        ("a occurs 3", 9, "“3” does not fit here. Expected: "),
        ("a like b", 7, "Expected: a text in double quotation marks"),
        ("exists(x from l)", 15, "Expected: “where”"),
        ("exists(x l where x)", 9, "Expected: “from”"),
        ("a = 1\nand b ?", 12, "“?” does not fit here"),
        # As other languages and keyboards have it
        ('a = "x', 4, "no closing quotation mark"),
        ("a = 'x'", 4, "straight double quotation marks"),
        ("a = “x”", 4, "straight double quotation marks"),
        ("a && b", 2, "Write “and”"),
        ("a || b", 2, "Write “or”"),
        ("a == 1", 3, "Write = once"),
        ("a <> 1", 3, "Write != "),
        ("$2.a", 0, "one profile: $1"),
        # Conditions and values
        ("a + 1", 0, "A condition is expected here"),
        ('"x"', 0, "A condition is expected here"),
        ("b and a.count()", 6, "A condition is expected here"),
        ("(a = 1) + 2 = 3", 1, "not a condition"),
        ("$1", 0, "The name of a field is missing"),
        # Functions
        ("foo(a)", 0, "There is no function foo."),
        ('b and a.startWith("x")', 8, "Did you mean startsWith?"),
        ("a.startsWith()", 0, 'Write it so: field.startsWith("text")'),
        ("isNull(a, b)", 0, "Write it so: isNull(field)"),
        ('equals(a, "x", 1)', 15, "Expected is true, or false"),
        ("inSegment(5)", 10, "A text in double quotation marks is expected"),
        ("mapNotEmpty(1)", 12, "A field is expected"),
        ("a.matches(b)", 10, "A text in double quotation marks is expected"),
        ('a.trim().b = "x"', 0, "Only a field has fields below it"),
        ("a.get(b)", 6, "A text in double quotation marks is expected"),
        ('a.get("")', 6, "can't be the key of a map"),
        ('identityMap.get("Email").id = "x"', 0, "Ask for an identity with exists("),
        # Lists
        ("a in []", 5, "The list is empty"),
        ('a in [1, "x"]', 9, "of one kind"),
        ("a in [b]", 6, "A list holds texts, numbers, or dates"),
        # Numbers and times
        ("a = 1e999", 4, "too large"),
        ("a = " + "9" * 400, 4, "too large"),
        ("a occurs last 1.5 days", 14, "A whole number is expected"),
        ("a occurs last 400000 days", 14, "more than a thousand years"),
        ("a occurs before 3", 16, "A moment is expected here"),
        ("a > date(2023, 2, 29)", 4, "There is no such day"),
        ("a > date(99999999999999999999, 1, 1)", 4, "There is no such day"),
        ("a > date(2023, b, 1)", 15, "A whole number is expected"),
        # Characters that no profile can hold
        ('a = "\0"', 5, "can't be in a rule"),
        ('a = "\ud800"', 5, "can't be in a rule"),
    ],
)
def test_an_error_points_at_the_character_and_says_what_was_expected(
    text: str, at: int, message: str
) -> None:
    found = error(text)
    assert found.position == at
    assert message in found.message


def test_an_error_has_its_line_and_column() -> None:
    found = error("a = 1 and\n  b = ?")
    assert (found.line, found.column) == (2, 7)


def test_an_error_speaks_the_readers_language() -> None:
    english = error("a =").message
    with translation.override("ko"):
        assert error("a =").message
    assert error("a =").message == english


# --- What is too much


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "a" + ")" * 500,
        "not " * 500 + "a",
        "!" * 500 + "a",
        "a = " + "-" * 500 + "b",
        "a = " + "(" * 500 + "1" + ")" * 500,
        "a = " + "+".join(["1"] * 500),
        "a" + ".b" * 500,
        "a" + ".trim()" * 500 + ' = "x"',
        "isNull(" * 500 + "a" + ")" * 500,
        "exists(x from a where " * 400 + "x" + ")" * 400,
        "(" * 5000,
        "[" * 5000,
        "(not " * 500 + "a" + ")" * 500,
    ],
)
def test_what_nests_500_deep_is_refused(text: str) -> None:
    found = error(text)
    assert f"{MAX_NESTING} levels" in found.message or "3 times" in found.message
    assert found.position < len(text)


def test_what_nests_as_deep_as_it_may_is_read_and_evaluated() -> None:
    depth = MAX_NESTING - 2
    rule = parse("not (" * (depth // 2) + "a" + ")" * (depth // 2))
    assert rule.compile()(Subject({"a": True})) is True
    assert parse(str(rule)) == rule


def test_brackets_in_texts_do_not_nest() -> None:
    assert parse(f'a = "{"(" * 500}"').tree == Compare("=", A, Text("(" * 500))


def test_a_long_rule_is_read_and_one_that_is_too_long_is_refused() -> None:
    text = " or ".join(["a = 1"] * (MAX_LENGTH // 9))
    assert isinstance(parse(text).tree, Some)
    found = error("a" * (MAX_LENGTH + 1))
    assert (found.position, f"{MAX_LENGTH} characters" in found.message) == (MAX_LENGTH, True)


def test_a_list_has_an_end() -> None:
    most = ",".join(["1"] * MAX_CHOICES)
    assert parse(f"a in [{most}]")
    found = error(f"a in [{most},7]")
    assert found.position == len(f"a in [{most},")
    assert f"{MAX_CHOICES} values" in found.message


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a?){500}a*$"]
)
def test_a_regular_expression_that_explodes_elsewhere_is_answered_at_once(pattern: str) -> None:
    predicate = parse(f'a.matches("{pattern}")').compile()
    before = time.process_time()
    predicate(Subject({"a": "a" * (values.MAX_SEARCHED - 1) + "!"}))
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    "pattern, reason",
    [
        (")", "unexpected )"),
        ("[", "missing ]"),
        ("a{1001}", "invalid repetition size"),
        ("((a{100}){100}){10}", "invalid repetition size"),
        (r"(\\pL{10}){10}", "pattern too large"),
        (r"(a)\\1", "invalid escape"),
        ("(?=a)", "invalid perl operator"),
        ("a" * 501, "500 characters"),
    ],
)
def test_a_pattern_that_can_not_be_used_is_refused_where_it_stands(pattern: str, reason: str) -> None:
    found = error(f'b and a.matches("{pattern}")')
    assert found.position == len("b and a.matches(")
    assert reason in found.message
