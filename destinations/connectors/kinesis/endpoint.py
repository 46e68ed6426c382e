"""Which endpoint URL an account may name: only hosts that the operator lists, and never a metadata or
link-local address.

AWS itself needs no endpoint URL; one is for a stand-in (the local Kinesis) or a private gateway. Whoever may
edit an account could otherwise have this server send requests anywhere, so the same rule is asked three
times: at the form field, before a client is made, and of the address that a name turned out to have when the
connection is opened.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from destinations.addresses import is_never_allowed

from ..base import Text


class EndpointNotAllowed(Exception):
    """The URL names something that requests must not go to. ``str()`` is the reason, for people."""

    def __init__(self, reason: Text) -> None:
        super().__init__(reason)
        self.reason = reason


def allowed_endpoint(url: str) -> str:
    """The URL in its plain form (``scheme://host[:port]``).

    Args:
        url: what was typed.

    Raises:
        EndpointNotAllowed: it is not an http(s) URL of a host in ``KINESIS_ENDPOINT_HOSTS``. A host listed
            without
            a port may be used with any port.
    """
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in url):
        raise EndpointNotAllowed(_("An endpoint URL has no spaces, control characters or backslashes."))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise EndpointNotAllowed(_("This is not a URL such as https://kinesis.example.com:4567.")) from None
    if parts.scheme not in ("http", "https"):
        raise EndpointNotAllowed(_("An endpoint URL starts with https:// or http://."))
    if "@" in parts.netloc:
        raise EndpointNotAllowed(_("An endpoint URL must not hold a user name or password."))
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise EndpointNotAllowed(_("This is not a URL such as https://kinesis.example.com:4567."))
    if parts.path not in ("", "/") or parts.query or parts.fragment or "?" in url or "#" in url:
        raise EndpointNotAllowed(_("An endpoint URL ends after the host and port."))
    if is_never_allowed(host):
        raise EndpointNotAllowed(_("Link-local and metadata addresses are never allowed."))
    shown = f"[{host}]" if ":" in host else host
    effective = port if port is not None else (443 if parts.scheme == "https" else 80)
    listed = {entry.strip().lower() for entry in settings.KINESIS_ENDPOINT_HOSTS}
    if not listed & {host, shown, f"{shown}:{effective}"}:
        raise EndpointNotAllowed(
            _(
                "%(host)s is not one of the hosts that are allowed here. Ask whoever runs this server to "
                "allow it."
            )
            % {"host": shown if port is None else f"{shown}:{port}"}
        )
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


def _refuse_address(address: str) -> None:
    if is_never_allowed(address):
        raise EndpointNotAllowed(_("The endpoint's name leads to a link-local or metadata address."))


class _Guarded:
    """Asks again where the name leads to, when a connection is opened: names can change their minds."""

    def _new_conn(self) -> socket.socket:
        host, port = self.host.strip("[]"), self.port  # type: ignore[attr-defined]
        for *_rest, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            _refuse_address(str(address[0]))
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        try:
            _refuse_address(str(sock.getpeername()[0]))
        except EndpointNotAllowed:
            sock.close()
            raise
        return sock


class _HTTPConnection(_Guarded, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_Guarded, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(AWSHTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


POOL_CLASSES = {"http": _HTTPPool, "https": _HTTPSPool}
