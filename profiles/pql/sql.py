"""Tree → SQL: for the whole store at once. How a database says it, its :class:`Dialect` knows.

SQL's third truth, null, stands here for "not so": AND and OR treat it as false, and NOT is written IS NOT TRUE. So what
is asked of a value that is missing is not so, and its denial is, as in predicate.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from string import Formatter
from typing import Any, ClassVar, NamedTuple, assert_never

from django.db.models import Model

from profiles.models import Identity, IdentityNamespace, SegmentMembership
from profiles.pql import moments, values
from profiles.pql.predicate import compared_as, named_moment
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
    Kind,
    Last,
    MapNotEmpty,
    Not,
    Null,
    Number,
    Occurs,
    OneOf,
    Path,
    Some,
    Text,
    TextTest,
    This,
    Truth,
    Unit,
    Value,
)


class Sql(NamedTuple):
    """A piece of SQL with its parameters, in their order."""

    text: str
    params: tuple[Any, ...] = ()


TRUE, FALSE = Sql("TRUE"), Sql("FALSE")


def sql(template: str, *parts: Sql) -> Sql:
    """``template`` with a part for every ``{}``, or for every ``{0}``, ``{1}``, …, as often as it is named."""
    text, params = "", list[Any]()
    following = iter(parts)
    for literal, field, _spec, _conversion in Formatter().parse(template):
        text += literal
        if field is not None:
            part = parts[int(field)] if field else next(following)
            text += part.text
            params += part.params
    return Sql(text, tuple(params))


def param(value: Any) -> Sql:
    return Sql("%s", (value,))


def listed(parts: Iterable[Sql]) -> Sql:
    parts = list(parts)
    return sql(", ".join(["{}"] * len(parts)), *parts)


def joined(word: str, terms: Sequence[Sql]) -> Sql:
    """Terms joined by AND or OR, as a balanced tree: SQLite's parser has little room for what stands on the right."""
    while len(terms) > 1:
        pairs = zip_longest(terms[::2], terms[1::2])
        terms = [sql(f"({{}} {word} {{}})", left, right) if right else left for left, right in pairs]
    return terms[0]


class Json(ABC):
    """A JSON value in SQL, seen as one kind or another; NULL where it is none of that kind."""

    @abstractmethod
    def child(self, name: str) -> Json:
        """What an object has under a key."""

    @abstractmethod
    def text(self) -> Sql: ...

    @abstractmethod
    def number(self) -> Sql:
        """As a double."""

    @abstractmethod
    def boolean(self) -> Sql: ...

    @abstractmethod
    def time(self) -> Sql:
        """As :meth:`Dialect.moment` makes them."""

    @abstractmethod
    def length(self) -> Sql:
        """How many a list holds, as a double."""

    @abstractmethod
    def present(self) -> Sql:
        """Whether it is there, and not JSON's null."""

    @abstractmethod
    def is_list(self) -> Sql: ...

    @abstractmethod
    def is_filled_map(self) -> Sql: ...

    @abstractmethod
    def any_item(self, alias: str, condition: Callable[[Json], Sql]) -> Sql:
        """Whether it is a list that holds something of which the condition is so.

        Args:
            alias: a name that nothing else has in the query.
        """

    def typed(self, kind: Kind) -> Sql:
        read = {
            Kind.TEXT: self.text,
            Kind.NUMBER: self.number,
            Kind.BOOLEAN: self.boolean,
            Kind.TIME: self.time,
        }
        return read[kind]()


