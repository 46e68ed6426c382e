"""API tokens: shown once, stored as a digest, no more than owner and scopes allow, until they expire."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from access import services
from access.models import ApiToken, Role
from access.tokens import digest
from audit.models import Entry
from tests.access.conftest import person, signed_in


def made(owner: User, *scopes: str, days: float = 30) -> tuple[ApiToken, str]:
    return services.create_token(
        owner, name="Grafana", scopes=scopes, expires_at=timezone.now() + timedelta(days=days), by=owner
    )


def who(token: str) -> tuple[int, dict[str, object]]:
    answer = Client().get("/api/token", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json()


@pytest.fixture
def auditor(db: None) -> User:
    return person("Auditor", username="Oh")


def test_a_token_is_shown_once_and_stored_as_a_digest(auditor: User) -> None:
    client = signed_in(auditor)

    fields = {"name": "Grafana", "days": "30", "scopes": ["activation.view_monitoring"]}
    page = client.post("/account/tokens/new/", fields)

    [text] = set(re.findall(r"ka_[\w-]{43}", page.content.decode()))
    token = ApiToken.objects.get()
    assert token.digest == digest(text) and token.owner == auditor
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)
    assert text not in client.get("/account/tokens/").content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM access_apitoken")
        assert text not in repr(cursor.fetchall())


def test_a_token_may_what_its_owner_may_as_far_as_its_scopes_say(auditor: User) -> None:
    _token, text = made(auditor, "activation.view_monitoring", "profiles.view_segment")

    assert who(text) == (
        200,
        {"owner": "Oh", "rights": ["activation.view_monitoring", "profiles.view_segment"]},
    )
    Group.objects.get(name="Auditor").permissions.remove(Permission.objects.get(codename="view_segment"))
    assert who(text)[1]["rights"] == ["activation.view_monitoring"]


def test_a_superusers_token_is_no_superuser(admin_user: User) -> None:
    _token, text = made(admin_user, "profiles.view_segment")

    assert who(text)[1]["rights"] == ["profiles.view_segment"]
    assert metrics(text) == 403


def test_a_scope_that_the_owner_has_not_is_refused(auditor: User) -> None:
    answer = signed_in(auditor).post(
        "/account/tokens/new/", {"name": "x", "days": "30", "scopes": ["profiles.view_profile"]}
    )

    assert answer.status_code == 422
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("days", ["0", "36500", "x", ""])
def test_a_token_expires_when_the_page_says_and_not_later(auditor: User, days: str) -> None:
    fields = {"name": "x", "days": days, "scopes": ["profiles.view_segment"]}

    assert signed_in(auditor).post("/account/tokens/new/", fields).status_code == 422


@pytest.mark.parametrize("reason", ["expired", "deactivated", "revoked", "unknown", "missing", "basic"])
def test_what_is_no_token_any_more_is_refused(auditor: User, reason: str) -> None:
    token, text = made(auditor, "profiles.view_segment", days=-1 if reason == "expired" else 30)
    if reason == "deactivated":
        User.objects.filter(pk=auditor.pk).update(is_active=False)
    if reason == "revoked":
        signed_in(auditor).post(f"/account/tokens/{token.pk}/revoke/")
    headers = {"unknown": "Bearer ka_no", "missing": "", "basic": f"Basic {text}"}

    answer = Client().get("/api/token", headers={"Authorization": headers.get(reason, f"Bearer {text}")})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_others_tokens_are_as_if_they_were_not(auditor: User) -> None:
    token, _text = made(auditor, "profiles.view_segment")

    answer = signed_in(person("Marketer")).post(f"/account/tokens/{token.pk}/revoke/")

    assert answer.status_code == 404
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_a_session_is_no_token(auditor: User) -> None:
    assert signed_in(auditor).get("/api/token").status_code == 401


def test_the_last_use_is_known(auditor: User) -> None:
    token, text = made(auditor, "profiles.view_segment")

    who(text)

    token.refresh_from_db()
    assert token.last_used_at is not None and timezone.now() - token.last_used_at < timedelta(minutes=1)


def test_a_token_is_not_used_too_often(auditor: User, settings: Settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2
    _token, text = made(auditor, "profiles.view_segment")

    # The minute may end between two of them, but not twice.
    assert 429 in [who(text)[0] for _ in range(5)]


def test_a_service_account_has_tokens_and_no_way_to_sign_in(client: Client) -> None:
    client.post(
        "/people/service-accounts/new/",
        {"username": "nightly", "description": "Reports", "roles": [Role.objects.get(name="Auditor").pk]},
    )
    robot = User.objects.get(username="nightly")
    page = client.post(
        f"/people/{robot.pk}/tokens/new/",
        {"name": "cron", "days": "7", "scopes": ["activation.view_monitoring"]},
    )

    [text] = set(re.findall(r"ka_[\w-]{43}", page.content.decode()))
    assert who(text)[1] == {"owner": "nightly", "rights": ["activation.view_monitoring"]}
    assert client.post(f"/people/{robot.pk}/link/").status_code == 404
    assert not robot.has_usable_password() and not robot.email
    assert "nightly" not in client.get("/people/").content.decode()
    client.post(f"/people/{robot.pk}/switch/", {"active": "0"})
    assert who(text)[0] == 401


def test_nobody_makes_tokens_for_a_person_but_the_person(client: Client, auditor: User) -> None:
    assert client.get(f"/people/{auditor.pk}/tokens/new/").status_code == 404


# --- /metrics ------------------------------------------------------------------------------------------------------


def metrics(token: str) -> int:
    elsewhere = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.1"}
    return Client().get("/metrics", headers=elsewhere).status_code


def test_prometheus_may_use_a_token_that_may_view_monitoring(auditor: User) -> None:
    assert metrics(made(auditor, "activation.view_monitoring")[1]) == 200
    assert metrics(made(auditor, "profiles.view_segment")[1]) == 403
    assert metrics("ka_nothing") == 401
    refused = Entry.objects.get(action="access.refused")
    assert (refused.actor, refused.object_name) == ("Oh", "GET /metrics")
    assert refused.changes == {"missing": [None, "activation.view_monitoring"]}
