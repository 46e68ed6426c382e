"""The pages *Audit*: who may see them, what they find and how fast, and what can be taken away as a file."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

import audit
from audit.keys import key_at
from audit.models import Entry
from tests.factories import AccountFactory, UserFactory

pytestmark = pytest.mark.django_db
LIST = "/audit/"


@pytest.fixture
def auditor() -> User:
    return UserFactory.create(username="auditor", permissions=["audit.view_entry", "audit.export_entry"])


@pytest.fixture
def client(auditor: User) -> Client:
    client = Client()
    client.force_login(auditor)
    return client


def write(count: int = 1, **fields: Any) -> list[Entry]:
    """Entries a minute apart, the first of them the oldest."""
    end = fields.pop("at", timezone.now())
    rows = []
    for number in range(count):
        at = end - timedelta(minutes=count - 1 - number)
        rows.append(Entry(id=key_at(at), at=at, **{"action": "segment.edited", "actor": "minjun"} | fields))
    return Entry.objects.bulk_create(rows)


def found(client: Client, **query: Any) -> list[Entry]:
    return list(client.get(LIST, query).context["slice"].rows)


def test_every_filter_finds_its_own_and_stays_in_the_address(client: Client) -> None:
    now = timezone.now()
    [mine] = write(actor="seoyeon", object_id="s-1", object_name="Seoul")
    [old] = write(action="inlet.edited", at=now - timedelta(days=9))
    assert found(client, actor="seoyeon") == [mine]
    assert found(client, object="Seoul") == found(client, object="s-1") == [mine]
    assert found(client, action="inlet.edited") == [old]
    before = (now - timedelta(days=8)).strftime("%Y-%m-%dT%H:%M")
    assert old in found(client, until=before) and mine not in found(client, until=before)
    assert mine in found(client, since=before) and old not in found(client, since=before)
    assert mine in found(client, action="nonsense", since="2020-02-31T00:00", before="x")
    page = client.get(LIST, {"actor": "seoyeon"}).content.decode()
    assert "/audit/export/csv/?actor=seoyeon&amp;" in page
    assert (
        "Nothing was recorded that is as the filters ask"
        in client.get(LIST, {"object": "\0zz"}).content.decode()
    )


def test_pages_go_by_keys_and_their_queries_do_not_grow(client: Client) -> None:
    def queries(query: dict[str, Any]) -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(LIST, query)
        return len(captured)

    few = queries({})
    rows = write(120, actor="many")
    assert queries({}) == few <= 5
    first = client.get(LIST, {"actor": "many"}).context["slice"]
    assert list(first.rows) == rows[:69:-1] and first.newer is None
    second = client.get(LIST, {"actor": "many", "before": first.older}).context["slice"]
    assert list(second.rows) == rows[69:19:-1]
    assert found(client, actor="many", after=second.newer) == list(first.rows)


def test_an_entry_shows_before_and_after_as_text(client: Client) -> None:
    account = AccountFactory.create(name="<b>Seoul</b>")
    audit.record("account.edited", account, {"name": "Busan", "credentials": 1}, {"name": account.name})
    entry = Entry.objects.get(action="account.edited")
    page = client.get(entry.get_absolute_url()).content.decode()
    assert "Busan" in page and "&lt;b&gt;Seoul&lt;/b&gt;" in page and "<b>Seoul" not in page
    assert "Secrets are not kept here" in page
    assert f"?object={account.pk}" in page


def test_a_csv_runs_no_formula_and_says_that_it_was_taken(client: Client, auditor: User) -> None:
    names = [f"{start}1+2" for start in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")]
    for name in names:
        write(6, object_name=name, actor="@SUM(A1)")
    response = client.get("/audit/export/csv/", {"actor": "@SUM(A1)"})
    assert response.headers["Content-Disposition"].endswith('.csv"')
    rows = list(csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig"), newline="")))
    assert len(rows) == 66
    assert {(row["object_name"], row["actor"]) for row in rows} == {
        (f"'{name}", "'@SUM(A1)") for name in names
    }
    taken = Entry.objects.get(action="audit.exported")
    assert (taken.actor, taken.changes) == (
        "auditor",
        {"format": [None, "csv"], "actor": [None, "@SUM(A1)"]},
    )


def test_ndjson_has_every_entry_whole_oldest_first(client: Client) -> None:
    rows = write(3, changes={"name": ["a", "b"]})
    lines = client.get("/audit/export/ndjson/", {"action": "segment.edited"}).getvalue().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["id"] for line in told] == [str(row.pk) for row in rows]
    assert told[0]["changes"] == {"name": ["a", "b"]}
    assert client.get("/audit/export/xml/").status_code == 404


def test_seeing_is_not_taking_away() -> None:
    client = Client()
    client.force_login(UserFactory.create(permissions=["audit.view_entry"]))
    assert "/audit/export/" not in client.get(LIST).content.decode()
    assert client.get("/audit/export/csv/").status_code == 403
    refused = Entry.objects.get(action="access.refused")
    assert (refused.object_name, refused.changes) == (
        "GET /audit/export/csv/",
        {"missing": [None, "audit.export_entry"]},
    )


# -- what the frame records ----------------------------------------------------------------------------------------


def test_signing_in_and_out_and_failing_to_are_recorded() -> None:
    person = User.objects.create_user("minjun", password="right-1234")
    client = Client()
    url = reverse("sign_in")
    client.post(url, {"login": "minjun", "password": "wrong"}, REMOTE_ADDR="192.0.2.7")
    client.post(url, {"login": "hunter2-typed-in-the-wrong-box", "password": "x"})
    client.post(url, {"login": "minjun", "password": "right-1234"})
    client.post(reverse("sign_out"))
    entries = list(Entry.objects.exclude(action__startswith="user."))[::-1]
    assert [(e.action, e.actor, e.object_name) for e in entries] == [
        ("session.refused", "anonymous", "minjun"),
        ("session.refused", "anonymous", ""),
        ("session.signed_in", "minjun", "minjun"),
        ("session.signed_out", "minjun", "minjun"),
    ]
    assert (entries[0].ip, entries[2].actor_id) == ("192.0.2.7", str(person.pk))
    assert "hunter2" not in json.dumps(list(Entry.objects.values()), default=str)


def test_a_post_that_is_refused_is_recorded_with_what_was_missing(client: Client, auditor: User) -> None:
    path = reverse("destinations:account_delete", args=[AccountFactory.create().pk])
    assert client.post(path).status_code == 403
    entry = Entry.objects.get(action="access.refused")
    assert (entry.actor, entry.object_name) == ("auditor", f"POST {path}")
    assert entry.changes == {"missing": [None, "destinations.manage_destinations"]}
    assert entry.request_id and entry.ip == "127.0.0.1"


def test_a_form_from_another_site_is_recorded(auditor: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(auditor)
    assert client.post(reverse("sign_out")).status_code == 403
    assert Entry.objects.filter(action="access.refused", actor="auditor").exists()


def test_an_edit_in_the_django_admin_tells_its_person() -> None:
    root = User.objects.create_superuser("root")
    client = Client()
    client.force_login(root)
    client.post(reverse("admin:auth_group_add"), {"name": "Stewards"})
    entry = Entry.objects.get(action="group.created")
    assert (entry.actor, entry.object_name) == ("root", "Stewards")
    assert client.get(reverse("admin:audit_entry_changelist")).status_code == 200
    change = reverse("admin:audit_entry_change", args=[entry.pk])
    assert client.get(change).status_code == 200
    assert client.post(change, {"actor": "nobody"}).status_code == 403
    assert (
        client.post(reverse("admin:audit_entry_delete", args=[entry.pk]), {"post": "yes"}).status_code == 403
    )
