"""A signed POST to an address that a person typed in, and to nowhere that they could not reach themselves.

The receiver checks ``X-Signature``: ``v1=`` and the hexadecimal HMAC-SHA256, with the subscription's secret, of the
header ``X-Timestamp`` (seconds since 1970), a dot and the body. It refuses what is older than some minutes, and knows a
message that comes again by its ``id``.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import time
from contextlib import closing
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson
from django.conf import settings
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from destinations.addresses import is_inside, is_never_allowed, is_public

TIMEOUT = 10  # seconds


class NotSent(Exception):
    """It did not arrive; the text says why, without a secret in it."""


class NotAllowed(NotSent):
    """The address is not one that requests may go to."""


def check_url(url: str) -> SplitResult:
    """The parts of a URL that may be posted to, as far as that can be told from its text.

    Only https, but for hosts that the operator lists in ``WEBHOOK_HOSTS``.

    Raises:
        NotAllowed: with the reason, in the reader's language.
    """
    if any(ord(char) <= 32 or ord(char) >= 127 or char == "\\" for char in url):
        raise NotAllowed(_("A URL has no spaces, control characters or backslashes."))
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise NotAllowed(_("This is not a URL such as https://hooks.example.com/alerts.")) from None
    if not host or "@" in parts.netloc or parts.fragment:
        raise NotAllowed(_("This is not a URL such as https://hooks.example.com/alerts."))
    listed = _is_listed(parts)
    if parts.scheme != "https" and not (listed and parts.scheme == "http"):
        raise NotAllowed(_("A webhook URL starts with https://."))
    if not listed and is_inside(host):
        raise NotAllowed(_not_public())
    return parts


@sensitive_variables("secret")
def post(url: str, secret: str, payload: dict[str, Any]) -> None:
    """Send a payload, signed.

    Raises:
        NotSent: no answer of 200 to 299 came within :data:`TIMEOUT`. Redirects are not followed.
    """
    parts = check_url(url)
    body = orjson.dumps(payload)
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "kinesis-admin",
        "X-Timestamp": timestamp,
        "X-Signature": f"v1={sign(secret, timestamp, body)}",
    }
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    try:
        with closing(_connection(parts)) as connection:
            connection.request("POST", path, body, headers)
            status = connection.getresponse().status
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise NotSent(type(error).__name__) from None
    if not 200 <= status < 300:
        raise NotSent(f"HTTP {status}")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a body, in hexadecimal digits."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    """A connection to the address that was looked at: a name that changes its mind does not lead it elsewhere."""
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    sock = socket.create_connection((_address(host, port, _is_listed(parts)), port), TIMEOUT)
    if parts.scheme == "https":
        try:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except OSError:
            sock.close()
            raise
    connection.sock = sock
    return connection


def _address(host: str, port: int, listed: bool) -> str:
    """The first address of a host. Raises NotAllowed where any of them may not be asked."""
    addresses = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in addresses:
        if is_never_allowed(address) or not (listed or is_public(address)):
            raise NotAllowed(_not_public())
    return addresses[0]


def _is_listed(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return bool({host, f"{host}:{port}"} & {entry.strip().lower() for entry in settings.WEBHOOK_HOSTS})


def _not_public() -> str:
    return _("This address is not one of the public internet. Ask whoever runs this server to allow it.")
