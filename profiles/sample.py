"""Fictional customers for `manage.py load_sample`: the same ones every time, and nobody who exists.

Addresses are in example.com and example.org, phone numbers in ranges that are kept for fiction or can't be dialled.
Customer number ``n`` is the same whatever the number of customers: what was loaded before is found again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from profiles.ingest import Fragment
from profiles.models import Segment, SegmentMembership
from profiles.pql import Subject, parse

# The moment at which the sample was "taken": fixed, so that a second run changes nothing.
TAKEN = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)

REALIZED, EXISTING, EXITED = (status.value for status in SegmentMembership.Status)


@dataclass(frozen=True)
class Place:
    """Where customers live, and how they are called there.

    Args:
        weight: of 100 customers so many live here.
        phone: a template of fictional numbers in E.164, ends in # for each digit that differs.
        family_first: the full name begins with the family name.
    """

    weight: int
    country: str
    country_name: str
    language: str
    time_zone: str
    phone: str
    cities: tuple[tuple[str, str, str], ...]  # city, region, postal code template
    streets: tuple[str, ...]
    women: tuple[str, ...]
    men: tuple[str, ...]
    families: tuple[str, ...]
    family_first: bool = False


PLACES = (
    Place(
        weight=34, country="KR", country_name="대한민국", language="ko-KR", time_zone="Asia/Seoul",
        phone="+8210000#####",
        cities=(("서울특별시", "강남구", "06###"), ("서울특별시", "마포구", "04###"),
                ("부산광역시", "해운대구", "48###"),
                ("대구광역시", "수성구", "42###"), ("제주특별자치도", "제주시", "63###")),
        streets=("테헤란로", "월드컵로", "해운대로", "동대구로", "노형로", "올림픽로"),
        women=("서연", "지우", "하은", "수아", "민서", "예린", "다은", "유진"),
        men=("민준", "도윤", "서준", "지호", "현우", "건우", "태양", "승민"),
        families=("김", "이", "박", "최", "정", "강", "조", "윤", "장", "임", "남궁", "선우"), family_first=True,
    ),
    Place(
        weight=12, country="JP", country_name="日本", language="ja-JP", time_zone="Asia/Tokyo",
        phone="+8190000#####",
        cities=(("東京都", "渋谷区", "150-00##"), ("大阪府", "北区", "530-00##"), ("北海道", "札幌市", "060-00##")),
        streets=("神宮前", "梅田", "大通西", "桜丘町", "中之島"),
        women=("陽葵", "さくら", "結衣", "美咲", "凛", "ひかり"), men=("蓮", "大翔", "悠真", "湊", "健太", "樹"),
        families=("佐藤", "鈴木", "高橋", "田中", "渡辺", "小林", "髙木", "齋藤"), family_first=True,
    ),
    Place(
        weight=18, country="US", country_name="United States", language="en-US", time_zone="America/New_York",
        phone="+1202555####",
        cities=(("Springfield", "IL", "627##"), ("Portland", "OR", "972##"), ("Austin", "TX", "787##"),
                ("Albany", "NY", "122##")),
        streets=("Maple Avenue", "Oak Street", "Cedar Lane", "2nd Street", "Lakeview Drive"),
        women=("Ava", "Grace", "Naomi", "Ruth", "Imani", "Camila"),
        men=("Noah", "Elijah", "Marcus", "Owen", "Diego", "Theodore"),
        families=("Walker", "O’Neill", "Rivera", "Bennett", "Hughes", "Okafor", "Smith-Jones"),
    ),
    Place(
        weight=8, country="DE", country_name="Deutschland", language="de-DE", time_zone="Europe/Berlin",
        phone="+49302301####",
        cities=(("München", "Bayern", "80###"), ("Köln", "Nordrhein-Westfalen", "50###"),
                ("Görlitz", "Sachsen", "028##")),
        streets=("Lindenstraße", "Am Mühlbach", "Goethestraße", "Brückengasse"),
        women=("Jördis", "Zoë", "Frieda", "Käthe"), men=("Jürgen", "Björn", "Emil", "Götz"),
        families=("Müller", "Schäfer", "Weiß", "Groß", "Köhler", "von Bülow"),
    ),
    Place(
        weight=7, country="FR", country_name="France", language="fr-FR", time_zone="Europe/Paris",
        phone="+3319900####",
        cities=(("Nîmes", "Occitanie", "30###"), ("Orléans", "Centre-Val de Loire", "45###"),
                ("Besançon", "Bourgogne", "25###")),
        streets=("rue de l’Église", "allée des Chênes", "boulevard Léon-Blum"),
        women=("Chloé", "Inès", "Anaïs", "Maëlle"), men=("Loïc", "Gaël", "Théo", "François"),
        families=("Lefèvre", "Garçon", "Bérenger", "Noël", "d’Aubigné"),
    ),
    Place(
        weight=6, country="ES", country_name="España", language="es-ES", time_zone="Europe/Madrid",
        phone="+3460000####",
        cities=(("Málaga", "Andalucía", "290##"), ("A Coruña", "Galicia", "150##"),
                ("León", "Castilla y León", "240##")),
        streets=("calle del Peñón", "avenida de la Constitución", "paseo Marítimo"),
        women=("Begoña", "Lucía", "Nuria"), men=("Íñigo", "Andrés", "Raúl"),
        families=("Muñoz", "Ibáñez", "Peña", "García Gómez", "Núñez"),
    ),
    Place(
        weight=5, country="UA", country_name="Україна", language="uk-UA", time_zone="Europe/Kyiv",
        phone="+3809900#####",
        cities=(("Київ", "Київ", "01###"), ("Львів", "Львівська область", "79###"),
                ("Одеса", "Одеська область", "65###")),
        streets=("вулиця Садова", "проспект Свободи", "вулиця Приморська"),
        women=("Оксана", "Софія", "Зоряна"), men=("Тарас", "Богдан", "Юрій"),
        families=("Шевчук", "Коваленко", "Мельник", "Щербак"),
    ),
    Place(
        weight=4, country="EG", country_name="مصر", language="ar-EG", time_zone="Africa/Cairo",
        phone="+20100000####",
        cities=(("القاهرة", "القاهرة", "115##"), ("الإسكندرية", "الإسكندرية", "215##")),
        streets=("شارع النيل", "شارع البحر", "شارع الورد"),
        women=("ليلى", "نور", "ياسمين", "مريم"), men=("عمر", "كريم", "يوسف", "طارق"),
        families=("حسن", "منصور", "الشامي", "عبد الله"),
    ),
    Place(
        weight=3, country="IN", country_name="भारत", language="hi-IN", time_zone="Asia/Kolkata",
        phone="+9100000#####",
        cities=(("जयपुर", "राजस्थान", "3020##"), ("पुणे", "महाराष्ट्र", "4110##")),
        streets=("गांधी मार्ग", "स्टेशन रोड", "नेहरू नगर"),
        women=("आरती", "प्रिया", "मीरा"), men=("अर्जुन", "रोहन", "विक्रम"),
        families=("शर्मा", "वर्मा", "पटेल", "गुप्ता"),
    ),
    Place(
        weight=2, country="GR", country_name="Ελλάδα", language="el-GR", time_zone="Europe/Athens",
        phone="+30210000####",
        cities=(("Αθήνα", "Αττική", "105##"), ("Θεσσαλονίκη", "Μακεδονία", "546##")),
        streets=("οδός Ερμού", "λεωφόρος Νίκης"),
        women=("Ελένη", "Δάφνη"), men=("Νίκος", "Άγγελος"), families=("Παππάς", "Οικονόμου", "Γεωργίου"),
    ),
    Place(
        weight=1, country="VN", country_name="Việt Nam", language="vi-VN", time_zone="Asia/Ho_Chi_Minh",
        phone="+8490000####",
        cities=(("Huế", "Thừa Thiên Huế", "49###"), ("Đà Nẵng", "Đà Nẵng", "50###")),
        streets=("đường Lê Lợi", "đường Trần Phú"),
        women=("Ngọc Ánh", "Thúy"), men=("Đức Anh", "Quốc Bảo"), families=("Nguyễn", "Trần", "Phạm"), family_first=True,
    ),
)  # fmt: skip

TIERS = (("bronze", 0), ("silver", 2_000), ("gold", 8_000), ("platinum", 20_000))


@dataclass(frozen=True)
class SampleSegment:
    """A segment, who is in it, and who has left.

    Args:
        rule: says who is in it; without one the dice do.
        share: of the customers, who are or were in a segment without a rule.
        left: of those, who left; of those that the rule does not describe, whom it described once.
    """

    id: str
    name: str
    description: str
    rule: str
    origin: str
    share: float
    left: float


# Ids are opaque: most look like UUIDs, and some producers make others (behaviour.md has one with a letter too far).
SEGMENTS = (
    SampleSegment(
        "7841ba61-23c1-4bb3-a495-00d3a5fe1e93", "High propensity to convert",
        "More than 1,000 points, and may be written to.",
        'consents.marketing.email.val = "y" and loyalty.points > 1000', Segment.Origin.SEGMENTATION, 0.0, 0.08,
    ),
    SampleSegment(
        "59bd2fkd-3c48-4b18-bf56-4f5c5e6967ae", "Cart left in the last 7 days",
        "Put something into the cart and did not buy it.", "", Segment.Origin.IMPORT, 0.16, 0.38,
    ),
    SampleSegment(
        "c1a5b4de-5f0a-4a73-9c5e-6a2f77d3b0a1", "Loyalty: gold and platinum",
        "Members of the two highest tiers.",
        'loyalty.tier in ["gold", "platinum"]', Segment.Origin.SEGMENTATION, 0.0, 0.05,
    ),
    SampleSegment(
        "0f6f5f0e-8a3c-4c0b-b6f7-3d0d5b1c9e42", "서울·부산 고객", "서울이나 부산에 사는 고객.",
        'homeAddress.city in ["서울특별시", "부산광역시"]', Segment.Origin.SEGMENTATION, 0.0, 0.02,
    ),
    SampleSegment(
        "a2d4c6e8-1b3d-4f5a-8c7e-9f0a1b2c3d4e", "Birthday this month",
        "Has a birthday in November.", "person.birthMonth = 11", Segment.Origin.SEGMENTATION, 0.0, 0.0,
    ),
    SampleSegment(
        "crm-upload-2026-10", "Autumn catalog by post", "The list of the print shop, October 2026.",
        "", Segment.Origin.UPLOAD, 0.11, 0.0,
    ),
    SampleSegment(
        "e7c0a9b8-47d6-4e21-a1f3-5b6c7d8e9f00", "Newsletter readers", "Agreed to e-mails.",
        'consents.marketing.email.val = "y"', Segment.Origin.SEGMENTATION, 0.0, 0.5,
    ),
    SampleSegment(
        "b3f1e2d4-96a5-4c78-8e0d-1a2b3c4d5e6f", "Lapsed for 180 days", "Bought nothing for half a year.",
        "", Segment.Origin.SEGMENTATION, 0.09, 0.22,
    ),
)  # fmt: skip

RULES = [parse(segment.rule).compile() if segment.rule else None for segment in SEGMENTS]


def segments() -> list[Segment]:
    """The sample's segments, not saved."""
    return [
        Segment(
            id=segment.id,
            name=segment.name,
            description=segment.description,
            rule=segment.rule,
            origin=segment.origin,
            evaluated_at=TAKEN - timedelta(hours=2 * place)
            if segment.origin != Segment.Origin.UPLOAD
            else None,
            created_at=TAKEN - timedelta(days=200 - 20 * place),
            updated_at=TAKEN - timedelta(days=60 - 7 * place),
        )
        for place, segment in enumerate(SEGMENTS)
    ]


