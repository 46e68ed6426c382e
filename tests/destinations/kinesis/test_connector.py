from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.stub import Stubber
from django.utils import translation

from destinations import connectors
from destinations.connectors import get
from destinations.connectors.base import Check, CheckStatus, Connection, ConnectorError, Target
from destinations.connectors.kinesis import destination_type as module
from destinations.connectors.kinesis.client import make_client
from kinesis_admin.templatetags.ui import icon
from tests.local_kinesis import STREAM, RunningKinesis

kinesis = get("kinesis")


def rows(checks: list[Check]) -> list[tuple[str, str, str]]:
    return [(str(check.name), check.status.value, str(check.detail)) for check in checks]


# --- The catalog ---------------------------------------------------------------------------------------


def test_kinesis_can_be_set_up_and_the_others_can_not_yet() -> None:
    assert [(spec.name, connectors.is_available(spec.slug)) for spec in connectors.catalog()] == [
        ("Amazon Kinesis", True),
        ("Amazon S3", False),
        ("Azure Event Hubs", False),
        ("HTTP API", False),
    ]
    assert str(kinesis.spec.id) == "86043421-563b-46ec-8e6c-e23184711bf6"
    with pytest.raises(KeyError):
        get("s3")


@pytest.mark.parametrize("spec", connectors.catalog(), ids=lambda spec: spec.slug)
def test_every_card_has_an_icon_that_exists(spec: Any) -> None:
    assert "<svg" in icon(spec.icon)


def test_of_credentials_the_ends_of_the_key_are_shown() -> None:
    assert (
        kinesis.masked({"access_key_id": "AKIAIOSFODNN7EX7Q4X", "secret_access_key": "never"}) == "AKIA…7Q4X"
    )
    assert kinesis.masked({"access_key_id": "short"}) == "…"
    assert kinesis.masked({}) == "…"


@pytest.mark.parametrize(
    "region, stream, arn",
    [
        ("us-east-1", "orders", "arn:aws:kinesis:us-east-1:*:stream/orders"),
        ("cn-north-1", "orders", "arn:aws-cn:kinesis:cn-north-1:*:stream/orders"),
        ("us-gov-west-1", "", "arn:aws-us-gov:kinesis:us-gov-west-1:*:stream/STREAM_NAME"),
        ("eu-new-9", "orders", "arn:aws:kinesis:eu-new-9:*:stream/orders"),
    ],
)
def test_the_policy_allows_what_is_needed_and_no_more(region: str, stream: str, arn: str) -> None:
    policy = json.loads(kinesis.permissions_needed({"region": region}, stream))
    listing, export, viewer = policy["Statement"]
    assert (listing["Action"], listing["Resource"]) == ("kinesis:ListStreams", "*")
    assert (export["Action"], export["Resource"]) == (["kinesis:PutRecord", "kinesis:PutRecords"], arn)
    assert viewer["Resource"] == arn
    assert "*" not in json.dumps([statement["Action"] for statement in policy["Statement"]])


# --- Connect to destination, against a stand-in --------------------------------------------------------


def test_good_credentials_pass_and_writing_is_left_to_the_first_export(local_kinesis: RunningKinesis) -> None:
    assert rows(kinesis.check(local_kinesis.connection())) == [
        ("Credentials", "passed", "AKIA…TEST"),
        ("kinesis:ListStreams", "passed", "1 stream"),
        ("kinesis:PutRecord(s)", "unknown", "seen at the first export"),
    ]
    assert {operation for operation, _ in local_kinesis.asked} == {"ListStreams"}
    assert local_kinesis.records() == []


def test_wrong_credentials_fail_in_the_words_of_aws(local_kinesis: RunningKinesis) -> None:
    checks = rows(kinesis.check(local_kinesis.connection(secret_access_key="wrong")))
    assert [status for _, status, _ in checks] == ["failed", "unknown", "unknown"]
    assert checks[0][2].startswith(
        "InvalidSignatureException: The request signature we calculated does not match"
    )
    assert "copy both again from AWS" in checks[0][2]


def test_who_may_not_list_streams_is_known_though(local_kinesis: RunningKinesis) -> None:
    local_kinesis.fail_next(
        "AccessDeniedException",
        "User: x is not authorized to perform: kinesis:ListStreams",
        operation="ListStreams",
    )
    checks = rows(kinesis.check(local_kinesis.connection()))
    assert [status for _, status, _ in checks] == ["passed", "failed", "unknown"]
    assert "Allow kinesis:ListStreams in the IAM policy" in checks[1][2]


def test_the_rows_are_in_the_readers_language_but_for_the_words_of_aws(local_kinesis: RunningKinesis) -> None:
    with translation.override("ko"):
        name, _, detail = rows(kinesis.check(local_kinesis.connection(secret_access_key="wrong")))[0]
    assert "The request signature we calculated does not match" in detail
    assert name


