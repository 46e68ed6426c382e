"""Authentication: an account is connected, tested for real, or refused in the other side's words."""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from destinations.connectors.kinesis import client as kinesis_client
from destinations.fields import Encrypted
from destinations.models import Account
from destinations.views.connect import SEARCHED_FROM
from tests.activation.wizard import HTMX, signed_in
from tests.destinations.kinesis.test_endpoint import Redirecting
from tests.factories import AccountFactory, UserFactory
from tests.local_kinesis import RunningKinesis

pytestmark = pytest.mark.django_db

URL = "/destinations/connect/kinesis/"
WRONG = "this-secret-is-wrong-and-never-shown/1234"
TOKEN = "a-session-token-that-is-never-shown"


@pytest.fixture
def marketer() -> User:
    return UserFactory.create(permissions=["destinations.manage_destinations"])


@pytest.fixture
def client(marketer: User) -> Client:
    return signed_in(marketer)


def typed(kinesis: RunningKinesis, **changed: str) -> dict[str, str]:
    """A new account as a person types it."""
    return {
        "mode": "new",
        "id": str(uuid.uuid4()),
        "action": "connect",
        "name": "서울 마케팅팀",
        "access_key_id": kinesis.keys.access_key_id,
        "secret_access_key": kinesis.keys.secret_access_key,
        "region": "us-east-1",
        "endpoint_url": kinesis.url,
    } | changed


def account_at(kinesis: RunningKinesis, **changed: Any) -> Account:
    connection = kinesis.connection()
    stored = {"credentials": Encrypted.of(connection.credentials), "settings": dict(connection.settings)}
    return AccountFactory.create(**(stored | changed))


def setup_url(account: Account) -> str:
    return reverse("destinations:setup", args=["kinesis", account.pk])


def statuses(response: Any, name: str = "checks") -> list[str]:
    return [check.status.value for check in response.context[name]]


# -- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post"])
def test_connecting_needs_the_right_to_manage_destinations(
    method: str, local_kinesis: RunningKinesis
) -> None:
    onlooker = signed_in(UserFactory.create(permissions=["destinations.view_destination"]))
    assert getattr(onlooker, method)(URL, typed(local_kinesis)).status_code == 403
    assert getattr(Client(), method)(URL, typed(local_kinesis)).status_code == 302
    assert local_kinesis.asked == []
    assert not Account.objects.exists()


@pytest.mark.parametrize("connector", ["s3", "nothing-like-this"])
def test_a_type_that_can_not_be_set_up_is_a_404(client: Client, connector: str) -> None:
    assert client.get(reverse("destinations:connect", args=[connector])).status_code == 404


# -- a new account --------------------------------------------------------------------------------------------------


def test_without_any_account_the_form_of_a_new_one_is_there(client: Client) -> None:
    page = client.get(URL)
    text = page.content.decode()
    assert page.status_code == 200
    assert page.context["mode"] == "new"
    assert "Existing account" not in text
    assert "Asia Pacific (Seoul)" in text
    assert "no-store" in page["Cache-Control"]


def test_the_policy_to_copy_is_beside_the_form(client: Client, local_kinesis: RunningKinesis) -> None:
    assert "arn:aws:kinesis:REGION:*:stream/STREAM_NAME" in client.get(URL).content.decode()
    refused = client.post(URL, typed(local_kinesis, secret_access_key=WRONG))
    assert "arn:aws:kinesis:us-east-1:*:stream/STREAM_NAME" in refused.content.decode()


def test_good_credentials_are_connected_and_each_check_is_shown(
    client: Client, marketer: User, local_kinesis: RunningKinesis
) -> None:
    page = client.post(URL, typed(local_kinesis), headers=HTMX)
    account = Account.objects.get()
    text = page.content.decode()
    assert page.status_code == 200
    assert "Connected" in text
    assert statuses(page) == ["passed", "passed", "unknown"]
    assert "1 stream" in text
    assert "seen at the first export" in text
    assert f'href="{setup_url(account)}"' in text
    # Coming back to the page finds the account.
    assert page["HX-Push-Url"] == f"{URL}?account={account.pk}"
    assert client.get(page["HX-Push-Url"]).context["chosen"] == str(account.pk)

    assert (account.name, account.created_by) == ("서울 마케팅팀", marketer)
    assert account.connected_at
    assert account.settings == {"region": "us-east-1", "endpoint_url": local_kinesis.url}
    assert account.connection().credentials["secret_access_key"] == local_kinesis.keys.secret_access_key


