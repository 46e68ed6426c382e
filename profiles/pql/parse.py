"""Text → tree. What can't be a rule is refused here with the place and with what was expected there."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path as File
from typing import Any, NoReturn, TypeAlias

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from profiles.pql import moments, values
from profiles.pql.errors import PQLError
from profiles.pql.syntax import (
    UNITS,
    Altered,
    Arithmetic,
    Boolean,
    Compare,
    Condition,
    Constant,
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
    Moment,
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
    Unit,
    Value,
)

MAX_LENGTH = 10_000  # characters
MAX_NESTING = 50  # brackets in brackets, conditions in conditions, keys of a path
MAX_CHOICES = 1_000  # of a list
MAX_PATTERN = 500  # characters of what `like` or `matches` asks
MAX_EXISTS = 3  # within each other: what is asked of every pair of two lists takes as long as both together

Part: TypeAlias = Tree[Token] | Token

_parser = Lark(
    File(__file__).with_name("grammar.lark").read_text(),
    parser="lalr",
    propagate_positions=True,
    maybe_placeholders=False,
)

TEXT_TESTS = ("startsWith", "endsWith", "contains", "doesNotContain", "equals", "like", "matches")
ALTERING = ("toLowerCase", "toUpperCase", "trim")
USAGE = {
    "date": "date(2020, 3, 14)",
    "isNull": "isNull(field)",
    "isNotNull": "isNotNull(field)",
    "equals": 'equals(field, "text")',
    "inSegment": 'inSegment("id")',
    "mapNotEmpty": "mapNotEmpty(field)",
    "count": "field.count()",
    "get": 'field.get("key")',
    **{name: f"field.{name}()" for name in ALTERING},
    **{name: f'field.{name}("text")' for name in TEXT_TESTS if name != "equals"},
}
FUNCTIONS = ("date", "isNull", "isNotNull", "equals", "inSegment", "mapNotEmpty")
METHODS = ("count", "get", *ALTERING, *TEXT_TESTS)


def parse(text: str) -> Condition:
    """The tree of a rule.

    Args:
        text: PQL as reference/pql.md has it.

    Raises:
        PQLError: it is no rule, or one that is too large (MAX_LENGTH, MAX_NESTING and their like).
    """
    if len(text) > MAX_LENGTH:
        message = _("A rule has %(limit)s characters at most.") % {"limit": MAX_LENGTH}
        raise PQLError(message, text, MAX_LENGTH)
    if bad := re.search("[\0\ud800-\udfff]", text):
        raise PQLError(_("This character can't be in a rule."), text, bad.start())
    _check_brackets(text)
    return _Builder(text).condition(_read(text), 1)


def _check_brackets(text: str) -> None:
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[(\[]|[)\]]', text, re.DOTALL):
        if found[0] in "([":
            depth += 1
            if depth > MAX_NESTING:
                raise PQLError(_too_deep(), text, found.start())
        elif found[0] in ")]":
            depth -= 1


def _too_deep() -> str:
    return _("This is nested deeper than %(limit)s levels.") % {"limit": MAX_NESTING}


# --- What was expected ---------------------------------------------------------------------------------------------

# Only a condition can be denied; where a condition can stand, a value can, too, as its beginning.
_EXPECTED: tuple[tuple[str, str | Promise], ...] = (
    ("BANG", gettext_lazy("a condition")),
    ("FUNCTION", gettext_lazy("a field or a value")),
    ("COMPARISON", gettext_lazy("a comparison (=, >, …)")),
    ("THIS", gettext_lazy("a time (today, this month, last 7 days)")),
    ("DIRECTION", gettext_lazy("“before” or “after”")),
    ("UNIT", gettext_lazy("a unit of time (days, months, …)")),
    ("FROM", gettext_lazy("“from”")),
    ("WHERE", gettext_lazy("“where”")),
    ("COMMA", gettext_lazy("a comma")),
    ("RPAR", gettext_lazy("a closing bracket )")),
    ("RSQB", gettext_lazy("a closing bracket ]")),
    ("_AND", gettext_lazy("“and”")),
    ("_OR", gettext_lazy("“or”")),
    ("$END", gettext_lazy("the end of the rule")),
)
_ALONE: dict[str, str | Promise] = {
    "NAME": gettext_lazy("a name"),
    "TEXT": gettext_lazy("a text in double quotation marks"),
    "NUMBER": gettext_lazy("a whole number"),
    "LPAR": gettext_lazy("an opening bracket ("),
}
# What people write who know other languages, or other keyboards.
_HINTS: tuple[tuple[str, str | Promise], ...] = (
    ('"', gettext_lazy("This text has no closing quotation mark.")),
    ("[“”„‘’'`]", gettext_lazy('Texts stand in straight double quotation marks: "text".')),
    ("&&?", gettext_lazy("Write “and”.")),
    (r"\|\|?", gettext_lazy("Write “or”.")),
    ("(?<==)=", gettext_lazy("Write = once.")),
    ("(?<=<)>", gettext_lazy("Write != for “is not”.")),
    (r"\$\d+", gettext_lazy("A rule is about one profile: $1.")),
)


def _read(text: str) -> Part:
    reading = _parser.parse_interactive(text)
    try:
        return reading.resume_parse()  # type: ignore[no-any-return, no-untyped-call]
    except UnexpectedInput as error:
        at = error.pos_in_stream
        if at is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
            at = len(text)
        accepted = reading.accepts()  # type: ignore[no-untyped-call]
        raise PQLError(_explain(text, at, accepted), text, at) from None


def _explain(text: str, at: int, accepted: Iterable[str]) -> str:
    for pattern, hint in _HINTS:
        if re.compile(pattern).match(text, at):
            return str(hint)
    expected = _expected(set(accepted))
    if at >= len(text):
        return _("The rule is not finished. Expected: %(expected)s.") % {"expected": expected}
    found = re.compile(r"\w+|.", re.DOTALL).match(text, at)
    return _("“%(found)s” does not fit here. Expected: %(expected)s.") % {
        "found": found[0] if found else "",
        "expected": expected,
    }


def _expected(accepted: set[str]) -> str:
    if len(accepted) == 1 and (only := _ALONE.get(next(iter(accepted)))):
        return str(only)
    if "BANG" in accepted:
        accepted.discard("FUNCTION")
    words = [str(word) for name, word in _EXPECTED if name in accepted]
    if len(words) == 1:
        return words[0]
    return _("%(some)s or %(last)s") % {"some": ", ".join(words[:-1]), "last": words[-1]}


# --- Building the tree ---------------------------------------------------------------------------------------------


class _Builder:
    """Makes nodes of what the grammar recognised; decides what is a condition and what a value."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables: list[str] = []

    def refuse(self, part: Part | int, message: str) -> NoReturn:
        raise PQLError(message, self.text, part if isinstance(part, int) else _at(part))

    def condition(self, part: Part, depth: int) -> Condition:
        made: Condition | None = self.make("condition", part, depth)
        if made is None:
            self.refuse(part, _('A condition is expected here, such as homeAddress.countryCode = "KR".'))
        return made

    def value(self, part: Part, depth: int) -> Value:
        made: Value | None = self.make("value", part, depth)
        if made is None:
            self.refuse(part, _("A field or a value is expected here, not a condition."))
        return made

    def make(self, what: str, part: Part, depth: int) -> Any:
        """Build a node by the method that is named for it; None where it can't be what is wanted."""
        if depth > MAX_NESTING:
            self.refuse(part, _too_deep())
        alternative = part.data if isinstance(part, Tree) else part.type
        method = getattr(self, f"{what}_{alternative}", None)
        return method(part, depth) if method else None

    # Conditions

    def condition_disjunction(self, part: Tree[Token], depth: int) -> Condition:
        terms: list[Condition] = []
        for child in part.children:
            term = self.condition(child, depth + 1)
            terms += term.terms if isinstance(term, Some) else (term,)
        return Some(tuple(terms), at=_at(part))

    def condition_conjunction(self, part: Tree[Token], depth: int) -> Condition:
        terms: list[Condition] = []
        for child in part.children:
            term = self.condition(child, depth + 1)
            terms += term.terms if isinstance(term, Every) else (term,)
        return Every(tuple(terms), at=_at(part))

    def condition_negation(self, part: Tree[Token], depth: int) -> Condition:
        return Not(self.condition(part.children[1], depth + 1), at=_at(part))

    def condition_compare(self, part: Tree[Token], depth: int) -> Condition:
        left, operator, right = part.children
        return Compare(
            str(operator),  # type: ignore[arg-type]  # the grammar has no others
            self.value(left, depth + 1),
            self.value(right, depth + 1),
            at=_at(operator),
        )

    def condition_is_in(self, part: Tree[Token], depth: int) -> Condition:
        return self._membership(part, depth, negated=False)

    def condition_is_not_in(self, part: Tree[Token], depth: int) -> Condition:
        return self._membership(part, depth, negated=True)

    def _membership(self, part: Tree[Token], depth: int, *, negated: bool) -> Condition:
        left, *_words, right = part.children
        value = self.value(left, depth + 1)
        if isinstance(right, Tree) and right.data == "list":
            return OneOf(value, self._choices(right, depth + 1), negated, at=_at(part))
        return Holds(value, self._reference(right, depth + 1), negated, at=_at(part))

    def _choices(self, part: Tree[Token], depth: int) -> tuple[Constant, ...]:
        if not part.children:
            self.refuse(part, _("The list is empty."))
        if len(part.children) > MAX_CHOICES:
            message = _("A list has %(limit)s values at most.") % {"limit": MAX_CHOICES}
            self.refuse(part.children[MAX_CHOICES], message)
        choices: list[Constant] = []
        for child in part.children:
            choice = self.value(child, depth)
            if not isinstance(choice, Constant):
                self.refuse(child, _("A list holds texts, numbers, or dates."))
            if choices and choice.kind != choices[0].kind:
                self.refuse(child, _("The values of a list are of one kind: all texts, or all numbers."))
            choices.append(choice)
        return tuple(choices)

    def condition_like(self, part: Tree[Token], depth: int) -> Condition:
        value, _word, pattern = part.children
        assert isinstance(pattern, Token)
        argument = Text(self._unquoted(pattern), at=_at(pattern))
        self._check_pattern("like", argument, ignore_case=False)
        return TextTest("like", self.value(value, depth + 1), argument, at=_at(part))

    def condition_today(self, part: Tree[Token], depth: int) -> Condition:
        return This(self.value(part.children[0], depth + 1), "day", at=_at(part))

    def condition_this(self, part: Tree[Token], depth: int) -> Condition:
        value, _occurs, _this, unit = part.children
        return This(self.value(value, depth + 1), self._unit(unit), at=_at(part))

    def condition_last(self, part: Tree[Token], depth: int) -> Condition:
        value, _occurs, _last, amount, unit = part.children
        return Last(self.value(value, depth + 1), self._amount(amount, unit), self._unit(unit), at=_at(part))

    def condition_occurs(self, part: Tree[Token], depth: int) -> Condition:
        value, _occurs, comparison, amount, unit, direction, moment = part.children
        return Occurs(
            self.value(value, depth + 1),
            str(comparison),  # type: ignore[arg-type]
            self._amount(amount, unit),
            self._unit(unit),
            str(direction).lower(),  # type: ignore[arg-type]
            self._moment(moment, depth + 1),
            at=_at(part),
        )

    def condition_occurs_somewhen(self, part: Tree[Token], depth: int) -> Condition:
        value, _occurs, direction, moment = part.children
        return Occurs(
            self.value(value, depth + 1),
            ">",
            0,
            "day",
            str(direction).lower(),  # type: ignore[arg-type]
            self._moment(moment, depth + 1),
            at=_at(part),
        )

    def _unit(self, part: Part) -> Unit:
        name = str(part).lower().removesuffix("s")
        return next(unit for unit in UNITS if unit == name)

    def _amount(self, part: Part, unit: Part) -> int:
        amount = float(str(part))
        if not amount.is_integer():
            self.refuse(part, _("A whole number is expected here."))
        if amount > moments.MOST[self._unit(unit)]:
            self.refuse(part, _("This is more than a thousand years."))
        return int(amount)

    def _moment(self, part: Part, depth: int) -> Moment:
        assert isinstance(part, Tree)
        [inner] = part.children
        if isinstance(inner, Token):
            return Now(at=_at(inner)) if inner.type == "NOW" else Today(at=_at(inner))
        value = self.value(inner, depth)
        if not isinstance(value, Date | Path):
            self.refuse(inner, _("A moment is expected here: now, today, date(2020, 3, 14) or a field."))
        return value

    def condition_exists(self, part: Tree[Token], depth: int) -> Condition:
        _exists, variable, _from, items, _where, condition = part.children
        if len(self.variables) == MAX_EXISTS:
            message = _("“exists” stands within “exists” %(limit)s times at most.") % {"limit": MAX_EXISTS}
            self.refuse(part, message)
        reference = self._reference(items, depth + 1)
        self.variables.append(str(variable))
        inner = self.condition(condition, depth + 1)
        self.variables.pop()
        return Exists(str(variable), reference, inner, at=_at(part))

    def condition_function(self, part: Tree[Token], depth: int) -> Condition | None:
        name, arguments = self._called(part.children[0], part.children[1], FUNCTIONS)
        match name:
            case "isNull" | "isNotNull":
                [argument] = self._take(part, name, arguments, 1)
                return IsNull(self.value(argument, depth + 1), name == "isNotNull", at=_at(part))
            case "equals":
                left, *rest = self._take(part, name, arguments, 2, 3)
                return self._text_test(part, name, left, rest, depth)
            case "inSegment":
                [argument] = self._take(part, name, arguments, 1)
                return InSegment(self._text(argument), at=_at(part))
            case "mapNotEmpty":
                [argument] = self._take(part, name, arguments, 1)
                return MapNotEmpty(self._reference(argument, depth + 1), at=_at(part))
        return None

    def condition_method(self, part: Tree[Token], depth: int) -> Condition | None:
        receiver, called, given = part.children
        name, arguments = self._called(called, given, METHODS)
        if name in TEXT_TESTS:
            return self._text_test(part, name, receiver, self._take(part, name, arguments, 1, 2), depth)
        return self._truth(part, depth)

    def _text_test(
        self, part: Tree[Token], name: str, value: Part, arguments: Sequence[Part], depth: int
    ) -> Condition:
        argument = self.value(arguments[0], depth + 1)
        ignore_case = len(arguments) > 1 and not self._boolean(arguments[1])
        if name in ("like", "matches"):
            if not isinstance(argument, Text):
                self.refuse(arguments[0], _("A text in double quotation marks is expected here."))
            self._check_pattern(name, argument, ignore_case=ignore_case)
        return TextTest(
            name,  # type: ignore[arg-type]  # one of TEXT_TESTS
            self.value(value, depth + 1),
            argument,
            ignore_case,
            at=_at(part),
        )

    def _check_pattern(self, name: str, pattern: Text, *, ignore_case: bool) -> None:
        if len(pattern.value) > MAX_PATTERN:
            message = _("A pattern has %(limit)s characters at most.") % {"limit": MAX_PATTERN}
            self.refuse(pattern.at, message)
        if name == "matches":
            try:
                values.regex(pattern.value, ignore_case=ignore_case)
            except ValueError as error:
                message = _("This is no regular expression that can be used here: %(reason)s.")
                self.refuse(pattern.at, message % {"reason": error})

    def _truth(self, part: Part, depth: int) -> Condition | None:
        value = self.value(part, depth)
        return Truth(value, at=value.at) if isinstance(value, Path | Boolean) else None

    condition_field = condition_member = condition_profile = condition_literal = _truth

    # Values

    def value_literal(self, part: Tree[Token], depth: int) -> Value:
        [token] = part.children
        assert isinstance(token, Token)
        at = _at(token)
        match token.type:
            case "TEXT":
                return Text(self._unquoted(token), at=at)
            case "NUMBER":
                return Number(self._number(token), at=at)
            case "NULL":
                return Null(at=at)
            case _:
                return Boolean(token.type == "TRUE", at=at)

    def _number(self, token: Token) -> int | float:
        if math.isinf(float(token)):
            self.refuse(token, _("This number is too large."))
        return int(token) if token.isdigit() else float(token)

    def value_negative(self, part: Tree[Token], depth: int) -> Value:
        value = self.value(part.children[1], depth + 1)
        if isinstance(value, Number):
            return Number(-value.value, at=_at(part))
        return Arithmetic("-", Number(0, at=_at(part)), value, at=_at(part))

    def value_sum(self, part: Tree[Token], depth: int) -> Value:
        # "a - b - c" is (a - b) - c: the first operands are the innermost.
        operands, signs = part.children[::2], part.children[1::2]
        depth += len(signs)
        result = self.value(operands[0], depth)
        for sign, operand in zip(signs, operands[1:], strict=True):
            right = self.value(operand, depth)
            result = Arithmetic(str(sign), result, right, at=_at(sign))  # type: ignore[arg-type]
        return result

    value_product = value_sum

    def value_field(self, part: Tree[Token], depth: int) -> Value:
        return self._path(part)

    value_member = value_profile = value_field

    def value_function(self, part: Tree[Token], depth: int) -> Value | None:
        name, arguments = self._called(part.children[0], part.children[1], FUNCTIONS)
        if name != "date":
            return None
        numbers = [self._whole(argument) for argument in self._take(part, name, arguments, 3)]
        try:
            date(*numbers)
        except (ValueError, OverflowError):
            self.refuse(part, _("There is no such day."))
        return Date(*numbers, at=_at(part))

    def value_method(self, part: Tree[Token], depth: int) -> Value | None:
        receiver, called, given = part.children
        name, arguments = self._called(called, given, METHODS)
        if name == "get":
            return self._path(part)
        if name == "count":
            self._take(part, name, arguments, 0)
            return Count(self._reference(receiver, depth + 1), at=_at(part))
        if name in ALTERING:
            self._take(part, name, arguments, 0)
            return Altered(name, self.value(receiver, depth + 1), at=_at(part))  # type: ignore[arg-type]
        return None

    def _reference(self, part: Part, depth: int) -> Path | Identities:
        value = self.value(part, depth)
        if not isinstance(value, Path | Identities):
            self.refuse(part, _("A field is expected here."))
        return value

    def _path(self, part: Part) -> Path | Identities:
        names: list[str] = []
        inner = part
        while isinstance(inner, Tree) and inner.data in ("member", "method"):
            names.append(self._last_name(inner))
            inner = inner.children[0]
        if not isinstance(inner, Tree) or inner.data not in ("field", "profile"):
            self.refuse(inner, _("Only a field has fields below it."))
        names.reverse()
        variable = None
        if inner.data == "field":
            head = str(inner.children[0])
            if head in self.variables:
                variable = head
            else:
                names.insert(0, head)
        return self._named(part, tuple(names), variable)

    def _last_name(self, part: Tree[Token]) -> str:
        if part.data == "member":
            return str(part.children[1])
        name, arguments = self._called(part.children[1], part.children[2], METHODS)
        if name != "get":
            self.refuse(part, _("Only a field has fields below it."))
        [key] = self._take(part, name, arguments, 1)
        return self._key(key)

    def _named(self, part: Part, names: tuple[str, ...], variable: str | None) -> Path | Identities:
        if not names and variable is None:
            self.refuse(part, _("The name of a field is missing after $1."))
        if len(names) > MAX_NESTING:
            self.refuse(part, _too_deep())
        if variable is None and names[0] == "identityMap":
            if len(names) > 2:
                example = 'exists(i from identityMap.get("Email") where i.id = "…")'
                self.refuse(part, _("Ask for an identity with %(example)s.") % {"example": example})
            return Identities(names[1] if len(names) == 2 else None, at=_at(part))
        return Path(names, variable, at=_at(part))

    # Arguments

    def _called(self, called: Part, given: Part, known: Sequence[str]) -> tuple[str, list[Part]]:
        name = str(called).lstrip(".").lstrip()
        assert isinstance(given, Tree)
        if name not in known:
            at = _at(called) + len(str(called)) - len(name)
            self.refuse(at, _("There is no function %(name)s.") % {"name": name} + suggestion(name, known))
        return name, given.children

    def _take(self, part: Part, name: str, arguments: list[Part], *counts: int) -> list[Part]:
        if len(arguments) not in counts:
            self.refuse(part, _("Write it so: %(usage)s.") % {"usage": USAGE[name]})
        return arguments

    def _literal(self, part: Part) -> Value | None:
        return self.value_literal(part, 0) if isinstance(part, Tree) and part.data == "literal" else None

    def _text(self, part: Part) -> str:
        value = self._literal(part)
        if not isinstance(value, Text):
            self.refuse(part, _("A text in double quotation marks is expected here."))
        return value.value

    def _key(self, part: Part) -> str:
        key = self._text(part)
        if not key or re.search(r'["\\\x00-\x1f]', key):
            self.refuse(part, _("This can't be the key of a map in a rule."))
        return key

    def _boolean(self, part: Part) -> bool:
        value = self._literal(part)
        if not isinstance(value, Boolean):
            self.refuse(part, _("Expected is true, or false to ignore the case of letters."))
        return value.value

    def _whole(self, part: Part) -> int:
        value = self._literal(part)
        if not isinstance(value, Number) or not isinstance(value.value, int):
            self.refuse(part, _("A whole number is expected here."))
        return value.value

    def _unquoted(self, token: Token) -> str:
        return re.sub(r'\\(["\\])', r"\1", token[1:-1])


def _at(part: Part) -> int:
    at = part.start_pos if isinstance(part, Token) else part.meta.start_pos
    return at or 0


def suggestion(name: str, known: Iterable[str]) -> str:
    """“ Did you mean …?” with the known name that looks most like this one; nothing when none does."""
    close: list[Any] = difflib.get_close_matches(name, list(known), 1)
    return _(" Did you mean %(name)s?") % {"name": close[0]} if close else ""
