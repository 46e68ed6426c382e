"""A running local Kinesis for tests.

``local_kinesis``
    a server in a thread, on a free port, with the stream ``profile-exports`` (2 shards). It is a
    :class:`RunningKinesis`: ``.connection()`` for connectors, ``.client()`` of boto3, ``.create_stream()``,
    ``.records(stream)`` as stored and ``.exported(stream)`` parsed, ``.fail_next()``, ``.fail_records()`` and
    ``.faults.add()`` for faults, ``.asked`` for what was asked. Tests that do not test throttling can turn it off:
    ``local_kinesis.kinesis.enforce_throughput = False``.
``kinesis_process``
    the same server as ``manage.py local_kinesis`` runs it, as a process: for workers and browsers, and to be
    killed. ``.fault()`` and ``.clear_faults()`` for faults, ``.accepted()`` for what it has.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from destinations.connectors.base import Connection
from destinations.connectors.kinesis.local import LocalKinesis, LocalKinesisServer, control
from destinations.connectors.kinesis.local.faults import Fault, Kind
from destinations.connectors.kinesis.local.signature import Keys
from destinations.connectors.kinesis.local.streams import Stored, Stream

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

STREAM = "profile-exports"
KEYS = Keys("AKIAEXAMPLELOCALTEST", "a-secret-that-is-never-shown/0123456789+")
MANAGE = Path(__file__).resolve().parent.parent / "manage.py"


def connection_to(url: str, keys: Keys, *, region: str = "us-east-1", **credentials: str) -> Connection:
    """What a connector needs to reach a local Kinesis; ``credentials`` replace single ones."""
    return Connection(
        {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key, **credentials},
        {"region": region, "endpoint_url": url},
    )


def client_of(url: str, keys: Keys, *, region: str = "us-east-1", **credentials: str) -> KinesisClient:
    """boto3's client, with its own retries: as anybody would read the stream."""
    given = {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key, **credentials}
    return boto3.Session().client(
        "kinesis",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=given["access_key_id"],
        aws_secret_access_key=given["secret_access_key"],
        aws_session_token=given.get("session_token"),
        config=Config(proxies={}, connect_timeout=2, read_timeout=5),
    )


class RunningKinesis(LocalKinesisServer):
    """The local Kinesis with faults to order."""

    def __init__(self, kinesis: LocalKinesis | None = None, *, keys: Keys = KEYS) -> None:
        super().__init__(kinesis, keys=keys)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._stopped = False
        self._open: set[socket.socket] = set()

    def connection(self, *, region: str = "us-east-1", **credentials: str) -> Connection:
        return connection_to(self.url, self.keys, region=region, **credentials)

    def client(self, *, region: str = "us-east-1", **credentials: str) -> KinesisClient:
        return client_of(self.url, self.keys, region=region, **credentials)

    def create_stream(self, name: str, shards: int = 1, **options: Any) -> Stream:
        return self.kinesis.create_stream(name, shards, **options)

    def records(self, stream: str = STREAM) -> list[Stored]:
        """What the stream holds, in the order of arrival, read past HTTP and its limits."""
        return self.kinesis.records(stream)

    def exported(self, stream: str = STREAM) -> list[Any]:
        return [json.loads(record.data) for record in self.records(stream)]

    def fail_next(
        self,
        code: str,
        message: str = "failed by the test",
        *,
        times: int = 1,
        operation: str = "PutRecords",
        status: int = 400,
    ) -> None:
        """Answer the next ``times`` calls of an operation with an error, and do nothing."""
        self.faults.add(Fault(Kind.ERROR, operation, times=times, code=code, message=message, status=status))

    def fail_records(
        self, wanted: Callable[[str], bool], code: str = "InternalFailure", *, times: int = 1
    ) -> None:
        """In the next ``times`` PutRecords that have such records: fail those whose partition key is
        ``wanted``.
        """
        self.faults.add(
            Fault(Kind.RECORDS, wanted=wanted, times=times, code=code, message="failed by the test")
        )

    def stop(self) -> None:
        """End; what is connected is cut off, too. Once is enough, more does no harm."""
        if not self._stopped:
            self._stopped = True
            super().stop()
            for sock in list(self._open):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((operation, params))
        return super().answer(operation, params)


@pytest.fixture
def local_kinesis() -> Iterator[RunningKinesis]:
    server = RunningKinesis()
    server.create_stream(STREAM, 2)
    server.start()
    yield server
    server.stop()


@dataclass
class KinesisProcess:
    """``manage.py local_kinesis`` as a process. ``stop()`` ends it; ``start()`` again on the same port, with
    empty streams. ``options`` are more arguments of the command, e.g. ``--max-memory=1024``.
    """

    streams: tuple[str, ...] = (f"{STREAM}:2",)
    options: tuple[str, ...] = ()
    keys: Keys = KEYS
    port: int = 0
    url: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(MANAGE),
                "local_kinesis",
                f"--port={self.port}",
                *(f"--stream={stream}" for stream in self.streams),
                *self.options,
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "LOCAL_KINESIS_ACCESS_KEY_ID": self.keys.access_key_id,
                "LOCAL_KINESIS_SECRET_ACCESS_KEY": self.keys.secret_access_key,
            },
        )
        assert self.process.stdout
        ready = self.process.stdout.readline()
        found = re.search(r"ready at (http://\S+:(\d+))", ready)
        assert found, f"local_kinesis did not start: {ready!r}"
        self.url, self.port = found[1], int(found[2])

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=10)
            assert self.process.stdout
            self.process.stdout.close()
            self.process = None

    def connection(self) -> Connection:
        return connection_to(self.url, self.keys)

    def client(self) -> KinesisClient:
        return client_of(self.url, self.keys)

    def fault(self, kind: Kind, **fields: Any) -> int:
        """Add a fault: the fields of ``Fault``, with ``keys``, a regular expression, in place of ``wanted``.

        Returns:
            The seed of its random choices.
        """
        seed: int = control.ask(self.url, self.keys, "AddFault", kind=kind, **fields)["Seed"]
        return seed

    def clear_faults(self) -> None:
        control.ask(self.url, self.keys, "ClearFaults")

    def accepted(self, stream: str = STREAM) -> Iterator[tuple[str, bytes]]:
        """Partition key and data of everything that it has, in the order of arrival."""
        page: dict[str, Any] = {"Records": [{"SequenceNumber": "0"}], "More": True}
        while page["More"]:
            after = page["Records"][-1]["SequenceNumber"]
            page = control.ask(self.url, self.keys, "Accepted", StreamName=stream, After=after)
            for row in page["Records"]:
                yield row["PartitionKey"], base64.b64decode(row["Data"])


@pytest.fixture
def kinesis_process() -> Iterator[KinesisProcess]:
    running = KinesisProcess()
    running.start()
    yield running
    running.stop()
