"""Erasing a person: nothing that is known of them stays but that they were erased."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from activation.export import farewell
from activation.export.farewell import send_due
from activation.models import Dataflow, DataflowRun, Delivery, FailedExport, Farewell, PendingExport
from audit.models import Entry
from profiles.erasure.services import erase
from profiles.ingest import Fragment, ingest
from profiles.inlets import intake
from profiles.inlets.services import create_inlet
from profiles.models import InletSample, MergedProfile, Profile, Upload, UploadRejection
from profiles.reasons import Reason
from tests.destinations.connected import connected_destination
from tests.factories import DataflowFactory, IdentityFactory, MembershipFactory, ProfileFactory, UserFactory
from tests.local_kinesis import RunningKinesis

pytestmark = pytest.mark.django_db
EMAIL, PHONE = "seoyeon@example.com", "+82-10-1234-5678"


@pytest.fixture
def person() -> Profile:
    """A customer who is everywhere."""
    profile = ProfileFactory.create(attributes={"person": {"name": {"fullName": "Kim Seo-yeon"}}})
    IdentityFactory.create(profile=profile, value=EMAIL)
    IdentityFactory.create(profile=profile, namespace__code="Phone", value=PHONE)
    membership = MembershipFactory.create(profile=profile)
    dataflow = DataflowFactory.create(segments=[membership.segment])
    MergedProfile.objects.create(id=ProfileFactory.build().pk, survivor=profile)
    PendingExport.objects.create(dataflow=dataflow, profile=profile, reason="backfill")
    now = timezone.now()
    Delivery.objects.create(
        dataflow=dataflow,
        profile=profile,
        delivered_at=now,
        reason="backfill",
        shard="s",
        sequence_number="1",
    )
    run = DataflowRun.objects.create(dataflow=dataflow, started_at=now, last_at=now)
    FailedExport.objects.create(run=run, profile=profile, kind="failed", code="X", reason=EMAIL)
    inlet, _token = create_inlet(name="Shop", protected=False)
    intake.note_refusal(
        inlet, Reason("Not valid: %(value)s", {"value": EMAIL}), json.dumps({"email": EMAIL.upper()}).encode()
    )
    intake.note_refusal(inlet, Reason("Other"), b'{"email": "other@example.com"}')
    upload = Upload.objects.create(file_name="list.csv", size=1, segment=membership.segment, state="done")
    for row, value in enumerate((EMAIL, f"{EMAIL.upper()};;", "other@example.com"), 2):
        upload.rejections.create(row=row, value=value, reason="The row has too few cells.")
    return profile


def everything() -> str:
    """All that the database holds, as text."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(model._meta.db_table)}")
            found += [str(row) for row in cursor.fetchall()]
    return "\n".join(found)


def test_nothing_of_the_person_is_left_anywhere_but_that_they_were_erased(person: Profile) -> None:
    other = IdentityFactory.create(value="other@example.com").profile
    before = everything()
    assert EMAIL in before and "Seo-yeon" in before
    assert erase(person.pk)
    after = everything()
    for known in (EMAIL, EMAIL.upper(), PHONE, "Seo-yeon"):
        assert known not in after
    assert Profile.objects.get() == other
    assert [sample.reason for sample in InletSample.objects.all()] == ["Other"]
    assert [rejection.value for rejection in UploadRejection.objects.all()] == ["other@example.com"]
    entry = Entry.objects.get(action="profile.erased")
    assert entry.object_id == str(person.pk)
    assert entry.changes["identities"] == entry.changes["rejected rows of uploads"] == [None, 2]
    assert not erase(person.pk)
    assert Entry.objects.filter(action="profile.erased").count() == 1


def test_the_counts_of_runs_stay(person: Profile) -> None:
    DataflowRun.objects.update(failed=1, activated=5)
    erase(person.pk)
    assert DataflowRun.objects.get().received == 6


def test_who_comes_in_again_is_somebody_new(person: Profile) -> None:
    erase(person.pk)
    [outcome] = ingest([Fragment(identities=[("Email", EMAIL)])])
    assert outcome.profile_id != person.pk


