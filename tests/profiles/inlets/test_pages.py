"""Inlets in the browser."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from profiles.inlets import services
from profiles.models import IdentityNamespace, Inlet, InletHour, InletSample, Profile
from tests.factories import UserFactory
from tests.profiles.inlets.conftest import Producer, entity

pytestmark = pytest.mark.django_db

INLETS, NEW = reverse("profiles:inlets"), reverse("profiles:inlet_new")
RIGHTS = ["profiles.view_inlet", "profiles.manage_inlets", "profiles.view_profile"]
FORM = {"name": "Web shop", "access": "token", "namespace": "", "identity_path": ""}


def client(*rights: str) -> Client:
    browser = Client()
    browser.force_login(UserFactory.create(permissions=list(rights)))
    return browser


@pytest.fixture
def manager(db: None) -> Client:
    return client(*RIGHTS)


def url(name: str, inlet: Inlet) -> str:
    return reverse(f"profiles:{name}", args=[inlet.pk])


def page(browser: Client, address: str) -> str:
    response = browser.get(address)
    assert response.status_code == 200
    return unescape(response.content.decode())


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 422
    return dict(response.context["form"].errors)


# --- Making one


def test_an_empty_list_says_what_would_be_here(manager: Client) -> None:
    assert "No inlets yet" in page(manager, INLETS)
    assert "Create inlet" not in page(client("profiles.view_inlet"), INLETS)


def test_the_token_is_shown_once_and_works(manager: Client) -> None:
    response = manager.post(NEW, FORM | {"name": "  Web   shop "})
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    inlet = Inlet.objects.get()
    token = response.context["token"]
    shown = unescape(response.content.decode())
    assert inlet.name == "Web shop" and inlet.created_by is not None
    assert token in shown and len(token) == 43
    assert token not in inlet.token_digest
    assert Producer(inlet, token).message(entity()).status == 200
    for address in (INLETS, url("inlet", inlet), url("inlet_edit", inlet)):
        assert token not in page(manager, address)
        assert inlet.token_digest not in page(manager, address)


def test_an_open_inlet_leads_to_its_page(manager: Client) -> None:
    response = manager.post(NEW, FORM | {"access": "open"}, follow=True)
    inlet = Inlet.objects.get()
    assert response.redirect_chain == [(url("inlet", inlet), 302)]
    assert Producer(inlet).message(entity()).status == 200


@pytest.mark.parametrize(
    "change, field, words",
    [
        ({"name": ""}, "name", "required"),
        ({"name": "x" * 256}, "name", "255"),
        ({"name": "a\0b"}, "name", "Null"),
        ({"name": "TILL"}, "__all__", "There is an inlet with this name already."),
        ({"access": "x"}, "access", "valid choice"),
        ({"namespace": "99999"}, "namespace", "valid choice"),
        ({"namespace": "Email"}, "identity_path", "Say where"),
        ({"identity_path": "a.b"}, "namespace", "Say in which"),
        ({"namespace": "Email", "identity_path": "a..b"}, "identity_path", "dots between"),
        ({"namespace": "Email", "identity_path": "a b"}, "identity_path", "dots between"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_told_at_its_field(
    manager: Client, change: dict[str, str], field: str, words: str
) -> None:
    services.create_inlet(name="Till", protected=True)
    if "namespace" in change and change["namespace"] == "Email":
        change = change | {"namespace": str(IdentityNamespace.objects.get(code="Email").pk)}
    found = errors(manager.post(NEW, FORM | change))
    assert any(words in message for message in found[field]), found
    assert Inlet.objects.count() == 1


def test_two_at_once_with_one_name_are_told_apart() -> None:
    services.create_inlet(name="Till", protected=True)
    with pytest.raises(ValidationError, match="already"):
        services.create_inlet(name="till", protected=False)


# --- One inlet


def command(shown: str) -> str:
    found = re.search(r"(curl -X POST .*?)</code>", shown, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize(
    "code, path",
    [(None, ""), ("Email", "personalEmail.address"), ("CRMID", "person"), ("CRMID", "person.name")],
)
def test_the_command_to_copy_posts_a_customer(manager: Client, code: str | None, path: str) -> None:
    namespace = IdentityNamespace.objects.get(code=code) if code else None
    inlet, token = services.create_inlet(name="Till", protected=True, namespace=namespace, identity_path=path)
    curl = command(page(manager, url("inlet", inlet)))
    assert f"http://testserver/collection/{inlet.pk}?syncValidation=true" in curl
    assert "Bearer $INLET_TOKEN" in curl
    body = curl.partition("-d '")[2].removesuffix("'")
    assert Producer(inlet, token).raw("collect", body.encode()).status == 200
    assert Profile.objects.count() == 1


def test_an_open_inlet_is_posted_to_without_a_token(manager: Client, inlet: Inlet) -> None:
    assert "Bearer" not in command(page(manager, url("inlet", inlet)))


def test_the_page_tells_the_traffic(manager: Client, inlet: Inlet) -> None:
    assert "no message yet" in page(manager, url("inlet", inlet))
    producer = Producer(inlet)
    for _time in range(2):
        producer.batch(*(entity(str(number)) for number in range(600)))
    producer.batch("<b>nonsense</b>")
    shown = page(manager, url("inlet", inlet))
    assert "1,200" in shown and "not a JSON object" in shown and "nonsense" in shown
    assert "<b>nonsense" not in manager.get(url("inlet", inlet)).content.decode()
    assert shown.count('<rect class="plot-') >= 2
    listed = page(manager, INLETS)
    assert "1,200" in listed and "Web shop" in listed


def test_the_traffic_is_told_by_the_day_too(manager: Client, inlet: Inlet) -> None:
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for ago, accepted in ((0, 5), (2, 1200), (40, 7)):
        for hour in (0, 1):
            start = today - timedelta(days=ago) + timedelta(hours=hour)
            InletHour.objects.create(inlet=inlet, started_at=start, last_at=start, accepted=accepted)
    shown = page(manager, f"{url('inlet', inlet)}?by=day")
    assert "at most 2,400 in a day" in shown
    assert len(manager.get(f"{url('inlet', inlet)}?by=day").context["points"]) == 30
    assert "?by=day" in shown.partition('hx-get="')[2].partition('"')[0]


def test_why_a_message_was_rejected_is_said_in_the_reader_s_language(manager: Client, inlet: Inlet) -> None:
    answer = Producer(inlet).message({"body": {"xdmEntity": {"identityMap": {"Fax": [{"id": "1"}]}}}})
    Producer(inlet).raw("collect", b'{"body": {"xdmEntity": {"a\\u0000": 1, "a\\u0000": 2}}}')
    InletSample.objects.create(inlet=inlet, reason="Noted before reasons had parameters: 100%")
    english = page(manager, url("inlet", inlet))
    manager.cookies["django_language"] = "ko"
    korean = page(manager, url("inlet", inlet))
    assert "“Fax”" in answer.detail and answer.detail in english
    assert answer.detail not in korean and "Fax" in korean.partition("samples-title")[2]
    for shown in (english, korean):
        assert "a\\0" in shown and "parameters: 100%" in shown


def test_messages_are_shown_only_to_those_who_may_see_profiles(inlet: Inlet) -> None:
    Producer(inlet).message({"secret": "customer"})
    assert "customer" in page(client(*RIGHTS), url("inlet", inlet)).partition("Rejected samples")[2]
    shown = page(client("profiles.view_inlet"), url("inlet", inlet)).partition("Rejected samples")[2]
    assert "body.xdmEntity" in shown and "customer" not in shown.partition("</table>")[0]


def test_who_may_only_look_finds_nothing_to_press(inlet: Inlet) -> None:
    viewer = client("profiles.view_inlet")
    shown = page(viewer, url("inlet", inlet))
    for name in ("inlet_edit", "inlet_token", "inlet_switch", "inlet_delete"):
        assert url(name, inlet) not in shown
        assert viewer.post(url(name, inlet)).status_code == 403


def test_inlets_are_edited(manager: Client, inlet: Inlet) -> None:
    namespace = IdentityNamespace.objects.get(code="CRMID")
    form = {
        "name": "Till",
        "namespace": str(namespace.pk),
        "identity_path": "_ours.number",
        "normalise": "on",
    }
    assert manager.post(url("inlet_edit", inlet), form).status_code == 302
    inlet.refresh_from_db()
    assert (inlet.name, inlet.namespace, inlet.identity_path, inlet.normalise) == (
        "Till", namespace, "_ours.number", True,
    )  # fmt: skip
    services.create_inlet(name="Other", protected=True)
    found = errors(manager.post(url("inlet_edit", inlet), form | {"name": "OTHER"}))
    assert "already" in str(found)


def test_a_new_token_ends_the_old_one_and_closes_an_open_inlet(manager: Client, inlet: Inlet) -> None:
    first = manager.post(url("inlet_token", inlet)).context["token"]
    assert Producer(inlet).message(entity()).status == 401
    second = manager.post(url("inlet_token", inlet)).context["token"]
    assert Producer(inlet, first).message(entity()).status == 403
    assert Producer(inlet, second).message(entity()).status == 200
    assert manager.get(url("inlet_token", inlet)).status_code == 405


def test_an_inlet_is_disabled_and_enabled(manager: Client, inlet: Inlet) -> None:
    assert manager.post(url("inlet_switch", inlet), {"enabled": "0"}).status_code == 302
    assert Producer(inlet).message(entity()).status == 403
    assert "Disabled" in page(manager, url("inlet", inlet))
    manager.post(url("inlet_switch", inlet), {"enabled": "1"})
    assert Producer(inlet).message(entity()).status == 200


def test_an_inlet_is_deleted_and_the_customers_stay(manager: Client, inlet: Inlet) -> None:
    Producer(inlet).batch(entity(), "nonsense")
    assert "stay" in page(manager, url("inlet_delete", inlet))
    assert manager.post(url("inlet_delete", inlet)).headers["Location"] == INLETS
    assert not Inlet.objects.exists() and not InletSample.objects.exists()
    assert Profile.objects.count() == 1
    assert Producer(inlet).message(entity()).status == 404
    assert manager.get(url("inlet_delete", inlet)).status_code == 404
    assert manager.post(url("inlet_delete", inlet)).status_code == 302


def test_inlets_are_found_by_name(manager: Client, inlet: Inlet) -> None:
    services.create_inlet(name="Till", protected=True)
    assert [each.name for each, _traffic in manager.get(INLETS, {"q": "SHOP"}).context["rows"]] == [
        "Web shop"
    ]
    assert "No inlet found" in page(manager, f"{INLETS}?q=%00")


def test_pages_have_few_queries_however_much_there_is(manager: Client, inlet: Inlet) -> None:
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            page(manager, address)
        return len(captured)

    Producer(inlet).message({})
    few = queries(INLETS), queries(url("inlet", inlet))
    for number in range(10):
        other = services.create_inlet(name=f"Till {number}", protected=True)[0]
        Producer(inlet).message({"n": number})
        Producer(other).message({})
    assert (queries(INLETS), queries(url("inlet", inlet))) == few
    assert max(few) <= 9


# --- The Django admin


@pytest.fixture
def admin(db: None) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


def test_the_admin_shows_and_deletes_and_tells_no_secret(admin: Client, inlet: Inlet) -> None:
    services.new_token(inlet)
    change = reverse("admin:profiles_inlet_change", args=[inlet.pk])
    for address in (reverse("admin:profiles_inlet_changelist"), change):
        shown = page(admin, address)
        assert "Web shop" in shown and inlet.token_digest not in shown
    assert admin.get(reverse("admin:profiles_inlet_add")).status_code == 403
    assert admin.post(change, {"name": "x"}).status_code == 403
    admin.post(reverse("admin:profiles_inlet_delete", args=[inlet.pk]), {"post": "yes"})
    assert not Inlet.objects.exists()


def test_a_namespace_that_an_inlet_needs_is_not_deleted(admin: Client) -> None:
    namespace = IdentityNamespace.objects.create(code="OURS", name="Ours")
    services.create_inlet(name="Till", protected=True, namespace=namespace, identity_path="_ours.number")
    where = reverse("admin:profiles_identitynamespace_delete", args=[namespace.pk])
    assert "in use by Till" in page(admin, where)
    admin.post(where, {"post": "yes"})
    assert IdentityNamespace.objects.filter(code="OURS").exists()
