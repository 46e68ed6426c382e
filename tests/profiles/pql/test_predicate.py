"""What each part of the language means: the answers of reference/pql.md, in memory and in the database alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from profiles.models import Profile
from profiles.pql import Subject, namespace_key, parse
from tests.factories import (
    IdentityFactory,
    MembershipFactory,
    NamespaceFactory,
    ProfileFactory,
    SegmentFactory,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 3, 31, 12, 30, tzinfo=UTC)  # a Sunday

MIN_JUN: dict[str, Any] = {
    "person": {"name": {"firstName": "Min-jun", "lastName": " 김 "}, "birthDate": "2000-02-29"},
    "homeAddress": {"countryCode": "KR", "city": None},
    "points": 1200,
    "half": 0.5,
    "zero": 0,
    "huge": 10**400,
    "member": True,
    "left": False,
    "text": "12",
    "empty": "",
    "tags": ["a", "b", 3, None],
    "none": [],
    "phones": [{"type": "home", "n": 1}, {"type": "mobile", "n": 2, "seen": "2024-03-30"}, "loose", [1]],
    "extras": {"k": 1, "x y": {"z": "deep"}},
    "bare": {},
    "today": "2024-03-31T23:59:59Z",
    "yesterday": "2024-03-30T12:30:00Z",
    "abroad": "2024-04-01T00:30:00+09:00",
    "week": "2024-03-25",
    "year": "2023-03-31T12:30:00Z",
    "future": "2025-01-01",
    "noOffset": "2024-03-31T12:00:00",
    "noDay": "2023-02-29",
}


def is_so(
    text: str,
    attributes: Mapping[str, Any] = MIN_JUN,
    *,
    identities: Mapping[str, Sequence[str]] | None = None,
    memberships: Mapping[str, str] | None = None,
    now: datetime = NOW,
) -> bool:
    """Whether a rule is so, by both ways of asking."""
    rule = parse(text)
    profile = ProfileFactory.create(attributes=attributes)
    for code, some in (identities or {}).items():
        for value in some:
            IdentityFactory.create(profile=profile, namespace=NamespaceFactory.create(code=code), value=value)
    for segment_id, status in (memberships or {}).items():
        MembershipFactory.create(profile=profile, segment=SegmentFactory.create(id=segment_id), status=status)
    subject = Subject(
        attributes,
        {namespace_key(code): some for code, some in (identities or {}).items()},
        {segment_id for segment_id, status in (memberships or {}).items() if status != "exited"},
        now,
    )
    answer = rule.compile()(subject)
    assert set(rule.members(now)) == ({profile.pk} if answer else set())
    Profile.objects.all().delete()
    return answer


SO = [
    # References and literals
    'homeAddress.countryCode = "KR"',
    '$1.homeAddress.countryCode = "KR"',
    "member",
    "not left",
    "true",
    "points = 1200.0",
    'extras.get("x y").z = "deep"',
    # Boolean: and binds closer than or
    "member or left and left",
    "not (member and left)",
    "!left and !(left or left)",
    # Comparison
    "points > 1199 and points >= 1200 and points < 1201 and points <= 1200 and points != 1199",
    '"Min" < person.name.firstName and person.name.firstName < "min"',
    'homeAddress.countryCode in ["US", "KR"] and homeAddress.countryCode not in ["US", "JP"]',
    "points in [1, 1200] and half not in [1, 2]",
    "member = true and left != true",
    "points > half and points != half",
    "huge > points",
    # Text
    'person.name.firstName.startsWith("Min") and not person.name.firstName.startsWith("min")',
    'person.name.firstName.startsWith("mIN", false) and person.name.firstName.endsWith("JUN", false)',
    'person.name.firstName.contains("n-j") and person.name.firstName.doesNotContain("N-J")',
    'not person.name.firstName.doesNotContain("N-J", false)',
    'equals(homeAddress.countryCode, "kr", false) and not equals(homeAddress.countryCode, "kr")',
    'person.name.firstName like "M%n" and person.name.firstName like "_in-___" and not (text like "1")',
    'person.name.firstName.like("m%N", false)',
    'person.name.firstName.matches("^M.n") and person.name.firstName.matches("JUN$", false)',
    'person.name.lastName.trim() = "김" and person.name.firstName.toUpperCase() = "MIN-JUN"',
    'person.name.firstName.toLowerCase().startsWith("min")',
    'empty = "" and empty.startsWith("") and empty like "%"',
    # Null
    "isNull(nothing) and isNull(homeAddress.city) and isNull(nothing.at.all) and isNull(text.below)",
    "isNotNull(points) and isNotNull(empty) and isNotNull(none) and isNotNull(bare) and isNotNull(left)",
    'not (nothing = "x") and not (nothing != "x") and not (nothing < 1)',
    "not (points = null) and not (points != null) and not (nothing = null)",
    'not (nothing in ["x"]) and not (nothing not in ["x"]) and not nothing.doesNotContain("x")',
    # Numbers
    "points + 1 = 1201 and points - 1 = 1199 and points * 2 = 2400 and points / 5 = 240 and points % 7 = 3",
    "points + 2 * 3 - 6 / 2 = 1203 and (points + 2) * 3 = 3606 and -points = -1200",
    "isNull(points / zero) and isNull(points % zero) and isNull(points % half) and isNull(nothing + 1)",
    "isNull(huge + 1) and isNull(text + 1)",
    "half + half = 1",
    # Time
    "today occurs today and not yesterday occurs today and not abroad occurs before date(2024, 3, 31)",
    "abroad occurs today and abroad occurs this month",
    "week occurs this week and week occurs this month and week occurs this year",
    "yesterday occurs last 1 day and not (today occurs last 1 day) and not (future occurs last 1 day)",
    "year occurs last 1 year and year occurs last 12 months and not (year occurs last 365 days)",
    "yesterday occurs = 1 day before now and yesterday occurs <= 3 days before now",
    "yesterday occurs = 24 hours before now and yesterday occurs = 1440 minutes before now",
    "year occurs >= 1 year before now and not (year occurs > 1 year before now)",
    "future occurs after now and future occurs > 9 months after now and future occurs < 1 year after now",
    "person.birthDate occurs > 24 years before date(2024, 3, 1)",
    "person.birthDate occurs = 24 years before date(2024, 2, 29)",
    "yesterday occurs before today and yesterday occurs <= 1 day before today",
    "year occurs = 1 year before phones or year occurs < 1 year before yesterday or year occurs before yesterday",
    "week = date(2024, 3, 25) and yesterday > date(2024, 3, 30) and week in [date(2024, 3, 25)]",
    "not (noOffset occurs today) and not (noDay occurs before now) and not (points occurs before now)",
    # Lists
    '"a" in tags and 3 in tags and not ("3" in tags) and "c" not in tags and "c" not in none',
    "points not in tags and not (points in tags)",
    "tags.count() = 4 and none.count() = 0 and isNull(text.count()) and isNull(nothing.count())",
    'exists(p from phones where p.type = "mobile" and p.n = 2)',
    'not exists(p from phones where p.type = "mobile" and p.n = 1)',
    'exists(p from phones where p = "loose") and exists(t from tags where t = 3)',
    "exists(p from phones where p.seen occurs last 2 days)",
    "exists(p from phones where p.n * 600 = points)",
    "exists(p from phones where exists(q from phones where p.n < q.n))",
    "not exists(x from none where true) and not exists(x from text where true)",
    # Maps
    "mapNotEmpty(extras) and not mapNotEmpty(bare) and not mapNotEmpty(tags) and not mapNotEmpty(nothing)",
]

NOT_SO = [
    'homeAddress.countryCode = "kr"',
    "left",
    "points",
    "text",
    "false",
    # Kinds do not turn into each other
    "text = 12",
    'points = "1200"',
    "text < 100",
    "member = 1",
    'member = "true"',
    "zero = false",
    "text > points",
    "text != points",
    "member != points",
    'points.startsWith("1")',
    'points like "%"',
    'tags.contains("a")',
    '"12" in text',
    '"12" not in text',
    "extras = 1",
    "extras != 1",
    "bare != bare",
    "tags = tags",
]


@pytest.mark.parametrize("text", SO)
def test_it_is_so(text: str) -> None:
    assert is_so(text)


@pytest.mark.parametrize("text", NOT_SO)
def test_it_is_not_so(text: str) -> None:
    assert not is_so(text)


@pytest.mark.parametrize(
    "attributes", [{}, {"a": None}, {"a": 1}, {"a": "x"}, {"a": True}, {"a": []}, {"a": {}}]
)
@pytest.mark.parametrize(
    "text",
    [
        'a.b = "x"',
        "a.b.c > 1",
        "a + 1 < 0",
        "a occurs today",
        'a.trim() = "y"',
        'exists(x from a where x.b = "x")',
        'a.matches("y")',
        "a.count() > 0",
        "mapNotEmpty(a)",
    ],
)
def test_what_a_profile_does_not_have_or_has_otherwise_is_no_error(
    text: str, attributes: dict[str, Any]
) -> None:
    assert not is_so(text, attributes)


@pytest.mark.parametrize(
    "moment, rule, answer",
    [
        # Months and years are the calendar's: a month before 31 March is the last day of February.
        ("2024-02-29T12:30:00Z", "d occurs = 1 month before now", True),
        ("2024-02-29T12:30:00Z", "d occurs last 1 month", True),
        ("2024-02-29T12:29:59.999999Z", "d occurs last 1 month", False),
        ("2024-03-02T12:30:00Z", "d occurs = 1 month before now", False),
        ("2020-03-31T12:30:00Z", "d occurs = 48 months before now", True),
        ("2024-04-30T12:30:00Z", "d occurs = 1 month after now", True),
        ("2025-02-28", "d occurs = 1 year after date(2024, 2, 29)", True),
        # What is shorter has a fixed length.
        ("2024-03-24T12:30:00Z", "d occurs = 1 week before now", True),
        ("2024-03-31T12:29:00Z", "d occurs = 1 minute before now", True),
        # This week begins on Monday, and ends with Sunday.
        ("2024-03-25", "d occurs this week", True),
        ("2024-03-24T23:59:59.999999Z", "d occurs this week", False),
        ("2024-03-31T23:59:59.999999Z", "d occurs this week", True),
        ("2024-04-01", "d occurs this week", False),
        # In UTC.
        ("2024-03-01T08:59:59+09:00", "d occurs this month", False),
        ("2024-03-01T09:00:00+09:00", "d occurs this month", True),
        ("2024-12-31T23:30:00-01:00", "d occurs this year", False),
        # The other side of the named moment is not near it.
        ("2024-03-31T13:00:00Z", "d occurs <= 3 days before now", False),
        ("2024-03-31T12:00:00Z", "d occurs <= 3 days after now", False),
        ("2024-03-31T12:30:00Z", "d occurs <= 3 days after now", True),
        ("2024-03-31T12:30:00Z", "d occurs before now", False),
        # Beyond the calendar of Python.
        ("0001-01-01", "d occurs > 1000 years before now", True),
        ("9999-12-31", "d occurs > 1000 years after date(9999, 12, 31)", False),
        ("0001-01-01", "d occurs > 1000 years before date(1, 1, 1)", False),
        # Fractions
        ("2024-03-31T12:30:00.0000009Z", "d occurs = 0 days before now", True),
        ("2024-03-31T12:30:00.000001Z", "d occurs = 0 days before now", False),
    ],
)
def test_times_go_by_the_calendar(moment: str, rule: str, answer: bool) -> None:
    assert is_so(rule, {"d": moment}) is answer


@pytest.mark.parametrize(
    "text, answer",
    [
        ("mapNotEmpty(identityMap)", True),
        ('isNotNull(identityMap.get("email"))', True),
        ('isNull(identityMap.get("ECID"))', True),
        ('identityMap.get("Email").count() = 2', True),
        ('exists(i from identityMap.get("Email") where i.id = "a@example.com")', True),
        ('exists(i from identityMap.get("Email") where i.id.endsWith("@example.org"))', False),
    ],
)
def test_identities_are_asked_by_namespace(text: str, answer: bool) -> None:
    known = {"Email": ["a@example.com", "b@example.com"]}
    assert is_so(text, identities=known) is answer


def test_who_has_no_identity_has_no_map_of_them() -> None:
    assert is_so("isNull(identityMap) and not mapNotEmpty(identityMap)")


@pytest.mark.parametrize("status, answer", [("realized", True), ("existing", True), ("exited", False)])
def test_a_member_of_another_segment_is_realized_or_existing(status: str, answer: bool) -> None:
    assert is_so('inSegment("s") and not (not inSegment("s"))', memberships={"s": status}) is answer


def test_who_was_never_in_a_segment_is_not_in_it() -> None:
    assert is_so('not inSegment("s")')
