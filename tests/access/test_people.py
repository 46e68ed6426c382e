"""The pages *People* and *Roles*: inviting, changing, letting in and out; who may give what to whom."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission, User
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from access import selectors, services
from access.models import ApiToken, Role
from access.roles import CORE_ROLES, RIGHTS, give_core_roles_their_rights
from tests.access.conftest import person, signed_in
from tests.factories import UserFactory

MANAGER = "People manager"


def role(name: str) -> Role:
    return Role.objects.get(name=name)


@pytest.fixture
def manager(administrator: User) -> User:
    """Manages people, and else sees destinations only."""
    services.save_role(
        None, name=MANAGER, rights=["access.manage_people", "destinations.view_destination"], by=administrator
    )
    return person(MANAGER, username="Min")


# --- Roles that come with the product -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_core_roles_are_there_with_the_rights_of_the_table() -> None:
    found = {each.name: each for each in selectors.all_roles()}

    assert list(found) == list(CORE_ROLES)
    assert found["Administrator"].rights == set(selectors.rights())
    assert "profiles.view_profile" not in found["Auditor"].rights


@pytest.mark.django_db
def test_a_core_role_has_after_every_migration_what_the_table_says() -> None:
    auditor = Group.objects.get(name="Auditor")
    auditor.permissions.remove(Permission.objects.get(codename="view_people"))
    auditor.permissions.add(Permission.objects.get(codename="manage_people"))

    from django.apps import apps

    give_core_roles_their_rights(apps.get_app_config("access"))

    names = set(
        auditor.permissions.filter(content_type__app_label="access").values_list("codename", flat=True)
    )
    assert names == {"view_people"}


@pytest.mark.django_db
def test_who_may_manage_something_sees_it() -> None:
    manages = UserFactory.create(permissions=["destinations.manage_destinations"])

    assert manages.has_perm("destinations.view_destination")
    assert signed_in(manages).get("/destinations/").status_code == 200
    assert not manages.has_perm("profiles.view_profile")


# --- Inviting ------------------------------------------------------------------------------------------------------


def test_a_person_who_is_invited_chooses_a_password_and_gets_in(client: Client) -> None:
    page = client.post(
        "/people/new/",
        {"username": "Kim", "email": "kim@example.com", "roles": [role("Marketer").pk]},
    )

    [sent] = mail.outbox
    assert sent.to == ["kim@example.com"]
    [link] = re.findall(r"http://testserver(/password/reset/\S+)", str(sent.body))
    assert link in page.content.decode()
    invited = Client()
    form = invited.get(link, follow=True)
    chosen = {"password1": "a long one, really", "password2": "a long one, really"}
    done = invited.post(form.redirect_chain[-1][0], chosen)
    assert done.headers["Location"] == "/password/reset/done/"
    invited.post("/sign-in/", {"login": "kim@example.com", "password": "a long one, really"})
    assert invited.get("/segments/").status_code == 200
    assert invited.get("/people/").status_code == 403
    # The link is used up.
    assert "can’t be used any more" in Client().get(link, follow=True).content.decode()


def test_without_an_address_the_link_is_handed_over(client: Client) -> None:
    page = client.post("/people/new/", {"username": "Kim", "email": ""}).content.decode()

    assert "Hand the link over yourself" in page and "/password/reset/" in page
    assert mail.outbox == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"username": "", "email": ""}, "This field is required."),
        ({"username": "two words", "email": ""}, "Enter a valid username."),
        ({"username": "Ahn", "email": ""}, "A user with that username already exists."),
        ({"username": "Kim", "email": "AHN@example.com"}, "Somebody else has this address already."),
        ({"username": "Kim", "email": "kim"}, "Enter a valid email address."),
    ],
)
def test_what_is_wrong_is_said_at_the_field(client: Client, fields: dict[str, str], error: str) -> None:
    response = client.post("/people/new/", fields)

    assert response.status_code == 422
    assert error in response.content.decode()
    assert User.objects.count() == 1


# --- Changing ------------------------------------------------------------------------------------------------------


def test_a_new_address_is_the_only_one_a_password_can_be_asked_for_with(client: Client) -> None:
    kim = person(username="Kim")
    EmailAddress.objects.create(user=kim, email="old@example.com", verified=True, primary=True)

    client.post(f"/people/{kim.pk}/edit/", {"username": "Kim", "email": "new@example.com"})
    for address in ("old@example.com", "new@example.com"):
        Client().post("/password/reset/", {"email": address})

    assert [sent.to for sent in mail.outbox] == [["new@example.com"]]


def test_roles_are_given_and_taken(client: Client) -> None:
    kim = person("Marketer", username="Kim")
    fields = {"username": "Kim", "email": kim.email, "roles": [role("Auditor").pk, role("Data steward").pk]}

    assert client.post(f"/people/{kim.pk}/edit/", fields).status_code == 302

    assert set(kim.groups.values_list("name", flat=True)) == {"Auditor", "Data steward"}


def test_a_person_who_was_deactivated_is_out_with_the_next_request(client: Client) -> None:
    kim = person("Auditor")
    theirs = signed_in(kim)
    assert theirs.get("/people/").status_code == 200

    client.post(f"/people/{kim.pk}/switch/", {"active": "0"})

    assert theirs.get("/people/").headers["Location"].startswith("/sign-in/")
    client.post(f"/people/{kim.pk}/switch/", {"active": "1"})
    assert signed_in(kim).get("/people/").status_code == 200


def test_who_has_lost_the_phone_gets_in_without_it_and_other_sessions_end(client: Client) -> None:
    kim = person("Auditor")
    Authenticator.objects.create(user=kim, type=Authenticator.Type.TOTP, data={"secret": "x"})

    client.post(f"/people/{kim.pk}/second-step/")

    assert not Authenticator.objects.filter(user=kim).exists()


# --- The last administrator ----------------------------------------------------------------------------------------


def test_the_last_administrator_stays(client: Client, administrator: User) -> None:
    where = f"/people/{administrator.pk}"
    refused = "This is the last administrator."

    switched = client.post(f"{where}/switch/", {"active": "0"}, follow=True)
    demoted = client.post(f"{where}/edit/", {"username": "Ahn", "email": administrator.email, "roles": []})

    assert refused in switched.content.decode() and refused in demoted.content.decode()
    administrator.refresh_from_db()
    assert administrator.is_active and administrator.groups.get().name == "Administrator"
    with pytest.raises(services.LastAdministrator):
        services.delete_person(administrator, by=administrator)
    assert User.objects.filter(username="Ahn").exists()


def test_a_service_account_is_no_administrator(administrator: User) -> None:
    services.create_service_account(
        name="robot", description="", given=[role("Administrator")], by=administrator
    )

    with pytest.raises(services.LastAdministrator):
        services.switch_person(administrator, active=False, by=administrator)


def test_the_django_admin_keeps_the_last_administrator_too(admin_client: Client, admin_user: User) -> None:
    fields = {"username": "admin", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00"}

    changed = admin_client.post(f"/admin/auth/user/{admin_user.pk}/change/", fields)
    asked = admin_client.post(f"/admin/auth/user/{admin_user.pk}/delete/", {"post": "yes"})

    assert "This is the last administrator." in changed.content.decode()
    assert "This is the last administrator." in asked.content.decode()
    admin_user.refresh_from_db()
    assert admin_user.is_superuser


def _by_service(act: Callable[[User, User], None]) -> Callable[[User, User], Callable[[], None]]:
    return lambda actor, victim: lambda: act(actor, victim)


def _in_the_admin(page: str, **fields: str) -> Callable[[User, User], Callable[[], None]]:
    def prepare(actor: User, victim: User) -> Callable[[], None]:
        client = signed_in(actor)
        sent = {name: value.format(victim=victim) for name, value in fields.items()}

        def act() -> None:
            client.post(f"/admin/auth/user/{page.format(victim=victim)}", sent)

        return act

    return prepare


DEMOTED = {
    "username": "{victim.username}",
    "is_active": "on",
    "date_joined_0": "2026-01-01",
    "date_joined_1": "00:00",
}


def _demote(actor: User, victim: User) -> None:
    services.edit_person(
        victim, username=victim.username, email="", first_name="", last_name="", given=[], by=actor
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("prepare", "in_the_admin"),
    [
        (_by_service(lambda actor, victim: services.switch_person(victim, active=False, by=actor)), False),
        (_by_service(lambda actor, victim: services.delete_person(victim, by=actor)), False),
        (_by_service(_demote), False),
        (_in_the_admin("{victim.pk}/change/", **DEMOTED), True),
        (_in_the_admin("{victim.pk}/delete/", post="yes"), True),
        (_in_the_admin("", action="delete_selected", _selected_action="{victim.pk}", post="yes"), True),
    ],
    ids=["deactivate", "delete", "demote", "demote in the admin", "delete in the admin", "delete among others"],
)  # fmt: skip
def test_two_administrators_do_not_send_each_other_away(
    prepare: Callable[[User, User], Callable[[], None]], in_the_admin: bool
) -> None:
    if in_the_admin:
        pair = [User.objects.create_superuser(name) for name in ("one", "other")]
    else:
        pair = [person("Administrator"), person("Administrator")]
    acts = []
    for actor, victim in (pair, reversed(pair)):
        actor.get_all_permissions()  # the page has asked
        acts.append(prepare(actor, User.objects.get(pk=victim.pk)))
    barrier = threading.Barrier(2)

    def try_it(act: Callable[[], None]) -> None:
        try:
            barrier.wait(10)
            with suppress(services.LastAdministrator):
                act()
        finally:
            connection.close()

    threads = [threading.Thread(target=try_it, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert selectors.administrators().count() == 1


# --- Nobody gives more than they may -------------------------------------------------------------------------------


def test_a_manager_of_people_gives_no_role_that_allows_more_than_they_may(manager: User) -> None:
    client = signed_in(manager)
    kim = person(username="Kim")

    page = client.get("/people/new/").content.decode()
    assert MANAGER in page and "Administrator" not in page
    answer = client.post(
        f"/people/{kim.pk}/edit/", {"username": "Kim", "email": "", "roles": [role("Administrator").pk]}
    )

    assert answer.status_code == 422
    assert not kim.groups.exists()
    with pytest.raises(PermissionDenied):
        services.create_person(username="other", given=[role("Administrator")], by=manager)


@pytest.mark.parametrize("act", ["edit", "switch", "link", "sign-out", "second-step"])
def test_a_manager_of_people_does_not_touch_who_may_more(
    manager: User, administrator: User, act: str
) -> None:
    answer = signed_in(manager).post(f"/people/{administrator.pk}/{act}/", {"username": "x", "active": "0"})

    assert answer.status_code == 403
    administrator.refresh_from_db()
    assert administrator.username == "Ahn" and administrator.is_active and mail.outbox == []


def test_roles_that_one_can_not_give_stay_when_one_saves(manager: User, administrator: User) -> None:
    kim = person("Auditor", MANAGER, username="Kim")
    services.save_role(
        role(MANAGER), name=MANAGER, rights=sorted(RIGHTS.keys() & set(selectors.rights())), by=administrator
    )
    manager = User.objects.get(pk=manager.pk)

    services.edit_person(
        kim, username="Kim", email="", first_name="", last_name="", given=[], by=manager
    )  # fmt: skip

    assert not kim.groups.exists()
    services.save_role(
        role(MANAGER), name=MANAGER, rights=["access.manage_people"], by=administrator
    )  # fmt: skip
    weak, lee = User.objects.get(pk=manager.pk), person(MANAGER, username="Lee")
    services.edit_person(
        lee, username="Lee", email="", first_name="", last_name="", given=[role(MANAGER)], by=weak
    )  # fmt: skip
    assert lee.groups.get().name == MANAGER


def test_a_manager_of_people_takes_no_token_or_role_of_who_may_more(
    manager: User, administrator: User
) -> None:
    services.save_role(None, name="Reader", rights=["profiles.view_profile"], by=administrator)
    reader = role("Reader")
    tomorrow = timezone.now() + timedelta(days=1)
    token, _text = services.create_token(
        administrator, name="x", scopes=[], expires_at=tomorrow, by=administrator
    )
    client = signed_in(manager)

    assert client.post(f"/account/tokens/{token.pk}/revoke/").status_code == 403
    assert client.post(f"/people/roles/{reader.pk}/delete/").status_code == 403

    assert ApiToken.objects.exists() and Role.objects.filter(pk=reader.pk).exists()
    assert (
        f"/account/tokens/{token.pk}/revoke/"
        not in client.get(f"/people/{administrator.pk}/").content.decode()
    )
    assert (
        f"/people/roles/{reader.pk}/delete/" not in client.get(f"/people/roles/{reader.pk}/").content.decode()
    )


# --- Own roles -----------------------------------------------------------------------------------------------------


def test_an_own_role_is_made_ticked_renamed_and_deleted(client: Client) -> None:
    client.post("/people/roles/new/", {"name": "Analyst", "rights": ["profiles.view_segment"]})
    analyst = role("Analyst")
    kim = person("Analyst")
    assert kim.has_perm("profiles.view_segment")

    ticks = {f"shown-{analyst.pk}": "1", f"role-{analyst.pk}": ["profiles.view_profile"]}
    client.post("/people/roles/save/", ticks)
    kim = User.objects.get(pk=kim.pk)
    assert kim.has_perm("profiles.view_profile") and not kim.has_perm("profiles.view_segment")

    client.post(f"/people/roles/{analyst.pk}/", {"name": "Reader", "rights": ["profiles.view_segment"]})
    assert "1 person has it" in client.get(f"/people/roles/{analyst.pk}/delete/").content.decode()
    client.post(f"/people/roles/{analyst.pk}/delete/")
    again = client.post(f"/people/roles/{analyst.pk}/delete/", follow=True).content.decode()
    assert "The role was deleted already." in again
    assert not User.objects.get(pk=kim.pk).get_all_permissions()


@pytest.mark.parametrize("name", ["marketer", "Marketer", " MARKETER "])
def test_a_role_with_the_name_of_a_core_one_is_refused(client: Client, name: str) -> None:
    answer = client.post("/people/roles/new/", {"name": name, "rights": []})

    assert answer.status_code == 422
    assert "There is a role with this name already." in answer.content.decode()


def test_core_roles_are_nobodys_to_change(client: Client) -> None:
    marketer = role("Marketer")

    assert client.get(f"/people/roles/{marketer.pk}/").status_code == 404
    assert client.post(f"/people/roles/{marketer.pk}/delete/").status_code == 403
    client.post("/people/roles/save/", {f"shown-{marketer.pk}": "1"})
    assert role("Marketer").permissions.count() > 3


def test_a_right_that_one_has_not_can_not_be_put_into_a_role(manager: User) -> None:
    answer = signed_in(manager).post(
        "/people/roles/new/", {"name": "More", "rights": ["profiles.view_profile"]}
    )

    assert answer.status_code == 422
    assert not Role.objects.filter(name="More").exists()


# --- Pages ---------------------------------------------------------------------------------------------------------


def test_people_are_found_filtered_and_sorted(client: Client) -> None:
    person("Marketer", username="Kim", email="kim@shop.example", last_name="Kim")
    person("Auditor", username="Lee", is_active=False)

    def names(query: str) -> list[str]:
        page = client.get(f"/people/{query}").content.decode()
        return re.findall(r'<a href="/people/\d+/"><span class="cut" title="(\w+)"', page)

    assert names("") == ["Ahn", "Kim", "Lee"]
    assert names("?sort=-username") == ["Lee", "Kim", "Ahn"]
    assert names("?q=shop.ex") == ["Kim"]
    assert names(f"?role={role('Auditor').pk}") == ["Lee"]
    assert names("?state=inactive") == ["Lee"]
    assert names("?q=%00") == names("?role=x") == names("?q=nobody") == []


def test_pages_of_people_have_a_fixed_number_of_queries(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(30):
        person("Marketer", "Auditor")
    for path, most in (("/people/", 10), ("/people/roles/", 8), (f"/people/{person().pk}/", 20)):
        with django_assert_max_num_queries(most):
            assert client.get(path).status_code == 200
