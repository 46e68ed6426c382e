from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pytest_django import Settings

from destinations.addresses import is_never_allowed, is_public
from destinations.connectors import get
from destinations.connectors.base import Connection, ConnectorError
from destinations.connectors.kinesis.client import make_client
from destinations.connectors.kinesis.endpoint import EndpointNotAllowed, allowed_endpoint
from tests.local_kinesis import KEYS, RunningKinesis, connection_to


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = [
        "127.0.0.1",
        "Kinesis.example.com:4567",
        "[::1]:4567",
        "gateway.example.com:443",
    ]


@pytest.mark.parametrize(
    "typed, plain",
    [
        ("http://127.0.0.1:4567", "http://127.0.0.1:4567"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("HTTPS://kinesis.EXAMPLE.com:4567/", "https://kinesis.example.com:4567"),
        ("https://kinesis.example.com.:4567", "https://kinesis.example.com:4567"),
        ("http://[::1]:4567", "http://[::1]:4567"),
        ("https://gateway.example.com", "https://gateway.example.com"),
    ],
)
def test_a_listed_host_is_allowed(typed: str, plain: str) -> None:
    assert allowed_endpoint(typed) == plain


@pytest.mark.parametrize(
    "url",
    [
        "http://kinesis.example.com",  # listed with another port
        "http://kinesis.example.com:80",
        "http://gateway.example.com",  # port 80
        "https://elsewhere.example.com:4567",
        "https://kinesis.example.com.evil.test:4567",
        "https://evil.test/?kinesis.example.com:4567",
        "https://evil.test#kinesis.example.com:4567",
        "http://127.0.0.1:4567/path",
        "http://127.0.0.1?",
        "http://127.0.0.1@evil.test",
        "http://user:password@127.0.0.1:4567",
        "http://evil.test\\@127.0.0.1",
        "http://127.0.0.1:4567 ",
        "http://127.0.0.1\r\nHost: evil.test",
        "http://localhost:4567",  # not listed by that name
        "http://0177.0.0.1:4567",
        "http://2130706433",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "127.0.0.1:4567",
        "//127.0.0.1:4567",
        "http://",
        "http://:4567",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://[::1",
        "",
    ],
)
def test_anything_else_is_not(url: str) -> None:
    with pytest.raises(EndpointNotAllowed):
        allowed_endpoint(url)


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "2852039166",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::1",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
]


@pytest.mark.parametrize("address", METADATA)
def test_a_link_local_or_metadata_address_is_refused_even_when_it_is_listed(
    address: str, settings: Settings
) -> None:
    shown = f"[{address}]" if ":" in address else address
    settings.KINESIS_ENDPOINT_HOSTS = [address, shown.lower(), f"{shown}:80"]

    assert is_never_allowed(address)
    with pytest.raises(EndpointNotAllowed):
        allowed_endpoint(f"http://{shown}")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "::1", "fd12:3456::1", "kinesis.example.com", "52.94.5.1"]
)
def test_other_addresses_are_no_metadata(address: str) -> None:
    assert not is_never_allowed(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "0.0.0.0", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "::1", "::", "fd12::1",
     "2130706433", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "kinesis.example.com", *METADATA],
)  # fmt: skip
def test_what_is_not_of_the_whole_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["52.94.5.1", "2600:1f18::1", "::ffff:52.94.5.1"])
def test_what_is_of_the_whole_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_nothing_is_allowed_when_nothing_is_listed(settings: Settings) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    with pytest.raises(EndpointNotAllowed):
        allowed_endpoint("http://127.0.0.1:4567")


def test_a_stored_endpoint_that_is_not_allowed_any_more_gets_no_request(
    local_kinesis: RunningKinesis, settings: Settings
) -> None:
    connection = local_kinesis.connection()
    settings.KINESIS_ENDPOINT_HOSTS = []

    with pytest.raises(ConnectorError) as caught:
        get("kinesis").list_targets(connection)

    assert caught.value.code == "EndpointNotAllowed"
    assert local_kinesis.asked == []


def test_a_listed_name_that_leads_to_a_metadata_address_gets_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Any] = []
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, *rest, **kw: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))
        ],
    )
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: tried.append(address))

    with pytest.raises(ConnectorError) as caught:
        get("kinesis").list_targets(connection_to("http://kinesis.example.com:4567", KEYS))

    assert caught.value.code == "EndpointNotAllowed"
    assert "link-local or metadata" in caught.value.message
    assert tried == []


def test_a_name_that_changes_its_mind_gets_no_request(
    local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It resolved to a fine address when asked, and to another when the connection was made: the connection
    is what counts.
    """
    monkeypatch.setattr(socket.socket, "getpeername", lambda self: ("169.254.169.254", 80))

    with pytest.raises(ConnectorError, match="EndpointNotAllowed"):
        get("kinesis").list_targets(local_kinesis.connection())

    assert local_kinesis.asked == []


class Redirecting(ThreadingHTTPServer):
    """Sends everyone to another path of its own, and notes who comes."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Redirect)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.status = status
        self.came: list[str] = []


class _Redirect(BaseHTTPRequestHandler):
    server: Redirecting

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append(self.path)
        self.send_response(self.server.status if self.path == "/" else 200)
        self.send_header("Location", f"{self.server.url}/latest/meta-data/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Redirecting(status) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

        with pytest.raises(ConnectorError) as caught:
            get("kinesis").list_targets(connection_to(server.url, KEYS))

        server.shutdown()
    assert caught.value.code == "RedirectNotFollowed"
    assert "redirects are not followed" in str(caught.value.hint)
    assert server.came == ["/"]


def test_the_servers_own_credentials_and_endpoints_are_not_used(
    local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_PROFILE": "of-somebody",
        "AWS_ACCESS_KEY_ID": "AKIAOFTHESERVER00000",
        "AWS_SECRET_ACCESS_KEY": "secret of the server",
        "AWS_SESSION_TOKEN": "token of the server",
        "AWS_ENDPOINT_URL": local_kinesis.url,
        "AWS_ENDPOINT_URL_KINESIS": local_kinesis.url,
        "AWS_REGION": "eu-west-1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)

    assert get("kinesis").list_targets(local_kinesis.connection())
    to_aws = make_client(Connection(local_kinesis.connection().credentials, {"region": "us-east-1"}))
    assert to_aws.meta.endpoint_url == "https://kinesis.us-east-1.amazonaws.com"
    with pytest.raises(ConnectorError, match="NoCredentials"):
        make_client(Connection({}, {"region": "us-east-1"}))


def test_an_unlikely_region_is_an_error_and_no_host_of_somebody(local_kinesis: RunningKinesis) -> None:
    credentials = local_kinesis.connection().credentials
    for region in ("", "evil.test/", "us-east-1@evil.test", "us east"):
        with pytest.raises(ConnectorError):
            make_client(Connection(credentials, {"region": region}))
