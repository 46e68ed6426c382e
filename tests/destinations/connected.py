"""Accounts and destinations that reach a local Kinesis."""

from __future__ import annotations

from typing import Any

from destinations.connectors.kinesis.forms import masked
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from tests.factories import AccountFactory, DestinationFactory
from tests.local_kinesis import STREAM, RunningKinesis


def connected_account(kinesis: RunningKinesis, **values: Any) -> Account:
    connection = kinesis.connection()
    return AccountFactory.create(
        credentials=Encrypted.of(connection.credentials),
        masked=masked(connection.credentials["access_key_id"]),
        settings=dict(connection.settings),
        **values,
    )


def connected_destination(kinesis: RunningKinesis, stream: str = STREAM, **values: Any) -> Destination:
    return DestinationFactory.create(
        account=connected_account(kinesis), settings={"stream": stream}, **values
    )


def put(kinesis: RunningKinesis, data: bytes, key: str = "key", stream: str = STREAM) -> str:
    """Write a record past the product. Returns its sequence number."""
    answer = kinesis.client().put_record(StreamName=stream, Data=data, PartitionKey=key)
    return answer["SequenceNumber"]
