"""What browsers are told, and what people try: forged forms, others' ids, markup, addresses of other sites."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from access.models import ApiToken
from activation.models import FailedExport, Subscription
from audit.models import Entry
from destinations.models import Account
from governance.models import Label, MarketingAction, Policy
from profiles.models import Inlet, Segment
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)


def signed_in(role: str) -> Client:
    client = Client()
    person = UserFactory.create()
    person.groups.add(Group.objects.get(name=role))
    client.force_login(person)
    return client


# --- Headers -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_no_page_runs_scripts_that_stand_in_it(admin_client: Client) -> None:
    for path in ("/sign-in/", "/destinations/", "/nothing/", "/people/"):
        headers = admin_client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))

        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert "camera=()" in headers["Permissions-Policy"]
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.django_db
def test_only_the_django_admin_has_a_wider_policy(admin_client: Client) -> None:
    policy = admin_client.get("/admin/").headers["Content-Security-Policy"]

    assert "'unsafe-eval'" in policy and "default-src 'self'" in policy


@pytest.mark.django_db
def test_what_the_pages_hold_needs_no_wider_policy(admin_client: Client) -> None:
    DataflowFactory.create(segments=[SegmentFactory.create()])
    for path in (
        "/destinations/",
        "/destinations/catalog/",
        "/segment/new/",
        "/sign-in/",
        "/account/second-step/",
    ):
        page = admin_client.get(path).content.decode()
        inline = re.findall(r"<script(?![^>]*(?:\ssrc=|application/json))[^>]*>", page)
        assert inline == [] and not re.search(r"\s(?:style|on\w+)=\"", page), path


# --- Mass assignment -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_form_changes_only_what_it_shows(admin_client: Client, admin_user: User) -> None:
    kim = UserFactory.create(username="Kim")
    destination, other = DestinationFactory.create(), AccountFactory.create()
    rights = {"is_superuser": "on", "is_staff": "on", "password": "x", "pk": "1", "user_permissions": ["1"]}
    more = {
        "id": "chosen",
        "pk": "chosen",
        "created_by": kim.pk,
        "user": kim.pk,
        "owner": kim.pk,
        "core": "on",
    }

    forms: dict[str, dict[str, Any]] = {
        f"/people/{kim.pk}/edit/": {"username": "Kim", "email": "", **rights},
        "/segment/new/": {"name": "Mine", "rule": "", "action": "draft", "state": "live"},
        "/inlets/new/": {"name": "Mine", "access": "token", "token_digest": "x", "enabled": ""},
        "/governance/labels/new/": {"code": "MINE", "name": "Mine", "kind": "contract"},
        "/governance/marketing-actions/new/": {"name": "Mine"},
        "/governance/policies/new/": {"name": "Mine", "state": "enabled", "action": "next"},
        "/account/tokens/new/": {"name": "Mine", "days": "30", "scopes": "audit.view_entry", "digest": "x"},
        f"/activation/{destination.pk}/alerts/": {"kinds": "on_hold", "by_email": "on", "problem": "x"},
        f"/destinations/{destination.pk}/edit/": {
            "name": "Mine", "version": "1", "stream": "profile-exports", "partition_key": "profile", "id": "",
            "account": other.pk,
        },
    }  # fmt: skip
    for path, fields in forms.items():
        assert admin_client.post(path, {**more, **fields}).status_code in (200, 302), path

    kim.refresh_from_db()
    assert not kim.is_superuser and not kim.is_staff and not kim.user_permissions.exists()
    segment = Segment.objects.get()
    assert segment.pk != "chosen" and segment.state == Segment.State.DRAFT
    inlet = Inlet.objects.get()
    assert (inlet.name, inlet.enabled, inlet.created_by) == ("Mine", True, admin_user)
    assert inlet.pk != "chosen" and inlet.token_digest != "x"
    assert Label.objects.get(code="MINE").kind == Label.Kind.OWN
    assert not MarketingAction.objects.get(name="Mine").core
    policy = Policy.objects.get(name="Mine")
    assert not policy.core and policy.state == Policy.State.DRAFT
    token = ApiToken.objects.get()
    assert token.owner == admin_user and token.digest != "x"
    subscription = Subscription.objects.get()
    assert subscription.user == admin_user and subscription.problem == ""
    destination.refresh_from_db()
    assert destination.name == "Mine" and destination.account != other and destination.created_by is None


@pytest.mark.django_db
def test_a_marketer_who_posts_the_administrators_form_is_refused() -> None:
    client = signed_in("Marketer")

    paths = ["/people/new/", "/people/roles/save/", "/people/roles/new/", "/people/service-accounts/new/"]
    for path in paths:
        assert client.post(path, {"username": "mine", "name": "mine"}).status_code == 403
    assert not User.objects.filter(username="mine").exists()
    refused = Entry.objects.filter(action="access.refused").order_by("pk")
    assert [entry.object_name for entry in refused] == [f"POST {path}" for path in paths]
    assert {str(entry.changes) for entry in refused} == {
        "{'missing': [None, 'access.view_people access.manage_people']}"
    }


# --- Others' ids ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_failure_of_one_destination_is_not_found_under_another() -> None:
    flow, other = DataflowFactory.create(), DataflowFactory.create()
    client = signed_in("Administrator")
    run = flow.runs.create(started_at=timezone.now(), last_at=timezone.now())
    failure = FailedExport.objects.create(
        run=run, profile=ProfileFactory.create(), code="x", kind=FailedExport.Kind.FAILED
    )

    client.post(f"/activation/{other.destination_id}/failures/discard/", {"id": str(failure.pk)})

    assert FailedExport.objects.filter(pk=failure.pk, closed_at=None).exists()


@pytest.mark.django_db
def test_another_persons_single_sign_on_is_not_taken_away() -> None:
    theirs = SocialAccount.objects.create(user=UserFactory.create(), provider="sso", uid="1")
    client = signed_in("Administrator")

    client.post("/account/single-sign-on/", {"account": theirs.pk})

    assert SocialAccount.objects.get() == theirs


# --- Requests that the server is to make ----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:6379/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://[::ffff:169.254.169.254]/",
        "http://0x7f000001/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
def test_an_endpoint_that_the_operator_does_not_allow_is_not_asked(
    admin_client: Client, endpoint: str
) -> None:
    fields = {
        "mode": "new", "action": "connect", "name": "Mine", "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "x" * 40, "region": "us-east-1", "endpoint_url": endpoint,
    }  # fmt: skip

    answer = admin_client.post("/destinations/connect/kinesis/", fields)

    assert answer.status_code == 422 and "id_endpoint_url_error" in answer.content.decode()
    assert not Account.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/", "https://127.0.0.1/", "https://[::1]/", "https://0x7f000001/", "https://2130706433/"],
)  # fmt: skip
def test_a_webhook_that_leads_inside_is_refused_at_its_field(admin_client: Client, url: str) -> None:
    path = f"/activation/{DestinationFactory.create().pk}/alerts/"
    answer = admin_client.post(
        path, {"kinds": "on_hold", "webhook_url": url, "webhook_secret": "a secret of sixteen"}
    )

    assert answer.status_code == 422 and "id_webhook_url_error" in answer.content.decode()
    assert not Subscription.objects.exists()


# --- Other sites ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example/", "/\\evil.example"])
def test_nothing_leads_to_another_site(client: Client, admin_user: User, next_url: str) -> None:
    for path in ("/i18n/setlang/", "/sign-out/"):
        client.force_login(admin_user)
        where = client.post(path, {"language": "ko", "next": next_url}).headers["Location"]
        assert "evil" not in where
