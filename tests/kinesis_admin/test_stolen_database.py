"""Who has a copy of the database has nothing in it that opens anything."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from access.services import create_token
from access.tasks import forget_sessions
from activation.alerts.services import Wishes, subscribe
from destinations.models import Account
from profiles.inlets.services import create_inlet
from tests.factories import DestinationFactory

KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PASSWORD = "correct horse, battery"

pytestmark = pytest.mark.django_db


def dump() -> str:
    """Every value of every table."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(model._meta.db_table)}")
            for row in cursor.fetchall():
                found += [_text(each) for each in row]
    return "\n".join(found)


def _text(value: object) -> str:
    return bytes(value).decode(errors="replace") if isinstance(value, (bytes, memoryview)) else str(value)


def test_no_secret_stands_in_any_table_as_it_is() -> None:
    kim = User.objects.create_superuser("kim", "kim@example.com", PASSWORD)
    destination = DestinationFactory.create()
    client = Client()
    client.post("/sign-in/", {"login": "kim", "password": PASSWORD})
    Client().post("/password/reset/", {"email": kim.email})
    [link] = re.findall(r"/password/reset/\w+-([\w-]+)/", str(mail.outbox[0].body))
    reset = Client()
    reset.get(re.findall(r"http://testserver(\S+)", str(mail.outbox[0].body))[0])
    client.post("/account/confirm/", {"password": PASSWORD})
    setting_up = re.findall(
        r'data-copy="([A-Z2-7]{32})"', client.get("/account/second-step/app/").content.decode()
    )
    webhook = {"webhook_url": "https://hooks.example.com/", "webhook_secret": "a secret to sign with"}
    subscribe(destination=destination, user=kim, wishes=Wishes(["on_hold"], **webhook))  # type: ignore[arg-type]
    Account.objects.filter(pk=destination.account_id).update(
        credentials=type(destination.account.credentials).of(
            {"access_key_id": KEY_ID, "secret_access_key": SECRET}
        )
    )
    secrets = {
        "a password": PASSWORD,
        "a token of an inlet": create_inlet(name="Shop", protected=True)[1],
        "an API token": create_token(
            kim, name="x", scopes=[], expires_at=timezone.now() + timedelta(days=1), by=kim
        )[1],
        "credentials of AWS": SECRET,
        "an access key id": KEY_ID,
        "the secret of a webhook": webhook["webhook_secret"],
        "a link for a new password": link,
        "an authenticator app that is being set up": setting_up[0],
        "the cookie of a session": client.cookies[settings.SESSION_COOKIE_NAME].value,
    }
    TOTP.activate(kim, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    secrets["an authenticator app"] = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    for number, code in enumerate(RecoveryCodes.activate(kim).get_unused_codes()):
        secrets[f"recovery code {number}"] = code

    stolen = dump()

    assert "kim@example.com" in stolen and "https://hooks.example.com/" in stolen
    assert {what for what, secret in secrets.items() if secret in stolen} == set()
    assert all(secrets.values()) and len(secrets) > 15


def test_the_keys_of_sessions_let_nobody_in() -> None:
    User.objects.create_superuser("kim", "kim@example.com", PASSWORD)
    client = Client()
    client.post("/sign-in/", {"login": "kim", "password": PASSWORD})
    assert client.get("/destinations/").status_code == 200

    stolen = {session.session_key for session in Session.objects.all()}
    stolen |= {session.session_key for session in UserSession.objects.all()}

    assert stolen
    for key in stolen:
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = key
        assert thief.get("/destinations/").headers["Location"].startswith("/sign-in/")


def test_a_session_that_no_key_opens_is_signed_out(settings: object) -> None:
    User.objects.create_superuser("kim", "kim@example.com", PASSWORD)
    client = Client()
    client.post("/sign-in/", {"login": "kim", "password": PASSWORD})

    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode()]  # type: ignore[attr-defined]

    assert client.get("/destinations/").status_code == 302


def test_sessions_that_have_expired_are_forgotten() -> None:
    old, new = Client(), Client()
    for client, days in ((old, -1), (new, 1)):
        client.force_login(User.objects.create_superuser(f"person {days}"))
        Session.objects.filter(pk=client.session.session_key).update(
            expire_date=timezone.now() + timedelta(days=days)
        )

    forget_sessions()

    assert [session.session_key for session in Session.objects.all()] == [new.session.session_key]