# -- the last record -----------------------------------------------------------------------------------------------


def test_the_last_record_tells_who_knows_the_person_that_every_segment_was_left(
    person: Profile, local_kinesis: RunningKinesis
) -> None:
    destination = connected_destination(local_kinesis)
    Dataflow.objects.update(destination=destination)
    stranger = DataflowFactory.create()  # never delivered anything of them
    segment = person.memberships.get().segment_id
    erase(person.pk, last_record=True)
    assert list(Farewell.objects.values_list("dataflow__destination", flat=True)) == [destination.pk]
    assert not Farewell.objects.filter(dataflow=stranger).exists()
    assert send_due() == 0  # what was under way goes first
    assert send_due(timezone.now() + farewell.AFTER) == 1
    [record] = local_kinesis.records("profile-exports")
    told = json.loads(record.data)
    assert told["segmentMembership"]["ups"][segment]["status"] == "exited"
    assert told["identityMap"] == {"email": [{"id": EMAIL}], "phone": [{"id": PHONE}]}
    assert "person" not in told
    assert EMAIL not in everything()


def test_a_last_record_waits_for_its_destination_but_not_for_ever(person: Profile) -> None:
    erase(person.pk, last_record=True)
    later = timezone.now() + farewell.AFTER
    Dataflow.objects.update(state="disabled")
    assert send_due(later) == 0 and Farewell.objects.exists()
    Dataflow.objects.update(state="enabled")
    assert send_due(later) == 0  # nobody listens there
    assert Farewell.objects.exists()
    send_due(timezone.now() + farewell.KEPT + timedelta(seconds=1))
    assert not Farewell.objects.exists()


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.fixture
def steward() -> User:
    return UserFactory.create(permissions=["profiles.view_profile", "profiles.delete_profile"])


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_page_says_what_goes_and_a_second_click_is_told(person: Profile, steward: User) -> None:
    client, url = signed_in(steward), reverse("profiles:profile_erase", args=[person.pk])
    assert url in client.get(reverse("profiles:profile", args=[person.pk])).content.decode()
    response = client.get(url)
    page = response.content.decode()
    assert EMAIL in page and "Pending exports" in page and "Failed exports" in page
    assert (response.context["known"].samples, response.context["known"].rejections) == (1, 2)
    assert Profile.objects.filter(pk=person.pk).exists()
    assert client.post(url)["Location"] == "/profiles/"
    assert client.post(url, follow=True).content.decode().count("was erased already") == 1
    assert client.get(url).status_code == 404


def test_who_may_see_profiles_may_not_erase_them(person: Profile) -> None:
    client = signed_in(UserFactory.create(permissions=["profiles.view_profile"]))
    assert "erase" not in client.get(reverse("profiles:profile", args=[person.pk])).content.decode()
    assert client.post(reverse("profiles:profile_erase", args=[person.pk])).status_code == 403
    assert Profile.objects.filter(pk=person.pk).exists()


def test_the_django_admin_erases_the_same_way(person: Profile) -> None:
    client = signed_in(User.objects.create_superuser("root"))
    client.post(reverse("admin:profiles_profile_delete", args=[person.pk]), {"post": "yes"})
    assert EMAIL not in everything()
    assert Entry.objects.get(action="profile.erased").actor == "root"


def test_short_and_strange_identities_find_only_what_holds_them(steward: User) -> None:
    inlet, _token = create_inlet(name="Shop", protected=False)
    values: list[Any] = ['김"민준"', "100%_off"]
    for value in values:
        intake.note_refusal(inlet, Reason("Refused"), json.dumps({"id": value}).encode())
    intake.note_refusal(inlet, Reason("Refused"), b'{"id": "100 of off"}')
    for value in values:
        erase(IdentityFactory.create(value=value).profile_id)
    assert [sample.text for sample in InletSample.objects.all()] == ['{"id": "100 of off"}']