def test_connecting_writes_nothing_to_a_stream(client: Client, local_kinesis: RunningKinesis) -> None:
    client.post(URL, typed(local_kinesis))
    assert {operation for operation, _params in local_kinesis.asked} == {"ListStreams"}


def test_next_connects_and_goes_on(client: Client, local_kinesis: RunningKinesis) -> None:
    response = client.post(URL, typed(local_kinesis, action="next"))
    assert response["Location"] == setup_url(Account.objects.get())


def test_next_says_what_is_missing(client: Client) -> None:
    page = client.post(URL, {"mode": "new", "action": "next"})
    text = page.content.decode()
    assert page.status_code == 422
    assert "4 things need your attention" in text
    for field in ("id_name", "id_access_key_id", "id_secret_access_key", "id_region"):
        assert f'href="#{field}"' in text


# -- what is refused ------------------------------------------------------------------------------------------------


def refused_in_words(
    client: Client, kinesis: RunningKinesis, *words: str, action: str = "connect", **changed: str
) -> None:
    """The step says the words, keeps what was typed but the secrets, and nothing is saved."""
    sent = typed(kinesis, action=action, **changed)
    page = client.post(URL, sent, headers=HTMX)
    text = page.content.decode()
    assert page.status_code == 422
    for word in words:
        assert word in text
    assert "Connected" not in text
    for name in ("name", "access_key_id", "endpoint_url", "id"):
        assert f'value="{sent[name]}"' in text, f"{name} is gone"
    assert page.context["form"]["region"].value() == sent["region"]
    for name in ("secret_access_key", "session_token"):
        assert not sent.get(name) or sent[name] not in text
    assert not Account.objects.exists()


@pytest.mark.parametrize("action", ["connect", "next"])
def test_a_wrong_secret_is_refused_in_the_words_of_aws(
    client: Client, local_kinesis: RunningKinesis, action: str
) -> None:
    refused_in_words(
        client,
        local_kinesis,
        "Not connected",
        "InvalidSignatureException: The request signature we calculated does not match",
        action=action,
        secret_access_key=WRONG,
    )


def test_a_wrong_key_is_refused_in_the_words_of_aws(client: Client, local_kinesis: RunningKinesis) -> None:
    refused_in_words(
        client,
        local_kinesis,
        "UnrecognizedClientException: The security token included in the request is invalid.",
        access_key_id="AKIAIOSFODNN7EXAMPLE",
    )


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
            "The session token has expired.",
        ),
        (
            "InvalidSignatureException",
            "Signature expired: 20261124T010203Z is now earlier than 20261124T020203Z",
            "Set the server&#x27;s clock (NTP)",
        ),
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/x is not authorized to perform: kinesis:ListStreams",
            "Allow kinesis:ListStreams in the IAM policy of this access key.",
        ),
    ],
)
def test_an_expired_token_a_wrong_clock_and_a_missing_permission_are_said_with_what_helps(
    client: Client, local_kinesis: RunningKinesis, code: str, message: str, hint: str
) -> None:
    local_kinesis.fail_next(code, message, operation="ListStreams")
    refused_in_words(client, local_kinesis, f"{code}: {message}", hint)


def test_an_endpoint_that_is_down_is_said(client: Client, local_kinesis: RunningKinesis) -> None:
    local_kinesis.stop()
    refused_in_words(client, local_kinesis, "EndpointConnectionError", "nothing listens there")


