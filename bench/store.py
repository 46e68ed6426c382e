"""What is to be exported: customers of 2 KB, written past ingestion, and dataflows to the sink."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import connection
from django.utils import timezone

from activation.models import Dataflow, MappedAttribute, MappedSegment
from destinations.connectors.base import Connection
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from profiles import sample
from profiles.ingest import Fragment
from profiles.models import Identity, IdentityNamespace, Profile, SchemaField, Segment, SegmentMembership

SAMPLE = 5000  # customers that differ; the others are copies of them, with ids and identities of their own
WORDS = [
    "harbour",
    "lantern",
    "meadow",
    "copper",
    "violet",
    "saddle",
    "thunder",
    "maple",
    "cradle",
    "willow",
    "ember",
    "quartz",
]
# With memberships and identities these make records of about 1 KB.
ATTRIBUTES = (
    "person.name.firstName", "person.name.lastName", "person.name.fullName", "person.birthDate", "person.gender",
    "personalEmail.address", "homeAddress.street1", "homeAddress.city", "homeAddress.region",
    "homeAddress.postalCode", "homeAddress.country", "mobilePhone.number", "preferredLanguage", "timeZone",
    "consents.marketing.email.val", "consents.marketing.email.time", "loyalty.loyaltyID", "loyalty.points",
    "loyalty.tier", "loyalty.joinDate", "loyalty.program",
)  # fmt: skip


def fill(records: int) -> None:
    """Write so many customers: the even ones are in the segment ``even``, the odd ones in ``odd``."""
    Segment.objects.bulk_create(
        [*sample.segments(), *(Segment(id=name, name=name) for name in ("even", "odd"))]
    )
    namespaces = dict(IdentityNamespace.objects.values_list("code", "pk"))
    customers = list(islice(sample.customers(SAMPLE), records))
    profiles = Profile.objects.bulk_create(
        (
            Profile(attributes={**customer.attributes, "_bench": _more(n)})
            for n, customer in enumerate(customers)
        ),
        batch_size=1000,
    )
    Identity.objects.bulk_create(_identities(profiles, customers, namespaces), batch_size=5000)
    SegmentMembership.objects.bulk_create(_memberships(profiles, customers), batch_size=5000)
    with connection.cursor() as cursor:
        if records > SAMPLE:
            _copy(cursor, records)
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _more(number: int) -> dict[str, str]:
    """Attributes that nobody maps, until a profile has 2 KB."""
    chance = random.Random(number)
    return {f"note{place}": " ".join(chance.choices(WORDS, k=12)) for place in range(14)}


def _copy(cursor: Any, records: int) -> None:
    """Copy the sample inside the database until there are so many customers, in the order of their ids as UUIDv7 has
    it."""
    if connection.vendor == "postgresql":
        new = "(lpad(to_hex(x.n), 16, 'f') || substr(md5(random()::text), 1, 16))::uuid"
    else:
        new = "(printf('f%015x', x.n) || lower(hex(randomblob(8))))"
    cursor.execute(
        "CREATE TEMPORARY TABLE copied AS WITH RECURSIVE"
        f" x(n) AS (SELECT {SAMPLE} UNION ALL SELECT n + 1 FROM x WHERE n + 1 < {records}),"
        " s AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM profiles_profile)"
        f" SELECT s.id AS old, {new} AS new, x.n AS n FROM x JOIN s ON s.place = x.n % {SAMPLE}"
    )
    cursor.execute("CREATE INDEX copied_of ON copied (old)")
    for table, key, columns in (
        ("profiles_profile", "id", {"attributes", "written", "created_at", "updated_at"}),
        ("profiles_identity", "profile_id", {"namespace_id", "value", "created_at"}),
        (
            "profiles_segmentmembership",
            "profile_id",
            {"segment_id", "status", "last_qualification_time", "moments"},
        ),
    ):
        names = sorted(columns)
        values = ["t.value || '-' || c.n" if name == "value" else f"t.{name}" for name in names]
        cursor.execute(
            f"INSERT INTO {table} ({key}, {', '.join(names)}) SELECT c.new, {', '.join(values)}"
            f" FROM copied c JOIN {table} t ON t.{key} = c.old ORDER BY c.n"
        )
    cursor.execute("DROP TABLE copied")


def _identities(
    profiles: Iterable[Profile], customers: Iterable[Fragment], namespaces: dict[str, int]
) -> Iterator[Identity]:
    for profile, customer in zip(profiles, customers, strict=True):
        for code, value in customer.identities:
            yield Identity(profile=profile, namespace_id=namespaces[code], value=value)


def _memberships(profiles: Iterable[Profile], customers: Iterable[Fragment]) -> Iterator[SegmentMembership]:
    now = timezone.now()
    for number, (profile, customer) in enumerate(zip(profiles, customers, strict=True)):
        half = "odd" if number % 2 else "even"
        for segment_id, (status, moment) in {**customer.memberships, half: ("realized", now)}.items():
            yield SegmentMembership(
                profile=profile, segment_id=segment_id, status=status, last_qualification_time=moment or now
            )


def to(url: str) -> Connection:
    """The connection of an account to the sink, which checks no key."""
    return Connection(
        {"access_key_id": "AKIABENCH", "secret_access_key": "not checked"},
        {"region": "us-east-1", "endpoint_url": url},
    )


def dataflow(
    name: str,
    segments: Sequence[str],
    connection: Connection,
    *,
    stream: str = "bench",
    attributes: Sequence[str] = ATTRIBUTES,
    lane_count: int = 4,
) -> Dataflow:
    """A live dataflow of these segments."""
    account = Account.objects.create(
        name=name,
        connector="kinesis",
        credentials=Encrypted.of(connection.credentials),
        settings=dict(connection.settings),
    )
    destination = Destination.objects.create(account=account, name=name, settings={"stream": stream})
    live = Dataflow.objects.create(
        destination=destination,
        state=Dataflow.State.ENABLED,
        finished_at=timezone.now(),
        lane_count=lane_count,
    )
    MappedSegment.objects.bulk_create(MappedSegment(dataflow=live, segment_id=name) for name in segments)
    fields = {field.path: field for field in SchemaField.objects.filter(path__in=attributes)}
    MappedAttribute.objects.bulk_create(
        MappedAttribute(dataflow=live, field=fields[path], position=position)
        for position, path in enumerate(attributes)
    )
    return live