class Dialect(ABC):
    """How a database says it.

    Args:
        attributes: the profile's column.
        key: its primary key.
        quote: quotes names of tables and columns.
    """

    has_regex: ClassVar[bool]  # exactly as profiles.pql.values.regex

    def __init__(self, attributes: Sql, key: Sql, quote: Callable[[str], str]) -> None:
        self.column = attributes
        self.key = key
        self.quote = quote

    # What a profile has

    @abstractmethod
    def attributes(self) -> Json: ...

    @abstractmethod
    def identities(self, namespace: str | None) -> Json:
        """As :class:`profiles.pql.syntax.Identities`."""

    def identities_from(self, namespace: str | None) -> Sql:
        """FROM … WHERE …: the profile's identities, with their namespaces."""
        identity, space = self.table(Identity), self.table(IdentityNamespace)
        found = sql(
            f"FROM {identity} JOIN {space}"
            f" ON {self.table(IdentityNamespace, 'id')} = {self.table(Identity, 'namespace')}"
            f" WHERE {self.table(Identity, 'profile')} = {{}}",
            self.key,
        )
        if namespace is None:
            return found
        code = self.ascii_lower(Sql(self.table(IdentityNamespace, "code")))
        return sql("{} AND {} = {}", found, code, param(values.namespace_key(namespace)))

    def in_segment(self, segment_id: str) -> Sql:
        statuses = listed(param(status.value) for status in SegmentMembership.MEMBER_STATUSES)
        return sql(
            f"EXISTS (SELECT 1 FROM {self.table(SegmentMembership)}"  # noqa: S608  (names of ours; values are parameters)
            f" WHERE {self.table(SegmentMembership, 'profile')} = {{}}"
            f" AND {self.table(SegmentMembership, 'segment')} = {{}}"
            f" AND {self.table(SegmentMembership, 'status')} IN ({{}}))",
            self.key,
            param(segment_id),
            statuses,
        )

    def table(self, model: type[Model], field: str = "") -> str:
        table = self.quote(model._meta.db_table)
        if not field:
            return table
        column = model._meta.get_field(field).column  # type: ignore[union-attr]
        return f"{table}.{self.quote(column or field)}"

    # Values

    @abstractmethod
    def null(self, kind: Kind) -> Sql:
        """Nothing, where a value of a kind is expected."""

    @abstractmethod
    def string(self, value: str) -> Sql: ...

    @abstractmethod
    def double(self, value: float) -> Sql: ...

    @abstractmethod
    def moment(self, value: int) -> Sql: ...

    @abstractmethod
    def shifted(self, moment: Sql, amount: int, unit: Unit) -> Sql: ...

    @abstractmethod
    def calculated(self, sign: str, left: Sql, right: Sql) -> Sql: ...

    @abstractmethod
    def in_case(self, case: values.Case, text: Sql) -> Sql: ...

    @abstractmethod
    def ascii_lower(self, text: Sql) -> Sql: ...

    @abstractmethod
    def trimmed(self, text: Sql) -> Sql: ...

    # Tests of texts

    @abstractmethod
    def starts_with(self, text: Sql, part: Sql) -> Sql: ...

    @abstractmethod
    def ends_with(self, text: Sql, part: Sql) -> Sql: ...

    @abstractmethod
    def contains(self, text: Sql, part: Sql) -> Sql: ...

    @abstractmethod
    def like(self, text: Sql, pattern: str) -> Sql: ...

    @abstractmethod
    def matches(self, text: Sql, pattern: str, *, ignore_case: bool) -> Sql:
        """Asked only when the dialect ``has_regex``."""


