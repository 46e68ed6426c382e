"""What every test under faults proves in the end, from what the stream holds and what the database says."""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from activation import tasks
from activation.export.lanes import lane_of
from activation.models import Dataflow, Lane
from destinations.connectors.kinesis.local import control
from destinations.fields import Encrypted
from destinations.models import Destination
from kinesis_admin.processes import wait_until
from profiles.ingest import Fragment, ingest
from profiles.models import Identity, Profile, Segment, SegmentMembership
from tests.activation.export.exporting import Reachable, activate, counts, hold_is_over, sendings, waiting
from tests.factories import AccountFactory, DestinationFactory, UserFactory
from tests.local_kinesis import STREAM, KinesisProcess

BATCH = 500
SLACK = 1.0  # seconds: what a worker sent before it died may arrive so much later


def chance() -> random.Random:
    """The choices of a test; ``FAULTS_SEED`` makes it choose as it did before."""
    seed = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(2**32))
    sys.stderr.write(f"FAULTS_SEED={seed}\n")
    return random.Random(seed)


def size(variable: str, whole: int, *, on_sqlite: int) -> int:
    """How much a test does: all that is promised on PostgreSQL, less on SQLite for the time it takes, or what an
    environment variable says.
    """
    return int(os.environ.get(variable) or (whole if connection.vendor == "postgresql" else on_sqlite))


# -- before ---------------------------------------------------------------------------------------------------------


def members(segment: Segment, count: int) -> list[uuid.UUID]:
    """So many new members of a segment, by their ids."""
    profiles = Profile.objects.bulk_create(
        (
            Profile(attributes={"person": {"name": {"firstName": f"Customer {number}"}}})
            for number in range(count)
        ),
        batch_size=5000,
    )
    now = datetime.now(UTC)
    SegmentMembership.objects.bulk_create(
        (
            SegmentMembership(
                profile=profile, segment=segment, status="realized", last_qualification_time=now
            )
            for profile in profiles
        ),
        batch_size=5000,
    )
    return [profile.pk for profile in profiles]


def destination_at(kinesis: Reachable) -> Destination:
    connection = kinesis.connection()
    account = AccountFactory.create(
        credentials=Encrypted.of(connection.credentials), settings=dict(connection.settings)
    )
    return DestinationFactory.create(account=account, settings={"stream": STREAM})


def finish(destination: Destination, segment: Segment, *, queued: int, lane_count: int = 4) -> Dataflow:
    """Activate the segment: its backfill begins."""
    person = UserFactory.create()
    Dataflow.objects.create(destination=destination, lane_count=lane_count, updated_by=person)
    finished = activate(destination, segment, by=person)
    assert (finished.queued, finished.dataflow.lane_count) == (queued, lane_count)
    return finished.dataflow


# -- meanwhile ------------------------------------------------------------------------------------------------------


def rename(profile_ids: Sequence[uuid.UUID], name: str) -> None:
    ingest(
        [Fragment(profile_id=pk, attributes={"person": {"name": {"firstName": name}}}) for pk in profile_ids]
    )


def progress(dataflow: Dataflow) -> int:
    return counts(dataflow).get("activated", 0)