def test_an_endpoint_that_does_not_answer_is_given_up(
    client: Client, local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kinesis_client.CONNECT_TIMEOUT + kinesis_client.READ_TIMEOUT < 10
    monkeypatch.setattr(kinesis_client, "READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused_in_words(client, local_kinesis, "ReadTimeout", "did not answer in time", endpoint_url=url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://kinesis.example.com:4567", "kinesis.example.com:4567 is not one of the hosts"),
        ("http://169.254.169.254", "Link-local and metadata addresses are never allowed."),
        ("http://[fe80::1]:80", "Link-local and metadata addresses are never allowed."),
        ("file:///etc/passwd", "An endpoint URL starts with https:// or http://."),
    ],
)
def test_an_endpoint_that_is_not_allowed_is_refused_before_any_request(
    client: Client,
    local_kinesis: RunningKinesis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    reason: str,
) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = ["127.0.0.1", "169.254.169.254", "[fe80::1]"]
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: asked.append(args))
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    refused_in_words(client, local_kinesis, reason, 'href="#id_endpoint_url"', endpoint_url=url)
    assert asked == []


def test_a_redirect_is_not_followed(client: Client, local_kinesis: RunningKinesis) -> None:
    with Redirecting(307) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        refused_in_words(client, local_kinesis, "RedirectNotFollowed", endpoint_url=server.url)
        server.shutdown()
    assert server.came == ["/"]


def test_without_hosts_of_the_operator_there_is_no_endpoint_to_type(
    client: Client, settings: Settings
) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    assert "endpoint_url" not in client.get(URL).content.decode()


def test_a_name_that_is_taken_is_said_at_the_field(client: Client, local_kinesis: RunningKinesis) -> None:
    AccountFactory.create(name="Seoul")
    page = client.post(URL, typed(local_kinesis, name="SEOUL"))
    assert page.status_code == 422
    assert page.context["form"].errors["name"] == ["There is an account with this name already."]
    assert local_kinesis.asked == []
    assert Account.objects.count() == 1


def test_no_secret_is_in_an_answer_or_a_log_line(
    client: Client, local_kinesis: RunningKinesis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="django")
    good = local_kinesis.keys.secret_access_key
    answers = [
        client.post(URL, typed(local_kinesis, secret_access_key=WRONG, session_token=TOKEN)),
        client.post(URL, typed(local_kinesis, region="", session_token=TOKEN)),
        client.post(URL, typed(local_kinesis)),
        client.get(URL),
        client.post(URL, typed(local_kinesis, mode="existing", session_token=TOKEN)),
    ]
    said = caplog.text + "".join(answer.content.decode() + str(answer.headers) for answer in answers)
    for secret in (WRONG, TOKEN, good):
        assert secret not in said
    assert good not in Account.objects.get().credentials.token


# -- sent twice -----------------------------------------------------------------------------------------------------


def test_the_same_page_sent_twice_makes_one_account(client: Client, local_kinesis: RunningKinesis) -> None:
    sent = typed(local_kinesis)
    for _click in range(2):
        page = client.post(URL, sent)
        assert page.status_code == 200
    assert Account.objects.count() == 1


def test_of_two_tabs_with_the_same_name_one_is_told(client: Client, local_kinesis: RunningKinesis) -> None:
    assert client.post(URL, typed(local_kinesis)).status_code == 200
    assert client.post(URL, typed(local_kinesis)).status_code == 422
    assert Account.objects.count() == 1


