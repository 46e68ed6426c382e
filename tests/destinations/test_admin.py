"""The Django admin of accounts and destinations: secrets go in and never come out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activation.models import Dataflow, PendingExport
from destinations import services
from destinations.admin import AccountAdmin
from destinations.connectors.kinesis.destination_type import KinesisConnector
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from destinations.signals import connection_changed
from governance.models import MarketingAction
from tests.destinations.connected import connected_account
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)
from tests.local_kinesis import KEYS, RunningKinesis

pytestmark = pytest.mark.django_db

WRONG = "wrong-secret-that-nobody-may-see/0123456"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def account(local_kinesis: RunningKinesis) -> Account:
    return connected_account(local_kinesis, name="Seoul")


def url(model: str, what: str, *args: Any) -> str:
    return reverse(f"admin:destinations_{model}_{what}", args=args)


def staff(*permissions: str) -> Client:
    client = Client()
    client.force_login(UserFactory.create(is_staff=True, permissions=list(permissions)))
    return client


def typed(kinesis: RunningKinesis, **other: str) -> dict[str, str]:
    return {
        "name": "New account",
        "access_key_id": KEYS.access_key_id,
        "secret_access_key": KEYS.secret_access_key,
        "region": "us-east-1",
        "endpoint_url": kinesis.url,
    } | other


def shown(admin: Client, account: Account) -> dict[str, str]:
    """The form as a browser has it, to be sent again."""
    form = admin.get(url("account", "change", account.pk)).context["adminform"].form
    return {name: form[name].value() or "" for name in form.fields}


def errors_of(response: Any) -> dict[str, Any]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


# -- lists ---------------------------------------------------------------------------------------------------------


def test_rows_are_listed_and_found(admin: Client) -> None:
    destination = DestinationFactory.create(name="Spring", account=AccountFactory.create(name="Seoul"))
    DataflowFactory.create()
    account = destination.account
    for query in ("Seoul", str(account.pk), account.masked):
        assert account in admin.get(url("account", "changelist"), {"q": query}).context["cl"].queryset
    for query in ("Spring", str(destination.pk), "Seoul"):
        found = admin.get(url("destination", "changelist"), {"q": query}).context["cl"].queryset
        assert list(found) == [destination]
    for query in ("?q=%00", "?q=%27%25", "?connector__exact=kinesis"):
        assert admin.get(url("account", "changelist") + query).status_code == 200


@pytest.mark.parametrize("model", ["account", "destination"])
def test_a_list_takes_no_query_a_row(admin: Client, model: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin.get(url(model, "changelist"))
        return len(captured)

    DestinationFactory.create()
    few = queries()
    for number in range(6):
        by = UserFactory.create()
        account = AccountFactory.create(created_by=by)
        destination = DestinationFactory.create(account=account, created_by=by)
        if number % 2:
            DataflowFactory.create(destination=destination)
    assert queries() <= few


# -- accounts: what goes in ----------------------------------------------------------------------------------------


def test_an_account_is_tested_and_added(admin: Client, local_kinesis: RunningKinesis) -> None:
    response = admin.post(url("account", "add"), typed(local_kinesis))
    assert response.status_code == 302
    account = Account.objects.get()
    assert account.connection() == local_kinesis.connection()
    assert account.masked == "AKIA…TEST"
    assert account.connected_at
    assert account.created_by == User.objects.get()
    assert [operation for operation, _ in local_kinesis.asked] == ["ListStreams"]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.is_addition()) == (str(account.pk), True)


def test_what_the_other_side_refuses_is_said_in_its_words_and_not_saved(
    admin: Client, local_kinesis: RunningKinesis, account: Account
) -> None:
    refused = errors_of(admin.post(url("account", "add"), typed(local_kinesis, secret_access_key=WRONG)))
    assert "InvalidSignatureException" in str(refused)
    before = account.credentials
    refused = errors_of(
        admin.post(url("account", "change", account.pk), shown(admin, account) | {"secret_access_key": WRONG})
    )
    assert "InvalidSignatureException" in str(refused)
    account.refresh_from_db()
    assert account.credentials == before
    assert Account.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "SEOUL"}, "name"),
        ({"access_key_id": "short"}, "access_key_id"),
        ({"secret_access_key": ""}, "secret_access_key"),
        ({"region": "mars-1"}, "region"),
        ({"endpoint_url": "http://169.254.169.254"}, "endpoint_url"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    admin: Client, local_kinesis: RunningKinesis, account: Account, change: dict[str, str], field: str
) -> None:
    assert list(errors_of(admin.post(url("account", "add"), typed(local_kinesis, **change)))) == [field]
    assert Account.objects.get() == account
    assert local_kinesis.asked == []


def test_a_blank_secret_keeps_the_stored_one(
    admin: Client, local_kinesis: RunningKinesis, account: Account
) -> None:
    sent = shown(admin, account)
    assert sent["access_key_id"] == sent["secret_access_key"] == ""
    response = admin.post(url("account", "change", account.pk), sent | {"name": "Busan"})
    assert response.status_code == 302
    account.refresh_from_db()
    assert account.name == "Busan"
    assert account.connection() == local_kinesis.connection()
    assert local_kinesis.asked == []  # only the name is new
    assert "secret" not in LogEntry.objects.get().get_change_message().lower()


def test_other_credentials_are_tested_saved_and_announced(
    admin: Client, local_kinesis: RunningKinesis, account: Account, announced: list[Any]
) -> None:
    Account.objects.update(credentials=Encrypted.of({"access_key_id": "AKIAOLD", "secret_access_key": "old"}))
    destination = DestinationFactory.create(account=account)
    keys = {"access_key_id": KEYS.access_key_id, "secret_access_key": KEYS.secret_access_key}
    assert admin.post(url("account", "change", account.pk), shown(admin, account) | keys).status_code == 302
    account.refresh_from_db()
    assert account.connection() == local_kinesis.connection()
    assert announced == [destination.pk]


@pytest.fixture
def announced() -> Iterator[list[Any]]:
    ids: list[Any] = []

    def listen(destination_ids: list[Any], **kwargs: Any) -> None:
        ids.extend(destination_ids)

    connection_changed.connect(listen)
    yield ids
    connection_changed.disconnect(listen)


@pytest.mark.parametrize("seen", ["earlier", "", "no time", "2026-11-24T00:00:00"])
def test_of_two_people_the_later_is_told(admin: Client, account: Account, seen: str) -> None:
    page = shown(admin, account)
    services.edit_account(
        account=account, seen=account.updated_at, name="First", connection=account.connection()
    )
    if seen != "earlier":
        page["seen"] = seen
    refused = errors_of(admin.post(url("account", "change", account.pk), page | {"name": "Second"}))
    assert "Somebody else changed this account" in str(refused)
    assert Account.objects.get().name == "First"


def test_where_the_key_is_lost_all_is_asked_for_again(
    admin: Client, local_kinesis: RunningKinesis, account: Account
) -> None:
    Account.objects.update(credentials=Encrypted("lost"))
    page = admin.get(url("account", "change", account.pk))
    assert "enter the credentials again" in page.content.decode()
    blank = shown(admin, account)
    assert set(errors_of(admin.post(url("account", "change", account.pk), blank))) == {
        "access_key_id",
        "secret_access_key",
    }
    response = admin.post(url("account", "change", account.pk), blank | typed(local_kinesis))
    assert response.status_code == 302
    assert Account.objects.get().credentials.readable


def test_without_hosts_of_the_operator_there_is_no_endpoint_to_type(
    admin: Client, settings: LazySettings
) -> None:
    settings.KINESIS_ENDPOINT_HOSTS = []
    account = AccountFactory.create()
    for page in (url("account", "add"), url("account", "change", account.pk)):
        text = admin.get(page).content.decode()
        assert 'name="secret_access_key"' in text
        assert 'name="endpoint_url"' not in text


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_other_side_is_asked_outside_of_any_transaction(
    local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = KinesisConnector.check

    def spy(*args: Any) -> Any:
        asked.append(connection.in_atomic_block)
        return real(*args)

    monkeypatch.setattr(KinesisConnector, "check", spy)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(url("account", "add"), typed(local_kinesis)).status_code == 302
    assert asked == [False]


# -- accounts: what never comes out --------------------------------------------------------------------------------


def test_no_page_and_no_log_line_has_a_secret(
    admin: Client, local_kinesis: RunningKinesis, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        responses = [
            admin.get(url("account", "changelist")),
            admin.get(url("account", "change", account.pk)),
            admin.get(url("account", "delete", account.pk)),
            admin.post(url("account", "add"), typed(local_kinesis, secret_access_key=WRONG)),
            admin.post(url("account", "add"), typed(local_kinesis, name="")),
            admin.post(url("account", "add"), typed(local_kinesis), follow=True),
            admin.get(reverse("admin:destinations_account_history", args=[account.pk])),
            admin.get(reverse("admin:index")),
            staff("destinations.view_account").get(url("account", "change", account.pk)),
        ]
    for response in responses:
        assert response.status_code == 200
        text = response.content.decode()
        assert KEYS.secret_access_key not in text
        assert WRONG not in text
        assert account.credentials.token not in text
    assert KEYS.secret_access_key not in caplog.text
    assert WRONG not in caplog.text
    assert "AKIA…TEST" in responses[1].content.decode()


def test_the_mail_of_a_crash_has_no_secret(
    admin: Client, local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.ADMINS = [("", "operator@example.com")]

    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr(Account.objects, "get_or_create", crash)
    admin.raise_request_exception = False
    response = admin.post(url("account", "add"), typed(local_kinesis))
    assert response.status_code == 500
    [message] = mail.outbox
    assert "the database went away" in message.body
    assert KEYS.secret_access_key not in f"{message.subject} {message.body}"
    assert KEYS.secret_access_key not in response.content.decode()


# -- who may -------------------------------------------------------------------------------------------------------


def test_who_may_only_look_sees_what_may_be_shown_and_writes_nothing(
    local_kinesis: RunningKinesis, account: Account
) -> None:
    reader = staff("destinations.view_account", "destinations.view_destination")
    page = reader.get(url("account", "change", account.pk))
    assert "us-east-1" in page.content.decode()
    assert 'name="secret_access_key"' not in page.content.decode()
    assert reader.get(url("account", "add")).status_code == 403
    before = account.updated_at
    sent = typed(local_kinesis, seen=account.updated_at.isoformat())
    assert reader.post(url("account", "change", account.pk), sent).status_code == 403
    assert reader.post(url("account", "add"), sent).status_code == 403
    assert reader.post(url("account", "delete", account.pk), {"post": "yes"}).status_code == 403
    assert Account.objects.get().updated_at == before
    assert local_kinesis.asked == []


def test_adding_and_changing_are_two_rights(local_kinesis: RunningKinesis, account: Account) -> None:
    adder, editor = staff("destinations.add_account"), staff("destinations.change_account")
    sent = typed(local_kinesis, seen=account.updated_at.isoformat())
    assert editor.post(url("account", "add"), sent).status_code == 403
    assert adder.post(url("account", "change", account.pk), sent).status_code == 403
    assert Account.objects.get().name == "Seoul"


def test_an_account_that_is_gone_is_not_made_again(admin: Client, local_kinesis: RunningKinesis) -> None:
    gone = AccountFactory.build()
    response = admin.post(url("account", "change", gone.pk), typed(local_kinesis))
    assert response.status_code == 302
    assert not Account.objects.exists()


# -- deleting ------------------------------------------------------------------------------------------------------


def test_an_account_that_nothing_uses_is_deleted(admin: Client) -> None:
    accounts = AccountFactory.create_batch(3)
    assert admin.post(url("account", "delete", accounts[0].pk), {"post": "yes"}).status_code == 302
    chosen = [account.pk for account in accounts[1:]]
    admin.post(
        url("account", "changelist"), {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    )
    assert not Account.objects.exists()


def test_an_account_in_use_stays_and_what_uses_it_is_named(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = DestinationFactory.create(name="Spring campaign")
    where = url("account", "delete", destination.account_id)
    assert "Spring campaign" in admin.get(where).content.decode()
    admin.post(where, {"post": "yes"})
    assert Account.objects.exists()

    # It was not in use when the admin looked.
    monkeypatch.setattr(AccountAdmin, "get_deleted_objects", lambda *args: ([], {}, set(), []))
    response = admin.post(where, {"post": "yes"})
    assert "Spring campaign" in said(response)
    other = AccountFactory.create()
    chosen = {
        "action": "delete_selected",
        "_selected_action": [destination.account_id, other.pk],
        "post": "yes",
    }
    assert "Spring campaign" in said(admin.post(url("account", "changelist"), chosen))
    assert Account.objects.get() == destination.account


def test_destinations_are_looked_at_and_lead_to_their_page(admin: Client) -> None:
    destination = DestinationFactory.create()
    destination.marketing_actions.set(MarketingAction.objects.filter(name="Email Targeting"))
    text = admin.get(url("destination", "change", destination.pk)).content.decode()
    assert destination.get_absolute_url() in text
    assert "Email Targeting" in text
    assert admin.get(url("destination", "add")).status_code == 403
    assert admin.post(url("destination", "change", destination.pk), {"name": "x"}).status_code == 403


def test_a_destination_is_deleted_with_what_hangs_on_it(admin: Client) -> None:
    dataflows = [DataflowFactory.create(segments=[SegmentFactory.create()]) for _number in range(3)]
    for profile in ProfileFactory.create_batch(2):
        PendingExport.objects.create(dataflow=dataflows[0], profile=profile, reason="backfill")
    where = url("destination", "delete", dataflows[0].destination_id)
    lost = admin.get(where).context["model_count"]
    assert {"dataflows": 1, "mapped segments": 1, "pending exports": 2}.items() <= dict(lost).items()
    assert admin.post(where, {"post": "yes"}).status_code == 302
    assert Dataflow.objects.count() == 2
    chosen = [dataflow.destination_id for dataflow in dataflows[1:]]
    admin.post(
        url("destination", "changelist"),
        {"action": "delete_selected", "_selected_action": chosen, "post": "yes"},
    )
    assert not Destination.objects.exists()
    assert Account.objects.count() == 3
