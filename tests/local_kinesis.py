"""A running local Kinesis for tests.

``local_kinesis``
    a server in a thread, on a free port, with the stream ``profile-exports`` (2 shards). It is a
    :class:`RunningKinesis`: ``.connection()`` for connectors, ``.client()`` of boto3, ``.create_stream()``,
    ``.records(stream)`` as stored and ``.exported(stream)`` parsed, ``.fail_next()`` and ``.fail_records()``
    for faults, ``.asked`` for what was asked. Tests that do not test throttling can turn it off:
    ``local_kinesis.kinesis.enforce_throughput = False``.
``kinesis_process``
    the same server as ``manage.py local_kinesis`` runs it, as a process: for workers and browsers, and to be
    killed.
"""

from __future__ import annotations

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
from destinations.connectors.kinesis.local import LocalKinesis, LocalKinesisServer
from destinations.connectors.kinesis.local.errors import ApiError
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


@dataclass
class _Fault:
    operation: str
    error: ApiError
    times: int


@dataclass
class _RecordFault:
    wanted: Callable[[str], bool]
    code: str
    times: int


class RunningKinesis(LocalKinesisServer):
    """The local Kinesis with faults to order."""

    def __init__(self, kinesis: LocalKinesis | None = None, *, keys: Keys = KEYS) -> None:
        super().__init__(kinesis, keys=keys)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._stopped = False
        self._open: set[socket.socket] = set()
        self._faults: list[_Fault] = []
        self._record_faults: list[_RecordFault] = []

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
        self._faults.append(_Fault(operation, ApiError(code, message, status), times))

    def fail_records(
        self, wanted: Callable[[str], bool], code: str = "InternalFailure", *, times: int = 1
    ) -> None:
        """In the next ``times`` PutRecords that have such records: fail those whose partition key is
        ``wanted``.
        """
        self._record_faults.append(_RecordFault(wanted, code, times))

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
        for fault in self._faults:
            if fault.operation == operation and fault.times:
                fault.times -= 1
                raise fault.error
        for parts in self._record_faults:
            if operation == "PutRecords" and parts.times:
                failing = [parts.wanted(record["PartitionKey"]) for record in params["Records"]]
                if any(failing):
                    parts.times -= 1
                    return self._put_some(params, failing, parts.code)
        return super().answer(operation, params)

    def _put_some(self, params: dict[str, Any], failing: list[bool], code: str) -> dict[str, Any]:
        good = [record for record, fails in zip(params["Records"], failing, strict=True) if not fails]
        taken = super().answer("PutRecords", {**params, "Records": good})["Records"] if good else []
        taken.reverse()
        failed = {"ErrorCode": code, "ErrorMessage": "failed by the test"}
        rows = [failed if fails else taken.pop() for fails in failing]
        return {"FailedRecordCount": sum("ErrorCode" in row for row in rows), "Records": rows}


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
    empty streams.
    """

    streams: tuple[str, ...] = (f"{STREAM}:2",)
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


@pytest.fixture
def kinesis_process() -> Iterator[KinesisProcess]:
    running = KinesisProcess()
    running.start()
    yield running
    running.stop()
