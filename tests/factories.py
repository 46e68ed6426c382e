"""Data for tests. Each app's factories have their own section."""

# mypy: disable-error-code="attr-defined,no-untyped-call,untyped-decorator"
# (factory-boy's declarations have no types; call `XFactory.create()`, which has)

from __future__ import annotations

from typing import Any

import factory
from django.contrib.auth.models import Permission, User
from django.db.models import Q
from django.utils import timezone
from factory.django import DjangoModelFactory

from activation.models import Dataflow, MappedAttribute, MappedSegment
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from profiles.models import (
    Identity,
    IdentityNamespace,
    Profile,
    SchemaField,
    Segment,
    SegmentMembership,
)
from profiles.segmentation.counts import Change, add_counts

# --- People --------------------------------------------------------------------------------------------------------


class UserFactory(DjangoModelFactory[User]):
    """A person who can sign in. ``permissions=["profiles.view_profile", …]`` gives rights."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"person{n}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.com")

    @factory.post_generation
    def permissions(user, create: bool, extracted: list[str] | None, **kwargs: Any) -> None:
        if create and extracted:
            user.user_permissions.set(permissions_named(extracted))


def permissions_named(names: list[str]) -> list[Permission]:
    """The permissions with these names (``app.codename``); a name that does not exist is an error."""
    wanted = Q(pk__in=[])
    for name in names:
        app, codename = name.split(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    found = list(Permission.objects.filter(wanted))
    assert len(found) == len(set(names)), f"unknown permission among {names}"
    return found


# --- Profiles ------------------------------------------------------------------------------------------------------


class NamespaceFactory(DjangoModelFactory[IdentityNamespace]):
    """The namespace with this code: the core one, or a new one."""

    class Meta:
        model = IdentityNamespace
        django_get_or_create = ("code",)

    code = "Email"
    name = factory.LazyAttribute(lambda namespace: namespace.code)


class ProfileFactory(DjangoModelFactory[Profile]):
    """A profile, written past ingestion: nothing is announced."""

    class Meta:
        model = Profile

    attributes = factory.LazyFunction(
        lambda: {"person": {"name": {"firstName": "Min-jun", "lastName": "Kim"}}}
    )


class IdentityFactory(DjangoModelFactory[Identity]):
    class Meta:
        model = Identity

    profile = factory.SubFactory(ProfileFactory)
    namespace = factory.SubFactory(NamespaceFactory)
    value = factory.Sequence(lambda n: f"customer{n}@example.com")


class SchemaFieldFactory(DjangoModelFactory[SchemaField]):
    class Meta:
        model = SchemaField
        django_get_or_create = ("path",)

    path = factory.Sequence(lambda n: f"_ours.field{n}")
    title = factory.LazyAttribute(lambda field: field.path)


class SegmentFactory(DjangoModelFactory[Segment]):
    class Meta:
        model = Segment

    name = factory.Sequence(lambda n: f"Segment {n}")


class MembershipFactory(DjangoModelFactory[SegmentMembership]):
    class Meta:
        model = SegmentMembership

    profile = factory.SubFactory(ProfileFactory)
    segment = factory.SubFactory(SegmentFactory)
    status = SegmentMembership.Status.REALIZED
    last_qualification_time = factory.LazyFunction(timezone.now)

    @classmethod
    def _after_postgeneration(
        cls, membership: SegmentMembership, create: bool, results: dict[str, Any] | None = None
    ) -> None:
        if membership.status != SegmentMembership.Status.EXITED:
            add_counts({membership.segment_id: Change(members=1)})


# --- Destinations --------------------------------------------------------------------------------------------------


class AccountFactory(DjangoModelFactory[Account]):
    """An account of Amazon Kinesis with AWS's documented example key."""

    class Meta:
        model = Account

    name = factory.Sequence(lambda n: f"Account {n}")
    connector = "kinesis"
    credentials = factory.LazyFunction(
        lambda: Encrypted.of(
            {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/EXAMPLE"}
        )
    )
    masked = "AKIA…MPLE"
    settings = factory.LazyFunction(lambda: {"region": "ap-northeast-2"})


class DestinationFactory(DjangoModelFactory[Destination]):
    class Meta:
        model = Destination

    account = factory.SubFactory(AccountFactory)
    name = factory.Sequence(lambda n: f"Destination {n}")
    settings = factory.LazyFunction(lambda: {"stream": "profile-exports"})


# --- Activation ----------------------------------------------------------------------------------------------------


class DataflowFactory(DjangoModelFactory[Dataflow]):
    """A dataflow that is live. ``segments`` and ``attributes`` (paths) map those."""

    class Meta:
        model = Dataflow
        skip_postgeneration_save = True

    destination = factory.SubFactory(DestinationFactory)
    state = Dataflow.State.ENABLED
    finished_at = factory.LazyFunction(timezone.now)

    @factory.post_generation
    def segments(dataflow: Any, create: bool, extracted: list[Segment] | None, **kwargs: Any) -> None:
        for segment in extracted or []:
            MappedSegment.objects.create(dataflow=dataflow, segment=segment)

    @factory.post_generation
    def attributes(dataflow: Any, create: bool, extracted: list[str] | None, **kwargs: Any) -> None:
        for position, path in enumerate(extracted or []):
            schema_field = SchemaFieldFactory.create(path=path)
            MappedAttribute.objects.create(dataflow=dataflow, field=schema_field, position=position)
