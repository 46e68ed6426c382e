"""Faults and findings for another process: operations of a service of its own, ``LocalKinesis``, beside Kinesis's,
signed with the same keys.

``AddFault`` takes the fields of :class:`.faults.Fault`, ``ClearFaults`` ends all. ``Accepted`` tells what a stream
holds, in the order of arrival: ``{"StreamName", "After", "Limit"}`` gives ``{"Records", "More"}``, and ``After`` is
the last sequence number of the page before.
"""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .errors import ApiError
from .faults import Fault
from .signature import Keys

if TYPE_CHECKING:
    from .server import LocalKinesisServer

SERVICE = "LocalKinesis"
PAGE = 10_000  # records

Params = dict[str, Any]


def perform(server: LocalKinesisServer, operation: str, params: Params) -> Params:
    """Perform an operation. Nothing goes wrong with these on demand.

    Raises:
        ApiError: there is no such operation, or not with such parameters.
    """
    try:
        match operation:
            case "AddFault":
                server.faults.add(Fault.of_json(params))
                return {"Seed": server.faults.seed}
            case "ClearFaults":
                server.faults.clear()
                return {}
            case "Accepted":
                return _accepted(
                    server, params["StreamName"], params.get("After", "0"), params.get("Limit", PAGE)
                )
    except (KeyError, TypeError, ValueError) as error:
        raise ApiError("ValidationException", f"{type(error).__name__}: {error}") from None
    raise ApiError("UnknownOperationException", f"There is no {SERVICE}.{operation}.")


def _accepted(server: LocalKinesisServer, stream: str, after: str, limit: int) -> Params:
    found = [record for record in server.kinesis.records(stream) if record.sequence > int(after)]
    return {
        "Records": [
            {
                "SequenceNumber": str(record.sequence),
                "ApproximateArrivalTimestamp": record.arrived,
                "PartitionKey": record.key,
                "Data": base64.b64encode(record.data).decode(),
            }
            for record in found[:limit]
        ],
        "More": len(found) > limit,
    }


def ask(url: str, keys: Keys, operation: str, /, *, region: str = "us-east-1", **params: Any) -> Params:
    """Have a running local Kinesis perform an operation.

    Args:
        url: of the server.
        keys: what it wants to be signed with.
        operation: e.g. ``AddFault``.

    Raises:
        ApiError: in the server's words.
        OSError: it can't be reached.
    """
    body = json.dumps(params).encode()
    headers = {"X-Amz-Target": f"{SERVICE}.{operation}"}
    request = AWSRequest("POST", f"{url}/", headers=headers, data=body)
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    SigV4Auth(credentials, "kinesis", region).add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("POST", "/", body, dict(request.headers.items()))
        response = connection.getresponse()
        answer: Params = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200:
        raise ApiError(answer["__type"], answer["message"], response.status)
    return answer
