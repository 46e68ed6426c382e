"""Credentials: encrypted in the database, shown by nothing, opened with keys that come and go."""

from __future__ import annotations

import copy
import logging
import pickle
import uuid
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.forms import modelform_factory

from destinations import services
from destinations.connectors.base import Connection
from destinations.fields import Encrypted, KeyLost
from destinations.models import Account
from tests.factories import AccountFactory

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIALS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET, "note": "비밀"}


@pytest.fixture
def account(db: None) -> Account:
    AccountFactory.create(credentials=Encrypted.of(CREDENTIALS))
    return Account.objects.get()


def stored() -> str:
    """What the database has, read past the model."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM destinations_account")
        return str(cursor.fetchone()[0])


# -- what is stored, and what is shown -----------------------------------------------------------------------------


def test_the_database_has_no_secret(account: Account) -> None:
    assert stored() == account.credentials.token
    for value in CREDENTIALS.values():
        assert value not in stored()
    assert account.credentials.open() == CREDENTIALS


def test_the_same_secret_looks_different_each_time() -> None:
    assert Encrypted.of(CREDENTIALS) != Encrypted.of(CREDENTIALS)


def test_a_mapping_that_is_assigned_is_encrypted_when_it_is_saved(account: Account) -> None:
    account.credentials = {"secret_access_key": SECRET}
    account.save()
    assert SECRET not in stored()
    account.refresh_from_db()
    assert account.credentials.open() == {"secret_access_key": SECRET}


def shown(account: Account) -> list[str]:
    """All the ways in which an account comes to be text."""
    held = Connection(credentials=CREDENTIALS, settings=account.settings)
    things: list[Any] = [account, account.credentials, held, [account], {"account": account.credentials}]
    texts = [text for thing in things for text in (repr(thing), str(thing), f"{thing}")]
    return [
        *texts,
        str(vars(account)),
        str(list(Account.objects.values())),
        serializers.serialize("json", [account]),
        repr(pickle.dumps(account)),
        repr(copy.deepcopy(account)),
    ]


def test_no_text_of_an_account_has_its_secret(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in shown(account):
            logging.getLogger("tests").info("%s", text)
    assert "AKIA…MPLE" in caplog.text  # it was written
    assert SECRET not in caplog.text
    assert SECRET.replace("/", "\\/") not in caplog.text


def test_an_account_that_was_just_connected_has_no_plain_secret_either(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "test", lambda connector, connection: [])
    made = services.connect_account(
        id=uuid.uuid4(),
        connector="kinesis",
        name="A",
        connection=Connection(CREDENTIALS, {"region": "us-east-1"}),
        by=None,
    )
    assert SECRET not in str(vars(made.account))
    assert made.account.connection().credentials == CREDENTIALS


def test_no_form_has_it(account: Account) -> None:
    form = modelform_factory(Account, fields="__all__")(instance=account)
    assert "credentials" not in form.fields
    assert SECRET not in form.as_p()


def test_what_dumpdata_writes_is_read_again(account: Account) -> None:
    written = serializers.serialize("json", Account.objects.all())
    account.delete()
    for row in serializers.deserialize("json", written):
        row.save()
    assert Account.objects.get().credentials.open() == CREDENTIALS


def test_what_is_no_mapping_is_not_stored(account: Account) -> None:
    account.credentials = 5  # type: ignore[assignment]
    with pytest.raises(ValidationError):
        account.save()


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "no token", "gAAAAA", "🔑"])
def test_what_no_key_opens_is_said_and_not_shown(db: None, token: str) -> None:
    AccountFactory.create(credentials=Encrypted(token))
    account = Account.objects.get()
    assert not account.credentials.readable
    for attempt in (account.credentials.open, account.credentials.rotated, account.connection):
        with pytest.raises(KeyLost) as lost:
            attempt()
        assert lost.value.__cause__ is None
        assert lost.value.__suppress_context__
    assert str(account)
    assert repr(account.credentials) == "<Encrypted>"


def rotate() -> str:
    said = StringIO()
    call_command("rotate_credential_keys", stdout=said)
    return said.getvalue()


def test_keys_are_changed_without_a_moment_in_between(account: Account, settings: Any) -> None:
    [old], new = settings.CREDENTIAL_KEYS, Fernet.generate_key().decode()
    settings.CREDENTIAL_KEYS = [new, old]
    assert Account.objects.get().credentials.open() == CREDENTIALS  # the old one still opens
    edited = account.updated_at

    assert "newest key: 1" in rotate()

    settings.CREDENTIAL_KEYS = [new]
    account.refresh_from_db()
    assert account.credentials.open() == CREDENTIALS
    assert account.updated_at == edited  # nobody who is editing it is told of an edit
    settings.CREDENTIAL_KEYS = [old]
    assert not account.credentials.readable


def test_many_accounts_are_rotated_in_batches(
    account: Account, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "ROTATED_AT_ONCE", 2)
    AccountFactory.create_batch(4)
    new = Fernet.generate_key().decode()
    settings.CREDENTIAL_KEYS = [new, *settings.CREDENTIAL_KEYS]
    assert "newest key: 5" in rotate()
    settings.CREDENTIAL_KEYS = [new]
    assert all(each.credentials.readable for each in Account.objects.all())


def test_accounts_that_no_key_opens_are_named_and_the_others_rotated(account: Account, settings: Any) -> None:
    AccountFactory.create(name="Seoul", credentials=Encrypted("lost"))
    new = Fernet.generate_key().decode()
    settings.CREDENTIAL_KEYS = [new, *settings.CREDENTIAL_KEYS]
    with pytest.raises(CommandError, match="Seoul") as failed:
        rotate()
    assert account.name not in str(failed.value)
    settings.CREDENTIAL_KEYS = [new]
    assert Account.objects.get(pk=account.pk).credentials.open() == CREDENTIALS
    assert Account.objects.get(name="Seoul").credentials == Encrypted("lost")


def test_who_edits_an_account_meanwhile_wins(
    account: Account, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode(), *settings.CREDENTIAL_KEYS]
    real = Encrypted.rotated

    def edit_then_rotate(self: Encrypted) -> Encrypted:
        Account.objects.update(credentials=Encrypted.of({"access_key_id": "entered meanwhile"}))
        return real(self)

    monkeypatch.setattr(Encrypted, "rotated", edit_then_rotate)
    assert "newest key: 0" in rotate()
    assert Account.objects.get().credentials.open() == {"access_key_id": "entered meanwhile"}