class Writer:
    """Writes the SQL of one rule.

    Args:
        dialect: of the database, for a profile.
        now: when it is asked, as a moment.
    """

    def __init__(self, dialect: Dialect, now: int) -> None:
        self.dialect = dialect
        self.now = now
        self.bound: dict[str, Json] = {}
        self.aliases = 0

    def condition(self, node: Condition, *, widen: bool = True) -> Sql:
        """What is true for the profiles of which ``node`` is so.

        Args:
            widen: for what the database can't say: true for more profiles (else: for fewer).
        """
        match node:
            case Every(terms):
                return joined("AND", self.terms(terms, widen))
            case Some(terms):
                return joined("OR", self.terms(terms, widen))
            case Not(term):
                return sql("({} IS NOT TRUE)", self.condition(term, widen=not widen))
            case Truth(value):
                return self.typed(value, Kind.BOOLEAN)
            case Compare(comparison, left, right):
                kinds = compared_as(left.kind, right.kind, ordered=comparison not in ("=", "!="))
                return self.compare(comparison, self.read(left), self.read(right), kinds)
            case OneOf(value, choices, negated):
                kind = choices[0].kind
                listing = listed(self.typed(choice, kind) for choice in choices)
                return sql(
                    "({} NOT IN ({}))" if negated else "({} IN ({}))", self.typed(value, kind), listing
                )
            case Holds():
                return self.holds(node)
            case TextTest():
                return self.text_test(node, widen)
            case IsNull(value, negated):
                found = self.read(value)
                present = found.present() if isinstance(found, Json) else sql("({} IS NOT NULL)", found)
                return present if negated else sql("({} IS NOT TRUE)", present)
            case MapNotEmpty(value):
                return self.json(value).is_filled_map()
            case Exists(variable, items, condition):
                return self.exists(variable, self.json(items), condition, widen)
            case InSegment(segment_id):
                return self.dialect.in_segment(segment_id)
            case This(value) | Last(value):
                first, last = map(self.dialect.moment, moments.period(node, self.now))
                return sql("({} BETWEEN {} AND {})", self.typed(value, Kind.TIME), first, last)
            case Occurs():
                return self.occurs(node)
            case _:
                assert_never(node)

    def terms(self, terms: Sequence[Condition], widen: bool) -> list[Sql]:
        # The deepest first: see `joined`.
        return [self.condition(term, widen=widen) for term in sorted(terms, key=_depth, reverse=True)]

    # Values

    def read(self, node: Value) -> Json | Sql:
        """A value of a kind of its own as SQL, any other one as JSON."""
        match node:
            case Text(value):
                return self.dialect.string(value)
            case Number(number):
                return self.dialect.double(float(number))
            case Boolean(truth):
                return TRUE if truth else FALSE
            case Date():
                return self.dialect.moment(moments.from_date(node))
            case Null():
                return self.dialect.null(Kind.TEXT)
            case Path() | Identities():
                return self.json(node)
            case Arithmetic(sign, left, right):
                return self.dialect.calculated(
                    sign, self.typed(left, Kind.NUMBER), self.typed(right, Kind.NUMBER)
                )
            case Altered("trim", value):
                return self.dialect.trimmed(self.typed(value, Kind.TEXT))
            case Altered(function, value):
                case: values.Case = "lower" if function == "toLowerCase" else "upper"
                return self.dialect.in_case(case, self.typed(value, Kind.TEXT))
            case Count(value):
                return self.json(value).length()
            case _:
                assert_never(node)

    def json(self, node: Path | Identities) -> Json:
        if isinstance(node, Identities):
            return self.dialect.identities(node.namespace)
        found = self.bound[node.variable] if node.variable else self.dialect.attributes()
        for name in node.names:
            found = found.child(name)
        return found

    def typed(self, node: Value, kind: Kind) -> Sql:
        if node.kind not in (kind, Kind.ANY):
            return self.dialect.null(kind)
        return _as(self.read(node), kind)

    # Conditions

    def compare(self, comparison: str, left: Json | Sql, right: Json | Sql, kinds: Sequence[Kind]) -> Sql:
        sign = "<>" if comparison == "!=" else comparison
        ways = [sql(f"({{}} {sign} {{}})", _as(left, kind), _as(right, kind)) for kind in kinds]
        return joined("OR", ways or [FALSE])

    def holds(self, node: Holds) -> Sql:
        kinds = compared_as(node.value.kind, Kind.ANY, ordered=False)
        if not kinds:
            return FALSE
        value, items = self.read(node.value), self.json(node.items)
        held = items.any_item(self.alias(), lambda item: self.compare("=", item, value, kinds))
        if not node.negated:
            return held
        is_value = joined("OR", [sql("({} IS NOT NULL)", _as(value, kind)) for kind in kinds])
        return joined("AND", [sql("({} IS NOT TRUE)", held), items.is_list(), is_value])

    def exists(self, variable: str, items: Json, condition: Condition, widen: bool) -> Sql:
        def holds_for(item: Json) -> Sql:
            outer = dict(self.bound)
            self.bound[variable] = item
            inner = self.condition(condition, widen=widen)
            self.bound = outer
            return inner

        return items.any_item(self.alias(), holds_for)

    def alias(self) -> str:
        self.aliases += 1
        return f"item{self.aliases}"

    def text_test(self, node: TextTest, widen: bool) -> Sql:
        dialect = self.dialect
        text = self.typed(node.value, Kind.TEXT)
        if node.function == "matches":
            assert isinstance(node.argument, Text)
            if dialect.has_regex:
                return dialect.matches(text, node.argument.value, ignore_case=node.ignore_case)
            return sql("({} IS NOT NULL)", text) if widen else FALSE
        if node.ignore_case:
            text = dialect.in_case("fold", text)
        if node.function == "like":
            assert isinstance(node.argument, Text)
            pattern = node.argument.value
            return dialect.like(text, values.fold(pattern) if node.ignore_case else pattern)
        part = self.typed(node.argument, Kind.TEXT)
        if node.ignore_case:
            part = dialect.in_case("fold", part)
        match node.function:
            case "equals":
                return sql("({} = {})", text, part)
            case "startsWith":
                return dialect.starts_with(text, part)
            case "endsWith":
                return dialect.ends_with(text, part)
            case "contains":
                return dialect.contains(text, part)
            case "doesNotContain":
                return sql("(NOT {})", dialect.contains(text, part))

    def occurs(self, node: Occurs) -> Sql:
        amount, to_shifted, to_named = moments.on_the_axis(node)
        at = self.typed(node.value, Kind.TIME)
        if isinstance(node.moment, Path):
            named = self.typed(node.moment, Kind.TIME)
            shifted = self.dialect.shifted(named, amount, node.unit)
        else:
            moment = named_moment(node.moment, self.now)
            named = self.dialect.moment(moment)
            shifted = self.dialect.moment(moments.shift(moment, amount, node.unit))
        compared = self.compare(to_shifted, at, shifted, (Kind.TIME,))
        if to_named is None:
            return compared
        return joined("AND", [compared, self.compare(to_named, at, named, (Kind.TIME,))])


def _as(found: Json | Sql, kind: Kind) -> Sql:
    """SQL of a value that is of the kind, or JSON that may be."""
    return found.typed(kind) if isinstance(found, Json) else found


def _depth(node: Condition) -> int:
    match node:
        case Every(terms) | Some(terms):
            return 1 + max(map(_depth, terms))
        case Not(term):
            return 1 + _depth(term)
        case Exists():
            return 2 + _depth(node.condition)
        case _:
            return 1