def reached(dataflow: Dataflow, moment: int, *, seconds: float) -> bool:
    """Whether, in so many seconds and with beat's sweep, so many were delivered; seen soon after they were."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if wait_until(lambda: progress(dataflow) >= moment, seconds=0.5, every=0.02):
            return True
        tasks.sweep()
    return False


def under_way(dataflow: Dataflow, least: int = 1000) -> bool:
    """Whether the backfill is in its middle, soon."""
    found = wait_until(lambda: progress(dataflow) >= least, seconds=30, every=0.02)
    return found and len(waiting(dataflow)) > BATCH


def swept(dataflow: Dataflow, *, seconds: float, held: bool = True) -> bool:
    """Whether, in so many seconds and with beat's sweep, nothing waits any more.

    Args:
        held: while the destination refuses, time passes as it does; False: every hold is over at the next sweep.
    """

    def is_empty() -> bool:
        if not held:
            hold_is_over(dataflow)
        tasks.sweep()
        return not waiting(dataflow)

    return wait_until(is_empty, seconds=seconds, every=0.5)


# -- afterwards -----------------------------------------------------------------------------------------------------


class Arrived(NamedTuple):
    key: str
    data: bytes
    at: float  # seconds since the epoch


def arrived(kinesis: KinesisProcess) -> list[Arrived]:
    """Everything that the stream accepted, in the order of arrival."""
    return list(_pages(kinesis))


def _pages(kinesis: KinesisProcess) -> Iterator[Arrived]:
    after, more = "0", True
    while more:
        page = control.ask(kinesis.url, kinesis.keys, "Accepted", StreamName=STREAM, After=after)
        more = page["More"]
        for row in page["Records"]:
            after = row["SequenceNumber"]
            yield Arrived(
                row["PartitionKey"], base64.b64decode(row["Data"]), row["ApproximateArrivalTimestamp"]
            )


@dataclass
class Crash:
    """A moment at which workers, or what they need, died: what was accepted by then and not settled may come again."""

    dataflow: Dataflow
    at: float = field(default_factory=time.time)
    pending: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.pending = set(map(str, waiting(self.dataflow)))
        self._leases = self._now()

    def _now(self) -> set[Any]:
        rows = Lane.objects.filter(dataflow=self.dataflow).exclude(token=None)
        return set(rows.values_list("number", "of", "token", "leased_until"))

    def only_of_the_dead(self) -> None:
        """Some seconds later: who is alive has settled since, or given its lane back."""
        dead = {number: of for number, of, *_ in self._leases & self._now()}
        self.pending = {
            key
            for key in self.pending
            if any(lane_of(uuid.UUID(key), of) == number for number, of in dead.items())
        }

    def explains(self, record: Arrived) -> bool:
        """Whether it was accepted before, though nobody could settle it."""
        return record.key in self.pending and record.at <= self.at + SLACK


def prove(dataflow: Dataflow, records: Sequence[Arrived], *, crashes: Sequence[Crash] = ()) -> None:
    """The promises of the engine.

    1. Every profile's newest state is in the stream, and the last record of each partition key is it.
    2. The runs count what the stream has, but for records that were accepted without an answer that anybody got.
    3. What is in the stream twice is no more than those.
    """
    assert waiting(dataflow) == set()
    newest = {record.key: record.data for record in records}
    assert {key: told(data) for key, data in newest.items()} == states()

    dead = [record for record in records if any(crash.explains(record) for crash in crashes)]
    unanswered = sendings(dataflow).get("duplicates", 0)
    activated = progress(dataflow)
    assert activated <= len(records) <= activated + len(dead) + unanswered

    times = Counter((record.key, record.data) for record in records)
    dead_keys = {record.key for record in dead}
    repeated = {each: count - 1 for each, count in times.items() if count > 1}
    unexplained = sum(count for (key, _data), count in repeated.items() if key not in dead_keys)
    sys.stderr.write(
        f"{len(records)} records, {activated} counted, {sum(repeated.values())} repeated, "
        f"{len(dead)} of crashes, {unanswered} unanswered\n"
    )
    assert unexplained <= unanswered


State = tuple[str, set[str], dict[str, str]]  # first name, CRM ids, memberships


def told(data: bytes) -> State:
    """What a record says of a profile."""
    record = json.loads(data)
    return (
        record["person"]["name"]["firstName"],
        {identity["id"] for identity in record["identityMap"].get("crmid", [])},
        {segment: each["status"] for segment, each in record["segmentMembership"]["ups"].items()},
    )


def states() -> dict[str, State]:
    """What the database says of each."""
    found: dict[str, State] = {
        str(pk): (attributes["person"]["name"]["firstName"], set(), {})
        for pk, attributes in Profile.objects.values_list("pk", "attributes")
    }
    for pk, value in Identity.objects.values_list("profile_id", "value"):
        found[str(pk)][1].add(value)
    for pk, segment, status in SegmentMembership.objects.values_list("profile_id", "segment_id", "status"):
        found[str(pk)][2][segment] = status
    return found
