"""Random rules, and random customers that they have something to say about.

Both draw from the same few fields and values, so that many rules are so for some customers; among the values are those
on which Python and databases like to disagree. A field mostly holds what its name says, and a rule mostly asks that of
it.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hypothesis import strategies as st

from profiles.pql import syntax
from profiles.pql.syntax import COMPARISONS, UNITS, Condition, Kind, Value

Names: TypeAlias = tuple[str, ...]

NOW = datetime.datetime(2024, 3, 31, 12, 30, 15, 250_000, tzinfo=datetime.UTC)
SEGMENTS = ("first", 'the "second"')
NAMESPACES = ("Email", "ECID")
VARIABLES = ("x", "n")  # the second hides a field

FIELDS: dict[Kind, tuple[Names, ...]] = {
    Kind.TEXT: (("t",), ("m", "이름")),
    Kind.NUMBER: (("n",), ("m", "n")),
    Kind.TIME: (("d",), ("m", "d")),
    Kind.BOOLEAN: (("f",),),
}
LISTS: tuple[Names, ...] = (("l",), ("m", "l"))
MAPS: tuple[Names, ...] = (("m",), ("0",))
OTHERS: tuple[Names, ...] = (("0", "1"), ("nothing",), ("m", "k.1 é"), ("l", "0"))
PATHS = (*FIELDS[Kind.TEXT], *FIELDS[Kind.NUMBER], *FIELDS[Kind.TIME], ("f",), *LISTS, *MAPS, *OTHERS)

TEXTS = (
    *("a", "A", "ab", "é", "É", "Σ", "ς") * 4,
    "", "aB", "ba", " a ", "\u3000a\n", "ÀÉa", "σ", "ΟΔΟΣ", "οδος", "ß", "ẞ", "İ", "ı", "ſ", "\u212a", "k", "ǅ", "ǆ",
    "김", "김a", "𐐀", "𐐨", "\uffff", "\U0001f600", "%", "_", "a%b", "a_b", "\\", '"', "'", "1", "true", "null",
    "[]", "{}",
)  # fmt: skip
TIMES = (
    *("2024-03-31", "2024-03-31T12:30:15.25Z", "2024-02-29", "2024-03-30T12:30:15.25Z", "2023-03-31T12:30:15.250Z") * 3,
    "2024-03-31T00:00:00Z", "2024-03-31T12:30:15.2500009Z", "2024-03-31T12:30:15.249999999Z",
    "2024-03-31T21:30:15.25+09:00", "2024-03-24T12:30:15.25Z", "2024-03-31T12:29:15.25Z", "2024-02-29T12:30:15.25Z",
    "2024-03-01", "2024-04-01", "2024-04-30T12:30:15.25Z", "2024-03-25T00:00:00-00:00", "2024-03-24T23:59:59.999999Z",
    "2024-01-01", "2023-12-31T23:59:59.999999Z", "0001-01-01", "0001-01-01T00:00:00+15:59", "2000-02-29",
    "9999-12-31T23:59:59.9999999-15:59",
    # None of these is a time.
    "2023-02-29", "1900-02-29", "0000-01-01", "2024-13-01", "2024-04-31", "2024-03-31T24:00:00Z",
    "2024-03-31T12:30:60Z",
    "2024-03-31T12:30:15", "2024-03-31T12:30Z", "2024-03-31T12:30:15.Z", "2024-03-31 12:30:15Z", "2024-3-31",
    "2024-03-31T12:30:15+16:00", "2024-03-31Z", "٢٠٢٤-٠٣-٣١", "2024-03-31\n", "20240331", "2024-W13-7", "today",
    "infinity",
)  # fmt: skip
NUMBERS = (
    *(0, 1, 2, 0.1, -1, 7) * 4,
    3, 10, 0.0, -0.0, 0.2, 0.3, 0.1 + 0.2, 1.5, -2.5, 1e-7, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63,
    10**22, 1e22, 10**23, 1e23, 1e150, 1.1e150, 1e-150, 9e-151, 5e-324, 1.7976931348623157e308, 123456.789,
)  # fmt: skip
HUGE = (10**309, -(10**309), 2**1024 - 2**970, 2**1024 - 2**970 - 1, 10**4000)
DATES = ((2024, 3, 31), (2024, 2, 29), (2000, 1, 1), (1, 1, 1), (9999, 12, 31))
PATTERNS = (
    "%",
    "_",
    "a%",
    "%a",
    "%a%",
    "a_b",
    "%a%b%",
    "__",
    "A%",
    "%É%",
    "김_",
    "\\",
    "%\\%",
    "a%a",
    "",
    "Σ",
)
REGEXES = ("a", "^a", "a$", "a.b", r"\d", "(?i)É", "[A-C]", "^$", "(a+)+$", r"^.$", "\\p{Lu}", "k", "σ")
AMOUNTS = (0, 1, 1, 2, 7, 12, 31, 1000)

texts, times, numbers = st.sampled_from(TEXTS), st.sampled_from(TIMES), st.sampled_from(NUMBERS)


def one_of(*ways: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Each as often as any other; ``|`` would count the ways within them."""
    return st.sampled_from(ways).flatmap(lambda way: way)


