from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from pytest_django import Settings

from destinations.connectors.base import Connection, Target
from destinations.connectors.kinesis import regions
from destinations.connectors.kinesis.forms import KinesisAccountForm, KinesisDestinationForm

KEY, SECRET, TOKEN = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "FwoGZXIvYXdzEBYaDH+/=",
)
LOCAL = "http://127.0.0.1:4567"
STORED = Connection(
    {"access_key_id": KEY, "secret_access_key": SECRET}, {"region": "us-east-1", "endpoint_url": LOCAL}
)


def typed(**changes: str) -> dict[str, str]:
    return {
        "name": "AWS",
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "region": "us-east-1",
        **changes,
    }


def editing(stored: Connection = STORED, **changes: str) -> KinesisAccountForm:
    """The form as it is sent when nothing but ``changes`` was touched."""
    untouched = {
        "name": "AWS",
        "region": stored.settings["region"],
        "endpoint_url": stored.settings.get("endpoint_url", ""),
    }
    return KinesisAccountForm.for_editing("AWS", stored, {**untouched, **changes})


def errors(form: Any) -> dict[str, list[str]]:
    return {name: [str(error) for error in found] for name, found in form.errors.items()}


# --- The account ---------------------------------------------------------------------------------------


def test_an_account_is_credentials_and_settings() -> None:
    form = KinesisAccountForm(typed(endpoint_url=LOCAL))
    assert form.is_valid(), form.errors
    assert form.connection() == STORED


def test_aws_itself_needs_no_endpoint() -> None:
    form = KinesisAccountForm(typed(region="ap-northeast-2"))
    assert form.is_valid()
    assert form.connection().settings == {"region": "ap-northeast-2"}


def test_what_comes_along_when_one_copies_goes() -> None:
    form = KinesisAccountForm(
        typed(access_key_id=f"\ufeff \t{KEY}\u200b\u00a0", secret_access_key=f" {SECRET}\n\u200b")
    )
    assert form.is_valid(), form.errors
    assert form.connection().credentials == STORED.credentials


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("access_key_id", "", "required"),
        ("secret_access_key", "", "required"),
        ("region", "", "required"),
        ("region", "mars-1", "not one of the available choices"),
        ("access_key_id", "AKIA IOSF ODNN 7EXAMPLE", "spaces"),
        ("access_key_id", "AKIAIOSFODNN7예시키", "spaces or other characters"),
        ("access_key_id", "short", "not an access key ID"),
        ("access_key_id", "AKIAIOSFODNN7EXAMPLE\x00", "spaces or other characters"),
        ("access_key_id", SECRET, "looks like a secret access key"),
        ("secret_access_key", "two\nlines", "spaces"),
        ("session_token", "a b", "spaces"),
        ("endpoint_url", "http://169.254.169.254/latest", "ends after the host"),
        ("endpoint_url", "http://169.254.169.254", "metadata"),
        ("endpoint_url", "http://evil.test", "not one of the hosts"),
        ("endpoint_url", "http://a:b@127.0.0.1:4567", "user name or password"),
        ("endpoint_url", "ftp://127.0.0.1", "https://"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(field: str, value: str, words: str) -> None:
    form = KinesisAccountForm(typed(**{field: value}))
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert words in errors(form)[field][0]


def test_a_temporary_key_needs_its_token() -> None:
    form = KinesisAccountForm(typed(access_key_id="ASIAIOSFODNN7EXAMPLE"))
    assert "needs its session token" in errors(form)["session_token"][0]

    form = KinesisAccountForm(typed(access_key_id="ASIAIOSFODNN7EXAMPLE", session_token=TOKEN))
    assert form.is_valid()
    assert form.connection().credentials["session_token"] == TOKEN


def test_no_endpoint_is_asked_for_where_none_is_allowed(settings: Settings) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    form = KinesisAccountForm(typed(endpoint_url=LOCAL))
    assert "endpoint_url" not in form.as_p()
    assert form.is_valid()
    assert form.connection().settings == {"region": "us-east-1"}


# --- Secrets -------------------------------------------------------------------------------------------


def test_secrets_are_never_in_the_page() -> None:
    stored = Connection({**STORED.credentials, "session_token": TOKEN}, STORED.settings)
    pages = [
        KinesisAccountForm.for_editing("AWS", stored).as_p(),
        editing(stored, secret_access_key=SECRET, session_token=TOKEN, region="").as_p(),
        KinesisAccountForm(typed(session_token=TOKEN, name="")).as_p(),
    ]
    for page in pages:
        assert SECRET not in page
        assert TOKEN not in page
    assert KEY not in pages[0]
    assert "AKIA…MPLE" in pages[0]
    assert KEY in pages[2]  # what was typed stays, but the secrets


def test_secrets_are_not_in_representations() -> None:
    form = KinesisAccountForm(typed(session_token=TOKEN))
    assert form.is_valid()
    assert SECRET not in f"{form!r} {form.connection()!r}"
    assert TOKEN not in f"{form!r} {form.connection()!r}"


def test_keys_left_empty_are_kept() -> None:
    stored = Connection({**STORED.credentials, "session_token": TOKEN}, STORED.settings)
    form = editing(stored, name="Another name", region="eu-west-1")
    assert form.is_valid(), form.errors
    assert form.connection() == Connection(stored.credentials, {"region": "eu-west-1", "endpoint_url": LOCAL})


def test_the_same_key_typed_again_keeps_the_secret() -> None:
    form = editing(access_key_id=KEY)
    assert form.is_valid()
    assert form.connection().credentials == STORED.credentials


def test_another_key_needs_its_secret() -> None:
    form = editing(access_key_id="AKIAANOTHERKEY000000")
    assert "belongs to the new access key ID" in errors(form)["secret_access_key"][0]


def test_another_token_needs_its_secret() -> None:
    assert "belongs to the new session token" in errors(editing(session_token=TOKEN))["secret_access_key"][0]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9999", "https://127.0.0.1:4567", "", "http://gateway.example.com"]
)
def test_the_stored_secret_does_not_follow_to_another_host(url: str, settings: Settings) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = ["127.0.0.1", "gateway.example.com"]
    assert "not sent to another host" in errors(editing(endpoint_url=url))["secret_access_key"][0]

    form = editing(endpoint_url=url, secret_access_key=SECRET)
    assert form.is_valid()


