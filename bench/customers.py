"""A store of any size with live rules, written by COPY past ingestion, and what producers say of its customers."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from profiles import sample
from profiles.merge import merge
from profiles.models import Identity, IdentityNamespace, Profile, Segment, SegmentMembership
from profiles.pql import Subject, parse

DISTINCT = 5_000  # customers of the sample; in a larger store they live again, with identities of their own

_CITIES = (
    "서울특별시",
    "부산광역시",
    "東京都",
    "Austin",
    "München",
    "Nîmes",
    "Málaga",
    "Київ",
    "القاهرة",
    "Αθήνα",
)
_COUNTRIES = ("KR", "JP", "US", "DE", "FR", "ES", "UA", "EG", "IN", "GR")
RULES = {
    f"rule-{number:02d}": text
    for number, text in enumerate(
        [
            *(f"loyalty.points > {1500 * number}" for number in range(1, 11)),
            *(f'homeAddress.city = "{city}" and loyalty.points > 500' for city in _CITIES),
            *(
                f'homeAddress.countryCode = "{code}" and consents.marketing.email.val = "y"'
                for code in _COUNTRIES
            ),
            *(
                f"person.birthYear >= {year} and person.birthYear < {year + 6}"
                for year in range(1946, 2000, 6)
            ),
            *(
                f'personalEmail.address.startsWith("{box}.", false)'
                for box in ("hello", "mail", "post", "me", "home")
            ),
            *(
                f'loyalty.tier = "{tier}" and not (person.gender = "male")'
                for tier, _least in sample.TIERS[1:]
            ),
            "isNotNull(workEmail.address)",
            'person.birthMonth = 11 and inSegment("rule-00")',
            'identityMap.get("Email").count() > 0 and loyalty.tier = "platinum"',
        ]
    )
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A customer of the sample, as rows of the store: what is the same for all who are like this one."""

    attributes: dict[str, Any]
    text: str  # of the attributes
    written: str
    segments: tuple[str, ...]


@cache
def kinds() -> list[Kind]:
    now = int(timezone.now().timestamp() * 1000)
    compiled = {segment_id: parse(text).compile() for segment_id, text in RULES.items()}
    found = []
    for customer in sample.customers(DISTINCT):
        attributes: dict[str, Any] = {}
        written: dict[str, int] = {}
        merge(attributes, customer.attributes, moments=written, at=now)
        segments: set[str] = set()
        subject = Subject(attributes, {"email": ["x"]}, segments)
        for segment_id, describes in compiled.items():
            if describes(subject):
                segments.add(segment_id)
        found.append(Kind(attributes, json.dumps(attributes), json.dumps(written), tuple(segments)))
    return found


def crm_id(number: int) -> str:
    return f"C-{number:08d}"


def identities(number: int) -> list[tuple[str, str]]:
    """By which customer ``number`` is known."""
    return [("CRMID", crm_id(number)), ("Email", f"{number:08d}@example.com"), ("ECID", f"{number:038d}")]


def fill(count: int) -> None:
    """Write so many customers and :data:`RULES`. Everybody is where the rules say."""
    Segment.objects.bulk_create(
        Segment(id=segment_id, name=segment_id, rule=rule, origin=Segment.Origin.SEGMENTATION)
        for segment_id, rule in RULES.items()
    )
    namespaces = dict(IdentityNamespace.objects.values_list("code", "pk"))
    keys = [uuid7() for _number in range(count)]
    now = timezone.now()
    stored = kinds()
    _copy(
        Profile,
        "id attributes written created_at updated_at",
        (
            (key, kind.text, kind.written, now, now)
            for key, kind in zip(keys, _repeated(stored, count), strict=True)
        ),
    )
    _copy(
        Identity,
        "profile_id namespace_id value created_at",
        (
            (key, namespaces[code], value, now)
            for number, key in enumerate(keys)
            for code, value in identities(number)
        ),
    )
    _copy(
        SegmentMembership,
        "profile_id segment_id status last_qualification_time",
        (
            (key, segment_id, "existing", now)
            for key, kind in zip(keys, _repeated(stored, count), strict=True)
            for segment_id in kind.segments
        ),
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _repeated(stored: list[Kind], count: int) -> Iterator[Kind]:
    return (stored[number % len(stored)] for number in range(count))


def _copy(model: type[Any], columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
    names = ", ".join(columns.split())
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def changed(number: int, dice: random.Random) -> dict[str, Any]:
    """What a shop tells of customer ``number`` after a purchase: some more points, the address, the consent to mail."""
    attributes = kinds()[number % DISTINCT].attributes
    points = attributes.get("loyalty", {}).get("points", 0) + dice.randrange(1000)
    consent = (
        dice.choice("yn") if dice.random() < 0.1 else attributes["consents"]["marketing"]["email"]["val"]
    )
    return {
        "identityMap": {"CRMID": [{"id": crm_id(number), "primary": True}]},
        "loyalty": {"points": points, "tier": [name for name, least in sample.TIERS if points >= least][-1]},
        "homeAddress": attributes["homeAddress"],
        "consents": {"marketing": {"email": {"val": consent, "time": "2026-11-25T00:00:00Z"}}},
    }


def whole(number: int, dice: random.Random) -> dict[str, Any]:
    """All that is known of customer ``number``, as a nightly file has it, after a purchase."""
    change = changed(number, dice)
    attributes = kinds()[number % DISTINCT].attributes
    found = {code: [{"id": value}] for code, value in identities(number)}
    loyalty = {**attributes.get("loyalty", {}), **change["loyalty"]}
    return {**attributes, **change, "loyalty": loyalty, "identityMap": found}


def message(entity: dict[str, Any]) -> dict[str, Any]:
    """An entity as producers post it, with an id of its own."""
    return {
        "header": {"datasetId": "purchases"},
        "body": {"xdmMeta": {}, "xdmEntity": {"_id": str(uuid.uuid4()), **entity}},
    }
