"""The sink that the export is measured against."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bench.sink import running, taken
from destinations.connectors.base import Delivered, Record
from destinations.connectors.kinesis.sender import KinesisSender
from tests.local_kinesis import KEYS, connection_to


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as url:
        yield url


def test_it_takes_what_the_sender_sends_and_counts_it(url: str) -> None:
    before = taken(url)
    sender = KinesisSender(connection_to(url, KEYS), "any")
    for count in (1, 500, 3):
        results = sender.send([Record(f"key {n}", b"x" * 5000) for n in range(count)])
        assert [type(result) for result in results] == [Delivered] * count
    assert taken(url) == before + 504


def test_a_request_may_come_in_pieces(url: str) -> None:
    before = taken(url)
    body = b'{"Records":[{"PartitionKey":"a"},{"PartitionKey":"b"}]}'
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        for at in range(len(request)):
            connection.sendall(request[at : at + 1])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert taken(url) == before + 2
