"""What an inlet makes of identities: the default one, and those for hashed namespaces."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from profiles.ingest import Refused
from profiles.inlets import services
from profiles.inlets.messages import normalised, read
from profiles.models import Identity, IdentityNamespace, Inlet
from tests.profiles.inlets.conftest import Producer

pytestmark = pytest.mark.django_db


def inlet(code: str | None = None, path: str = "", normalise: bool = False) -> Inlet:
    namespace = IdentityNamespace.objects.get(code=code) if code else None
    return services.create_inlet(
        name="Till", protected=False, namespace=namespace, identity_path=path, normalise=normalise
    )[0]


def identities(inlet: Inlet, entity: dict[str, Any]) -> list[tuple[str, str]]:
    return list(read({"body": {"xdmEntity": entity}}, inlet).fragment.identities)


# --- The default identity


@pytest.mark.parametrize("value, identity", [("C-1", "C-1"), (17, "17"), (10**30, "1" + "0" * 30)])
def test_without_an_identity_map_the_field_names_the_customer(value: object, identity: str) -> None:
    till = inlet("CRMID", "_ours.customer.number")
    entity = {"_ours": {"customer": {"number": value}}}
    assert identities(till, entity) == [("CRMID", identity)]
    assert Producer(till).message({"body": {"xdmEntity": entity}}).status == 200
    assert Identity.objects.get().namespace.code == "CRMID"


def test_an_identity_map_goes_before_the_field() -> None:
    entity = {"_ours": {"number": "C-1"}, "identityMap": {"Email": [{"id": "a"}]}}
    assert identities(inlet("CRMID", "_ours.number"), entity) == [("Email", "a")]


@pytest.mark.parametrize("value", [None, "", " ", True, 1.5, [], {}, {"number": {}}])
def test_a_field_without_an_identity_is_told(value: object) -> None:
    with pytest.raises(Refused) as refused:
        identities(inlet("CRMID", "_ours.number"), {"_ours": {"number": value}})
    assert "_ours.number" in str(refused.value.reason)


# --- Hashed namespaces


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "code, value, expected",
    [
        ("Email_LC_SHA256", " Ada.Lovelace@Example.COM ", hashed("ada.lovelace@example.com")),
        ("email_lc_sha256", "김@예.한국", hashed("김@예.한국")),
        ("Email_LC_SHA256", hashed("a").upper(), hashed("a")),
        ("Phone_SHA256", "(010) 1234-5678", hashed("01012345678")),
        ("Phone_SHA256_E.164", "+82 10-1234-5678", hashed("+821012345678")),
        ("Phone_SHA256_E.164", "0082 10 1234 5678", hashed("+821012345678")),
        ("Email", " A@b ", " A@b "),
        ("Phone", "(010)", "(010)"),
    ],
)
def test_what_is_no_hash_is_put_in_order_and_hashed(code: str, value: str, expected: str) -> None:
    assert normalised(code, value) == expected
    assert normalised(code, expected) == expected, "once more changes nothing"


@pytest.mark.parametrize(
    "code, value",
    [
        ("Email_LC_SHA256", "nobody"),
        ("Email_LC_SHA256", "@"),
        ("Email_LC_SHA256", "a\ud800@b"),
        ("Phone_SHA256", "call me"),
        ("Phone_SHA256", "٠١٠١٢٣٤٥٦٧٨"),
        ("Phone_SHA256_E.164", "010-1234-5678"),
        ("Phone_SHA256_E.164", "+0 10 1234 5678"),
    ],
)
def test_what_is_neither_a_hash_nor_an_address_is_refused(code: str, value: str) -> None:
    with pytest.raises(Refused):
        normalised(code, value)


def test_only_an_inlet_that_was_asked_to_touches_identities() -> None:
    entity = {"identityMap": {"Email_LC_SHA256": [{"id": "A@example.com"}]}}
    assert identities(inlet(), entity) == [("Email_LC_SHA256", "A@example.com")]
    Inlet.objects.all().delete()
    assert identities(inlet(normalise=True), entity) == [("Email_LC_SHA256", hashed("a@example.com"))]
