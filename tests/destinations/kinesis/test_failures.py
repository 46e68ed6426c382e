"""Every line of the table of failures, as the sender meets it: sent for real, to a Kinesis that fails on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore import exceptions as boto

from destinations.connectors import get
from destinations.connectors.base import Connection, ConnectorError, Delivered, Record, Refused, TryAgain
from destinations.connectors.kinesis import client
from destinations.connectors.kinesis.failures import FAILURES, OTHER, OTHER_INSIDE, Answer, failure
from destinations.connectors.kinesis.local.faults import Fault, Kind
from destinations.connectors.kinesis.sender import KinesisSender
from tests.local_kinesis import STREAM, RunningKinesis

RECORDS = [Record(f"key {i}", b"{}") for i in range(3)]
USER = "User: arn:aws:iam::1:user/x is not authorized to perform:"
Happens = Callable[[RunningKinesis, KinesisSender], None]


@dataclass(frozen=True)
class Line:
    """A failure, and what is done about it.

    Args:
        hint: a part of what a person is told.
        happens: makes it happen; None for an answer with the code, the message and the status.
        taken: how many records are in the stream, though nobody was told.
    """

    code: str
    answer: Answer
    hint: str = ""
    message: str = "in AWS's words"
    status: int = 400
    happens: Happens | None = None
    taken: int = 0

    def __str__(self) -> str:
        return f"{self.code} {self.hint}".strip()


def goes_wrong(kind: Kind, status: int = 0) -> Happens:
    return lambda server, sender: server.faults.add(Fault(kind, status=status))


def raises(error: Exception) -> Happens:
    """What has no place on this machine happens in botocore: an unreachable host, a proxy, a certificate."""

    def fail(**event: Any) -> None:
        raise error

    return lambda server, sender: sender._client.meta.events.register("before-send", fail)


URL = "https://kinesis.us-east-1.amazonaws.com"
THROTTLED, AGAIN, HOLD, BISECT = Answer.THROTTLED, Answer.AGAIN, Answer.HOLD, Answer.BISECT
LINES = [
    # Too much at once
    Line("ProvisionedThroughputExceededException", THROTTLED, "more shards"),
    Line("ThrottlingException", THROTTLED, "Too many requests", "Rate exceeded"),
    Line("LimitExceededException", THROTTLED, "Too many requests"),
    Line("HTTP429", THROTTLED, "Too many requests", "HTTP 429", 429, goes_wrong(Kind.PAGE, 429)),
    Line("KMSThrottlingException", THROTTLED, "Too many requests"),
    # Failures inside Kinesis and on the way
    Line("InternalFailure", AGAIN, "Try again", status=500),
    Line("InternalFailureException", AGAIN, "Try again", status=500),
    Line("InternalServerError", AGAIN, "Try again", status=500),
    Line("ServiceUnavailable", AGAIN, "Try again", status=503),
    Line("HTTP502", AGAIN, "any proxy", "HTTP 502", 502, goes_wrong(Kind.PAGE, 502)),
    Line("HTTP504", AGAIN, "any proxy", "HTTP 504", 504, goes_wrong(Kind.PAGE, 504)),
    Line("SomethingNewInside", AGAIN, "Try again", status=500),
    Line("ReadTimeout", AGAIN, "did not answer", "No answer", happens=goes_wrong(Kind.HANG)),
    Line("ReadTimeout", AGAIN, "did not answer", "No answer", happens=goes_wrong(Kind.HANG_AFTER), taken=3),
    Line("ConnectionClosed", AGAIN, "network", "was closed", happens=goes_wrong(Kind.RESET)),
    Line("ConnectionClosed", AGAIN, "network", "was closed", happens=goes_wrong(Kind.RESET_AFTER), taken=3),
    Line("ConnectionClosed", AGAIN, "network", "was closed", happens=goes_wrong(Kind.BREAK_OFF), taken=3),
    # A record that is not valid
    Line("ValidationException", BISECT, message="Value at 'records.1.member.data' is too long"),
    Line("InvalidArgumentException", BISECT),
    Line("HTTP413", BISECT, message="HTTP 413", happens=goes_wrong(Kind.PAGE, 413)),
    Line("ValidationException", HOLD, "stream's name", "Value 'x y' at 'streamName' failed"),
    # Who we are
    Line("InvalidSignatureException", HOLD, "clock", "Signature expired: 1 is now earlier than 2"),
    Line("SignatureDoesNotMatch", HOLD, "clock", "Signature not yet current: 2 is still later than 1"),
    Line("RequestExpired", HOLD, "clock", "Request has expired."),
    Line("RequestTimeTooSkewed", HOLD, "clock"),
    Line(
        "InvalidSignatureException",
        HOLD,
        "another region",
        "Credential should be scoped to a valid region, not 'x'.",
    ),
    Line("InvalidSignatureException", HOLD, "copy both again"),
    Line("UnrecognizedClientException", HOLD, "copy both again"),
    Line("MissingAuthenticationTokenException", HOLD, "copy both again"),
    Line("ExpiredTokenException", HOLD, "session token has expired"),
    # What we may do
    Line("AccessDeniedException", HOLD, "Allow kinesis:PutRecords in the", f"{USER} kinesis:PutRecords on x"),
    Line("AccessDeniedException", HOLD, "Allow kms:GenerateDataKey on", f"{USER} kms:GenerateDataKey on x"),
    Line("AccessDeniedException", HOLD, "does not allow it", "no"),
    Line("OptInRequired", HOLD, "enabled this region"),
    Line("SubscriptionRequiredException", HOLD, "signed up"),
    # The key that the stream is encrypted with
    Line("KMSAccessDeniedException", HOLD, "Allow kms:Encrypt on that key", f"{USER} kms:Encrypt on x"),
    Line("KMSAccessDeniedException", HOLD, "Allow kms:GenerateDataKey on that key"),
    Line("KMSDisabledException", HOLD, "Enable the key", "arn:aws:kms:x is disabled."),
    Line("KMSInvalidStateException", HOLD, "to be deleted"),
    Line("KMSNotFoundException", HOLD, "another key"),
    Line("KMSOptInRequired", HOLD, "signed up for KMS"),
    # The stream
    Line("ResourceNotFoundException", HOLD, "stream's name", "Stream x under account 1 not found."),
    Line("ResourceInUseException", HOLD, "shows it as active"),
    # The way there
    Line(
        "EndpointConnectionError",
        HOLD,
        "can't be reached",
        "Could not connect",
        happens=lambda server, sender: server.stop(),
    ),
    Line(
        "ConnectTimeout",
        HOLD,
        "firewall",
        "No connection",
        happens=raises(boto.ConnectTimeoutError(endpoint_url=URL)),
    ),
    Line(
        "ProxyConnectionError",
        HOLD,
        "proxy",
        "Failed to connect",
        happens=raises(boto.ProxyConnectionError(proxy_url="http://proxy", error="refused")),
    ),
    Line(
        "SSLError",
        HOLD,
        "certificate",
        "SSL validation failed",
        happens=raises(boto.SSLError(endpoint_url=URL, error=OSError("expired"))),
    ),
    Line("RedirectNotFollowed", HOLD, "sent us elsewhere", "HTTP 307", happens=goes_wrong(Kind.PAGE, 307)),
    Line("HTTP404", HOLD, "not one of Kinesis", "HTTP 404", happens=goes_wrong(Kind.PAGE, 404)),
    Line("InvalidResponse", HOLD, "not one of Kinesis", "", happens=goes_wrong(Kind.PAGE, 200)),
    Line("SomethingNew", HOLD),
]


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_failure_has_its_answer(
    line: Line, unthrottled: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.3)
    sender = KinesisSender(unthrottled.connection(), STREAM)
    if line.happens:
        line.happens(unthrottled, sender)
    else:
        unthrottled.fail_next(line.code, line.message, status=line.status, times=1000)

    if line.answer is HOLD:
        with pytest.raises(ConnectorError) as caught:
            sender.send(RECORDS)
        assert (caught.value.code, line.message in caught.value.message) == (line.code, True)
        said = caught.value.message
    else:
        results = sender.send(RECORDS)
        assert len(results) == 3
        for result in results:
            assert isinstance(result, Refused if line.answer is BISECT else TryAgain)
            code = "RecordTooLarge" if line.code == "HTTP413" else line.code
            assert (result.code, line.message in result.message) == (code, True)
            if isinstance(result, TryAgain):
                assert result.throttled == (line.answer is THROTTLED)
                assert result.maybe_taken == (line.answer is AGAIN)
            said = result.message
    assert len(unthrottled.records()) == line.taken
    told = str(get("kinesis").hint(line.code, said))
    assert line.hint in told or line.code == "SomethingNewInside"


@pytest.mark.parametrize(
    "connection, code, hint",
    [
        (Connection({}, {"region": "us-east-1"}), "NoCredentials", "Enter the access key ID"),
        (
            Connection({"access_key_id": "x", "secret_access_key": "x"}, {"region": "x y"}),
            "InvalidRegion",
            "Choose a region",
        ),
    ],
)
def test_what_is_wrong_before_anything_is_sent_holds_too(
    connection: Connection, code: str, hint: str
) -> None:
    with pytest.raises(ConnectorError) as caught:
        KinesisSender(connection, STREAM)
    assert (caught.value.code, failure(code, "").answer) == (code, HOLD)
    assert hint in str(caught.value.hint)


def test_no_row_of_the_table_is_untested() -> None:
    tested = {failure(line.code, line.message, line.status) for line in LINES}
    elsewhere = {
        failure("NoCredentials", ""),
        failure("InvalidRegion", ""),
        # A stream that is not active: test_sender.py
        failure("ResourceNotFoundException", "Stream x not found. (CREATING)"),
        failure("ResourceNotFoundException", "Stream x not found. (DELETING)"),
    }
    assert tested | elsewhere == {*FAILURES, OTHER, OTHER_INSIDE}


# --- Records that fail in a request that does not -------------------------------------------------------


@pytest.mark.parametrize(
    "code, message, expected",
    [
        (
            "ProvisionedThroughputExceededException",
            "Rate exceeded for shard shardId-000000000007 in stream x under account 1.",
            {"throttled": True, "shard": "shardId-000000000007", "maybe_taken": False},
        ),
        (
            "InternalFailure",
            "Internal Service Failure",
            {"throttled": False, "shard": "", "maybe_taken": True},
        ),
        ("SomethingNew", "for shardId-1", {"throttled": False, "shard": "", "maybe_taken": True}),
    ],
)
def test_a_record_that_fails_has_its_answer_and_the_others_are_delivered(
    code: str, message: str, expected: dict[str, Any], unthrottled: RunningKinesis
) -> None:
    unthrottled.faults.add(Fault(Kind.RECORDS, wanted=lambda key: key == "key 1", code=code, message=message))

    first, second, third = KinesisSender(unthrottled.connection(), STREAM).send(RECORDS)

    assert isinstance(first, Delivered) and isinstance(third, Delivered)
    assert second == TryAgain(code, message, **expected)


# --- Batches of several requests ------------------------------------------------------------------------

LARGE = [Record(f"key {i}", b"x" * 1_000_000) for i in range(30)]


def fail_from_the_second(server: RunningKinesis, fault: Fault) -> None:
    answer = server.answer

    def then_fail(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if operation == "PutRecords" and server.records():
            server.faults.add(fault)
        return answer(operation, params)

    server.answer = then_fail  # type: ignore[method-assign]


def puts(server: RunningKinesis) -> int:
    return sum(operation == "PutRecords" for operation, _ in server.asked)


@pytest.mark.parametrize(
    "fault, maybe_taken",
    [
        (Fault(Kind.RESET_AFTER), True),
        (Fault(Kind.ERROR, code="InternalFailure", status=500), True),
        (Fault(Kind.ERROR, code="ThrottlingException"), False),
        (Fault(Kind.ERROR, code="ExpiredTokenException"), False),
    ],
    ids=["closed", "inside", "throttled", "expired"],
)
def test_after_a_request_that_failed_no_other_is_sent(
    fault: Fault, maybe_taken: bool, unthrottled: RunningKinesis
) -> None:
    """Each could take its five seconds in vain; and what was not sent can't be a duplicate."""
    fail_from_the_second(unthrottled, fault)

    results = KinesisSender(unthrottled.connection(), STREAM).send(LARGE)

    assert puts(unthrottled) == 2
    assert all(isinstance(result, Delivered) for result in results[:10])
    left = [result for result in results if isinstance(result, TryAgain)]
    assert len(left) == 20
    assert [result.maybe_taken for result in left] == [maybe_taken] * 10 + [False] * 10
