"""Whether a rule fits the schema, and what is said when it does not."""

from __future__ import annotations

import pytest

from profiles.models import SchemaField
from profiles.pql import PQLError, Schema, parse
from tests.factories import NamespaceFactory, SchemaFieldFactory, SegmentFactory

SCHEMA = Schema(
    fields={
        "person": "object",
        "person.name": "object",
        "person.name.firstName": "string",
        "person.birthDate": "date",
        "person.birthYear": "integer",
        "points": "number",
        "joined": "date-time",
        "testProfile": "boolean",
        "phones": "array",
        "extras": "map",
    },
    segments={"a": 'inSegment("b") and testProfile', "b": 'inSegment("c")', "c": "", "broken": "((("},
    namespaces={"Email", "ECID"},
)


def check(text: str, segment_id: str = "") -> None:
    parse(text).check(SCHEMA, segment_id=segment_id)


def error(text: str, segment_id: str = "") -> PQLError:
    with pytest.raises(PQLError) as caught:
        check(text, segment_id)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        'person.name.firstName = "x" and $1.points >= 1.5 and not testProfile',
        'person.name.firstName.toLowerCase().trim() in ["x", "y"]',
        'person.name.firstName.startsWith("x", false) or person.name.firstName like "x%"',
        "points * 2 + person.birthYear % 4 > 1 / points",
        "person.birthDate occurs last 3 days and joined occurs > 1 year before person.birthDate",
        "person.birthDate = date(2000, 1, 1) or date(2000, 1, 1) < joined",
        '"x" in phones and phones.count() > 2',
        'exists(p from phones where p.type = "mobile" and p.number.startsWith("+82"))',
        'extras.anything.at.all = 1 and extras.get("any thing") = "x" and mapNotEmpty(extras)',
        "isNull(person) and mapNotEmpty(person.name) and isNotNull(phones)",
        'mapNotEmpty(identityMap) and exists(i from identityMap.get("email") where i.id = "x")',
        'inSegment("a") and not inSegment("broken")',
        "points = null",
    ],
)
def test_a_rule_that_fits_is_let_through(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "text, at, message",
    [
        # Fields
        ("nothing = 1", 0, "There is no field nothing in the schema"),
        ("testProfile and person.name.fristName = 1", 16, "Did you mean person.name.firstName?"),
        ("person.name.firstName.first = 1", 0, "There is no field person.name.firstName.first"),
        (
            'phones.number = "1"',
            0,
            "phones is a list. Ask for its members with exists(x from phones where x.number",
        ),
        ('segmentMembership.status = "realized"', 0, 'inSegment("id")'),
        # Types
        ('testProfile and points = "x"', 25, "compares a number with a text"),
        ('"x" = points', 0, "compares a text with a number"),
        ("person.name.firstName = points", 24, "compares a text with a number"),
        ('points in ["x"]', 11, "compares a number with a text"),
        ('joined = "2020-01-01"', 9, "A day is written so: date(2020, 3, 14)"),
        ("points > date(2020, 1, 1)", 9, "compares a number with a date"),
        ("testProfile > true", 12, "with = or != only"),
        ("person.birthDate < joined", 17, "person.birthDate occurs before joined"),
        ("points", 0, "points is a number. Expected here: true or false"),
        ('points.startsWith("x")', 0, "points is a number. Expected here: a text"),
        ("person.name.firstName.contains(points)", 31, "points is a number"),
        ("points.trim() = null", 0, "points is a number"),
        ("person.name.firstName + 1 > 0", 0, "person.name.firstName is a text. Expected here: a number"),
        ("points occurs today", 0, "points is a number. Expected here: a date"),
        ("joined occurs before points", 21, "points is a number. Expected here: a date"),
        ("phones = 1", 0, "phones is a list and can't be compared"),
        ("person = 1", 0, "person is a group of fields and can't be compared"),
        ('"x" in points', 7, "points is a number. Expected here: a list"),
        ("points.count() > 1", 0, "points is a number. Expected here: a list"),
        ("exists(x from points where x = 1)", 14, "points is a number. Expected here: a list"),
        ("mapNotEmpty(phones)", 12, "phones is a list. Expected here: a map"),
        # Also within what is within something
        (
            'not (testProfile or exists(x from phones where x = 1 and points = "1"))',
            66,
            "a number with a text",
        ),
        # Division by zero
        ("points / 0 > 1", 9, "divided by zero"),
        ("points % 0.0 = 1", 9, "divided by zero"),
        ("1 / -0 = points", 4, "divided by zero"),
        # Identities
        ('isNull(identityMap.get("Emial"))', 7, "no identity namespace Emial. Did you mean Email?"),
        # Segments
        ('testProfile or inSegment("d")', 15, "There is no segment with the id d"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(text: str, at: int, message: str) -> None:
    found = error(text)
    assert message in found.message
    assert found.position == at


def test_a_division_that_only_a_profile_makes_one_by_zero_is_let_through() -> None:
    check("points / points > 1")


@pytest.mark.parametrize(
    "segment_id, text, way",
    [
        ("new", 'testProfile and inSegment("new")', None),
        ("a", 'testProfile and inSegment("a")', "a → a"),
        ("b", 'testProfile and inSegment("a")', "b → a → b"),
        ("c", 'testProfile and inSegment("a")', "c → a → b → c"),
    ],
)
def test_a_rule_that_refers_to_itself_is_refused(segment_id: str, text: str, way: str | None) -> None:
    found = error(text, segment_id)
    assert found.position == len("testProfile and ")
    assert (f"refer to itself: {way}" if way else "no segment with the id new") in found.message


def test_a_rule_that_refers_to_others_only_is_let_through() -> None:
    check('inSegment("b")', "a")
    check('inSegment("broken")', "a")


def test_a_circle_that_was_stored_already_is_no_endless_search() -> None:
    circle = Schema(
        fields={}, segments={"x": 'inSegment("y")', "y": 'inSegment("x")', "z": ""}, namespaces=()
    )
    parse('inSegment("x")').check(circle, segment_id="z")
    with pytest.raises(PQLError, match="y → x → y"):
        parse('inSegment("x")').check(circle, segment_id="y")


@pytest.mark.django_db
def test_the_stored_schema_is_the_database_s(django_assert_num_queries: object) -> None:
    SchemaFieldFactory.create(path="_ours.points", type=SchemaField.Type.INTEGER)
    SegmentFactory.create(id="s", rule="testProfile")
    NamespaceFactory.create(code="Ours")
    schema = Schema.stored()
    parse('_ours.points > 1 and inSegment("s") and isNull(identityMap.get("ours"))').check(schema)
    with pytest.raises(PQLError, match="a number with a text"):
        parse('_ours.points = "x"').check(schema)
