"""moto, which is not of our making, takes what we send and gives back what the profiles hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from activation.models import Delivery, FailedExport
from destinations.connectors.base import Connection
from profiles.models import Profile
from tests.factories import IdentityFactory, SegmentFactory
from tests.local_kinesis import KEYS, STREAM, client_of, connection_to
from tests.moto_server import running_moto

from .exporting import FIRST_NAME, Reading, counts, dataflow_to, deliver, error, members_of, queue, waiting

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("told")]


class Moto:
    def __init__(self, url: str) -> None:
        self.url = url

    def connection(self) -> Connection:
        return connection_to(self.url, KEYS)

    def client(self) -> Any:
        return client_of(self.url, KEYS)


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as url:
        running = Moto(url)
        running.client().create_stream(StreamName=STREAM, ShardCount=2)
        yield running


def test_moto_has_what_the_profiles_hold(moto: Moto) -> None:
    segment = SegmentFactory.create(id="00d3g5fe1e93")
    dataflow = dataflow_to(moto, segment, attributes=[FIRST_NAME, "note", "loyalty"], lane_count=4)
    profiles = members_of(segment, 700, note="👩‍👩‍👧 \x01\u2028", loyalty={"big": 2**70})
    for number, profile in enumerate(profiles[:20]):
        IdentityFactory.create(profile=profile, value=f"고객{number}@example.com")
    too_large = members_of(segment, 1, note="x" * 11 * 1024 * 1024)
    queue(dataflow, [*profiles, *too_large])

    deliver(dataflow)

    assert waiting(dataflow) == set()
    assert counts(dataflow) == {"activated": 700, "failed": 1, "identities": 20}
    assert FailedExport.objects.get().code == "RecordTooLarge"
    records = Reading(moto.client()).look()
    assert sorted(record["PartitionKey"] for record in records) == [str(profile.pk) for profile in profiles]
    receipts = dict(Delivery.objects.values_list("profile_id", "sequence_number"))
    stored = {
        str(profile.pk): profile for profile in Profile.objects.prefetch_related("identities", "memberships")
    }
    for record in records:
        profile = stored[record["PartitionKey"]]
        assert receipts[profile.pk] == record["SequenceNumber"]
        parsed = json.loads(record["Data"])
        membership = parsed.pop("segmentMembership")["ups"][segment.pk]
        assert membership["status"] == "realized"
        qualified = profile.memberships.get().last_qualification_time
        assert (
            abs(datetime.fromisoformat(membership["lastQualificationTime"]) - qualified).microseconds < 1000
        )
        identities = [{"id": identity.value} for identity in profile.identities.all()]
        assert parsed.pop("identityMap") == ({"email": identities} if identities else {})
        assert parsed == profile.attributes


def test_a_stream_that_moto_does_not_have_holds_everything(moto: Moto) -> None:
    segment = SegmentFactory.create()
    dataflow = dataflow_to(moto, segment, stream="none")
    queue(dataflow, members_of(segment, 3))
    deliver(dataflow)
    assert error(dataflow) == "ResourceNotFoundException"
    assert len(waiting(dataflow)) == 3
