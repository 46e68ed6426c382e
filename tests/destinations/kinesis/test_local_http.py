"""What reaches the local Kinesis from something else than boto3."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from destinations.connectors.kinesis.local.server import MAX_BODY
from tests.local_kinesis import KEYS, STREAM, RunningKinesis


def ask(
    server: RunningKinesis,
    body: bytes = b"{}",
    *,
    target: str = "Kinesis_20131202.ListStreams",
    service: str = "kinesis",
    unsigned: dict[str, str] | None = None,
) -> tuple[int, dict[str, object]]:
    """Send a signed request with ``unsigned`` headers changed or added afterwards (empty: taken away)."""
    request = AWSRequest("POST", f"{server.url}/", headers={"X-Amz-Target": target}, data=body)
    SigV4Auth(Credentials(KEYS.access_key_id, KEYS.secret_access_key), service, "us-east-1").add_auth(request)
    headers = {**dict(request.headers.items()), **(unsigned or {})}
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request("POST", "/", body, {name: value for name, value in headers.items() if value})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_a_signed_request_is_answered(local_kinesis: RunningKinesis) -> None:
    status, answer = ask(local_kinesis)
    assert (status, answer["StreamNames"]) == (200, [STREAM])


@pytest.mark.parametrize(
    "unsigned, code",
    [
        ({"X-Amz-Date": ""}, "IncompleteSignatureException"),
        ({"X-Amz-Date": "yesterday"}, "IncompleteSignatureException"),
        ({"X-Amz-Date": "20200101T000000Z"}, "InvalidSignatureException"),
        ({"X-Amz-Target": "Kinesis_20131202.DeleteStream"}, "InvalidSignatureException"),
        ({"X-Amz-Added": "later"}, "InvalidSignatureException"),
        ({"Host": "elsewhere"}, "InvalidSignatureException"),
    ],
    ids=["no date", "not a date", "another day", "another operation", "another header", "another host"],
)
def test_what_was_changed_after_signing_is_refused(
    unsigned: dict[str, str], code: str, local_kinesis: RunningKinesis
) -> None:
    status, answer = ask(local_kinesis, unsigned=unsigned)
    assert (status, answer["__type"]) == (400, code)


def test_a_signature_for_another_service_is_refused(local_kinesis: RunningKinesis) -> None:
    _, answer = ask(local_kinesis, service="firehose")
    assert answer["message"] == "Credential should be scoped to correct service: 'kinesis'. "


@pytest.mark.parametrize("target", ["ListStreams", "DynamoDB_20120810.ListTables", "Kinesis_20131202."])
def test_a_request_for_no_operation_is_refused(target: str, local_kinesis: RunningKinesis) -> None:
    _, answer = ask(local_kinesis, target=target)
    assert answer["__type"] == "UnknownOperationException"


@pytest.mark.parametrize("body", [b"no json", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(body: bytes, local_kinesis: RunningKinesis) -> None:
    _, answer = ask(local_kinesis, body)
    assert answer["__type"] == "SerializationException"


def test_a_body_that_is_too_large_is_refused_unread(local_kinesis: RunningKinesis) -> None:
    status, answer = ask(local_kinesis, unsigned={"Content-Length": str(MAX_BODY + 1)})
    assert (status, answer["__type"]) == (413, "RequestEntityTooLarge")
