"""The builder is a view of the tree: shown and sent back, a rule is the same rule."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import render_to_string
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.models import IdentityNamespace, SchemaField
from profiles.pql import Rule, parse
from profiles.pql.syntax import (
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
from profiles.segmentation.builder import Bench, Sources
from profiles.segmentation.builder.operators import OPERATORS
from profiles.segmentation.builder.tree import parts_of
from tests.profiles.pql.strategies import (
    AMOUNTS,
    DATES,
    NUMBERS,
    PATTERNS,
    REGEXES,
    SEGMENTS,
    TEXTS,
    comparisons,
    conditions,
    one_of,
    units,
)
from tests.profiles.segmentation.builder.pages import Form

FIELDS = {
    "t": "string",
    "n": "number",
    "d": "date-time",
    "f": "boolean",
    "l": "array",
    "m": "map",
    "o.t": "string",
}
EXAMPLES = settings(max_examples=200, derandomize=True, database=None, deadline=None)


class Known(Sources):
    """Sources that are not asked of the database."""

    fields = {path: SchemaField(path=path, title=path, type=kind) for path, kind in FIELDS.items()}
    namespaces = [IdentityNamespace(code=code, name=code) for code in ("Email", "Phone_E.164")]
    _segments = [(key, f"Name of {key}", "") for key in SEGMENTS]


# --- Rules that the builder shows ----------------------------------------------------------------------------------


def plain(texts: tuple[str, ...]) -> st.SearchStrategy[Text]:
    return st.sampled_from([text for text in texts if text and text == text.strip()]).map(Text)


texts, patterns, regexes = plain(TEXTS), plain(PATTERNS), plain(REGEXES)
numbers, days = st.sampled_from(NUMBERS).map(Number), st.sampled_from(DATES).map(lambda day: Date(*day))
truths, flags = st.builds(Boolean, st.booleans()), st.booleans()
identities = st.sampled_from(["Email", "Phone_E.164"]).map(Identities)
amounts, moments = st.sampled_from(AMOUNTS), one_of(st.just(Now()), st.just(Today()), days)


def leaves(variable: str | None = None) -> dict[str, st.SearchStrategy[Condition]]:
    """Conditions by the operator that shows them; of an entry's fields with a variable."""

    def field(*paths: str) -> st.SearchStrategy[Path]:
        mine = ("", "t", "k.1", "m.이름") if variable else (*paths, "m.k", "m.이름.t")
        return st.sampled_from([Path(tuple(path.split(".")) if path else (), variable) for path in mine])

    text, number, day, truth, items = field("t", "o.t"), field("n"), field("d"), field("f"), field("l")

    def several(constants: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(constants, min_size=1, max_size=4).map(tuple)

    def some(test: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        return st.builds(Exists, st.just("i"), identities, test)

    i = st.just(Path(("id",), "i"))
    found: dict[str, st.SearchStrategy[Any]] = {
        "text =": one_of(
            st.builds(Compare, st.just("="), text, texts),
            st.builds(TextTest, st.just("equals"), text, texts, st.just(True)),
        ),
        "text !=": st.builds(Compare, st.just("!="), text, texts),
        "truth =": st.builds(Compare, st.just("="), truth, truths),
        "truth !=": st.builds(Compare, st.just("!="), truth, truths),
        "true": st.builds(Truth, truth),
        "known": st.builds(IsNull, one_of(text, day, items, identities, st.just(Identities(None))), st.just(True)),
        "unknown": st.builds(IsNull, one_of(number, truth, identities)),
        "filled": st.builds(MapNotEmpty, one_of(field("m", "o"), st.just(Identities(None)))),
        "holds text": st.builds(Holds, texts, items),
        "lacks text": st.builds(Holds, texts, items, st.just(True)),
        "holds number": st.builds(Holds, numbers, items),
        "lacks number": st.builds(Holds, numbers, items, st.just(True)),
        "count": st.builds(Compare, comparisons, one_of(items, identities).map(Count), numbers),
        "this": st.builds(This, day, units),
        "last": st.builds(Last, day, amounts, units),
        "before": st.builds(Occurs, day, st.just(">"), st.just(0), st.just("day"), st.just("before"), moments),
        "after": st.builds(Occurs, day, st.just(">"), st.just(0), st.just("day"), st.just("after"), moments),
        "distance": st.builds(
            Occurs, day, comparisons, amounts.filter(bool), units, st.sampled_from(["before", "after"]), moments
        ),
        "member": st.sampled_from(SEGMENTS).map(InSegment),
        "not member": st.sampled_from(SEGMENTS).map(InSegment).map(Not),
        "some =": some(st.builds(Compare, st.just("="), i, texts)),
        "some in": some(st.builds(OneOf, i, several(texts))),
    }  # fmt: skip
    for kind, path, constants in (("text", text, texts), ("number", number, numbers), ("day", day, days)):
        found[f"{kind} in"] = st.builds(OneOf, path, several(constants))
        found[f"{kind} not in"] = st.builds(OneOf, path, several(constants), st.just(True))
        for comparison in ("=", "!=", "<", "<=", ">", ">="):
            if kind != "text":
                found[f"{kind} {comparison}"] = st.builds(Compare, st.just(comparison), path, constants)
    for test in ("contains", "doesNotContain", "startsWith", "endsWith", "like", "matches"):
        arguments = {"like": patterns, "matches": regexes}.get(test, texts)
        found[f"text {test}"] = st.builds(TextTest, st.just(test), text, arguments, flags)
        if test != "doesNotContain":
            found[f"some {test}"] = some(st.builds(TextTest, st.just(test), i, arguments, flags))
    if variable:  # what nests one "exists" in another is too rich
        return {key: value for key, value in found.items() if not key.startswith("some")}
    return found


def combined(simple: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    def nested(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        several = st.lists(inner, min_size=2, max_size=3)
        return one_of(
            inner.map(Not),
            several.map(lambda terms: flat(Every, terms)),
            several.map(lambda terms: flat(Some, terms)),
        )

    return st.recursive(simple, nested, max_leaves=5)


def flat(kind: type[Every] | type[Some], terms: list[Condition]) -> Condition:
    return kind(
        tuple(inner for term in terms for inner in (term.terms if isinstance(term, kind) else (term,)))
    )


def entries(variable: str) -> st.SearchStrategy[Condition]:
    lists = one_of(st.sampled_from([Path(("l",)), Path(("m", "k"))]), identities)
    return st.builds(
        Exists,
        st.just(variable),
        lists,
        combined(
            one_of(*leaves(variable).values(), *leaves().values()).filter(
                lambda inner: not isinstance(inner, Exists)
            )
        ),
    )


trees = combined(one_of(*leaves().values(), *[entries("x"), entries("i")] * 10))


def opened(tree: Condition, sources: Sources) -> Bench:
    return Bench.stored(str(Rule(tree, "")), sources)


def sent(bench: Bench, text: str) -> dict[str, str]:
    """What a browser sends of the page, with ``text`` as the rule's text."""
    page = render_to_string("profiles/_builder.html", {"bench": bench, "request": {"path": "/"}})
    return {**Form(page).data, "rule": text, "shown": text}


# --- The same rule -------------------------------------------------------------------------------------------------


@EXAMPLES
@given(trees)
def test_what_the_builder_shows_is_sent_back_as_the_same_rule(tree: Condition) -> None:
    sources = Known()
    bench = opened(tree, sources)
    assert bench.root is not None, bench.reason
    assert bench.finished, [form.errors for form in bench.forms]
    assert bench.root.found == parse(bench.text).tree == tree
    # Whatever the text was, the form alone says the same.
    again = Bench.posted(sent(bench, "t = 1"), sources)
    assert again.root is not None
    assert again.root.found == tree
    assert parse(again.text).tree == tree


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"each"}))
def test_every_operator_shows_its_rules(operator: str) -> None:
    @settings(EXAMPLES, max_examples=10)
    @given(leaves()[operator])
    def shown(tree: Condition) -> None:
        assert [row.operator for row in parts_of(tree, FIELDS).rows()] == [operator]

    shown()


@EXAMPLES
@given(conditions())
def test_of_any_rule_the_builder_shows_all_or_nothing(tree: Condition) -> None:
    sources = Known()
    bench = opened(tree, sources)
    if bench.root is None:
        assert bench.reason and bench.readable
        assert Bench.posted(sent(bench, bench.text), sources).text == bench.text
    else:
        assert bench.root.found == tree
