"""Signing in: passwords, limits, the second step, sessions, single sign-on."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from audit.models import Entry
from tests.access.conftest import person, signed_in

EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0"
PASSWORD = "correct horse, battery"


@pytest.fixture
def kim(db: None) -> User:
    made = person("Marketer", username="Kim", email="kim@example.com")
    made.set_password(PASSWORD)
    made.save()
    return made


def sign_in(client: Client, login: str = "Kim", password: str = PASSWORD, **more: str) -> object:
    return client.post("/sign-in/", {"login": login, "password": password, **more})


def confirm(client: Client) -> None:
    """Type the password once more, as who changes how they sign in is asked to."""
    client.post("/account/confirm/", {"password": PASSWORD})


def code(secret: str) -> str:
    """What an authenticator app shows now."""
    counter = next(iter(yield_hotp_counters_from_time()))
    shown: str = format_hotp_value(hotp_value(secret, counter))
    return shown


# --- Passwords -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["Kim", "kim@example.com", "KIM@example.com"])
def test_one_signs_in_with_name_or_address(kim: User, login: str) -> None:
    client = Client()

    assert sign_in(client, login, next="/segments/").headers["Location"] == "/segments/"  # type: ignore[attr-defined]
    assert client.get("/segments/").status_code == 200


@pytest.mark.parametrize("login", ["Kim", "nobody", "kim@example.com", "nobody@example.com"])
def test_a_wrong_password_and_an_unknown_name_look_the_same(kim: User, login: str) -> None:
    page = sign_in(Client(), login, "wrong").content.decode()  # type: ignore[attr-defined]

    assert "You were not signed in" in page and "Check both and try again." in page


def test_after_five_failures_the_right_password_waits_too(kim: User) -> None:
    client = Client()
    for _ in range(5):
        sign_in(client, password="wrong")

    page = sign_in(client).content.decode()  # type: ignore[attr-defined]

    assert "Too many failed attempts." in page
    assert client.get("/segments/").status_code == 302
    # Five that failed, and once that there were too many.
    sign_in(client)
    assert Entry.objects.filter(action="session.refused", object_name="Kim").count() == 6


@pytest.mark.parametrize(
    "next_url",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
    ],
)
def test_signing_in_leads_to_no_other_site(kim: User, next_url: str) -> None:
    assert sign_in(Client(), next=next_url).headers["Location"] == "/"  # type: ignore[attr-defined]


@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example/", "/\\evil.example"])
def test_confirming_and_the_second_step_lead_to_no_other_site(kim: User, next_url: str) -> None:
    client = Client()
    sign_in(client)
    confirmed = client.post(f"/account/confirm/?next={next_url}", {"password": PASSWORD, "next": next_url})
    assert confirmed.headers["Location"] == "/"

    TOTP.activate(kim, "A" * 32)
    codes = RecoveryCodes.activate(kim).get_unused_codes()
    again = Client()
    sign_in(again, next=next_url)
    done = again.post(f"/sign-in/second-step/?next={next_url}", {"code": codes[0], "next": next_url})
    assert done.headers["Location"] == "/"


@pytest.mark.parametrize(
    ("chosen", "error"),
    [
        ("short", "This password is too short."),
        ("password123", "This password is too common."),
        ("48151623421", "This password is entirely numeric."),
        ("kim@example.com", "The password is too similar to the email address."),
    ],
)
def test_a_weak_password_is_refused(kim: User, chosen: str, error: str) -> None:
    fields = {"oldpassword": PASSWORD, "password1": chosen, "password2": chosen}

    page = signed_in(kim).post("/account/password/", fields).content.decode()

    assert error in page


def test_changing_the_password_ends_the_other_sessions_and_tells_the_owner(kim: User) -> None:
    here, there = Client(), Client()
    sign_in(here)
    sign_in(there)

    fields = {"oldpassword": PASSWORD, "password1": "another one, long", "password2": "another one, long"}
    here.post("/account/password/", fields)

    assert here.get("/segments/").status_code == 200
    assert there.get("/segments/").status_code == 302


def test_a_forgotten_password_comes_by_mail_to_who_has_an_account_only(kim: User) -> None:
    known = Client().post("/password/reset/", {"email": "kim@example.com"})
    unknown = Client().post("/password/reset/", {"email": "nobody@example.com"})

    assert known.headers["Location"] == unknown.headers["Location"] == "/password/reset/sent/"
    [sent] = mail.outbox
    assert sent.to == ["kim@example.com"]
    assert sent.subject == "[Kinesis Admin] Choose a new password"
    assert re.search(r"http://testserver/password/reset/\w+-[\w-]+/", str(sent.body))


def test_nobody_signs_up() -> None:
    for path in ("/signup/", "/sign-up/", "/accounts/signup/"):
        assert Client().get(path).status_code == 404


# --- The second step -----------------------------------------------------------------------------------------------


def test_an_authenticator_app_is_set_up_and_asked_for(kim: User) -> None:
    client = Client()
    sign_in(client)
    asked = client.get("/account/second-step/app/").headers["Location"]
    assert asked.startswith("/account/confirm/?next=")
    confirm(client)
    page = client.get("/account/second-step/app/").content.decode()
    [secret] = set(re.findall(r'data-copy="([A-Z2-7]{32})"', page))

    done = client.post("/account/second-step/app/", {"code": code(secret)})

    assert done.headers["Location"] == "/account/second-step/codes/"
    codes = re.findall(r"\b\d{8}\b", client.get("/account/second-step/codes/").content.decode())
    assert len(set(codes)) == 10
    # Nothing that opens the account is readable in the database.
    stored = repr(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored and not any(each in stored for each in codes)

    again = Client()
    assert sign_in(again, next="/segments/").headers["Location"] == "/sign-in/second-step/"  # type: ignore[attr-defined]
    assert again.get("/segments/").status_code == 302
    assert "Incorrect code." in again.post("/sign-in/second-step/", {"code": "000000"}).content.decode()
    assert again.post("/sign-in/second-step/", {"code": codes[0]}).headers["Location"] == "/segments/"
    assert again.get("/segments/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_trail_tells_of_second_steps_that_came_went_or_failed(kim: User) -> None:
    client = Client()
    sign_in(client)
    confirm(client)
    page = client.get("/account/second-step/app/").content.decode()
    [secret] = set(re.findall(r'data-copy="([A-Z2-7]{32})"', page))
    client.post("/account/second-step/app/", {"code": code(secret)})
    thief = Client()
    sign_in(thief)
    thief.post("/sign-in/second-step/", {"code": "000000"})
    client.post("/account/second-step/codes/new/")
    client.post("/account/second-step/app/remove/")

    told = Entry.objects.exclude(action="session.signed_in").filter(object_name="Kim").order_by("pk")
    assert [(entry.actor, entry.action, entry.changes) for entry in told][-6:] == [
        ("Kim", "user.second_step_added", {"second_step": [None, "totp"]}),
        ("Kim", "user.second_step_added", {"second_step": [None, "recovery_codes"]}),
        ("anonymous", "session.refused", {"second_step": [None, "totp"]}),
        ("Kim", "user.recovery_codes_made", {}),
        ("Kim", "user.second_step_removed", {"second_step": ["totp", None]}),
        ("Kim", "user.second_step_removed", {"second_step": ["recovery_codes", None]}),
    ]


def test_the_django_admin_asks_for_the_second_step_too(admin_user: User) -> None:
    TOTP.activate(admin_user, "A" * 32)
    client = Client()

    assert client.get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    login = client.get("/admin/login/?next=/admin/").headers["Location"]
    assert parse_qs(urlsplit(login).query)["next"] == ["/admin/"] and login.startswith("/sign-in/")
    assert client.post("/admin/login/", {"username": "admin", "password": "password"}).status_code == 302
    client.post("/sign-in/", {"login": "admin", "password": "password"})
    assert client.get("/admin/").status_code == 302


def test_keys_are_changed_for_second_steps_too(kim: User, settings: Settings) -> None:
    TOTP.activate(kim, "B" * 32)
    codes = RecoveryCodes.activate(kim).get_unused_codes()
    old = settings.CREDENTIAL_KEYS

    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode(), *old]
    call_command("rotate_credential_keys")
    settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS[:1]

    client = Client()
    sign_in(client)
    assert client.post("/sign-in/second-step/", {"code": codes[3]}).headers["Location"] == "/"


def test_passkeys_of_others_are_as_if_they_were_not(kim: User) -> None:
    key = Authenticator.objects.create(
        user=person(), type=Authenticator.Type.WEBAUTHN, data={"name": "theirs"}
    )
    client = Client()
    sign_in(client)
    confirm(client)

    assert client.get(f"/account/second-step/passkeys/{key.pk}/").status_code == 404
    assert client.post(f"/account/second-step/passkeys/{key.pk}/remove/").status_code == 404


# --- Sessions ------------------------------------------------------------------------------------------------------


def test_a_session_is_signed_out_from_another(kim: User) -> None:
    here, there = Client(headers={"user-agent": EDGE}), Client(headers={"user-agent": "Lynx"})
    sign_in(here)
    sign_in(there)
    page = here.get("/account/sessions/").content.decode()
    assert ">Lynx<" in page and ">Microsoft Edge on Windows<" in page

    here.post(f"/account/sessions/{UserSession.objects.get(user_agent='Lynx').pk}/end/")

    assert there.get("/segments/").status_code == 302
    assert here.get("/segments/").status_code == 200


def test_the_sessions_of_others_are_as_if_they_were_not(kim: User) -> None:
    sign_in(Client())

    answer = signed_in(person()).post(f"/account/sessions/{UserSession.objects.get().pk}/end/")

    assert answer.status_code == 404 and UserSession.objects.count() == 1


# --- Single sign-on ------------------------------------------------------------------------------------------------


class Provider(BaseHTTPRequestHandler):
    """An OpenID Connect provider that says whatever ``person`` is."""

    person: dict[str, object] = {}

    def do_GET(self) -> None:
        url = f"http://{self.headers['Host']}"
        if self.path == "/.well-known/openid-configuration":
            names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
            self._say({"issuer": url} | {name: f"{url}/{name}" for name in names})
        else:
            self._say(self.person)

    def do_POST(self) -> None:
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert sent["code"] == ["the-code"] and sent["code_verifier"]
        self._say({"access_token": "x", "token_type": "Bearer"})

    def _say(self, what: object) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def sso(settings: Settings) -> Iterator[str]:
    """A provider that listens, configured as OIDC_ISSUER does it; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        configured = {
            "provider_id": "sso",
            "name": "Acme",
            "client_id": "ka",
            "secret": "s",
            "settings": {"server_url": url},
        }
        settings.SOCIALACCOUNT_PROVIDERS = {
            "openid_connect": {"OAUTH_PKCE_ENABLED": True, "VERIFIED_EMAIL": False, "APPS": [configured]}
        }
        yield url
        server.shutdown()


