"""The schema: own fields, and the paths that came in without being in it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks

from profiles import paths, selectors, services
from profiles.ingest import Fragment, ingest
from profiles.models import IngestedPath, SchemaField
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

UNKNOWN, ADD = reverse("profiles:schema_unknown"), reverse("profiles:schema_add")


@pytest.fixture(autouse=True)
def _nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_noted", set())


@pytest.fixture
def engineer() -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=["profiles.view_segment", "profiles.manage_schema"]))
    return client


@pytest.fixture
def write(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Any:
    def write(**attributes: Any) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            ingest([Fragment(identities=[("Email", "a@example.com")], attributes=attributes)])

    return write


def unknown() -> dict[str, str]:
    return dict(selectors.unknown_paths().values_list("path", "type"))


# -- what came in --------------------------------------------------------------------------------------------------


def test_paths_that_the_schema_does_not_know_are_kept_and_listed(write: Any) -> None:
    write(
        person={"name": {"firstName": "Min-jun"}},
        _ours={
            "size": 270, "가입일": "2026-01-02", "at": "2026-01-02T03:04:05Z", "ratio": 1.5, "is": True,
            "tags": ["a"], "empty": {}, "text": "2026-01-02 or so",
        },
    )  # fmt: skip
    assert unknown() == {
        "_ours.size": "integer", "_ours.가입일": "date", "_ours.at": "date-time", "_ours.ratio": "number",
        "_ours.is": "boolean", "_ours.tags": "array", "_ours.empty": "object", "_ours.text": "string",
    }  # fmt: skip
    # It was kept.
    profile = selectors.profiles_named("a@example.com").get()
    assert profile.attributes["_ours"]["size"] == 270


def test_once_in_the_schema_a_path_is_listed_no_more_until_it_leaves_it(write: Any) -> None:
    write(_ours={"size": 270})
    services.add_field(path="_ours.size", title="Size", type="integer")
    assert unknown() == {}
    SchemaField.objects.get(path="_ours.size").delete()
    assert unknown() == {"_ours.size": "integer"}


def test_what_was_removed_or_is_too_long_is_not_listed(write: Any) -> None:
    write(_ours={"size": 1, "x" * 300: 1})
    write(_ours={"other": None})
    assert unknown() == {"_ours.size": "integer"}


def test_a_path_is_noted_once(write: Any, django_assert_num_queries: Any) -> None:
    write(_ours={"size": 1})
    with django_assert_num_queries(0):
        paths.note([({"_ours": {"size": 2}}, ["_ours.size"])])
    assert IngestedPath.objects.get(path="_ours.size").type == "integer"


def test_endless_keys_do_not_fill_the_table(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST", 10)
    write(_ours={f"customer{number}": 1 for number in range(30)})
    write(_ours={"another": 1})
    assert IngestedPath.objects.count() == 10


def test_the_page_lists_them_and_offers_them(engineer: Client, write: Any) -> None:
    assert "knows everything" in engineer.get(UNKNOWN).content.decode()
    write(_ours={"<b>": 1, "shoeSize": 270})
    text = engineer.get(UNKNOWN).content.decode()
    assert "_ours.&lt;b&gt;" in text
    assert f"{ADD}?path=_ours.shoeSize&amp;type=integer" in text
    assert "No path found" in engineer.get(UNKNOWN, {"q": "zzz\0"}).content.decode()
    reader = Client()
    reader.force_login(UserFactory.create(permissions=["profiles.view_segment"]))
    assert ADD not in reader.get(UNKNOWN).content.decode()
    assert reader.get(ADD).status_code == reader.post(ADD, {}).status_code == 403


# -- own fields ----------------------------------------------------------------------------------------------------


def test_an_unknown_path_is_added_as_it_came(engineer: Client, write: Any) -> None:
    write(_ours={"shoeSize": 270})
    form = engineer.get(ADD, {"path": "_ours.shoeSize", "type": "integer"}).context["form"]
    assert form.initial == {"path": "_ours.shoeSize", "type": "integer", "title": "Shoe size"}
    response = engineer.post(f"{ADD}?path=_ours.shoeSize", dict(form.initial))
    assert response["Location"] == UNKNOWN
    made = SchemaField.objects.get(path="_ours.shoeSize")
    assert (made.title, made.type, made.custom) == ("Shoe size", "integer", True)
    assert unknown() == {}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("person.name.firstName", "already exists"),
        ("person.name.firstName.initial", "has no fields below it"),
        ("_ours..size", "keys with dots"),
        ("_ours.a b", "keys with dots"),
        (".a", "keys with dots"),
        ("identityMap.x", "is not an attribute"),
        ("_ours", "There are fields below it"),
        ("x" * 256, "at most 255"),
    ],
)
def test_a_path_that_can_not_be_is_told_at_the_field(engineer: Client, path: str, why: str) -> None:
    services.add_field(path="_ours.size", title="Size", type="integer")
    response = engineer.post(ADD, {"path": path, "title": "Ours", "type": "string"})
    assert response.status_code == 422
    assert why in str(response.context["form"].errors["path"])
    with pytest.raises(ValidationError):
        services.add_field(path=path, title="Ours", type="string")


def test_a_group_can_be_named_above_fields_that_are_there() -> None:
    services.add_field(path="_ours.size", title="Size", type="integer")
    assert services.add_field(path="_ours", title="Ours", type="object").type == "object"