def mostly(usual: st.SearchStrategy[Any], *others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return one_of(*[usual] * 7 * len(others), *others)


scalars = one_of(texts, times, numbers, st.sampled_from(HUGE), st.booleans(), st.none())

# --- Customers -----------------------------------------------------------------------------------------------------

MISSING = object()


def objects(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects that have most of these members."""
    some = {key: mostly(value, st.just(MISSING)) for key, value in members.items()}
    return st.fixed_dictionaries(some).map(
        lambda drawn: {key: value for key, value in drawn.items() if value is not MISSING}
    )


held = {
    "t": mostly(texts, scalars),
    "이름": mostly(texts, scalars),
    "n": mostly(numbers, scalars),
    "d": mostly(times, scalars),
    "f": mostly(st.booleans(), scalars),
}
items = mostly(one_of(scalars, objects(held)), st.lists(scalars, max_size=2), st.just({}))
lists = mostly(st.lists(items, max_size=4), scalars, st.just({"0": 1}))
maps = mostly(objects({**held, "l": lists, "k.1 é": scalars}), scalars, lists, st.just({}))
trees = objects({**held, "l": lists, "m": maps, "0": one_of(maps, objects({"1": items}))})


@dataclass(frozen=True)
class Customer:
    """What is known of one customer: attributes, values by namespaces, statuses by segments."""

    attributes: dict[str, Any]
    identities: dict[str, list[str]] = field(default_factory=dict)
    memberships: dict[str, str] = field(default_factory=dict)


customers = st.builds(
    Customer,
    trees,
    st.dictionaries(
        st.sampled_from(NAMESPACES),
        st.lists(st.sampled_from(["a", "A", "é", "1"]), min_size=1, max_size=2, unique=True),
        max_size=2,
    ),
    st.dictionaries(
        st.sampled_from(SEGMENTS), st.sampled_from(["realized", "existing", "exited"]), max_size=2
    ),
)

# --- Rules ---------------------------------------------------------------------------------------------------------

constants: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.builds(syntax.Text, texts),
    Kind.NUMBER: st.builds(syntax.Number, numbers),
    Kind.TIME: st.sampled_from(DATES).map(lambda day: syntax.Date(*day)),
    Kind.BOOLEAN: st.builds(syntax.Boolean, st.booleans()),
}
any_constant = one_of(*constants.values())
units = st.sampled_from(UNITS)
comparisons = st.sampled_from(COMPARISONS)
some_identities = st.builds(syntax.Identities, st.sampled_from(["Email", "email", "ECID", "Phone"]))
all_identities = st.just(syntax.Identities(None))

Bound: TypeAlias = tuple[str, ...]


def paths(bound: Bound, usual: tuple[Names, ...]) -> st.SearchStrategy[syntax.Path]:
    """A field of the profile, or of a variable; mostly one of the usual ones."""
    of_profile = mostly(st.sampled_from(usual), st.sampled_from(PATHS)).map(syntax.Path)
    if not bound:
        return of_profile
    names = st.sampled_from([(), *(path for path in usual if len(path) == 1)])
    return one_of(of_profile, *[st.builds(syntax.Path, names, st.just(variable)) for variable in bound] * 2)


def values(bound: Bound, kind: Kind) -> st.SearchStrategy[Value]:
    """Something that is mostly of the kind."""
    path, constant = paths(bound, FIELDS[kind]), constants[kind]
    usual = [path, path, constant]
    if kind == Kind.TEXT:
        altered = st.builds(syntax.Altered, st.sampled_from(["toLowerCase", "toUpperCase", "trim"]), path)
        usual += [altered, st.builds(syntax.Altered, st.just("toUpperCase"), altered)]
    elif kind == Kind.NUMBER:
        signs = st.sampled_from("+-*/%")
        result = st.builds(syntax.Arithmetic, signs, path, one_of(path, constant))
        count = st.builds(syntax.Count, one_of(paths(bound, LISTS), some_identities))
        usual += [result, count, st.builds(syntax.Arithmetic, signs, one_of(constant, result), path)]
    return mostly(one_of(*usual), any_constant, paths(bound, PATHS), st.just(syntax.Null()))


def simple_conditions(bound: Bound) -> st.SearchStrategy[Condition]:
    text = values(bound, Kind.TEXT)
    text_path = paths(bound, FIELDS[Kind.TEXT])
    time_path = paths(bound, FIELDS[Kind.TIME])
    items = mostly(paths(bound, LISTS), some_identities)
    anything = one_of(*(values(bound, kind) for kind in constants))
    tests = st.sampled_from(["startsWith", "endsWith", "contains", "doesNotContain", "equals"])
    patterns, regexes = st.sampled_from(PATTERNS).map(syntax.Text), st.sampled_from(REGEXES).map(syntax.Text)
    moments = one_of(st.just(syntax.Now()), st.just(syntax.Today()), constants[Kind.TIME], time_path)
    directions = st.sampled_from(["before", "after"])

    def comparing(kind: Kind) -> st.SearchStrategy[Condition]:
        value, path = values(bound, kind), paths(bound, FIELDS[kind])
        choices = st.lists(constants[kind], min_size=1, max_size=6).map(tuple)
        return one_of(
            st.builds(syntax.Compare, comparisons, path, constants[kind]),
            st.builds(syntax.Compare, comparisons, value, value),
            st.builds(syntax.OneOf, value, choices, st.booleans()),
            st.builds(syntax.Holds, value, items, st.booleans()),
        )

    return one_of(
        *map(comparing, constants),
        st.builds(syntax.Truth, mostly(paths(bound, FIELDS[Kind.BOOLEAN]), constants[Kind.BOOLEAN])),
        st.builds(syntax.TextTest, tests, text_path, constants[Kind.TEXT], st.booleans()),
        st.builds(syntax.TextTest, tests, text, text, st.booleans()),
        st.builds(syntax.TextTest, st.just("like"), text, patterns, st.booleans()),
        st.builds(syntax.TextTest, st.just("matches"), text, regexes, st.booleans()),
        st.builds(syntax.IsNull, one_of(anything, some_identities, all_identities), st.booleans()),
        st.builds(syntax.MapNotEmpty, mostly(paths(bound, MAPS), all_identities)),
        st.builds(syntax.InSegment, st.sampled_from(SEGMENTS)),
        st.builds(syntax.This, time_path, units),
        st.builds(syntax.Last, time_path, st.sampled_from(AMOUNTS), units),
        st.builds(
            syntax.Occurs, time_path, comparisons, st.sampled_from(AMOUNTS), units, directions, moments
        ),
        st.builds(syntax.Occurs, time_path, comparisons, st.just(1), units, directions, moments),
    )


def conditions(bound: Bound = (), depth: int = 3) -> st.SearchStrategy[Condition]:
    simple = simple_conditions(bound)
    if not depth:
        return simple
    inner = conditions(bound, depth - 1)
    several = st.lists(inner, min_size=2, max_size=3)
    nested: list[st.SearchStrategy[Condition]] = [
        st.builds(syntax.Not, inner),
        several.map(lambda terms: _flat(syntax.Every, terms)),
        several.map(lambda terms: _flat(syntax.Some, terms)),
    ]
    if len(bound) < 2:
        items = mostly(paths(bound, LISTS), some_identities)
        nested += [
            st.builds(syntax.Exists, st.just(name), items, conditions((*bound, name), depth - 1))
            for name in VARIABLES
        ]
    return one_of(simple, *nested)


def _flat(kind: type[syntax.Every] | type[syntax.Some], terms: list[Condition]) -> Condition:
    flat: list[Condition] = []
    for term in terms:
        flat += term.terms if isinstance(term, kind) else (term,)
    return kind(tuple(flat))