def test_without_a_provider_nothing_of_it_is_there(kim: User) -> None:
    assert "Sign in with <" not in Client().get("/sign-in/").content.decode()
    assert Client().post("/sign-in/with/sso/").status_code == 404


def test_the_provider_is_offered_and_asked_with_a_form(sso: str, kim: User) -> None:
    page = Client().get("/sign-in/").content.decode()

    assert "Sign in with Acme" in page and 'action="/sign-in/with/sso/' in page


def _through(sso: str, client: Client, email: str, *, verified: bool) -> HttpResponse:
    """There and back again, as the browser goes."""
    Provider.person = {"sub": "42", "email": email, "email_verified": verified}
    away = client.post("/sign-in/with/sso/?next=/segments/").headers["Location"]
    assert away.startswith(f"{sso}/authorization_endpoint?")
    state = parse_qs(urlsplit(away).query)["state"][0]
    return client.get("/sign-in/with/sso/callback/", {"code": "the-code", "state": state})  # type: ignore[return-value]


def test_who_the_provider_knows_and_we_do_gets_in(sso: str, kim: User) -> None:
    client = Client()

    answer = _through(sso, client, "kim@example.com", verified=True)

    assert answer.headers["Location"] == "/segments/"
    assert client.get("/segments/").status_code == 200
    assert SocialAccount.objects.get().user == kim


def test_an_answer_that_nobody_asked_for_is_refused(sso: str, kim: User) -> None:
    answer = Client().get("/sign-in/with/sso/callback/", {"code": "the-code", "state": "made up"})

    assert "Signing in did not work" in answer.content.decode()


@pytest.mark.parametrize(
    ("email", "verified"), [("stranger@example.com", True), ("kim@example.com", False)]
)  # fmt: skip
def test_whom_we_do_not_know_or_the_provider_has_not_checked_stays_out(
    sso: str, kim: User, email: str, verified: bool
) -> None:
    client = Client()

    answer = _through(sso, client, email, verified=verified)

    assert "You have no account here" in answer.content.decode()
    assert client.get("/segments/").status_code == 302
    assert User.objects.count() == 1
