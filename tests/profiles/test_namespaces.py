"""Identity namespaces of a team's own."""

from __future__ import annotations

from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.translation import override

from profiles.ingest import Fragment, Result, ingest
from profiles.inlets.services import create_inlet
from profiles.models import IdentityNamespace, Segment
from tests.factories import DestinationFactory, IdentityFactory, NamespaceFactory, SegmentFactory, UserFactory

pytestmark = pytest.mark.django_db

NAMESPACES, NEW = reverse("profiles:namespaces"), reverse("profiles:namespace_new")
FORM = {"code": "LoyaltyCard", "name": " Number of the  card ", "type": "CROSS_DEVICE"}


def client(*rights: str) -> Client:
    browser = Client()
    browser.force_login(UserFactory.create(permissions=list(rights)))
    return browser


@pytest.fixture
def manager(db: None) -> Client:
    return client("profiles.view_identitynamespace", "profiles.manage_namespaces")


@pytest.fixture
def own(db: None) -> IdentityNamespace:
    return NamespaceFactory.create(code="LoyaltyCard", name="Card")


def url(name: str, namespace: IdentityNamespace) -> str:
    return reverse(f"profiles:namespace_{name}", args=[namespace.pk])


def page(browser: Client, address: str) -> str:
    response = browser.get(address)
    assert response.status_code == 200
    return unescape(response.content.decode())


def test_an_own_namespace_is_made_and_identities_come_in_with_it(manager: Client) -> None:
    assert manager.post(NEW, FORM).headers["Location"] == NAMESPACES
    made = IdentityNamespace.objects.get(custom=True)
    assert (made.code, made.name, made.type) == ("LoyaltyCard", "Number of the card", "CROSS_DEVICE")
    [outcome] = ingest([Fragment([("loyaltycard", "1")])])
    assert outcome.result == Result.CREATED
    assert '<code class="dim">loyaltycard</code>' in page(manager, f"{NAMESPACES}?own=1")


@pytest.mark.parametrize(
    "change, field, words",
    [
        ({"code": ""}, "code", "required"),
        ({"code": "a b"}, "code", "letters, digits and underscores"),
        ({"code": "1st"}, "code", "begins with a letter"),
        ({"code": "카드"}, "code", "letters"),
        ({"code": "x" * 65}, "code", "64"),
        ({"code": "EMAIL"}, "code", "already"),
        ({"name": " "}, "name", "required"),
        ({"name": "a\0"}, "name", "Null"),
        ({"type": "FAX"}, "type", "valid choice"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_told_at_its_field(
    manager: Client, change: dict[str, str], field: str, words: str
) -> None:
    response = manager.post(NEW, FORM | change)
    assert response.status_code == 422
    assert any(words in message for message in response.context["form"].errors[field])
    assert not IdentityNamespace.objects.filter(custom=True).exists()


def test_name_and_type_are_changed_and_the_code_stays(manager: Client, own: IdentityNamespace) -> None:
    changed = FORM | {"code": "Other", "type": "DEVICE"}
    assert manager.post(url("edit", own), changed).status_code == 302
    own.refresh_from_db()
    assert (own.code, own.name, own.type) == ("LoyaltyCard", "Number of the card", "DEVICE")


def test_one_that_nothing_uses_is_deleted_and_once_is_enough(manager: Client, own: IdentityNamespace) -> None:
    assert "Nothing uses it" in page(manager, url("delete", own))
    for _click in range(2):
        assert manager.post(url("delete", own)).headers["Location"] == NAMESPACES
    assert not IdentityNamespace.objects.filter(custom=True).exists()
    assert manager.get(url("delete", own)).status_code == 404


@pytest.mark.parametrize("what", ["identity", "inlet", "rule", "draft", "partition key"])
def test_one_in_use_is_not_deleted_and_the_page_says_by_what(
    manager: Client, own: IdentityNamespace, what: str
) -> None:
    if what == "identity":
        IdentityFactory.create(namespace=own)
        words = "Customers have identities in it."
    elif what == "inlet":
        create_inlet(name="Till", protected=True, namespace=own, identity_path="a.b")
        words = "Till"
    elif what == "partition key":
        DestinationFactory.create(name="Till", partition_key="identity:LoyaltyCard")
        words = "Till"
    else:
        SegmentFactory.create(
            name="Till",
            rule='isNotNull(identityMap.get("loyaltycard"))',
            state=Segment.State.LIVE if what == "rule" else Segment.State.DRAFT,
        )
        words = "Till"
    response = manager.post(url("delete", own))
    assert response.status_code == 422
    assert words in unescape(response.content.decode())
    assert IdentityNamespace.objects.filter(pk=own.pk).exists()


def test_the_admin_refuses_too_one_by_one_and_many_at_once(own: IdentityNamespace) -> None:
    DestinationFactory.create(name="Till", partition_key="identity:LoyaltyCard")
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    many = {"action": "delete_selected", "_selected_action": [str(own.pk)], "post": "yes"}
    for address, form in (
        (reverse("admin:profiles_identitynamespace_delete", args=[own.pk]), {"post": "yes"}),
        (reverse("admin:profiles_identitynamespace_changelist"), many),
    ):
        assert "in use by Till" in unescape(admin.post(address, form, follow=True).content.decode())
    assert IdentityNamespace.objects.filter(pk=own.pk).exists()


def test_a_rule_that_only_holds_the_word_is_not_in_the_way(manager: Client, own: IdentityNamespace) -> None:
    SegmentFactory.create(rule='person.name.firstName = "LoyaltyCard"')
    SegmentFactory.create(rule="LoyaltyCard (")
    assert manager.post(url("delete", own)).status_code == 302


def test_core_namespaces_stay_as_they_came(manager: Client) -> None:
    core = IdentityNamespace.objects.get(code="Email")
    for name in ("edit", "delete"):
        assert manager.get(url(name, core)).status_code == 404
    manager.post(url("edit", core), FORM)
    manager.post(url("delete", core))
    assert IdentityNamespace.objects.get(code="Email").name == core.name
    assert url("edit", core) not in page(manager, NAMESPACES)


def test_who_may_only_look_finds_nothing_to_press(own: IdentityNamespace) -> None:
    viewer = client("profiles.view_identitynamespace")
    shown = page(viewer, NAMESPACES)
    assert "LoyaltyCard" in shown and NEW not in shown and url("edit", own) not in shown
    for address in (NEW, url("edit", own), url("delete", own)):
        assert viewer.post(address).status_code == 403


def test_namespaces_are_found_by_code_and_by_name_in_the_reader_s_language(
    manager: Client, own: IdentityNamespace
) -> None:
    def found(query: str) -> list[str]:
        return [each.code for each in manager.get(f"{NAMESPACES}?q={query}").context["page"]]

    assert found("loyal") == found("CARD") == ["LoyaltyCard"]
    with override("ko"):
        korean = IdentityNamespace.objects.get(code="Email").label
    manager.cookies["django_language"] = "ko"
    assert "Email" in found(korean)
    manager.cookies["django_language"] = "en"
    assert "No namespace found" in page(manager, f"{NAMESPACES}?q=%00")
    own.delete()
    assert "No namespaces of your own yet" in page(manager, f"{NAMESPACES}?own=1")


def test_the_list_has_few_queries_however_long(manager: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(manager, NAMESPACES)
        return len(captured)

    few = queries()
    for number in range(30):
        NamespaceFactory.create(code=f"N{number}")
    assert queries() == few <= 6
