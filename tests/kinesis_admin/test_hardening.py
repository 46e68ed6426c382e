"""What browsers are told, and what people try: forged forms, others' ids, markup, addresses of other sites."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from activation.models import FailedExport
from destinations.models import Account
from profiles.models import Segment
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


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


# --- Forged forms --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/sign-in/", "/sign-out/", "/people/new/", "/account/tokens/new/", "/account/password/", "/segment/new/"]
)  # fmt: skip
def test_a_form_of_another_site_is_refused(admin_user: User, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.post(path, {"name": "x"}).status_code == 403


# --- Mass assignment -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_form_changes_only_what_it_shows(admin_client: Client) -> None:
    kim = UserFactory.create(username="Kim")
    more = {"is_superuser": "on", "is_staff": "on", "password": "x", "pk": "1", "user_permissions": ["1"]}

    admin_client.post(f"/people/{kim.pk}/edit/", {"username": "Kim", "email": "", **more})
    admin_client.post("/segment/new/", {"name": "Mine", "rule": "", "id": "chosen", "state": "live"})

    kim.refresh_from_db()
    assert not kim.is_superuser and not kim.is_staff and not kim.user_permissions.exists()
    assert not Segment.objects.filter(pk="chosen").exists()


@pytest.mark.django_db
def test_a_marketer_who_posts_the_administrators_form_is_refused() -> None:
    client = signed_in("Marketer")

    for path in (
        "/people/new/",
        "/people/roles/save/",
        "/people/roles/new/",
        "/people/service-accounts/new/",
    ):
        assert client.post(path, {"username": "mine", "name": "mine"}).status_code == 403
    assert not User.objects.filter(username="mine").exists()


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


# --- Other sites ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example/", "/\\evil.example"])
def test_nothing_leads_to_another_site(client: Client, admin_user: User, next_url: str) -> None:
    for path in ("/i18n/setlang/", "/sign-out/"):
        client.force_login(admin_user)
        where = client.post(path, {"language": "ko", "next": next_url}).headers["Location"]
        assert "evil" not in where


# --- Markup --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_names_with_markup_are_text_everywhere(admin_client: Client) -> None:
    account = AccountFactory.create(name=MARKUP)
    destination = DestinationFactory.create(account=account, name=MARKUP, description=MARKUP)
    segment = SegmentFactory.create(name=MARKUP, description=MARKUP)
    DataflowFactory.create(destination=destination, segments=[segment])
    profile = ProfileFactory.create(attributes={"person": {"name": {"firstName": MARKUP}}, MARKUP: MARKUP})
    kim = UserFactory.create(username="kim", first_name=MARKUP[:150], email="kim@example.com")
    Group.objects.create(name=MARKUP)

    for path in (
        "/destinations/browse/", "/destinations/accounts/", f"/destinations/{destination.pk}/",
        f"/destinations/{destination.pk}/delete/", f"/destinations/accounts/{account.pk}/edit/",
        f"/activation/{destination.pk}/data/", f"/activation/{destination.pk}/segments/", "/segments/",
        f"/segments/{segment.pk}/", "/profiles/", f"/profiles/{profile.pk}/", "/people/", f"/people/{kim.pk}/",
        "/people/roles/",
    ):  # fmt: skip
        page = admin_client.get(path)
        assert page.status_code == 200, path
        assert "<script>alert" not in page.content.decode() and "<img src=x" not in page.content.decode(), (
            path
        )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/destinations/browse/",
        "/destinations/catalog/",
        "/segments/",
        "/profiles/",
        "/schema/",
        "/inlets/",
        "/people/",
    ],
)
def test_what_is_searched_for_comes_back_as_text(admin_client: Client, path: str) -> None:
    query = {"q": MARKUP, "sort": MARKUP, "page": MARKUP, "role": MARKUP, "status": MARKUP, "next": MARKUP}
    page = admin_client.get(path, query)

    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode() and "<img src=x" not in page.content.decode()
