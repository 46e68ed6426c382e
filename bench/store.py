"""What is to be exported: the sample's customers, written past ingestion, and dataflows to the sink."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from django.db import connection
from django.utils import timezone

from activation.models import Dataflow, MappedAttribute, MappedSegment
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from profiles import sample
from profiles.ingest import Fragment
from profiles.models import Identity, IdentityNamespace, Profile, SchemaField, Segment, SegmentMembership

AT_ONCE = 2000
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
    customers = sample.customers(records)
    while batch := list(islice(customers, AT_ONCE)):
        profiles = Profile.objects.bulk_create(Profile(attributes=customer.attributes) for customer in batch)
        Identity.objects.bulk_create(_identities(profiles, batch, namespaces))
        SegmentMembership.objects.bulk_create(_memberships(profiles, batch))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


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


def dataflow(name: str, segments: Sequence[str], sink: str) -> Dataflow:
    """A live dataflow of these segments to the sink."""
    account = Account.objects.create(
        name=name,
        connector="kinesis",
        credentials=Encrypted.of({"access_key_id": "AKIABENCH", "secret_access_key": "not checked"}),
        settings={"region": "us-east-1", "endpoint_url": sink},
    )
    destination = Destination.objects.create(account=account, name=name, settings={"stream": "bench"})
    live = Dataflow.objects.create(
        destination=destination, state=Dataflow.State.ENABLED, finished_at=timezone.now()
    )
    MappedSegment.objects.bulk_create(MappedSegment(dataflow=live, segment_id=name) for name in segments)
    fields = {field.path: field for field in SchemaField.objects.filter(path__in=ATTRIBUTES)}
    MappedAttribute.objects.bulk_create(
        MappedAttribute(dataflow=live, field=fields[path], position=position)
        for position, path in enumerate(ATTRIBUTES)
    )
    return live
