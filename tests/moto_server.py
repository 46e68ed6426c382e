"""moto as a server: the judge of calls to Kinesis that none of ours is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer


@contextmanager
def running_moto() -> Iterator[str]:
    """Its URL. What was made in it is gone afterwards: all servers of a process share their streams."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        yield url
    finally:
        urlopen(Request(f"{url}/moto-api/reset", method="POST")).close()
        server.stop()
