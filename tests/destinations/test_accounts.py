"""The pages of accounts: the list, other credentials, deleting."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from destinations import selectors, services
from destinations.fields import Encrypted
from destinations.models import Account
from destinations.signals import connection_changed
from tests.factories import AccountFactory, DestinationFactory, UserFactory
from tests.local_kinesis import KEYS, RunningKinesis

pytestmark = pytest.mark.django_db

ACCOUNTS = reverse("destinations:accounts")
VIEW, MANAGE = "destinations.view_destination", "destinations.manage_destinations"
OTHER_SECRET = "another-secret-that-is-wrong/0123456789+"


def person(*rights: str) -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=list(rights)))
    return client


@pytest.fixture
def client() -> Client:
    return person(VIEW, MANAGE)


@pytest.fixture
def account(local_kinesis: RunningKinesis) -> Account:
    """An account of the local Kinesis that works."""
    stored = local_kinesis.connection()
    return AccountFactory.create(
        name="Seoul",
        credentials=Encrypted.of(stored.credentials),
        settings=dict(stored.settings),
        masked="AKIA…TEST",
    )


@pytest.fixture
def went_on() -> Iterator[list[uuid.UUID]]:
    """Destinations of which it was announced that they may be tried again."""
    ids: list[uuid.UUID] = []

    def listen(destination_ids: list[uuid.UUID], **kwargs: Any) -> None:
        ids.extend(destination_ids)

    connection_changed.connect(listen)
    yield ids
    connection_changed.disconnect(listen)


def edit_url(account: Account) -> str:
    return reverse("destinations:account_edit", args=[account.pk])


def delete_url(account: Account) -> str:
    return reverse("destinations:account_delete", args=[account.pk])


def text_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    return str(response.content.decode())


def page_of(client: Client, account: Account) -> dict[str, str]:
    """The form of the edit page as a browser would send it back."""
    context = client.get(edit_url(account)).context
    form = {name: str(context["form"][name].value() or "") for name in context["form"].fields}
    return form | {"seen": context["seen"]}


def save(client: Client, account: Account, **typed: str) -> Any:
    return client.post(edit_url(account), page_of(client, account) | typed)


def in_the_wrong_region(account: Account) -> None:
    settings = {**account.settings, "region": "eu-central-1"}
    Account.objects.filter(pk=account.pk).update(settings=settings)


def said(response: Any) -> list[str]:
    """The messages that wait for the next page."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def stored(account: Account) -> dict[str, str]:
    return Account.objects.get(pk=account.pk).credentials.open()


# --- Who may see what


def test_looking_needs_one_right_and_changing_another() -> None:
    account = AccountFactory.create()
    for url in (ACCOUNTS, edit_url(account), delete_url(account)):
        assert Client().get(url)["Location"] == f"/sign-in/?next={url}"
        assert person().get(url).status_code == 403
    for url in (edit_url(account), delete_url(account)):
        assert person(VIEW).get(url).status_code == 403
        assert person(VIEW).post(url).status_code == 403
        assert person(MANAGE).get(url).status_code == 200
    shown = text_of(person(VIEW).get(ACCOUNTS))
    assert account.name in shown
    assert edit_url(account) not in shown and delete_url(account) not in shown
    assert Account.objects.exists()


@pytest.mark.parametrize("name", ["account_edit", "account_delete"])
def test_an_account_that_does_not_exist_is_a_404(client: Client, name: str) -> None:
    assert client.get(reverse(f"destinations:{name}", args=[uuid.uuid4()])).status_code == 404


# --- The list


def found(client: Client, query: str = "") -> list[str]:
    return [row.account.name for row, _settings in client.get(ACCOUNTS + query).context["rows"]]


def test_without_accounts_the_page_says_how_one_is_made(client: Client) -> None:
    shown = text_of(client.get(ACCOUNTS))
    assert "No accounts yet" in shown and reverse("destinations:catalog") in shown


def test_a_row_shows_what_may_be_shown(client: Client) -> None:
    account = AccountFactory.create(
        name="서울 <team>", settings={"region": "ap-northeast-2", "endpoint_url": "http://127.0.0.1:4567"}
    )
    DestinationFactory.create_batch(2, account=account)
    shown = text_of(client.get(ACCOUNTS))
    for expected in (
        "서울 &lt;team&gt;",
        "Amazon Kinesis",
        "AKIA…MPLE",
        "ap-northeast-2",
        "http://127.0.0.1:4567",
        f'href="{reverse("destinations:browse")}?account={account.pk}">2</a>',
        "Never",
    ):
        assert expected in shown
    assert "서울 <team>" not in shown