def test_the_stored_secret_does_not_follow_when_the_endpoint_is_not_allowed_any_more(
    settings: Settings,
) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    assert not editing().is_valid()


def test_the_old_token_goes_with_the_old_keys() -> None:
    stored = Connection(
        {"access_key_id": "ASIAIOSFODNN7EXAMPLE", "secret_access_key": "old", "session_token": TOKEN},
        STORED.settings,
    )
    form = editing(stored, access_key_id=KEY, secret_access_key=SECRET)
    assert form.is_valid()
    assert form.connection().credentials == STORED.credentials


def test_when_the_stored_credentials_are_lost_they_are_asked_for() -> None:
    form = editing(Connection({}, STORED.settings))
    assert set(form.errors) == {"access_key_id", "secret_access_key"}


# --- Regions -------------------------------------------------------------------------------------------


def test_every_region_of_every_partition_can_be_chosen() -> None:
    session = botocore.session.get_session()
    everywhere = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("kinesis", partition)
    }
    groups = dict(regions.choices())
    assert {code for group in groups.values() for code, _ in group} == everywhere
    assert ("ap-northeast-2", "Asia Pacific (Seoul) — ap-northeast-2") in groups["AWS Standard"]
    assert "cn-north-1" in dict(groups["AWS China"])


# --- The stream ----------------------------------------------------------------------------------------

TARGETS = [
    Target("profile-exports", status="ACTIVE"),
    Target("leaving", status="DELETING"),
    Target("new", status="CREATING"),
]


def test_a_stream_is_chosen_or_typed() -> None:
    for targets in (TARGETS, None):
        form = KinesisDestinationForm({"stream": " profile-exports "}, targets=targets)
        assert form.is_valid()
        assert form.target_settings() == {"stream": "profile-exports"}
    assert form.target_field in form.fields


@pytest.mark.parametrize(
    "stream, words",
    [
        ("", "required"),
        ("with space", "letters"),
        ("스트림", "letters"),
        ("a" * 129, "128 letters"),
        ("arn:aws:kinesis:us-east-1:1:stream/x", "letters"),
        ("missing", "There is no stream “missing”"),
        ("leaving", "is being deleted"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said_at_the_field(stream: str, words: str) -> None:
    form = KinesisDestinationForm({"stream": stream}, targets=TARGETS)
    assert words in errors(form)["stream"][0]


def test_there_is_no_stream_in_an_empty_account() -> None:
    assert "There is no stream" in errors(KinesisDestinationForm({"stream": "any"}, targets=[]))["stream"][0]
