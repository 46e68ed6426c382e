"""Labels: core and own ones, and the page that puts them on many fields at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import translation

from governance import services
from governance.core_names import CORE_LABELS
from governance.models import Label
from profiles.models import SchemaField
from tests.factories import SegmentFactory, UserFactory
from tests.governance.governed import codes_of, labels, make_policy, mark

pytestmark = pytest.mark.django_db

FIELDS, SEGMENTS = reverse("governance:label_fields"), reverse("governance:label_segments")
CITY, EMAIL = "homeAddress.city", "personalEmail.address"


@pytest.fixture
def steward() -> Client:
    client = Client()
    rights = ["governance.view_policy", "governance.manage_labels", "profiles.view_segment"]
    client.force_login(UserFactory.create(permissions=rights))
    return client


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def url(name: str, label: Label | None = None) -> str:
    return reverse(f"governance:{name}", args=[label.pk] if label else [])


def test_the_core_labels_are_there_with_their_words() -> None:
    core = [label for label in Label.objects.all() if label.core]
    assert [label.code for label in core] == [code for code, *_rest in CORE_LABELS]
    assert {"C1", "C12", "I1", "I2", "S1", "S2", "RHD", "PSPD"} <= {label.code for label in core}
    with translation.override("ko"):
        assert all(label.title != label.name and label.about != label.description for label in core)


@pytest.mark.parametrize(
    ("code", "name", "field"),
    [
        ("c1", "Ours", "code"),
        ("own", "C2", "name"),
        ("own", "directly  IDENTIFIABLE", "name"),
        ("Health data", "Ours", "code"),
        ("a b", "Ours", "code"),
        ("x" * 21, "Ours", "code"),
        ("<b>", "Ours", "code"),
        ("", "Ours", "code"),
        ("own", "", "name"),
        ("PARTNER", "Ours", "code"),
    ],
)
def test_an_own_label_with_a_name_that_can_not_be_is_refused(
    steward: Client, code: str, name: str, field: str
) -> None:
    services.create_label(code="Partner", name="From partners")
    page = steward.post(url("label_new"), {"code": code, "name": name, "description": ""})
    assert page.status_code == 422
    assert list(page.context["form"].errors) == [field]
    assert Label.objects.filter(kind="own").count() == 1


def test_the_name_of_a_core_one_is_taken_in_every_language() -> None:
    with translation.override("ko"), pytest.raises(ValidationError):
        services.create_label(code="own", name=Label.objects.get(code="I1").title)


def test_own_labels_are_made_changed_and_deleted(steward: Client) -> None:
    steward.post(url("label_new"), {"code": "PARTNER-1", "name": "제휴사", "description": "x"})
    made = Label.objects.get(code="PARTNER-1")
    mark(CITY, "PARTNER-1")
    steward.post(url("label_edit", made), {"code": "OTHER", "name": "Partners", "description": ""})
    made.refresh_from_db()
    assert (made.code, made.name, made.kind) == ("PARTNER-1", "Partners", "own")
    row = next(label for label in steward.get(url("labels"), {"q": "partner-1"}).context["page"])
    assert (row.on_fields, row.on_segments) == (1, 0)
    assert "was deleted" in said(steward.post(url("label_delete", made)))
    assert codes_of(CITY) == set()


def test_a_label_that_a_policy_speaks_of_is_not_deleted(steward: Client) -> None:
    made = services.create_label(code="PARTNER", name="Partners")
    make_policy({"all": ["C1", {"any": ["PARTNER"]}]})
    page = steward.post(url("label_delete", made))
    assert page.status_code == 422 and "used by policies: “Ours”" in page.content.decode()
    assert Label.objects.filter(pk=made.pk).exists()


def test_core_labels_do_not_change(steward: Client) -> None:
    core = Label.objects.get(code="C1")
    for name in ("label_edit", "label_delete"):
        assert steward.get(url(name, core)).status_code == 404
    for refused in (
        lambda: services.edit_label(core, name="x", description=""),
        lambda: services.delete_label(core),
    ):
        with pytest.raises(ValidationError, match="Core labels"):
            refused()


# -- on fields and segments ----------------------------------------------------------------------------------------


def test_many_fields_are_labelled_at_once(steward: Client) -> None:
    mark(CITY, "S2")
    page = steward.post(FIELDS, {"field": [CITY, EMAIL, "nothing.like.this"]})
    assert page.status_code == 200
    text = page.content.decode()
    assert "1 of 2 have it" in text and "nothing.like" not in text
    response = steward.post(FIELDS, {"field": [CITY, EMAIL], "labels": ["S2", "I1"], "action": "add"})
    assert response["Location"] == reverse("profiles:schema")
    assert codes_of(CITY) == codes_of(EMAIL) == {"S2", "I1"}
    steward.post(FIELDS, {"field": [CITY, EMAIL], "labels": ["S2"], "action": "remove"})
    assert codes_of(CITY) == codes_of(EMAIL) == {"I1"}


@pytest.mark.parametrize("chosen", [[], ["X9"], ["I1", "X9"]])
def test_what_is_no_label_is_refused(steward: Client, chosen: list[str]) -> None:
    page = steward.post(FIELDS, {"field": CITY, "labels": chosen, "action": "add"})
    assert page.status_code == 422
    assert codes_of(CITY) == set()


def test_without_a_field_one_is_led_to_the_schema(steward: Client) -> None:
    for response in (steward.get(FIELDS), steward.post(FIELDS, {"field": "x\0"})):
        assert response["Location"] == reverse("profiles:schema")
        assert "Choose the fields" in said(response)
    assert steward.get(SEGMENTS).status_code == steward.get(SEGMENTS, {"segment": "x\0"}).status_code == 404


def test_the_schema_shows_labels_and_what_inherits_them(steward: Client) -> None:
    mark("homeAddress", "S1")
    mark(CITY, "I1")
    text = steward.get(reverse("profiles:schema"), {"q": "homeAddress.city"}).content.decode()
    assert f'value="{CITY}"' in text
    assert ">I1<" in text
    assert "inherited" in text and ">S1<" in text
    reader = Client()
    reader.force_login(UserFactory.create(permissions=["profiles.view_segment"]))
    text = reader.get(reverse("profiles:schema"), {"q": "homeAddress.city"}).content.decode()
    assert ">I1<" in text and 'type="checkbox"' not in text


def test_segments_are_labelled(steward: Client) -> None:
    segment = SegmentFactory.create(name="<i>Bought</i>")
    page = steward.get(reverse("profiles:segment", args=[segment.pk])).content.decode()
    assert f"{SEGMENTS}?segment={segment.pk}" in page
    assert "<i>Bought" not in steward.get(SEGMENTS, {"segment": segment.pk}).content.decode()
    steward.post(SEGMENTS, {"segment": segment.pk, "labels": ["C2"], "action": "add"})
    assert codes_of(segment) == {"C2"}
    assert ">C2<" in steward.get(reverse("profiles:segments")).content.decode()


def test_a_field_that_goes_takes_its_labels_along() -> None:
    mark("_ours.size", "I1")
    SchemaField.objects.get(path="_ours.size").delete()
    assert not labels("I1")[0].fields.exists()


def test_who_may_not_label_is_refused() -> None:
    reader = Client()
    reader.force_login(UserFactory.create(permissions=["profiles.view_segment", "governance.view_policy"]))
    assert reader.post(FIELDS, {"field": CITY, "labels": "I1", "action": "add"}).status_code == 403
    assert codes_of(CITY) == set()