def test_accounts_are_searched_by_name_and_by_what_is_shown_of_the_key(client: Client) -> None:
    AccountFactory.create(name="Data team", masked="AKIA…7Q4X")
    AccountFactory.create(name="Marketing", masked="AKIA…0000")
    assert found(client, "?q=DATA") == ["Data team"]
    assert found(client, "?q=7q4x") == ["Data team"]
    assert found(client, "?platform=kinesis") == ["Data team", "Marketing"]
    assert found(client, "?platform=unknown&sort=unknown&page=x") == ["Data team", "Marketing"]
    for nothing in ("?q=zzz", "?q=%00", "?q=%3Cscript%3E"):
        shown = text_of(client.get(ACCOUNTS + nothing))
        assert "No account found" in shown and f'href="{ACCOUNTS}"' in shown
        assert "“<script>”" not in shown


def test_every_column_sorts_both_ways(client: Client) -> None:
    now = timezone.now()
    for name, days, connected, used in (("b", 1, 5, 1), ("A", 3, None, 0), ("c", 2, 4, 2)):
        account = AccountFactory.create(
            name=name,
            created_at=now - timedelta(days=days),
            connected_at=connected and now - timedelta(hours=connected),
        )
        DestinationFactory.create_batch(used, account=account)
    expected = {
        "name": ["A", "b", "c"],
        "platform": ["A", "b", "c"],
        "destinations": ["A", "b", "c"],
        "connected": ["A", "b", "c"],
        "created": ["A", "c", "b"],
    }
    assert set(expected) == set(selectors.ACCOUNT_SORTS)
    for sort, order in expected.items():
        assert found(client, f"?sort={sort}") == order, sort
        # There is one platform: what is the same goes by name.
        assert found(client, f"?sort=-{sort}") == (order if sort == "platform" else order[::-1]), sort


