"""What services of accounts and destinations promise beyond what their pages show."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from activation.export import lanes, settle
from activation.export.claims import Claim
from activation.models import Dataflow, DataflowRun, Delivery, PendingExport
from destinations import services
from destinations.connectors.base import Delivered
from destinations.connectors.kinesis.destination_type import KinesisConnector
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from destinations.services import Setup
from destinations.signals import connection_changed
from profiles.ingest import Fragment, ingest
from tests.destinations.connected import connected_account, connected_destination
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    IdentityFactory,
    MembershipFactory,
    ProfileFactory,
)
from tests.local_kinesis import RunningKinesis

pytestmark = pytest.mark.django_db


@pytest.fixture
def announced() -> Iterator[list[uuid.UUID]]:
    """Destinations whose way was said to have changed."""
    ids: list[uuid.UUID] = []

    def listen(destination_ids: list[uuid.UUID], **kwargs: Any) -> None:
        ids.extend(destination_ids)

    connection_changed.connect(listen)
    yield ids
    connection_changed.disconnect(listen)


def setup_of(destination: Destination, **changed: Any) -> Setup:
    return Setup(**{"name": destination.name, "settings": destination.settings} | changed)


# -- what is announced: what was held for an error goes on ---------------------------------------------------------


def test_other_credentials_are_announced_for_every_destination_of_the_account(
    local_kinesis: RunningKinesis, announced: list[uuid.UUID]
) -> None:
    account = AccountFactory.create(masked="old")
    of_it = {DestinationFactory.create(account=account).pk for _number in range(2)}
    DestinationFactory.create()
    other = local_kinesis.connection()
    services.edit_account(account=account, seen=account.updated_at, name=account.name, connection=other)
    assert set(announced) == of_it
    account.refresh_from_db()
    assert account.connection() == other
    assert account.masked == "AKIA…TEST"


def test_another_name_of_an_account_is_not_announced(announced: list[uuid.UUID]) -> None:
    account = DestinationFactory.create().account
    services.edit_account(
        account=account, seen=account.updated_at, name="Other", connection=account.connection()
    )
    assert announced == []


def test_an_edited_destination_is_announced(announced: list[uuid.UUID]) -> None:
    destination = DestinationFactory.create()
    services.edit_destination(
        destination_id=destination.pk, version=1, setup=setup_of(destination, partition_key="identity:Email")
    )
    assert announced == [destination.pk]
    # A second click is no second edit.
    services.edit_destination(
        destination_id=destination.pk, version=1, setup=setup_of(destination, partition_key="identity:Email")
    )
    assert announced == [destination.pk]
    assert Destination.objects.get().version == 2


# -- nothing is locked while the other side is asked ---------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_other_side_is_asked_outside_of_any_transaction(
    local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(name: str) -> None:
        real: Callable[..., Any] = getattr(KinesisConnector, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            asked.append((name, connection.in_atomic_block))
            return real(*args, **kwargs)

        monkeypatch.setattr(KinesisConnector, name, call)

    spy("check")
    spy("describe_target")
    connected = services.connect_account(
        id=uuid.uuid4(), connector="kinesis", name="A", connection=local_kinesis.connection(), by=None
    )
    services.test_account(connected.account)
    Account.objects.update(credentials=Encrypted.of({"access_key_id": "a", "secret_access_key": "another"}))
    account, good = Account.objects.get(), local_kinesis.connection()
    edited = services.edit_account(account=account, seen=account.updated_at, name="A", connection=good)
    setup = Setup("D", {"stream": "profile-exports"})
    destination = services.create_destination(id=uuid.uuid4(), account=edited.account, setup=setup, by=None)
    local_kinesis.create_stream("another")
    services.edit_destination(
        destination_id=destination.pk, version=1, setup=setup_of(destination, settings={"stream": "another"})
    )
    assert asked == [("check", False)] * 3 + [("describe_target", False)] * 2


# -- two at once ---------------------------------------------------------------------------------------------------


def at_once(first: Callable[[], Any], second: Callable[[], Any]) -> list[Any]:
    """Run both at the same moment; what they return or raise."""
    ready = threading.Barrier(2)
    results: list[Any] = [None, None]

    def run(place: int, work: Callable[[], Any]) -> None:
        ready.wait(10)
        try:
            results[place] = work()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_edits_at_once_one_is_told(local_kinesis: RunningKinesis) -> None:
    destination = connected_destination(local_kinesis)

    def edit(name: str) -> Callable[[], Any]:
        return lambda: services.edit_destination(
            destination_id=destination.pk, version=1, setup=setup_of(destination, description=name)
        )

    results = at_once(edit("one"), edit("two"))
    assert sorted(type(result).__name__ for result in results) == ["Destination", "EditedByOther"]
    saved = Destination.objects.get()
    assert saved.version == 2
    assert [r.description for r in results if isinstance(r, Destination)] == [saved.description]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_an_account_is_not_deleted_under_a_destination_that_is_made_of_it(
    local_kinesis: RunningKinesis,
) -> None:
    account = connected_account(local_kinesis)
    setup = Setup("D", {"stream": "profile-exports"})
    made, deleted = at_once(
        lambda: services.create_destination(id=uuid.uuid4(), account=account, setup=setup, by=None),
        lambda: services.delete_account(account.pk),
    )
    # One of them came first, and the other says why it can't.
    if Account.objects.exists():
        assert isinstance(made, Destination)
        assert isinstance(deleted, services.Refused)
    else:
        assert isinstance(made, services.Refused)
        assert deleted is None
        assert not Destination.objects.exists()


# -- deleting a destination that is at work ------------------------------------------------------------------------


def deleted_during(destination: Destination, work: Callable[[], None]) -> BaseException | None:
    """Delete a destination while a transaction that did ``work`` is open. What the deletion raised."""
    errors: list[BaseException] = []

    def delete() -> None:
        try:
            services.delete_destination(destination.pk)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=delete)
    with transaction.atomic():
        work()
        thread.start()
        thread.join(1)  # by then it waits for us, or has gone wrong
    thread.join(30)
    return errors[0] if errors else None


def nothing_left() -> bool:
    models = (Destination, Dataflow, PendingExport, DataflowRun, Delivery)
    return not any(model.objects.exists() for model in models)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_it_waits_for_a_change_that_queues_an_export() -> None:
    identity = IdentityFactory.create()
    segment = MembershipFactory.create(profile=identity.profile).segment
    dataflow = DataflowFactory.create(segments=[segment], attributes=["person.name.firstName"])
    change = Fragment(
        profile_id=identity.profile_id, attributes={"person": {"name": {"firstName": "Ji-woo"}}}
    )

    def work() -> None:
        ingest([change])
        assert PendingExport.objects.count() == 1

    assert deleted_during(dataflow.destination, work) is None
    assert nothing_left()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_it_waits_for_a_batch_that_is_settled() -> None:
    dataflow = DataflowFactory.create()
    profile = ProfileFactory.create()
    row = PendingExport.objects.create(dataflow=dataflow, profile=profile, reason="backfill")
    lease = lanes.take(dataflow.pk, lanes.lane_of(profile.pk, dataflow.lane_count))
    assert lease
    claim = Claim(row.pk, profile.pk, row.generation, 0, time.time(), row.reason, row.bulk)

    def work() -> None:
        settle.settle(lease, [settle.Outcome(claim, Delivered("shard", "1"))])
        assert Delivery.objects.count() == 1

    assert deleted_during(dataflow.destination, work) is None
    assert nothing_left()


def test_deleting_what_is_gone_does_nothing() -> None:
    other = DestinationFactory.create()
    services.delete_destination(uuid.uuid4())
    services.delete_account(uuid.uuid4())
    assert Destination.objects.get() == other


def test_a_refusal_names_what_uses_the_account_but_not_all_of_many() -> None:
    account = AccountFactory.create()
    for number in range(7):
        DestinationFactory.create(account=account, name=f"Destination {number}")
    with pytest.raises(services.Refused, match="7 destinations use this account") as refused:
        services.delete_account(account.pk)
    assert "Destination 4" in refused.value.message
    assert "Destination 5" not in refused.value.message
