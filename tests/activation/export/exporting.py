"""How the tests of the engine make dataflows that reach a stream, customers in them, and read what arrived."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from activation import services
from activation.export import delivery, lanes, outbox
from activation.export.lanes import LaneKey
from activation.models import Dataflow, DataflowRun, Lane, MappedAttribute, PendingExport
from activation.selectors import Selection
from destinations.connectors.base import Connection, Record
from destinations.fields import Encrypted
from destinations.models import Destination
from profiles.models import Profile, Segment, SegmentMembership
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    MembershipFactory,
    ProfileFactory,
)
from tests.local_kinesis import STREAM

FIRST_NAME = "person.name.firstName"


class Told(list[LaneKey]):
    """The lanes whose workers were told, in the order of the messages.

    Args:
        later: messages that come with a delay, and its seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.later: list[tuple[LaneKey, float]] = []

    def forget(self) -> None:
        self.clear()
        self.later.clear()


class Reachable(Protocol):
    """A Kinesis of the tests, in a thread or as a process."""

    def connection(self) -> Connection: ...

    def client(self) -> Any: ...


def dataflow_to(
    kinesis: Reachable,
    *segments: Segment,
    attributes: Sequence[str] = (FIRST_NAME,),
    mandatory: Sequence[str] = (),
    stream: str = STREAM,
    state: str = Dataflow.State.ENABLED,
    lane_count: int = 1,
    **destination: Any,
) -> Dataflow:
    """A live dataflow to ``stream``. What else is given is said of the destination, e.g. ``partition_key``.

    It has one lane unless a test wants more: then a batch is of all that waits.
    """
    connection = kinesis.connection()
    account = AccountFactory.create(
        credentials=Encrypted.of(connection.credentials), settings=dict(connection.settings)
    )
    dataflow = DataflowFactory.create(
        destination=DestinationFactory.create(account=account, settings={"stream": stream}, **destination),
        segments=segments,
        attributes=[*attributes, *mandatory],
        state=state,
        lane_count=lane_count,
    )
    MappedAttribute.objects.filter(dataflow=dataflow, field__path__in=mandatory).update(mandatory=True)
    return dataflow


def activate(destination: Destination, *segments: Segment, by: User) -> services.Finished:
    """The wizard from the first step to *Finish*, with the recommended attributes."""
    ids = [segment.pk for segment in segments]
    services.save_segments(destination=destination, version=0, by=by, shown=ids, ticked=ids)
    selection = Selection.of(destination)
    return services.finish(
        destination=destination,
        version=selection.version,
        by=by,
        segments=len(ids),
        attributes=len(selection.attributes()),
    )


def members_of(segment: Segment, count: int, **attributes: Any) -> list[Profile]:
    """So many new members, in the order of their ids; each has a first name of its own."""
    profiles = ProfileFactory.build_batch(count)
    for number, profile in enumerate(profiles):
        profile.attributes = {"person": {"name": {"firstName": f"Customer {number}"}}, **attributes}
    Profile.objects.bulk_create(profiles)
    SegmentMembership.objects.bulk_create(
        MembershipFactory.build(profile=profile, segment=segment) for profile in profiles
    )
    return sorted(profiles, key=lambda profile: profile.pk)


def queue(dataflow: Dataflow, profiles: Iterable[Profile]) -> None:
    outbox.queue((dataflow.pk, profile.pk, "attribute") for profile in profiles)


def deliver(dataflow: Dataflow) -> None:
    """What the workers do that are told of every lane."""
    for key in lanes.every_lane([dataflow.pk]):
        delivery.deliver(*key)


def come_due(dataflow: Dataflow) -> None:
    """Time passes until all that was put off is due."""
    PendingExport.objects.filter(dataflow=dataflow).update(available_at=timezone.now())


def hold_is_over(dataflow: Dataflow) -> None:
    """Time passes until a held dataflow is tried again."""
    Dataflow.objects.filter(pk=dataflow.pk).update(held_until=timezone.now())


def pass_time(dataflow: Dataflow, **ago: float) -> None:
    """Move everything that is remembered of leases and of holding into the past."""
    by = timedelta(**ago)
    dataflow.refresh_from_db()
    for row, names in [
        (dataflow, ("held_until", "error_at")),
        *((lane, ("leased_until", "wake_at")) for lane in Lane.objects.filter(dataflow=dataflow)),
    ]:
        for name in names:
            moment = getattr(row, name)
            setattr(row, name, moment and moment - by)
        row.save(update_fields=names)


def waiting(dataflow: Dataflow) -> set[uuid.UUID]:
    """The profiles that wait."""
    return set(PendingExport.objects.filter(dataflow=dataflow).values_list("profile_id", flat=True))


def counts(dataflow: Dataflow) -> dict[str, int]:
    """What the runs of a dataflow count, added up."""
    return _summed(dataflow, "activated", "excluded", "failed", "retries", "identities")


def sendings(dataflow: Dataflow) -> dict[str, int]:
    """The same of what was sent: a record counts as often as it was."""
    return _summed(dataflow, "attempts", "retries", "throttled", "duplicates")


def _summed(dataflow: Dataflow, *numbers: str) -> dict[str, int]:
    runs = list(DataflowRun.objects.filter(dataflow=dataflow).values(*numbers))
    return {name: sum(run[name] for run in runs) for name in numbers if any(run[name] for run in runs)}


def lane(dataflow: Dataflow, number: int = 0) -> Lane:
    return Lane.objects.get(dataflow=dataflow, number=number)


def error(dataflow: Dataflow) -> str:
    """The code of what the destination as a whole says; empty while all is well."""
    return Dataflow.objects.values_list("error_code", flat=True).get(pk=dataflow.pk)


Hook = Callable[[Sequence[Record]], object]


def before_sending(monkeypatch: pytest.MonkeyPatch, *hooks: Hook) -> list[Sequence[Record]]:
    """Have something happen while a batch is on its way: the first hook with the first batch, and so on.

    Returns:
        The batches that were sent so far.
    """
    sent: list[Sequence[Record]] = []
    rest = list(hooks)

    class Wire(ThreadPoolExecutor):
        def submit(self, send: Any, records: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
            sent.append(records)
            if rest:
                rest.pop(0)(records)
            return super().submit(send, records)

    monkeypatch.setattr(delivery, "ThreadPoolExecutor", Wire)
    return sent


@dataclass
class Reading:
    """Everything that a stream holds, read with boto3 as a consumer does, going on where the last look ended."""

    client: Any
    stream: str = STREAM
    records: list[Any] = field(default_factory=list)
    _iterators: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for shard in self.client.list_shards(StreamName=self.stream)["Shards"]:
            self._iterators[shard["ShardId"]] = self.client.get_shard_iterator(
                StreamName=self.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]

    def look(self) -> list[Any]:
        """All records so far, as GetRecords gives them."""
        for shard, iterator in self._iterators.items():
            behind = 1
            while behind:
                answer = self.client.get_records(ShardIterator=iterator, Limit=10_000)
                self.records += answer["Records"]
                iterator, behind = answer["NextShardIterator"], answer["MillisBehindLatest"]
            self._iterators[shard] = iterator
        return self.records

    def keys(self) -> list[str]:
        """Their partition keys: profile ids, if the destination has not another rule."""
        return [record["PartitionKey"] for record in self.look()]

    def parsed(self) -> list[Any]:
        return [json.loads(record["Data"]) for record in self.look()]