def test_many_accounts_come_in_pages_with_the_same_queries(client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            found(client)
        return len(captured)

    for number in range(3):
        DestinationFactory.create(account=AccountFactory.create(name=f"Account {number:02}"))
    few = queries()
    for number in range(3, 30):
        DestinationFactory.create(account=AccountFactory.create(name=f"Account {number:02}"))
    assert queries() == few <= 8
    assert found(client) + found(client, "?page=2") == [f"Account {number:02}" for number in range(30)]


def test_an_account_whose_key_is_lost_says_so_in_the_list(client: Client) -> None:
    AccountFactory.create()
    assert "Enter the credentials again" not in text_of(client.get(ACCOUNTS))
    AccountFactory.create(credentials=Encrypted("of another key"))
    assert text_of(client.get(ACCOUNTS)).count("Enter the credentials again") == 1


# --- Editing


def test_no_page_shows_a_secret(client: Client, account: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = KEYS.secret_access_key
    typed = {"access_key_id": KEYS.access_key_id, "secret_access_key": OTHER_SECRET}
    pages = [
        client.get(ACCOUNTS),
        client.get(edit_url(account)),
        client.get(delete_url(account)),
        client.post(edit_url(account), {"action": "test"}),
        save(client, account, **typed),
        save(client, account, **typed, name=""),
        client.post(edit_url(account), page_of(client, account) | typed | {"seen": "long ago"}),
    ]
    assert [page.status_code for page in pages] == [200, 200, 200, 200, 422, 422, 422]
    for page in pages:
        assert secret not in page.content.decode()
        assert OTHER_SECRET not in page.content.decode()
        assert OTHER_SECRET not in str(page.headers)
    assert secret not in caplog.text and OTHER_SECRET not in caplog.text
    assert KEYS.access_key_id not in pages[1].content.decode()


def test_another_name_is_saved_without_asking_the_other_side(
    client: Client, account: Account, local_kinesis: RunningKinesis, went_on: list[uuid.UUID]
) -> None:
    DestinationFactory.create(account=account)
    response = save(client, account, name="  Seoul,  second  ")
    assert response["Location"] == ACCOUNTS
    assert said(response) == ["Account “Seoul,  second” was saved."]
    account.refresh_from_db()
    assert account.name == "Seoul,  second"
    assert local_kinesis.asked == [] and went_on == []


def test_a_blank_secret_keeps_the_stored_one(
    client: Client, account: Account, local_kinesis: RunningKinesis, went_on: list[uuid.UUID]
) -> None:
    destination = DestinationFactory.create(account=account)
    before = stored(account)
    in_the_wrong_region(account)
    response = save(client, account, region="us-east-1")
    assert said(response) == ["Account “Seoul” is connected and was saved."]
    account.refresh_from_db()
    assert account.settings["region"] == "us-east-1"
    assert stored(account) == before
    assert account.connected_at is not None
    assert local_kinesis.asked and went_on == [destination.pk]


def test_other_credentials_are_tested_and_saved(
    client: Client, account: Account, went_on: list[uuid.UUID]
) -> None:
    destination = DestinationFactory.create(account=account)
    Account.objects.filter(pk=account.pk).update(
        credentials=Encrypted.of({"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "old"})
    )
    response = save(
        client, account, access_key_id=KEYS.access_key_id, secret_access_key=KEYS.secret_access_key
    )
    assert response["Location"] == ACCOUNTS
    assert stored(account)["secret_access_key"] == KEYS.secret_access_key
    assert Account.objects.get(pk=account.pk).masked == f"AKIA…{KEYS.access_key_id[-4:]}"
    assert went_on == [destination.pk]


def test_what_the_other_side_refuses_is_said_in_its_words_and_not_saved(
    client: Client, account: Account, went_on: list[uuid.UUID]
) -> None:
    before = stored(account)
    shown = text_of(
        save(
            client,
            account,
            name="Renamed",
            access_key_id=KEYS.access_key_id,
            secret_access_key=OTHER_SECRET,
        ),
        422,
    )
    assert "Not connected" in shown and "InvalidSignatureException" in shown
    assert 'value="Renamed"' in shown and "secrets have to be entered once more" in shown
    assert stored(account) == before and went_on == []
    assert Account.objects.get(pk=account.pk).name == "Seoul"


def test_an_endpoint_that_is_down_is_said(client: Client, account: Account, local_kinesis: Any) -> None:
    in_the_wrong_region(account)
    local_kinesis.stop()
    shown = text_of(save(client, account, region="us-east-1"), 422)
    assert "Not connected" in shown and "EndpointConnectionError" in shown
    assert Account.objects.get(pk=account.pk).settings["region"] == "eu-central-1"


@pytest.mark.parametrize(
    "typed, words",
    [
        ({"name": ""}, "This field is required"),
        ({"name": "x" * 256}, "at most 255 characters"),
        ({"name": "TOKYO"}, "There is an account with this name already"),
        ({"region": "mars-north-1"}, "Select a valid choice"),
        ({"access_key_id": "short"}, "This is not an access key ID"),
        ({"access_key_id": "AKIAIOSFODNN7EXAMPLE"}, "Enter the secret access key that belongs to"),
        ({"endpoint_url": "http://169.254.169.254/"}, "error"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "The endpoint has changed"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(
    client: Client, account: Account, typed: dict[str, str], words: str
) -> None:
    AccountFactory.create(name="Tokyo")
    response = save(client, account, **typed)
    assert words in text_of(response, 422)
    assert response.context["form"].errors.keys() <= {*typed, "secret_access_key"}
    assert "error-summary" in response.content.decode()
    saved = Account.objects.get(pk=account.pk)
    assert (saved.name, saved.settings, saved.updated_at) == ("Seoul", account.settings, account.updated_at)


def test_of_two_people_the_later_is_told(client: Client, account: Account) -> None:
    mine = page_of(client, account)
    save(client, account, name="Theirs")
    shown = text_of(client.post(edit_url(account), mine | {"name": "Mine"}), 422)
    assert "Somebody else changed this account meanwhile" in shown
    assert 'value="Mine"' in shown and "Load what it is now" in shown
    assert Account.objects.get(pk=account.pk).name == "Theirs"
    # Sending the same page again does not make it newer.
    again = page_of(client, account) | {"name": "Mine", "seen": mine["seen"]}
    assert client.post(edit_url(account), again).status_code == 422
    # Loading the page does.
    assert save(client, account, name="Mine")["Location"] == ACCOUNTS


def test_a_second_click_is_not_somebody_else(
    client: Client, account: Account, went_on: list[uuid.UUID]
) -> None:
    DestinationFactory.create(account=account)
    in_the_wrong_region(account)
    sent = page_of(client, account) | {"name": "Renamed", "region": "us-east-1"}
    for _click in range(2):
        assert client.post(edit_url(account), sent)["Location"] == ACCOUNTS
    assert len(went_on) == 1


@pytest.mark.parametrize("seen", ["", "x", "2026-13-45T00:00:00", "2026-11-25", "2026-11-25T00:00:00"])
def test_a_page_that_does_not_say_what_it_showed_overwrites_nothing(
    client: Client, account: Account, seen: str
) -> None:
    response = client.post(edit_url(account), page_of(client, account) | {"name": "Mine", "seen": seen})
    assert "Somebody else changed this account meanwhile" in text_of(response, 422)
    assert Account.objects.get(pk=account.pk).name == "Seoul"


def test_an_account_that_is_deleted_while_it_is_tested_is_not_made_again(
    client: Client, account: Account, local_kinesis: RunningKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_wrong_region(account)
    sent = page_of(client, account) | {"region": "us-east-1"}
    answer = services.test

    def test_while_it_is_deleted(*asked: Any) -> Any:
        checks = answer(*asked)
        Account.objects.filter(pk=account.pk).delete()
        return checks

    monkeypatch.setattr(services, "test", test_while_it_is_deleted)
    assert "The account was deleted meanwhile" in text_of(client.post(edit_url(account), sent), 422)
    assert not Account.objects.exists()


def test_where_the_key_is_lost_everything_is_asked_for_again(
    client: Client, account: Account, went_on: list[uuid.UUID]
) -> None:
    destination = DestinationFactory.create(account=account)
    Account.objects.filter(pk=account.pk).update(credentials=Encrypted("of another key"))
    page = client.get(edit_url(account))
    assert "Enter the credentials again" in text_of(page)
    assert page.context["form"].fields["secret_access_key"].required
    assert page.context["form"]["region"].value() == "us-east-1"
    assert "Test the connection" not in text_of(page)
    assert "Enter the credentials again" in text_of(client.post(edit_url(account), {"action": "test"}))

    assert "This field is required" in text_of(save(client, account), 422)
    keys = {"access_key_id": KEYS.access_key_id, "secret_access_key": KEYS.secret_access_key}
    assert save(client, account, **keys)["Location"] == ACCOUNTS
    assert stored(account) == keys
    assert went_on == [destination.pk]


def test_what_is_stored_can_be_tested(client: Client, account: Account) -> None:
    shown = text_of(client.post(edit_url(account), {"action": "test"}))
    assert "Connected" in shown and "kinesis:ListStreams" in shown and "just now" in shown
    assert Account.objects.get(pk=account.pk).connected_at is not None

    Account.objects.filter(pk=account.pk).update(
        credentials=Encrypted.of({"access_key_id": KEYS.access_key_id, "secret_access_key": OTHER_SECRET})
    )
    shown = text_of(client.post(edit_url(account), {"action": "test"}), 422)
    assert "do not work at the moment" in shown and "InvalidSignatureException" in shown
    # A test changes nothing that somebody else's page has not seen.
    assert save(client, account, name="Still mine")["Location"] == ACCOUNTS


def test_the_page_says_what_uses_the_account(client: Client) -> None:
    account = AccountFactory.create()
    assert "No destination" in text_of(client.get(edit_url(account)))
    for number in range(12):
        DestinationFactory.create(name=f"Stream {number:02}", account=account)
    shown = text_of(client.get(edit_url(account)))
    assert "Stream 09" in shown and "Stream 10" not in shown and "Browse all 12" in shown


# --- Deleting


def test_an_account_that_nothing_uses_is_deleted_when_asked_again(client: Client) -> None:
    account = AccountFactory.create(name="Old <one>")
    other = AccountFactory.create()
    shown = text_of(client.get(delete_url(account)))
    assert "Delete “Old &lt;one&gt;”?" in shown and "<form method" in shown
    assert Account.objects.count() == 2

    response = client.post(delete_url(account))
    assert response["Location"] == ACCOUNTS
    assert said(response) == ["“Old <one>” was deleted."]
    assert list(Account.objects.all()) == [other]
    assert "“Old &lt;one&gt;” was deleted." in text_of(client.get(ACCOUNTS))

    again = client.post(delete_url(account))
    assert again["Location"] == ACCOUNTS
    assert said(again) == ["The account was deleted already."]


def test_an_account_in_use_is_not_deleted_and_what_uses_it_is_named(client: Client) -> None:
    account = AccountFactory.create()
    destinations = [DestinationFactory.create(account=account), DestinationFactory.create(account=account)]
    for response, status in ((client.get(delete_url(account)), 200), (client.post(delete_url(account)), 422)):
        shown = text_of(response, status)
        assert "2 destinations use it" in shown
        for destination in destinations:
            assert destination.name in shown and destination.get_absolute_url() in shown
        assert "Delete account</button>" not in shown
    assert Account.objects.filter(pk=account.pk).exists()


def test_the_list_asks_in_a_dialog_only_where_deleting_is_possible(client: Client) -> None:
    free, used = AccountFactory.create(name="Free"), DestinationFactory.create().account
    shown = text_of(client.get(ACCOUNTS))
    assert f'<form method="post" action="{delete_url(free)}"' in shown and "Delete “Free”?" in shown
    assert f'<form method="post" action="{delete_url(used)}"' not in shown
    assert f'href="{delete_url(used)}"' in shown