def test_another_account_from_a_page_that_was_used_takes_a_second_press(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    sent = typed(local_kinesis)
    client.post(URL, sent)
    page = client.post(URL, sent | {"name": "Another"})
    assert page.status_code == 422
    assert "has connected the account “서울 마케팅팀” already" in page.content.decode()
    assert client.post(URL, sent | {"name": "Another", "id": page.context["id"]}).status_code == 200
    assert Account.objects.count() == 2


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_clicks_at_the_same_moment_make_one_account(
    client: Client, marketer: User, local_kinesis: RunningKinesis
) -> None:
    sent = typed(local_kinesis, action="next")
    assert at_once([lambda: signed_in(marketer).post(URL, sent).status_code] * 2) == [302, 302]
    assert Account.objects.count() == 1


def at_once(acts: list[Callable[[], object]]) -> list[object]:
    """What came of doing them at the same moment."""
    done: list[object] = []
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        try:
            start.wait(timeout=10)
            done.append(act())
        except BaseException as error:
            done.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return done


# -- an existing account --------------------------------------------------------------------------------------------


def test_existing_accounts_are_offered_with_what_may_be_shown(client: Client) -> None:
    accounts = [AccountFactory.create(), AccountFactory.create()]
    AccountFactory.create(connector="s3", name="Of another type")
    page = client.get(URL)
    text = page.content.decode()
    assert page.context["mode"] == "existing"
    assert all(account.name in text for account in accounts)
    assert "AKIA…MPLE · ap-northeast-2" in text
    assert "Of another type" not in text
    assert "wJalrXUtnFEMI" not in text


def test_a_new_account_can_be_made_beside_existing_ones(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    AccountFactory.create()
    assert client.get(URL, {"mode": "new"}).context["mode"] == "new"
    assert client.post(URL, typed(local_kinesis)).status_code == 200
    assert Account.objects.count() == 2


def test_the_only_account_is_chosen_already(client: Client) -> None:
    account = AccountFactory.create()
    assert client.get(URL).context["chosen"] == str(account.pk)


def test_a_long_list_can_be_searched_and_starts_with_what_is_chosen(client: Client) -> None:
    AccountFactory.create_batch(SEARCHED_FROM - 1)
    assert "Search accounts" not in client.get(URL).content.decode()
    last = AccountFactory.create(name="Zürich")
    page = client.get(URL, {"account": str(last.pk)})
    assert "Search accounts" in page.content.decode()
    assert page.context["accounts"][0] == last


def test_an_account_is_tested_again_before_one_goes_on(client: Client, local_kinesis: RunningKinesis) -> None:
    account = account_at(local_kinesis)
    sent = {"mode": "existing", "account": account.pk}
    page = client.post(URL, sent | {"action": "connect"})
    assert statuses(page) == ["passed", "passed", "unknown"]
    assert f'href="{setup_url(account)}"' in page.content.decode()
    assert client.post(URL, sent | {"action": "next"})["Location"] == setup_url(account)
    assert len(local_kinesis.asked) == 2
    account.refresh_from_db()
    assert account.connected_at


@pytest.mark.parametrize("action", ["connect", "next"])
def test_an_account_that_does_not_work_any_more_stops_here(
    client: Client, local_kinesis: RunningKinesis, action: str
) -> None:
    account = account_at(local_kinesis)
    local_kinesis.fail_next("ExpiredTokenException", "It is expired", operation="ListStreams")
    page = client.post(URL, {"mode": "existing", "account": account.pk, "action": action})
    text = page.content.decode()
    assert page.status_code == 422
    assert statuses(page, "refused") == ["failed", "unknown", "unknown"]
    assert "ExpiredTokenException: It is expired" in text
    assert reverse("destinations:account_edit", args=[account.pk]) in text
    account.refresh_from_db()
    assert account.connected_at is None


def test_an_account_whose_key_is_lost_asks_for_its_credentials(client: Client) -> None:
    account = AccountFactory.create(credentials=Encrypted("of a key that is gone"))
    page = client.post(URL, {"mode": "existing", "account": account.pk, "action": "next"})
    assert page.status_code == 422
    text = page.content.decode()
    assert "Enter the credentials again" in text
    assert reverse("destinations:account_edit", args=[account.pk]) in text


@pytest.mark.parametrize("chosen", ["", "not an id", str(uuid.UUID(int=1))])
def test_no_account_chosen_is_said(client: Client, chosen: str) -> None:
    AccountFactory.create_batch(2)
    page = client.post(URL, {"mode": "existing", "account": chosen, "action": "next"})
    assert page.status_code == 422
    assert "Choose an account." in page.content.decode()


def test_an_account_of_another_type_is_not_used(client: Client) -> None:
    other = AccountFactory.create(connector="s3")
    assert client.post(URL, {"mode": "existing", "account": other.pk}).status_code == 422


def test_what_was_typed_for_a_new_account_stays_while_an_existing_one_is_tried(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    AccountFactory.create_batch(2)
    page = client.post(URL, typed(local_kinesis, mode="existing"))
    text = page.content.decode()
    assert 'value="서울 마케팅팀"' in text
    assert "secret_access_key" not in page.context["form"].initial


def test_many_accounts_take_as_many_queries_as_one(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    AccountFactory.create_batch(200)
    with django_assert_max_num_queries(6):
        page = client.get(URL)
    assert len(page.context["accounts"]) == 200