def test_nothing_answering_is_a_row_and_not_an_exception(local_kinesis: RunningKinesis) -> None:
    local_kinesis.stop()
    assert kinesis.check(local_kinesis.connection())[0].status == CheckStatus.FAILED
    assert kinesis.check(Connection({}, {"region": "us-east-1"}))[0].status == CheckStatus.FAILED


# --- Connect to destination, against AWS ---------------------------------------------------------------

AWS = Connection(
    {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "never shown"}, {"region": "us-east-1"}
)
NAMES = ["first", "second"]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """AWS itself, which we have not: boto3's own stand-in, which also refuses calls that are not expected."""
    client = make_client(AWS)
    monkeypatch.setattr(module, "make_client", lambda connection: client)
    with Stubber(client) as stubber:
        yield stubber


def streams(aws: Stubber, names: list[str] = NAMES, status: str = "ACTIVE") -> None:
    aws.add_response(
        "list_streams",
        {
            "StreamNames": names,
            "HasMoreStreams": False,
            "StreamSummaries": [
                {
                    "StreamName": name,
                    "StreamARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{name}",
                    "StreamStatus": status,
                }
                for name in names
            ],
        },
    )


def dry_run(aws: Stubber, operation: str, stream: str, code: str = "DryRunOperationException") -> None:
    record = {"Data": b"{}", "PartitionKey": "dry run"}
    sent: dict[str, Any] = {"Records": [record]} if operation == "put_records" else record
    aws.add_client_error(
        operation,
        code,
        f"User: x is not authorized to perform: kinesis:{operation}",
        400,
        expected_params={"StreamName": stream, "DryRun": True, **sent},
    )


def test_writing_is_asked_by_dry_run(aws: Stubber) -> None:
    streams(aws)
    dry_run(aws, "put_records", "first")
    dry_run(aws, "put_record", "first")

    assert rows(kinesis.check(AWS))[1:] == [
        ("kinesis:ListStreams", "passed", "2 streams"),
        ("kinesis:PutRecord(s)", "passed", "allowed on first"),
    ]
    aws.assert_no_pending_responses()


def test_a_policy_for_one_stream_is_enough(aws: Stubber) -> None:
    streams(aws)
    dry_run(aws, "put_records", "first", "AccessDeniedException")
    dry_run(aws, "put_records", "second")
    dry_run(aws, "put_record", "second")
    assert rows(kinesis.check(AWS))[2][1:] == ("passed", "allowed on second")


def test_no_stream_that_may_be_written_to_fails(aws: Stubber) -> None:
    streams(aws)
    for name in NAMES:
        dry_run(aws, "put_records", name, "AccessDeniedException")
    _, status, detail = rows(kinesis.check(AWS))[2]
    assert status == "failed"
    assert detail.startswith("AccessDeniedException: User: x is not authorized to perform")


def test_with_many_streams_the_first_ones_are_asked_and_the_rest_is_open(aws: Stubber) -> None:
    names = [f"stream-{i}" for i in range(9)]
    streams(aws, names)
    for name in names[: module.DRY_RUNS]:
        dry_run(aws, "put_records", name, "AccessDeniedException")
    assert rows(kinesis.check(AWS))[2][1] == "unknown"
    aws.assert_no_pending_responses()


@pytest.mark.parametrize("names, status", [([], "ACTIVE"), (NAMES, "DELETING")])
def test_without_an_active_stream_there_is_nothing_to_ask(
    names: list[str], status: str, aws: Stubber
) -> None:
    streams(aws, names, status)
    assert rows(kinesis.check(AWS))[2][1:] == ("unknown", "There is no active stream to ask about.")


def test_a_chosen_stream_that_may_not_be_written_to_is_found_before_the_export(aws: Stubber) -> None:
    aws.add_client_error("describe_stream_summary", "AccessDeniedException", "no", 400)
    dry_run(aws, "put_records", "first", "AccessDeniedException")
    with pytest.raises(ConnectorError, match="AccessDeniedException"):
        kinesis.describe_target(AWS, {"stream": "first"})


def test_a_chosen_stream_that_may_be_written_to_but_not_described_is_fine(aws: Stubber) -> None:
    aws.add_client_error("describe_stream_summary", "AccessDeniedException", "no", 400)
    dry_run(aws, "put_records", "first")
    dry_run(aws, "put_record", "first")
    assert kinesis.describe_target(AWS, {"stream": "first"}) == Target("first")


# --- Streams -------------------------------------------------------------------------------------------


