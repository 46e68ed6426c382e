"""The one place that makes boto3's Kinesis client and calls it.

Credentials are those of the account and nothing else: no environment, profile, instance metadata or
configured endpoint of the server is looked at. boto3 retries nothing: the engine decides when a record is
sent again, and a person at a form wants to know now.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from ..base import Connection
from .endpoint import POOL_CLASSES, EndpointNotAllowed, allowed_endpoint
from .errors import KinesisError, translate
from .regions import loader

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

CONNECT_TIMEOUT = 3.0  # seconds
READ_TIMEOUT = 5.0  # seconds

_NOTHING = (None, None, None, None)
_NO_FILE = (None, None, os.devnull, None)
_making = threading.Lock()  # the shared loader of botocore's data files is not made for several threads


def make_client(connection: Connection, *, validate: bool = True, connections: int = 10) -> KinesisClient:
    """A client of boto3 for one account; thread-safe, as all of them.

    Args:
        connection: credentials ``access_key_id``, ``secret_access_key``, ``session_token``; settings
            ``region``, ``endpoint_url``.
        validate: whether boto3 checks parameters before it sends them.
        connections: how many requests may be under way at once.

    Raises:
        KinesisError: a credential is missing, the region is not one, or the endpoint URL is not allowed
            (any more).
    """
    key, secret = connection.credentials.get("access_key_id"), connection.credentials.get("secret_access_key")
    if not key or not secret:
        raise KinesisError("NoCredentials", "No credentials.")
    endpoint: str | None = connection.settings.get("endpoint_url") or None
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=connections,
        parameter_validation=validate,
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # missing in the stubs
        tcp_keepalive=True,
        user_agent_extra="kinesis-admin",
        proxies={} if endpoint else None,  # a host of one's own is reached directly
    )
    try:
        if endpoint:
            endpoint = allowed_endpoint(endpoint)
        with _making:
            session = botocore.session.Session(
                session_vars={"profile": _NOTHING, "config_file": _NO_FILE, "credentials_file": _NO_FILE}
            )
            session.register_component("data_loader", loader)
            client = boto3.Session(botocore_session=session).client(
                "kinesis",
                region_name=str(connection.settings.get("region") or ""),
                endpoint_url=endpoint,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=connection.credentials.get("session_token") or None,
                config=config,
            )
    except (BotoCoreError, EndpointNotAllowed, ValueError) as error:
        raise translate(error, _secrets(connection)) from None
    # Where a name leads to is asked when the connection is opened; botocore has no public hook for that.
    client._endpoint.http_session._manager.pool_classes_by_scheme = POOL_CLASSES  # type: ignore[attr-defined]
    return client


def call(connection: Connection, method: Callable[..., Any], member: str, /, **params: Any) -> dict[str, Any]:
    """Call a method of a client.

    Args:
        connection: what the client was made of.
        method: e.g. ``client.list_streams``.
        member: what the answer must have. Of a web page with status 200, botocore makes an empty answer.

    Raises:
        KinesisError: for everything that botocore raises. The original error is not chained: it may quote
            headers.
    """
    try:
        answer = method(**params)
    except (
        BotoCoreError,
        ClientError,
        ResponseParserError,
        EndpointNotAllowed,
        ValueError,
        OSError,
    ) as error:
        raise translate(error, _secrets(connection)) from None
    except (AttributeError, KeyError, TypeError):  # botocore's parser, of JSON that it does not expect
        answer = None
    if not isinstance(answer, dict) or member not in answer:
        raise translate(ResponseParserError()) from None
    return answer


def _secrets(connection: Connection) -> list[str]:
    return [value for name, value in connection.credentials.items() if name != "access_key_id" and value]
