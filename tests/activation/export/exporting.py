"""How the tests of the engine make dataflows that reach a stream, customers in them, and read what arrived."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from django.contrib.auth.models import User
from django.db import connections

from activation import services
from activation.export import outbox
from activation.models import Dataflow, DataflowRun, Lane, MappedAttribute, PendingExport
from activation.selectors import Selection
from destinations.connectors.base import Connection, Record, Result
from destinations.connectors.kinesis.sender import KinesisSender
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
    **destination: Any,
) -> Dataflow:
    """A live dataflow to ``stream``. What else is given is said of the destination, e.g. ``partition_key``."""
    connection = kinesis.connection()
    account = AccountFactory.create(
        credentials=Encrypted.of(connection.credentials), settings=dict(connection.settings)
    )
    dataflow = DataflowFactory.create(
        destination=DestinationFactory.create(account=account, settings={"stream": stream}, **destination),
        segments=segments,
        attributes=[*attributes, *mandatory],
        state=state,
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


def waiting(dataflow: Dataflow) -> set[uuid.UUID]:
    """The profiles that wait."""
    return set(PendingExport.objects.filter(dataflow=dataflow).values_list("profile_id", flat=True))


def counts(dataflow: Dataflow) -> dict[str, int]:
    """What the runs of a dataflow count, added up."""
    numbers = ("activated", "excluded", "failed", "retries", "identities")
    runs = list(DataflowRun.objects.filter(dataflow=dataflow).values(*numbers))
    return {name: sum(run[name] for run in runs) for name in numbers if any(run[name] for run in runs)}


def lane(dataflow: Dataflow) -> Lane:
    return Lane.objects.get(dataflow=dataflow)


Hook = Callable[[Sequence[Record]], object]


def before_sending(monkeypatch: pytest.MonkeyPatch, *hooks: Hook) -> list[Sequence[Record]]:
    """Have something happen while a batch is on its way: the first hook with the first batch, and so on.

    Returns:
        The batches that were sent so far.
    """
    sent: list[Sequence[Record]] = []
    rest = list(hooks)
    send = KinesisSender.send

    def hooked(sender: KinesisSender, records: Sequence[Record]) -> list[Result]:
        sent.append(records)
        if rest:
            rest.pop(0)(records)
        return send(sender, records)

    monkeypatch.setattr(KinesisSender, "send", hooked)
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


class Elsewhere:
    """Something in another transaction, in a thread of its own."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._act = act
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def join(self) -> None:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
        assert self.error is None
