"""What is deleted while something is written of it: no row is left that names what is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from profiles import services
from profiles.ingest import Fragment, ingest
from profiles.models import Identity, IdentityNamespace, Profile, Segment, SegmentMembership
from profiles.namespaces.services import delete_namespace
from profiles.segmentation import store
from profiles.uploads import work
from tests.factories import SegmentFactory
from tests.postgres import beside
from tests.profiles.segmentation.ruled import ruled

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time"),
]

OLD = Fragment([("Email", "a")], {"x": 1})
MORE = Fragment([("Email", "a"), ("OWN", "b")], {"x": 2}, {"given": ("realized", None)})


@pytest.fixture(autouse=True)
def _a_customer_and_a_segment() -> Iterator[None]:
    IdentityNamespace.objects.create(code="OWN", name="Own")
    SegmentFactory.create(id="given", origin="upload")
    ruled("ruled", "x > 1")
    ingest([OLD])
    yield
    assert not nameless()


def nameless() -> list[object]:
    """Rows that name what is not there."""
    found: list[object] = []
    for model, field, named in (
        (Identity, "profile", Profile),
        (Identity, "namespace", IdentityNamespace),
        (SegmentMembership, "profile", Profile),
        (SegmentMembership, "segment", Segment),
    ):
        there = Exists(named._default_manager.filter(pk=OuterRef(f"{field}_id")))
        found += model._default_manager.filter(~there).values_list("pk", f"{field}_id")
    return found


def write_more() -> None:
    ingest([MORE])


def evaluate() -> None:
    Profile.objects.update(attributes={"x": 2})
    store.request(["ruled"])
    store.evaluate("ruled")


def expire() -> None:
    write_more()
    work.exit_members("given", before=timezone.now() + timedelta(days=1))


def delete_customers() -> None:
    services.delete_profiles(Profile.objects.all())


def delete_given() -> None:
    services.delete_segment(Segment.objects.get(pk="given"))


def delete_own() -> None:
    delete_namespace(IdentityNamespace.objects.get(code="OWN"))


def delete_ruled() -> None:
    services.delete_segment(Segment.objects.get(pk="ruled"))


@pytest.mark.parametrize("delete", [delete_customers, delete_given, delete_ruled])
@pytest.mark.parametrize("write", [write_more, evaluate, expire])
def test_what_is_deleted_takes_along_what_is_being_written(
    write: Callable[[], None], delete: Callable[[], None]
) -> None:
    with transaction.atomic():
        write()
        beside(delete)
    assert nameless() == []


@pytest.mark.parametrize("delete", [delete_customers, delete_given, delete_ruled])
def test_what_is_written_after_a_deletion_names_what_is_there(delete: Callable[[], None]) -> None:
    with transaction.atomic():
        delete()
        beside(write_more)
    assert nameless() == []
    membership = SegmentMembership.objects.get(segment="given")
    assert membership.status == "realized"
    assert set(membership.profile.identities.values_list("value", flat=True)) == {"a", "b"}


def _write_beside(work: Callable[[], None]) -> None:
    with transaction.atomic():
        write_more()
        beside(work)


def test_a_namespace_that_somebody_gets_an_identity_in_stays() -> None:
    with pytest.raises(ValidationError):
        _write_beside(delete_own)
    assert Identity.objects.get(namespace__code="OWN").value == "b"


def test_nobody_gets_an_identity_in_a_namespace_that_is_deleted() -> None:
    with transaction.atomic():
        delete_own()
        beside(write_more)
    assert not Identity.objects.filter(value="b").exists()