def test_streams_are_listed_with_what_the_account_may_know(local_kinesis: RunningKinesis) -> None:
    local_kinesis.create_stream("free", 4, mode="ON_DEMAND", max_record_kib=2048)
    local_kinesis.create_stream("leaving").status = "DELETING"

    assert kinesis.list_targets(local_kinesis.connection()) == [
        Target("free", "ACTIVE", "ON_DEMAND", 4, 24, 2 * 1024 * 1024),
        Target("leaving", "DELETING", "PROVISIONED", 1, 24, 1024 * 1024, 1000, 1024 * 1024),
        Target(STREAM, "ACTIVE", "PROVISIONED", 2, 24, 1024 * 1024, 2000, 2 * 1024 * 1024),
    ]


@pytest.mark.parametrize("distribution", ["", "USER_PARTITION_KEY", "AUTO"])
def test_a_stream_that_spreads_records_by_itself_is_told(
    distribution: str, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.create_stream("free", 4, mode="ON_DEMAND", distribution=distribution)

    target = kinesis.describe_target(local_kinesis.connection(), {"stream": "free"})

    assert target.ignores_keys == (distribution == "AUTO")
    assert not kinesis.describe_target(local_kinesis.connection(), {"stream": STREAM}).ignores_keys


def test_streams_that_may_not_be_described_are_asked_for_once(local_kinesis: RunningKinesis) -> None:
    for i in range(5):
        local_kinesis.create_stream(f"s{i}")
    local_kinesis.fail_next("AccessDeniedException", operation="DescribeStreamSummary", times=100)

    targets = kinesis.list_targets(local_kinesis.connection())

    assert targets[-1] == Target("s4", "ACTIVE", "PROVISIONED")
    assert [operation for operation, _ in local_kinesis.asked] == ["ListStreams", "DescribeStreamSummary"]


def test_all_pages_of_streams_are_listed(local_kinesis: RunningKinesis) -> None:
    for i in range(250):
        local_kinesis.create_stream(f"s{i:03}")

    targets = kinesis.list_targets(local_kinesis.connection())

    assert [target.name for target in targets] == sorted([STREAM, *(f"s{i:03}" for i in range(250))])
    asked = [operation for operation, _ in local_kinesis.asked]
    assert asked.count("ListStreams") == 3
    assert asked.count("DescribeStreamSummary") == module.DESCRIBED


def test_a_throttled_list_goes_on(local_kinesis: RunningKinesis) -> None:
    local_kinesis.fail_next("LimitExceededException", operation="ListStreams")
    assert [target.name for target in kinesis.list_targets(local_kinesis.connection())] == [STREAM]


def test_more_streams_than_can_be_listed_in_time_is_said(
    local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(250):
        local_kinesis.create_stream(f"s{i:03}")
    monkeypatch.setattr(module, "LAST_START", -1.0)
    with pytest.raises(ConnectorError) as caught:
        kinesis.list_targets(local_kinesis.connection())
    assert caught.value.message.startswith("100 streams, and more")
    assert "Type the stream" in str(caught.value.hint)


def test_a_chosen_stream_is_described(local_kinesis: RunningKinesis) -> None:
    target = kinesis.describe_target(local_kinesis.connection(), {"stream": STREAM})
    assert (target.name, target.shards, target.records_per_second) == (STREAM, 2, 2000)
    assert kinesis.target_name({"stream": STREAM}) == STREAM


@pytest.mark.parametrize(
    "prepare, code",
    [
        (lambda k: k.kinesis.delete_stream(STREAM), "ResourceNotFoundException"),
        (lambda k: setattr(k.kinesis.streams[STREAM], "status", "DELETING"), "ResourceInUseException"),
        (lambda k: k.stop(), "EndpointConnectionError"),
    ],
    ids=["missing", "deleting", "down"],
)
def test_a_chosen_stream_that_can_not_be_written_to_is_an_error(
    prepare: Callable[[RunningKinesis], None], code: str, local_kinesis: RunningKinesis
) -> None:
    prepare(local_kinesis)
    with pytest.raises(ConnectorError) as caught:
        kinesis.describe_target(local_kinesis.connection(), {"stream": STREAM})
    assert caught.value.code == code


def test_a_stream_that_may_not_be_described_may_still_be_chosen(local_kinesis: RunningKinesis) -> None:
    local_kinesis.fail_next("AccessDeniedException", operation="DescribeStreamSummary")
    assert kinesis.describe_target(local_kinesis.connection(), {"stream": STREAM}) == Target(STREAM)


def test_an_answer_that_comes_too_late_leaves_no_time_for_more(
    aws: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_START", -1.0)
    streams(aws)
    _, status, detail = rows(kinesis.check(AWS))[2]
    assert (status, detail.split(":")[0]) == ("unknown", "ReadTimeout")
