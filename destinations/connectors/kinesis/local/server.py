"""HTTP in front of :class:`LocalKinesis`: what boto3 sends (JSON 1.1, POST /, the operation in a header), on
loopback only.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import string
import struct
import sys
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import control
from .errors import ApiError
from .faults import HANG, Faults, Kind, Unanswered
from .signature import Keys, verify
from .streams import LocalKinesis

MAX_BODY = 20 * 1024 * 1024  # 10 MiB of data in base64, and what surrounds it
IDLE = 120  # seconds after which a connection without a request is closed


class NotLoopback(Exception):
    """The address is reachable from other machines."""


class LocalKinesisServer(ThreadingHTTPServer):
    """Serves a :class:`LocalKinesis`.

    Args:
        kinesis: the streams.
        host: a loopback address, or ``localhost``.
        port: 0 takes a free one; :attr:`url` has it.
        keys: what callers must sign with; new ones when not given.
        seed: of the faults that happen at random.

    Raises:
        NotLoopback: ``host`` is reachable from other machines.
        OSError: the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        kinesis: LocalKinesis | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Keys | None = None,
        seed: int | None = None,
    ) -> None:
        if not is_loopback(host):
            raise NotLoopback(
                f"{host} is not a loopback address. The local Kinesis serves this machine only."
            )
        self.kinesis = kinesis or LocalKinesis()
        self.keys = keys or new_keys()
        self.faults = Faults(seed)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """What an operation answers, unless something goes wrong on demand. Raises ApiError, Unanswered."""
        return self.faults.answer(operation, params, self.kinesis.perform)

    def start(self) -> threading.Thread:
        """Serve in a thread until :meth:`stop`."""
        thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="local-kinesis", daemon=True
        )
        thread.start()
        return thread

    def stop(self) -> None:
        self.faults.release()
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        # http.server would look the name of the address up, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: LocalKinesisServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    wbufsize = -1  # an answer leaves in one piece
    disable_nagle_algorithm = True
    _reset = False

    def finish(self) -> None:
        super().finish()
        if self._reset:  # closed at once and lingering for nothing, a connection ends without a goodbye
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def do_POST(self) -> None:
        try:
            answer = self._answer()
        except ApiError as error:
            self._send(error.status, {"__type": error.code, "message": error.message})
        except Unanswered as unanswered:
            self._leave(unanswered)
        else:
            self._send(200, answer)

    def _leave(self, unanswered: Unanswered) -> None:
        """End a connection as a fault wants it."""
        self.close_connection = True
        match unanswered.fault.kind:
            case Kind.PAGE:
                self._send_body(
                    unanswered.fault.status, "text/html", b"<html><body>Bad gateway</body></html>"
                )
            case Kind.BREAK_OFF:
                self._send(200, unanswered.answer or {}, whole=False)
            case Kind.RESET | Kind.RESET_AFTER:
                self._reset = True
            case _:
                self.server.faults.wait(HANG)

    def _answer(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            raise ApiError("RequestEntityTooLarge", "The request has no length, or one over 20 MiB.", 413)
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        verify(
            keys=self.server.keys,
            region=self.server.kinesis.region,
            method="POST",
            url=f"http://{headers.get('host', '')}{self.path}",
            headers=headers,
            body=body,
            now=datetime.fromtimestamp(self.server.kinesis.clock(), UTC),
        )
        service, _, operation = headers.get("x-amz-target", "").partition(".")
        if service not in ("Kinesis_20131202", control.SERVICE) or not operation:
            raise ApiError("UnknownOperationException", "")
        try:
            params = json.loads(body or b"{}")
        except ValueError:
            params = None
        if not isinstance(params, dict):
            raise ApiError("SerializationException", "The body is not a JSON object.")
        if service == control.SERVICE:
            return control.perform(self.server, operation, params)
        return self.server.answer(operation, params)

    def _send(self, status: int, answer: dict[str, Any], *, whole: bool = True) -> None:
        body = json.dumps(answer, separators=(",", ":")).encode()
        self._send_body(status, "application/x-amz-json-1.1", body, len(body) if whole else len(body) // 2)

    def _send_body(self, status: int, kind: str, body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()

    def version_string(self) -> str:
        return "local-kinesis"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for every request would hide what matters."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_keys() -> Keys:
    """Credentials that look like those of AWS."""
    alphabet = string.ascii_uppercase + "234567"
    return Keys(
        access_key_id="AKIA" + "".join(secrets.choice(alphabet) for _ in range(16)),
        secret_access_key=secrets.token_urlsafe(30),
    )