def customers(count: int) -> Iterator[Fragment]:
    """The first ``count`` customers."""
    for number in range(1, count + 1):
        yield customer(number)


def customer(number: int) -> Fragment:
    """Customer ``number``, from 1."""
    dice = random.Random(f"kinesis-admin sample {number}")
    place = dice.choices(PLACES, weights=[place.weight for place in PLACES])[0]
    attributes = _attributes(dice, number, place)
    return Fragment(
        identities=_identities(dice, number, place, attributes),
        attributes=attributes,
        memberships=_memberships(dice, attributes),
    )


def _attributes(dice: random.Random, number: int, place: Place) -> dict[str, Any]:
    woman = dice.random() < 0.5
    first, last = dice.choice(place.women if woman else place.men), dice.choice(place.families)
    gap = "" if place.country in ("KR", "JP") else " "
    full = f"{last}{gap}{first}" if place.family_first else f"{first} {last}"
    born = datetime(1946, 1, 1, tzinfo=UTC) + timedelta(days=dice.randrange(61 * 365))
    city, region, postal_code = dice.choice(place.cities)
    box = dice.choice(("hello", "mail", "post", "me", "home"))
    mail = f"{box}.{number:05d}@{dice.choice(('example.com', 'example.org'))}"
    points = int(dice.expovariate(1 / 5_000))
    wants_mail = dice.random() < 0.72
    changed = TAKEN - timedelta(days=dice.randrange(1, 700), seconds=dice.randrange(86_400))

    attributes: dict[str, Any] = {
        "person": {
            "name": {"firstName": first, "lastName": last, "fullName": full},
            "birthDate": f"{born:%Y-%m-%d}",
            "birthYear": born.year,
            "birthMonth": born.month,
            "birthDay": born.day,
            "gender": dice.choices(("female" if woman else "male", "non_specific"), weights=(96, 4))[0],
        },
        "personalEmail": {"address": mail, "primary": True},
        "homeAddress": {
            "street1": f"{dice.choice(place.streets)} {dice.randrange(1, 180)}",
            "city": city,
            "region": region,
            "postalCode": _digits(dice, postal_code),
            "country": place.country_name,
            "countryCode": place.country,
        },
        "mobilePhone": {"number": _phone(number, place.phone), "primary": True},
        "preferredLanguage": place.language,
        "timeZone": place.time_zone,
        "consents": {
            "collect": {"val": "y"},
            "marketing": {"email": {"val": "y" if wants_mail else "n", "time": _moment(changed)}},
        },
        "testProfile": False,
    }
    if dice.random() < 0.8:
        tier = [name for name, least in TIERS if points >= least][-1]
        attributes["loyalty"] = {
            "loyaltyID": [f"LM-{number:06d}"],
            "points": points,
            "tier": tier,
            "joinDate": _moment(changed - timedelta(days=dice.randrange(30, 1500))),
            "program": "Circle",
        }
    # Not every source knows everything.
    if dice.random() < 0.12:
        del attributes["mobilePhone"]
    if dice.random() < 0.06:
        del attributes["personalEmail"]
    if dice.random() < 0.25:
        attributes["workEmail"] = {"address": f"work.{number:05d}@example.com"}
    return attributes


