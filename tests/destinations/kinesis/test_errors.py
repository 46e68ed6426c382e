from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from destinations.connectors import get
from destinations.connectors.base import CheckStatus, ConnectorError
from destinations.connectors.kinesis.errors import MAX_MESSAGE, translate
from tests.local_kinesis import KEYS, RunningKinesis, connection_to

URL = "https://kinesis.us-east-1.amazonaws.com"


def said(code: str, message: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "ListStreams",
    )


@pytest.mark.parametrize(
    "code, message, hint",
    [
        (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            "Check the access key ID",
        ),
        (
            "InvalidSignatureException",
            "The request signature we calculated does not match",
            "Check the access key ID",
        ),
        ("InvalidClientTokenId", "The security token is invalid", "Check the access key ID"),
        ("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", "clock"),
        ("SignatureDoesNotMatch", "Signature not yet current: 2 is still later than 1", "clock"),
        ("RequestExpired", "Request has expired.", "clock"),
        (
            "InvalidSignatureException",
            "Credential should be scoped to a valid region, not 'x'.",
            "another region",
        ),
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
            "session token has expired",
        ),
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/x is not authorized to perform: kinesis:ListStreams because no "
            "policy allows it",
            "Allow kinesis:ListStreams in the IAM policy",
        ),
        ("AccessDeniedException", "no", "IAM policy"),
        ("ResourceNotFoundException", "Stream x under account 1 not found.", "name"),
        ("ResourceInUseException", "x", "active"),
        ("KMSDisabledException", "arn is disabled.", "KMS key"),
        ("KMSThrottlingException", "x", "Wait a minute"),
        ("LimitExceededException", "Rate exceeded", "Wait a minute"),
        ("ThrottlingException", "Rate exceeded", "Wait a minute"),
        ("ProvisionedThroughputExceededException", "Rate exceeded for shard", "shards"),
        ("SomethingNew", "in AWS's words", ""),
    ],
)
def test_an_answer_of_aws_is_its_code_its_words_and_what_to_do(code: str, message: str, hint: str) -> None:
    error = translate(said(code, message))
    assert (error.code, error.message) == (code, message)
    assert hint in str(error.hint)
    assert bool(error.hint) == bool(hint)


@pytest.mark.parametrize(
    "raised, code",
    [
        (boto.EndpointConnectionError(endpoint_url=URL), "EndpointConnectionError"),
        (boto.ConnectTimeoutError(endpoint_url=URL), "ConnectTimeout"),
        (boto.ReadTimeoutError(endpoint_url=URL), "ReadTimeout"),
        (boto.ConnectionClosedError(endpoint_url=URL), "ConnectionClosed"),
        (boto.SSLError(endpoint_url=URL, error=OSError("certificate verify failed")), "SSLError"),
        (boto.ProxyConnectionError(proxy_url="http://proxy", error="refused"), "ProxyConnectionError"),
        (boto.NoCredentialsError(), "NoCredentials"),
        (boto.InvalidRegionError(region_name="x y"), "InvalidRegion"),
        (ResponseParserError("<html>"), "InvalidResponse"),
        (said("502", "<html><body>Bad gateway</body></html>", 502), "HTTP502"),
        (said("413", "", 413), "HTTP413"),
        (said("307", "", 307), "RedirectNotFollowed"),
    ],
)
def test_what_happens_on_the_way_is_said(raised: Exception, code: str) -> None:
    error = translate(raised)
    assert error.code == code
    assert error.message
    assert error.hint
    assert "<html" not in error.message


def test_parameters_that_boto3_refuses_are_said() -> None:
    error = translate(boto.ParamValidationError(report="Invalid length for parameter StreamName"))
    assert (error.code, "StreamName" in error.message) == ("ParamValidationError", True)


def test_a_token_that_aws_quotes_is_left_out() -> None:
    quoted = (
        "The request signature we calculated does not match. The Canonical String for this request should "
        "have been\n"
        "'POST\n/\n\nx-amz-security-token:the-token'"
    )
    error = translate(said("InvalidSignatureException", quoted), ["the-secret", "the-token"])
    assert error.message == "The request signature we calculated does not match."
    assert translate(said("X", "it is the-secret"), ["the-secret"]).message == "it is …"


def test_an_error_of_an_unknown_kind_says_nothing_that_could_be_secret() -> None:
    cause = ValueError("Invalid header value b'AWS4-HMAC-SHA256 Credential=AKIA, the-token'")
    error = translate(boto.HTTPClientError(error=cause))
    assert (error.code, error.message) == ("HTTPClientError", "The request could not be sent.")


def test_a_long_message_is_cut() -> None:
    assert len(translate(said("X", "long " * 1000)).message) == MAX_MESSAGE + 1


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """An endpoint that says ``answer`` to every connection, and nothing at all when that is None."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def serve() -> None:
            try:
                while True:
                    sock, _ = listening.accept()
                    taken.append(sock)
                    if answer is not None:
                        sock.recv(65536)
                        sock.sendall(answer)
                        sock.shutdown(socket.SHUT_WR)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for sock in taken:
            sock.close()


@pytest.mark.parametrize(
    "answer, code",
    [
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
            "HTTP502",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
            "InvalidResponse",
        ),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "HTTP403"),
        (b"", "ConnectionClosed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "ConnectionClosed"),
    ],
    ids=["gateway", "page", "empty", "closed", "not http"],
)
def test_an_endpoint_that_is_not_kinesis_is_said(answer: bytes, code: str) -> None:
    with answering(answer) as url, pytest.raises(ConnectorError) as caught:
        get("kinesis").list_targets(connection_to(url, KEYS))
    assert caught.value.code == code


def test_an_endpoint_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from destinations.connectors.kinesis import client

    assert client.CONNECT_TIMEOUT + client.READ_TIMEOUT < 10
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.2)
    with answering(None) as url:
        rows = get("kinesis").check(connection_to(url, KEYS))
    assert rows[0].status == CheckStatus.FAILED
    assert str(rows[0].detail).startswith("ReadTimeout: No answer within the time limit.")


def test_an_endpoint_that_speaks_no_tls_is_said(local_kinesis: RunningKinesis) -> None:
    with pytest.raises(ConnectorError, match="SSLError"):
        get("kinesis").list_targets(connection_to(local_kinesis.url.replace("http:", "https:"), KEYS))


def test_no_error_holds_a_secret(local_kinesis: RunningKinesis) -> None:
    secrets = {"secret_access_key": "wrong-secret-access-key", "session_token": "a-session-token"}
    changes: list[dict[str, Any]] = [{"secret_access_key": "wrong-secret-access-key"}, secrets]
    for changed in changes:
        with pytest.raises(ConnectorError) as caught:
            get("kinesis").list_targets(local_kinesis.connection(**changed))
        error: BaseException | None = caught.value
        while error is not None:
            assert not any(secret in f"{error!r}{error!s}{vars(error)}" for secret in secrets.values())
            error = error.__cause__ or error.__context__
