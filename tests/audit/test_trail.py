"""What is written down of an act: who, from where, before and after, and never a secret. Nobody can change it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import DatabaseError, connection, transaction
from django.test import RequestFactory
from django.utils import timezone

import audit
from audit.keys import first_key_at, key_at
from audit.models import Entry
from audit.services import forget_old
from destinations.fields import Encrypted
from destinations.services import delete_account
from governance.models import MarketingAction
from governance.services import create_marketing_action, edit_marketing_action
from profiles import services as profiles
from profiles.inlets.services import create_inlet, new_token
from profiles.models import SchemaField
from tests.factories import AccountFactory, IdentityFactory, ProfileFactory, UserFactory

pytestmark = pytest.mark.django_db


def newest() -> Entry:
    entry = Entry.objects.first()
    assert entry is not None
    return entry


def old_entry(days: int) -> Entry:
    at = timezone.now() - timedelta(days=days)
    return Entry.objects.create(id=key_at(at), at=at, action="segment.edited", actor="system")


# -- append-only ---------------------------------------------------------------------------------------------------


def test_the_database_refuses_to_change_or_delete_an_entry() -> None:
    audit.record("inlet.edited")
    for harm in (
        lambda: Entry.objects.update(actor="somebody else"),
        lambda: Entry.objects.all().delete(),
        lambda: Entry.objects.all()._raw_delete("default"),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            harm()
    assert newest().actor == "system"


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's way around")
def test_an_entry_is_not_replaced() -> None:
    audit.record("inlet.edited")
    sql = "INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry"
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's way around")
def test_the_table_is_not_truncated() -> None:
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("TRUNCATE audit_entry")


def test_what_is_older_than_it_is_kept_goes_and_that_is_recorded() -> None:
    old, young = old_entry(366), old_entry(364)
    assert forget_old() == 1
    assert set(Entry.objects.values_list("action", flat=True)) == {"segment.edited", "audit.forgotten"}
    assert not Entry.objects.filter(pk=old.pk).exists() and Entry.objects.filter(pk=young.pk).exists()
    assert newest().changes == {"count": [None, 1]}
    assert forget_old() == 0


def test_keys_are_in_the_order_of_time() -> None:
    now = timezone.now()
    moments = [now + timedelta(microseconds=step) for step in range(0, 3000, 7)]
    keys = [key_at(moment) for moment in moments]
    assert sorted(keys) == keys
    for moment, key in zip(moments, keys, strict=True):
        assert first_key_at(moment) <= key < first_key_at(moment + timedelta(microseconds=1))


# -- what is told --------------------------------------------------------------------------------------------------


def test_it_is_written_in_the_transaction_of_the_act() -> None:
    with transaction.atomic():
        create_marketing_action(name="Spring")
        assert Entry.objects.count() == 1
        transaction.set_rollback(True)
    assert not MarketingAction.objects.filter(core=False).exists() and not Entry.objects.exists()


def test_an_edit_tells_what_differs_before_and_after() -> None:
    action = create_marketing_action(name="Spring", description="Sale")
    edit_marketing_action(action, name="Summer", description="Sale")
    entry = newest()
    assert (entry.action, entry.object_id, entry.object_name) == (
        "marketing_action.edited",
        str(action.pk),
        "Summer",
    )
    assert entry.changes == {"name": ["Spring", "Summer"]}


def test_of_a_secret_it_is_told_that_it_changed_and_no_more() -> None:
    account = AccountFactory.create()
    before = audit.state(account, "name", "credentials", "settings")
    account.credentials = Encrypted.of({"access_key_id": "AKIAOTHER", "secret_access_key": "hush-hush"})
    account.settings = {"region": "us-east-1", "client_secret": "hush-hush"}
    audit.record("account.edited", account, before, audit.state(account, "name", "credentials", "settings"))
    audit.record("inlet.edited", None, {"api_token": "hush-hush"}, {"api_token": "hush"})
    stored = json.dumps(list(Entry.objects.values("changes")))
    assert "hush" not in stored and account.credentials.token not in stored
    lines = Entry.objects.order_by("pk")[0].lines
    assert {line.field: line.secret for line in lines} == {"credentials": True, "settings": False}
    assert newest().changes == {"api_token": "changed"}


def test_a_token_of_an_inlet_is_told_without_it() -> None:
    inlet, token = create_inlet(name="Shop", protected=True)
    other = new_token(inlet)
    stored = json.dumps(list(Entry.objects.values()), default=str)
    assert token not in stored and other not in stored and inlet.token_digest not in stored


def test_nothing_that_is_known_of_a_customer_gets_into_the_trail() -> None:
    profile = ProfileFactory.create(attributes={"person": {"name": {"firstName": "Ji-woo"}}})
    profiles.edit_attributes(
        profile.pk, shown=profile.attributes, wanted={"person": {"name": {"firstName": "Seo-yeon"}}}
    )
    profiles.add_identity(profile.pk, namespace="Email", value="seoyeon@example.com")
    profiles.remove_identities(list(profile.identities.select_related("namespace")))
    stored = json.dumps(list(Entry.objects.values()), default=str)
    assert Entry.objects.filter(object_id=profile.pk).count() == 3
    assert not any(known in stored for known in ("Ji-woo", "Seo-yeon", "seoyeon@example.com"))


def test_long_values_are_cut_and_say_so() -> None:
    audit.record("segment.edited", None, {"rule": "a"}, {"rule": "b" * 30_000, "names": ["n"] * 300})
    changes = newest().changes
    assert len(changes["rule"][1]) == 20_001 and changes["rule"][1].endswith("…")
    assert changes["names"][1][-1] == "… 100"


def test_an_act_without_a_name_in_the_list_is_a_mistake_that_is_noticed() -> None:
    with pytest.raises(KeyError):
        audit.record("something.done")


# -- who and from where --------------------------------------------------------------------------------------------


def test_without_a_request_the_system_acts() -> None:
    delete_account(AccountFactory.create().pk)
    entry = newest()
    assert (entry.actor, entry.actor_id, entry.ip) == ("system", "", None)
    assert entry.place.startswith(("pytest", "__main__", "-c"))


def test_in_a_request_its_person_acts(rf: RequestFactory) -> None:
    request = rf.post("/somewhere/", REMOTE_ADDR="192.0.2.7", headers={"X-Forwarded-For": "203.0.113.9"})
    request.user = person = UserFactory.create()
    with audit.acting(request):
        audit.record("inlet.edited")
    entry = newest()
    assert (entry.actor, entry.actor_id) == (person.username, str(person.pk))
    # Nobody's proxy wrote that header.
    assert (entry.ip, entry.place) == ("192.0.2.7", "POST /somewhere/")
    request.user = AnonymousUser()
    with audit.acting(request):
        audit.record("inlet.edited")
    assert newest().actor == "anonymous"


def test_behind_our_proxy_the_address_is_the_one_that_it_wrote(rf: RequestFactory, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    request = rf.get("/", REMOTE_ADDR="127.0.0.1", headers={"X-Forwarded-For": "10.0.0.1, 203.0.113.9"})
    request.user = AnonymousUser()
    with audit.acting(request):
        audit.record("inlet.edited")
    assert newest().ip == "203.0.113.9"


# -- what no service writes ----------------------------------------------------------------------------------------


def test_people_groups_and_schema_are_watched_whatever_writes_them() -> None:
    person = User.objects.create_user("minjun", password="hush-hush")
    group = Group.objects.create(name="Stewards")
    person.groups.add(group)
    assert newest().changes == {"groups": [[], ["Stewards"]]}
    person.set_password("hush-hush-2")
    person.is_staff = True
    person.save()
    assert newest().changes == {"password": "changed", "is_staff": [False, True]}
    count = Entry.objects.count()
    person.last_login = timezone.now()
    person.save(update_fields=["last_login"])
    assert Entry.objects.count() == count
    field = SchemaField.objects.create(path="_ours.shoe", title="Shoe")
    field.delete()
    assert [entry.action for entry in Entry.objects.all()[:2]] == [
        "schema_field.deleted",
        "schema_field.created",
    ]
    assert "hush" not in json.dumps(list(Entry.objects.values("changes")))


def test_a_permission_given_is_told_by_name() -> None:
    UserFactory.create(permissions=["audit.view_entry"])
    assert newest().changes == {"user_permissions": [[], ["Audit | audit entry | Can view audit entry"]]}


def test_removing_one_identity_of_many_takes_a_line_each() -> None:
    identities = [IdentityFactory.create() for _number in range(2)]
    profiles.remove_identities(identities)
    assert {entry.object_id for entry in Entry.objects.all()} == {str(row.profile_id) for row in identities}