def _identities(
    dice: random.Random, number: int, place: Place, attributes: dict[str, Any]
) -> list[tuple[str, str]]:
    identities = [("CRMID", f"C-{number:07d}")]
    identities += [
        # The number in the middle keeps them apart, whatever the dice say.
        ("ECID", f"{dice.randrange(10**13, 10**14)}{number:010d}{dice.randrange(10**14):014d}")
        for _device in range(dice.choices((0, 1, 2), weights=(10, 68, 22))[0])
    ]
    if "personalEmail" in attributes:
        address = attributes["personalEmail"]["address"]
        identities.append(("Email", address))
        identities.append(("Email_LC_SHA256", hashlib.sha256(address.lower().encode()).hexdigest()))
    # Fiction's ranges are small: beyond them customers share numbers, and a shared number is nobody's identity.
    if "mobilePhone" in attributes and dice.random() < 0.6 and number < 10 ** place.phone.count("#"):
        identities.append(("Phone", attributes["mobilePhone"]["number"]))
    return identities


def _memberships(dice: random.Random, attributes: dict[str, Any]) -> dict[str, tuple[str, datetime | None]]:
    memberships: dict[str, tuple[str, datetime | None]] = {}
    for segment, rule in zip(SEGMENTS, RULES, strict=True):
        draws = dice.random(), dice.random(), dice.random(), dice.randrange(45 * 86_400)
        left = draws[1] < segment.left
        if rule:
            member = rule(Subject(attributes))
        else:
            member = draws[0] < segment.share and not left
            left = draws[0] < segment.share and left
        if member or left:
            status = REALIZED if member and draws[2] < 0.15 else EXISTING if member else EXITED
            memberships[segment.id] = (status, TAKEN - timedelta(seconds=draws[3]))
    return memberships


def _digits(dice: random.Random, template: str) -> str:
    return "".join(str(dice.randrange(10)) if char == "#" else char for char in template)


def _phone(number: int, template: str) -> str:
    """The customer's own number, as long as there are as many."""
    places = template.count("#")
    return template.rstrip("#") + f"{number % 10**places:0{places}d}"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
