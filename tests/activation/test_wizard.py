"""The activation wizard: segments, attributes, review, finish, each a saved draft."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from activation import services
from activation.models import Dataflow, DraftAttribute, DraftSegment, PendingExport
from activation.selectors import RECOMMENDED
from activation.views.wizard import WIZARD
from destinations.models import Destination
from governance.models import Label
from profiles.models import SchemaField, Segment
from tests.activation.wizard import (
    HTMX,
    chosen,
    paths,
    ready,
    said,
    send_attributes,
    send_segments,
    signed_in,
    url,
    version,
)
from tests.factories import DestinationFactory, MembershipFactory, SegmentFactory, UserFactory

pytestmark = pytest.mark.django_db


# -- who may --------------------------------------------------------------------------------------------------------


STEPS = [
    ("segments", "get"),
    ("segments", "post"),
    ("attributes", "get"),
    ("attributes", "post"),
    ("sample", "get"),
]
STEPS += [("review", "get"), ("estimate", "get"), ("finish", "post"), ("discard", "post")]


@pytest.mark.parametrize("lacking", WIZARD)
@pytest.mark.parametrize(("name", "method"), STEPS)
def test_every_step_needs_every_right_of_the_wizard(
    destination: Destination, name: str, method: str, lacking: str
) -> None:
    person = signed_in(UserFactory.create(permissions=[right for right in WIZARD if right != lacking]))
    assert getattr(person, method)(url(name, destination)).status_code == 403
    assert not Dataflow.objects.exists()


@pytest.mark.parametrize(("name", "method"), STEPS)
def test_who_is_signed_out_is_asked_to_sign_in(destination: Destination, name: str, method: str) -> None:
    response = getattr(Client(), method)(url(name, destination))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("sign_in"))


@pytest.mark.parametrize("name", ["segments", "attributes", "review"])
def test_a_destination_that_does_not_exist_is_a_404(client: Client, name: str) -> None:
    missing = DestinationFactory.build()
    assert client.get(url(name, missing)).status_code == 404


# -- Select segments ------------------------------------------------------------------------------------------------


def test_with_an_empty_database_the_step_says_what_segments_are(
    client: Client, destination: Destination
) -> None:
    page = client.get(url("segments", destination))
    assert page.status_code == 200
    assert "No segments yet" in page.content.decode()


def test_looking_writes_nothing(client: Client, destination: Destination) -> None:
    SegmentFactory.create()
    for name in ("segments", "attributes", "review", "sample"):
        client.get(url(name, destination))
    assert not Dataflow.objects.exists()


def test_pages_are_never_cached(client: Client, destination: Destination) -> None:
    assert "no-store" in client.get(url("segments", destination))["Cache-Control"]


def test_ticked_segments_are_chosen_and_the_next_step_follows(
    client: Client, destination: Destination
) -> None:
    one, two, three = SegmentFactory.create_batch(3)
    response = send_segments(client, destination, [one, two, three], [one, three])
    assert response["Location"] == url("attributes", destination)
    assert chosen(destination) == {one.pk, three.pk}


def test_the_first_save_brings_the_recommended_attributes(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    send_segments(client, destination, [segment], [segment])
    assert paths(destination) == list(RECOMMENDED)


def test_a_choice_survives_searching_sorting_and_turning_pages(
    client: Client, destination: Destination
) -> None:
    segments = SegmentFactory.create_batch(30)
    first, second = segments[:25], segments[25:]
    response = send_segments(client, destination, first, first[:2], go="page=2", action="")
    assert response["Location"].endswith("?page=2")
    send_segments(client, destination, second, second[:1], q="nothing has this", action="search")
    send_segments(client, destination, [], [], go="sort=-members", action="")
    assert chosen(destination) == {first[0].pk, first[1].pk, second[0].pk}
    # And it is ticked when its page is shown again.
    page = client.get(url("segments", destination), {"q": first[0].name})
    assert first[0].pk in page.context["ticked"]


def test_unticking_removes_only_what_the_page_shows(client: Client, destination: Destination) -> None:
    one, two = SegmentFactory.create_batch(2)
    ready(client, destination, one, two)
    send_segments(client, destination, [one], [])
    assert chosen(destination) == {two.pk}


def test_a_chosen_segment_of_another_page_can_be_removed(client: Client, destination: Destination) -> None:
    one, two = SegmentFactory.create_batch(2)
    ready(client, destination, one, two)
    send_segments(client, destination, [one], [one], remove=two.pk)
    assert chosen(destination) == {one.pk}


def test_every_segment_found_is_chosen_at_once(client: Client, destination: Destination) -> None:
    keep = SegmentFactory.create(name="Other")
    SegmentFactory.create_batch(30)
    ready(client, destination, keep)
    send_segments(client, destination, [], [], q="segment", action="all")
    assert len(chosen(destination)) == 31
    send_segments(client, destination, [], [], q="segment", action="all")
    assert len(chosen(destination)) == 31


def test_removing_all_leaves_none(client: Client, destination: Destination) -> None:
    ready(client, destination, *SegmentFactory.create_batch(3))
    send_segments(client, destination, [], [], action="none")
    assert chosen(destination) == set()


def test_only_the_chosen_ones_can_be_shown(client: Client, destination: Destination) -> None:
    one, two = SegmentFactory.create_batch(2)
    ready(client, destination, one)
    page = client.get(url("segments", destination), {"chosen": "1"})
    assert [segment.pk for segment in page.context["page"]] == [one.pk]
    assert two.name not in page.content.decode()


def test_ten_thousand_segments_take_as_many_queries_as_a_few(
    client: Client, destination: Destination, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Segment.objects.bulk_create([Segment(pk=f"s{n}", name=f"Segment {n:05}") for n in range(10_000)])
    for name in ("Segment 00003", "Segment 09999"):
        MembershipFactory.create(segment=Segment.objects.get(name=name))
    Label.objects.get(code="C9").segments.add(*Segment.objects.filter(name__gte="Segment 09990"))
    with django_assert_max_num_queries(14):
        page = client.get(url("segments", destination), {"page": "400"})
    assert page.content.decode().count(">C9<") == 10
    rows = list(page.context["page"])
    assert len(rows) == 25
    assert (rows[-1].name, rows[-1].members) == ("Segment 09999", 1)
    with django_assert_max_num_queries(14):
        page = client.get(url("segments", destination), {"sort": "-members"})
    assert [row.name for row in page.context["page"]][:3] == [
        "Segment 00003",
        "Segment 09999",
        "Segment 00000",
    ]
    send_segments(client, destination, [], [], action="all")
    assert DraftSegment.objects.count() == 10_000
    with django_assert_max_num_queries(16):
        page = client.get(url("segments", destination), {"q": "0999"})
    assert page.context["page"].paginator.count == 11
    assert page.context["chosen_more"] == 9_990


def test_members_are_those_who_did_not_leave(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    for status in ("realized", "existing", "exited"):
        MembershipFactory.create(segment=segment, status=status)
    for sort in ("name", "members"):
        page = client.get(url("segments", destination), {"sort": sort})
        assert page.context["page"][0].members == 2


def test_no_segment_is_said_at_the_step(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create()
    response = send_segments(client, destination, [segment], [])
    assert response.status_code == 422
    assert "Choose at least one segment." in response.content.decode()


def test_a_segment_deleted_meanwhile_is_named_and_the_others_are_saved(
    client: Client, destination: Destination
) -> None:
    gone, there = SegmentFactory.create(name="Gone & away"), SegmentFactory.create()
    gone_id = gone.pk
    Segment.objects.filter(pk=gone_id).delete()
    gone.pk = gone_id
    response = send_segments(client, destination, [gone, there], [gone, there])
    assert response.status_code == 422
    assert "Gone &amp; away" in response.content.decode()
    assert "deleted meanwhile" in response.content.decode()
    assert chosen(destination) == {there.pk}


def test_saving_and_leaving_keeps_the_draft_even_when_it_is_empty(
    client: Client, destination: Destination
) -> None:
    segment = SegmentFactory.create()
    response = send_segments(client, destination, [segment], [], action="save")
    assert response["Location"] == destination.get_absolute_url()
    assert "draft" in said(response)
    assert Dataflow.objects.get().state == "draft"


def test_ticking_with_htmx_answers_with_the_chosen_ones(client: Client, destination: Destination) -> None:
    segment = SegmentFactory.create(name="High propensity to convert")
    data = {"version": 0, "shown": [segment.pk], "segment": [segment.pk], "action": "keep"}
    response = client.post(url("segments", destination), data, headers=HTMX)
    assert response.status_code == 200
    text = response.content.decode()
    assert text.lstrip().startswith('<div id="chosen"')
    assert "High propensity to convert" in text
    assert chosen(destination) == {segment.pk}


def test_turning_the_page_with_htmx_keeps_the_address_of_the_page(
    client: Client, destination: Destination
) -> None:
    SegmentFactory.create_batch(30)
    data = {"version": 0, "go": "page=2"}
    response = client.post(url("segments", destination), data, headers=HTMX)
    assert response["HX-Push-Url"] == url("segments", destination) + "?page=2"
    assert response.context["page"].number == 2


@pytest.mark.parametrize(
    "query",
    [
        {"page": "x"},
        {"page": "-1"},
        {"page": "999999999999"},
        {"sort": "password"},
        {"q": "\0"},
        {"q": "%_'"},
    ],
)
def test_odd_addresses_show_the_step(client: Client, destination: Destination, query: dict[str, str]) -> None:
    SegmentFactory.create()
    assert client.get(url("segments", destination), query).status_code == 200


# -- two people, two tabs -------------------------------------------------------------------------------------------


def test_of_two_people_the_later_is_told_and_nothing_is_overwritten(
    client: Client, destination: Destination
) -> None:
    one, two = SegmentFactory.create_batch(2)
    other = signed_in(UserFactory.create(username="Lee", permissions=[*WIZARD]))
    send_segments(other, destination, [one, two], [two], action="save", version=0)
    response = send_segments(client, destination, [one, two], [one], version=0)
    assert response.status_code == 422
    text = response.content.decode()
    assert "Lee changed this activation meanwhile" in text
    assert "UTC" in text
    assert url("segments", destination) in text
    assert chosen(destination) == {two.pk}
    # Sending the same page again does not get through either.
    assert (
        send_segments(client, destination, [one, two], [one], version=response.context["version"]).status_code
        == 422
    )
    # What was typed is still there to be seen.
    assert response.context["ticked"] == {one.pk}
    # After loading what it is now, one goes on.
    assert send_segments(client, destination, [one, two], [one, two]).status_code == 302
    assert chosen(destination) == {one.pk, two.pk}


def test_with_htmx_the_later_is_told_beside_the_table(client: Client, destination: Destination) -> None:
    one = SegmentFactory.create()
    other = signed_in(UserFactory.create(username="Lee", permissions=[*WIZARD]))
    send_segments(other, destination, [one], [one], version=0)
    data = {"version": 0, "shown": [one.pk], "action": "keep"}
    response = client.post(url("segments", destination), data, headers=HTMX)
    assert "Lee changed this activation meanwhile" in response.content.decode()
    assert chosen(destination) == {one.pk}


def test_the_same_person_in_two_tabs_saves_last(client: Client, destination: Destination) -> None:
    one, two = SegmentFactory.create_batch(2)
    send_segments(client, destination, [one, two], [one], version=0)
    assert send_segments(client, destination, [one, two], [two], version=0).status_code == 302
    assert chosen(destination) == {two.pk}
    assert Dataflow.objects.count() == 1


def test_an_old_tab_does_not_overwrite_what_somebody_else_saved_in_between(
    client: Client, destination: Destination
) -> None:
    one, two = SegmentFactory.create_batch(2)
    other = signed_in(UserFactory.create(username="Lee", permissions=[*WIZARD]))
    send_segments(client, destination, [one, two], [one])
    old_tab = version(destination)
    send_segments(other, destination, [one, two], [one, two])
    send_attributes(client, destination, "personID")  # in a new tab, after seeing what the other did
    assert send_segments(client, destination, [one, two], [one], version=old_tab).status_code == 422
    assert chosen(destination) == {one.pk, two.pk}


def test_attributes_of_a_stale_page_stay_in_the_form(client: Client, destination: Destination) -> None:
    other = signed_in(UserFactory.create(username="Lee", permissions=[*WIZARD]))
    ready(client, destination, SegmentFactory.create())
    stale = version(destination)
    send_attributes(other, destination, "person.name.lastName")
    response = send_attributes(client, destination, "person.name.firstName", version=stale)
    assert response.status_code == 422
    assert "Lee changed this activation meanwhile" in response.content.decode()
    assert [row.field.path for row in response.context["rows"]] == ["person.name.firstName"]
    assert paths(destination) == ["person.name.lastName"]


# -- Select attributes ----------------------------------------------------------------------------------------------


def test_the_recommended_attributes_are_there_and_so_is_the_partition_key(client: Client) -> None:
    destination = DestinationFactory.create(partition_key="attribute:personID")
    ready(client, destination, SegmentFactory.create())
    page = client.get(url("attributes", destination))
    assert [row.field.path for row in page.context["rows"]] == [*RECOMMENDED, "personID"]


def test_attributes_before_segments_lead_back_with_a_word(client: Client, destination: Destination) -> None:
    for name in ("attributes", "review"):
        response = client.get(url(name, destination))
        assert response["Location"] == url("segments", destination)
        assert "Choose at least one segment." in said(response)


def test_order_and_mandatory_marks_are_saved(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    a, b, c = RECOMMENDED[:3]
    send_attributes(client, destination, a, b, c, mandatory=[b], move=f"up:{c}", action="")
    assert paths(destination) == [a, c, b]
    send_attributes(client, destination, a, c, b, mandatory=[b], move=f"down:{a}", action="")
    assert paths(destination) == [c, a, b]
    send_attributes(client, destination, c, a, b, mandatory=[b], move=f"up:{c}", action="")
    assert paths(destination) == [c, a, b]
    mandatory = DraftAttribute.objects.filter(mandatory=True).values_list("field__path", flat=True)
    assert list(mandatory) == [b]


def test_fields_are_added_once_and_removed(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    send_attributes(client, destination, "personID", add="homeAddress.city", action="")
    send_attributes(client, destination, "personID", "homeAddress.city", add="homeAddress.city", action="")
    assert paths(destination) == ["personID", "homeAddress.city"]
    send_attributes(client, destination, "personID", "homeAddress.city", remove="personID", action="")
    assert paths(destination) == ["homeAddress.city"]


def test_adding_with_htmx_says_so_and_refreshes_the_sample(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    data = {"version": version(destination), "path": ["personID"], "add": "homeAddress.city"}
    response = client.post(url("attributes", destination), data, headers=HTMX)
    assert "1 field was added." in response["HX-Trigger"]
    assert "draft-saved" in response["HX-Trigger-After-Settle"]


def test_what_can_not_be_added_from_the_dialog_is_said_over_it(
    client: Client, destination: Destination
) -> None:
    ready(client, destination, SegmentFactory.create())
    data = {"version": version(destination), "path": ["personID"], "add": "gone.meanwhile"}
    response = client.post(url("attributes", destination), data, headers=HTMX)
    assert response.status_code == 422
    assert "gone.meanwhile" in response["HX-Trigger"]


def test_pasted_paths_are_added_and_unknown_ones_named(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    send_attributes(
        client, destination, "personID", action="paste", paths="homeAddress.city\nhomeAddress.country"
    )
    assert paths(destination) == ["personID", "homeAddress.city", "homeAddress.country"]
    response = send_attributes(client, destination, "personID", action="paste", paths="home.town, personID")
    assert response.status_code == 422
    text = response.content.decode()
    assert "Not in the schema: “home.town”." in text
    assert "home.town, personID" in text  # what was typed stays
    assert paths(destination) == ["personID", "homeAddress.city", "homeAddress.country"]


def test_a_path_that_is_not_in_the_schema_is_named(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    response = send_attributes(client, destination, "personID", "person.nickname<b>")
    assert response.status_code == 422
    assert "“person.nickname&lt;b&gt;”" in response.content.decode()
    assert paths(destination) == list(RECOMMENDED)


def test_a_group_of_fields_can_not_be_mapped(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    response = send_attributes(client, destination, "homeAddress")
    assert response.status_code == 422
    assert "“homeAddress”" in response.content.decode()


def test_two_thousand_attributes_are_too_many(client: Client, destination: Destination) -> None:
    SchemaField.objects.bulk_create([SchemaField(path=f"_ours.f{n}", title=f"F{n}") for n in range(2000)])
    ready(client, destination, SegmentFactory.create())
    response = send_attributes(client, destination, *[f"_ours.f{n}" for n in range(2000)])
    assert response.status_code == 422
    assert "2,000 attributes are too many: a dataflow takes 500 at most." in response.content.decode()
    assert paths(destination) == list(RECOMMENDED)


def test_as_many_attributes_as_allowed_go_through(
    client: Client, destination: Destination, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    most = services.MAX_ATTRIBUTES
    SchemaField.objects.bulk_create([SchemaField(path=f"_ours.f{n}", title=f"F{n}") for n in range(most)])
    ready(client, destination, SegmentFactory.create())
    wanted = [f"_ours.f{n}" for n in range(most)]
    assert send_attributes(client, destination, *wanted)["Location"] == url("review", destination)
    assert paths(destination) == wanted
    with django_assert_max_num_queries(16):
        client.get(url("attributes", destination))


def test_no_attribute_is_said_at_the_step(client: Client, destination: Destination) -> None:
    ready(client, destination, SegmentFactory.create())
    response = send_attributes(client, destination)
    assert response.status_code == 422
    assert "Choose at least one attribute." in response.content.decode()
    assert client.get(url("review", destination))["Location"] == url("attributes", destination)


def test_the_attribute_that_records_are_distributed_by_has_to_be_mapped(client: Client) -> None:
    destination = DestinationFactory.create(partition_key="attribute:personID")
    ready(client, destination, SegmentFactory.create())
    response = send_attributes(client, destination, "homeAddress.city")
    assert response.status_code == 422
    assert "“personID”" in response.content.decode()


def test_the_schema_tree_is_one_query_whatever_its_size(
    client: Client, destination: Destination, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    SchemaField.objects.bulk_create(
        [SchemaField(path=f"_ours.g{n % 40}.f{n}", title=f"F{n}") for n in range(2000)]
    )
    ready(client, destination, SegmentFactory.create())
    with django_assert_max_num_queries(16):
        page = client.get(url("attributes", destination))
    ours = next(branch for branch in page.context["tree"] if branch.key == "_ours")
    assert ours.leaves == 2000


def test_with_an_empty_schema_the_step_stands(client: Client, destination: Destination) -> None:
    SchemaField.objects.all().delete()
    ready(client, destination, SegmentFactory.create())
    page = client.get(url("attributes", destination))
    assert page.status_code == 200
    assert "No attribute yet" in page.content.decode()


# -- at the same moment ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("step", ["first save", "finish"])
def test_two_clicks_at_the_same_moment_do_it_once(step: str) -> None:
    destination = DestinationFactory.create()
    person = UserFactory.create(permissions=[*WIZARD])
    segment = SegmentFactory.create()
    MembershipFactory.create(segment=segment)
    done: list[object] = []
    start = threading.Barrier(2)

    def save() -> None:
        services.save_segments(
            destination=destination, version=0, by=person, shown=[segment.pk], ticked=[segment.pk]
        )
        done.append("saved")

    def finish() -> None:
        try:
            services.finish(destination=destination, version=2, by=person, segments=1, attributes=4)
            done.append("finished")
        except services.NothingToFinish:
            done.append("already")

    def click(act: Callable[[], None]) -> None:
        try:
            start.wait(timeout=10)
            act()
        except BaseException as error:
            done.append(error)
        finally:
            connections.close_all()

    if step == "finish":
        save()
        done.clear()
    threads = [
        threading.Thread(target=click, args=(save if step == "first save" else finish,))
        for _click in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(map(str, done)) == (["saved", "saved"] if step == "first save" else ["already", "finished"])
    assert Dataflow.objects.count() == 1
    assert DraftSegment.objects.count() == (1 if step == "first save" else 0)
    assert PendingExport.objects.count() == (0 if step == "first save" else 1)
