"""Profiles, Segments and Schema in the browser."""

from __future__ import annotations

import itertools
import uuid
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from profiles import selectors
from profiles.ingest import Fragment, ingest
from profiles.models import MemberCount, Profile, SchemaField, Segment, SegmentMembership
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    IdentityFactory,
    MembershipFactory,
    NamespaceFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

PROFILES, SEGMENTS, SCHEMA = (reverse(f"profiles:{name}") for name in ("profiles", "segments", "schema"))


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        page(client, url)
    return len(captured)


# --- Who may see what


@pytest.mark.parametrize("missing", ["profiles.view_profile", "profiles.view_segment"])
def test_every_page_needs_its_right(missing: str) -> None:
    profile, segment = ProfileFactory.create(), SegmentFactory.create(id="s/1")
    needs = {
        PROFILES: "profiles.view_profile",
        reverse("profiles:profile", args=[profile.pk]): "profiles.view_profile",
        SEGMENTS: "profiles.view_segment",
        reverse("profiles:segment", args=[segment.pk]): "profiles.view_segment",
        SCHEMA: "profiles.view_segment",
    }
    client = Client()
    for url in needs:
        assert client.get(url).headers["Location"] == f"/sign-in/?next={quote(url)}"
    rights = {"profiles.view_profile", "profiles.view_segment"} - {missing}
    client.force_login(UserFactory.create(permissions=sorted(rights)))
    for url, right in needs.items():
        assert client.get(url).status_code == (403 if right == missing else 200), url
        assert client.post(url).status_code in (403, 405)


def test_without_the_right_to_profiles_a_segment_shows_numbers_and_no_customers() -> None:
    membership = MembershipFactory.create(
        profile=ProfileFactory.create(attributes={"person": {"name": {"fullName": "Ada Lovelace"}}})
    )
    url = reverse("profiles:segment", args=[membership.segment_id])
    client = Client()
    client.force_login(UserFactory.create(permissions=["profiles.view_segment"]))
    assert "Ada Lovelace" not in page(client, url)
    client.force_login(UserFactory.create(permissions=["profiles.view_segment", "profiles.view_profile"]))
    assert "Ada Lovelace" in page(client, url)


# --- Empty


def test_empty_pages_say_what_would_be_here(reader: Client) -> None:
    assert "load_sample" in page(reader, PROFILES)
    assert "load_sample" in page(reader, SEGMENTS)
    segment = SegmentFactory.create()
    assert "No members yet" in page(reader, reverse("profiles:segment", args=[segment.pk]))
    profile = ProfileFactory.create(attributes={})
    empty = page(reader, reverse("profiles:profile", args=[profile.pk]))
    assert "In no segment" in empty
    SchemaField.objects.all().delete()
    assert "The schema is empty" in page(reader, SCHEMA)


# --- Finding profiles


def test_an_identity_leads_to_its_profile(reader: Client) -> None:
    identity = IdentityFactory.create(value="ada@example.com")
    IdentityFactory.create(value="other@example.com")
    there = reverse("profiles:profile", args=[identity.profile_id])
    for query in (
        {"q": " ada@example.com "},
        {"q": "ada@example.com", "namespace": "Email"},
        {"q": str(identity.profile_id)},
    ):
        assert reader.get(PROFILES, query).headers["Location"] == there


def test_one_value_in_two_namespaces_gives_a_choice(reader: Client) -> None:
    first = IdentityFactory.create(value="12345")
    second = IdentityFactory.create(value="12345", namespace=NamespaceFactory.create(code="CRMID"))
    found = page(reader, f"{PROFILES}?q=12345")
    for identity in (first, second):
        assert reverse("profiles:profile", args=[identity.profile_id]) in found
    there = reverse("profiles:profile", args=[second.profile_id])
    assert reader.get(PROFILES, {"q": "12345", "namespace": "CRMID"}).headers["Location"] == there


@pytest.mark.parametrize("value", ["nobody@example.com", "<script>", "%00", "%ED%A0%80"])
def test_who_is_not_found_is_said(reader: Client, value: str) -> None:
    IdentityFactory.create()
    found = page(reader, f"{PROFILES}?q={value}")
    assert "No profile has this identity" in found or "be looked for" in found
    assert "<script>alert" not in found and "“<script>”" not in found


@pytest.mark.parametrize("query", ["q=" + "x" * 2000, "q=x&namespace=Fax", "namespace=%00&q=1"])
def test_what_can_not_be_looked_for_is_said(reader: Client, query: str) -> None:
    assert "be looked for" in page(reader, f"{PROFILES}?{query}")


@pytest.mark.parametrize("query", ["before=x", "after=%00", "before=&after="])
def test_a_bad_place_in_the_list_is_its_beginning(reader: Client, query: str) -> None:
    IdentityFactory.create(value="ada@example.com")
    assert "ada@example.com" in page(reader, f"{PROFILES}?{query}")


def test_one_can_walk_through_all_profiles_and_back(reader: Client) -> None:
    made = [ProfileFactory.create().pk for _number in range(60)]
    expected = sorted(made, reverse=True)
    seen: list[uuid.UUID] = []
    url, pages = PROFILES, []
    for _step in range(5):
        context = reader.get(url).context
        pages.append([row.profile.pk for row in context["rows"]])
        seen += pages[-1]
        if not context["slice"].older:
            break
        url = f"{PROFILES}?before={context['slice'].older}"
    assert seen == expected
    assert [len(rows) for rows in pages] == [25, 25, 10]
    back = reader.get(f"{PROFILES}?after={context['slice'].newer}").context
    assert [row.profile.pk for row in back["rows"]] == pages[1]
    back = reader.get(f"{PROFILES}?after={back['slice'].newer}").context
    assert [row.profile.pk for row in back["rows"]] == pages[0]
    assert back["slice"].newer is None


def test_the_list_of_profiles_has_few_queries_however_long(reader: Client) -> None:
    for number in range(3):
        IdentityFactory.create(value=f"{number}@example.com")
    few = queries(reader, PROFILES)
    for number in range(20):
        MembershipFactory.create(profile=IdentityFactory.create(value=f"more{number}@example.com").profile)
    assert queries(reader, PROFILES) == few <= 8


# --- A profile


def test_a_profile_shows_attributes_identities_and_memberships(reader: Client) -> None:
    profile = ProfileFactory.create(
        attributes={"person": {"name": {"fullName": "<b>김민준</b>"}}, "loyalty": {"points": 12345}}
    )
    IdentityFactory.create(profile=profile, value="minjun@example.com")
    IdentityFactory.create(profile=profile, value="1" * 38, namespace=NamespaceFactory.create(code="ECID"))
    stayed, left = SegmentFactory.create(name="Zebra"), SegmentFactory.create(name="Ant", id="a/ b")
    MembershipFactory.create(profile=profile, segment=stayed)
    MembershipFactory.create(profile=profile, segment=left, status="exited")
    shown = page(reader, reverse("profiles:profile", args=[profile.pk]))
    for text in (
        "&lt;b&gt;김민준&lt;/b&gt;",
        "12345",
        "minjun@example.com",
        "1" * 38,
        "Exited",
        "/segments/a/%20b/",
    ):
        assert text in shown, text
    assert "<b>김민준" not in shown
    assert shown.index("Zebra") < shown.index(">Ant<")


def test_where_it_was_exported_is_fetched_by_those_who_may_see_destinations(reader: Client) -> None:
    profile = ProfileFactory.create()
    url = reverse("profiles:profile", args=[profile.pk])
    part = reverse("activation:profile_exports", args=[profile.pk])
    assert part not in page(reader, url)
    reader.force_login(
        UserFactory.create(permissions=["profiles.view_profile", "destinations.view_destination"])
    )
    assert f'hx-get="{part}"' in page(reader, url)


def test_a_profile_has_few_queries_however_much_there_is(reader: Client) -> None:
    profile = ProfileFactory.create()
    url = reverse("profiles:profile", args=[profile.pk])
    few = queries(reader, url)
    for number in range(10):
        IdentityFactory.create(profile=profile, value=f"{number}@example.com")
        MembershipFactory.create(profile=profile)
    assert queries(reader, url) == few <= 8


def test_the_id_of_a_merged_profile_leads_to_the_one_that_stayed(reader: Client) -> None:
    stays = IdentityFactory.create(value="stays@example.com").profile
    goes = IdentityFactory.create(value="goes@example.com").profile
    ingest([Fragment(identities=[("Email", "stays@example.com"), ("Email", "goes@example.com")])])
    there = reverse("profiles:profile", args=[stays.pk])
    assert reader.get(reverse("profiles:profile", args=[goes.pk])).headers["Location"] == there
    assert reader.get(PROFILES, {"q": str(goes.pk)}).headers["Location"] == there


def test_a_profile_tells_when_each_attribute_was_written(reader: Client) -> None:
    SchemaField.objects.create(path="_ours.visits", title="Visits", type=SchemaField.Type.MAP)
    attributes = {"person": {"email": "a"}, "loyalty": {"loyaltyID": ["x"]}, "_ours": {"visits": {"e.x": 1}}}
    [outcome] = ingest([Fragment(identities=[("Email", "a")], attributes=attributes)])
    profile = Profile.objects.get(pk=str(outcome.profile_id))
    profile.written = {path: 1_800_000_000_000 + at * 1000 for at, path in enumerate(sorted(profile.written))}
    profile.save()
    shown = page(reader, reverse("profiles:profile", args=[profile.pk]))
    for second, path in enumerate(("_ours.visits", "loyalty.loyaltyID", "person.email")):
        assert profile.written[path] == 1_800_000_000_000 + second * 1000
        assert shown.count(f"2027-01-15T08:00:0{second}Z") == 1


def test_the_identity_graph_is_drawn_and_told_as_a_table(reader: Client) -> None:
    ecid = NamespaceFactory.create(code="ECID")
    stays = IdentityFactory.create(value="<stays>@example.com").profile
    goes = IdentityFactory.create(value="goes@example.com").profile
    for number in range(12):
        IdentityFactory.create(profile=stays, namespace=ecid, value=f"{number:038d}")
    ingest([Fragment(identities=[("Email", "<stays>@example.com"), ("Email", "goes@example.com")])])
    response = reader.get(reverse("profiles:profile", args=[stays.pk]))
    groups = response.context["graph"].groups
    assert [group.text for group in groups] == ["ECID", "Email", ""]
    assert [leaf.text for leaf in groups[0].leaves][7:] == [f"{'0' * 23}…", "+ 4"]
    assert [(leaf.text, leaf.brought) for leaf in groups[1].leaves] == [
        ("<stays>@example.com", False),
        ("goes@example.com", True),
    ]
    assert groups[2].leaves[0].title == str(goes.pk)
    links = {link.identity.value: link for link in response.context["links"]}
    assert len(links) == 14
    assert links["<stays>@example.com"].merged is None
    merged = links["goes@example.com"].merged
    assert merged is not None and merged.pk == goes.pk
    assert links["goes@example.com"].since == merged.merged_at
    shown = response.content.decode()
    assert "<stays>" not in shown and "by merging" in shown
    for value in links:
        assert value.replace("<", "&lt;").replace(">", "&gt;") in shown.partition("</svg>")[2]


def test_a_profile_tells_when_it_came_into_a_segment_and_left(reader: Client) -> None:
    SegmentFactory.create(id="s")
    noon = timezone.now().replace(microsecond=0) - timedelta(days=3)
    steps = ["realized", "exited", "realized"]
    for place, status in enumerate(steps):
        moment = noon + timedelta(hours=place)
        ingest([Fragment(identities=[("Email", "a")], memberships={"s": (status, moment)})])
    profile = Profile.objects.get()
    shown = page(reader, reverse("profiles:profile", args=[profile.pk]))
    assert "3 changes" in shown
    history = shown.partition("3 changes")[2]
    for place in range(3):
        assert (noon + timedelta(hours=place)).strftime("%Y-%m-%dT%H:%M:%SZ") in history
    assert history.index("Came in") < history.index("Left") < history.rindex("Came in")


def test_an_unknown_profile_is_not_found(reader: Client) -> None:
    assert reader.get(reverse("profiles:profile", args=[uuid.uuid4()])).status_code == 404


def test_a_profile_with_odd_attributes_is_shown(reader: Client) -> None:
    for attributes in ({"person": "x"}, {"person": {"name": ["x"]}}, {"person": {"name": {"firstName": 5}}}):
        profile = ProfileFactory.create(attributes=attributes)
        page(reader, reverse("profiles:profile", args=[profile.pk]))
    page(reader, PROFILES)


# --- Segments


@pytest.mark.parametrize("search", ["", "seg"])
@pytest.mark.parametrize(
    "sort, order",
    [
        ("name", "abc"),
        ("-name", "cba"),
        ("members", "bca"),
        ("-members", "acb"),
        ("evaluated", "cab"),
        ("-evaluated", "bac"),
        ("origin", "cba"),
        ("nonsense", "abc"),
    ],
)
def test_segments_are_sorted_and_searched(reader: Client, sort: str, order: str, search: str) -> None:
    now = timezone.now()
    a = SegmentFactory.create(name="seg a", origin="upload", evaluated_at=now - timedelta(days=2))
    b = SegmentFactory.create(name="seg b", origin="segmentation", evaluated_at=now)
    c = SegmentFactory.create(name="seg c", origin="import")
    for segment, members in ((a, 2), (c, 1)):
        for _member in range(members):
            MembershipFactory.create(segment=segment)
    MembershipFactory.create(segment=b, status="exited")
    rows = reader.get(SEGMENTS, {"sort": sort, "q": search}).context["rows"]
    assert "".join(segment.name[-1] for segment, _trend in rows) == order
    assert {segment.name[-1]: trend[-1] for segment, trend in rows} == {"a": 2, "b": 0, "c": 1}


def test_segments_are_found_by_name_and_id(reader: Client) -> None:
    SegmentFactory.create(name="Autumn", id="x-1/y")
    SegmentFactory.create(name="Winter", id="z")
    for query, name in (("AUTU", "Autumn"), ("x-1/", "Autumn"), ("z", "Winter")):
        rows = reader.get(SEGMENTS, {"q": query}).context["rows"]
        assert [segment.name for segment, _trend in rows] == [name]
    assert "No segment found" in page(reader, f"{SEGMENTS}?q=%25")
    assert "No segment found" in page(reader, f"{SEGMENTS}?q=%00")


def test_segments_are_filtered_and_the_filters_stay_in_the_links(reader: Client) -> None:
    SegmentFactory.create(name="a", state="draft", origin="segmentation")
    SegmentFactory.create(name="b", origin="segmentation")
    SegmentFactory.create(name="c")

    def names(query: str) -> str:
        return "".join(segment.name for segment, _trend in reader.get(f"{SEGMENTS}?{query}").context["rows"])

    assert names("state=live") == "bc"
    assert names("origin=segmentation") == "ab"
    assert names("state=live&origin=segmentation&q=b") == "b"
    assert names("state=x&origin=%00") == "abc"
    assert "state=live" in page(reader, f"{SEGMENTS}?state=live").partition("sort-members")[2]
    assert "The filters may hide it." in page(reader, f"{SEGMENTS}?state=archived&q=a")
    assert "No segment is as the filters ask." in page(reader, f"{SEGMENTS}?state=archived")


def test_a_segment_in_the_list_tells_its_week_and_where_it_is_activated(reader: Client) -> None:
    segment = SegmentFactory.create()
    today = timezone.now().date()
    for ago, change in ((9, 1000), (3, 500), (0, -200)):
        MemberCount.objects.create(segment=segment, day=today - timedelta(days=ago), members=change)
    DataflowFactory.create(segments=[segment], destination=DestinationFactory.create(name="Seoul stream"))
    shown = page(reader, SEGMENTS)
    assert "Members by the day: 1,000, 1,000, 1,000, 1,500, 1,500, 1,500, 1,300" in shown
    assert "+300" in shown and "Seoul stream" not in shown
    reader.force_login(
        UserFactory.create(permissions=["profiles.view_segment", "destinations.view_destination"])
    )
    assert "Seoul stream" in page(reader, SEGMENTS)
    DataflowFactory.create(segments=[segment])
    assert "2 destinations" in page(reader, SEGMENTS)


def test_thousands_of_segments_are_paged_with_few_queries(reader: Client) -> None:
    SegmentFactory.create()
    few = queries(reader, SEGMENTS)
    Segment.objects.bulk_create([Segment(id=f"s{n}", name=f"Segment {n:05d}") for n in range(3000)])
    assert queries(reader, SEGMENTS) == few <= 8
    assert queries(reader, f"{SEGMENTS}?sort=-members&page=100") <= 8
    assert len(reader.get(f"{SEGMENTS}?page=9999").context["rows"]) == 1


@pytest.mark.parametrize("id", ["a/b", "a//b/", "a b", "ä?x=1#y", "100%", "/a", "schema", "<i>"])
def test_a_segment_has_a_page_whatever_its_id(reader: Client, id: str) -> None:
    segment = SegmentFactory.create(id=id, name="Odd")
    assert "Odd" in page(reader, SEGMENTS)
    assert reader.get(reverse("profiles:segment", args=[id])).context["segment"] == segment


def test_an_unknown_segment_is_not_found(reader: Client) -> None:
    assert reader.get("/segments/nothing/").status_code == 404
    assert reader.get("/segments/%00/").status_code == 404


def test_the_members_of_a_segment_are_listed_by_status_and_paged(reader: Client) -> None:
    segment = SegmentFactory.create()
    for status, count in (("realized", 20), ("existing", 10), ("exited", 5)):
        for _member in range(count):
            MembershipFactory.create(segment=segment, status=status)
    url = reverse("profiles:segment", args=[segment.pk])
    for query, count in (("", 25), ("?status=exited", 5), ("?status=existing", 10), ("?status=x", 25)):
        context = reader.get(f"{url}{query}").context
        assert len(context["rows"]) == count
        assert context["members"] == 30
    older = reader.get(url).context["slice"].older
    assert len(reader.get(f"{url}?before={older}").context["rows"]) == 5
    for key in ("99999999999999999999999", "9999999999999999_999999999999999999", "x_1", "_", "1_", "\0"):
        page(reader, f"{url}?before={quote(key)}")
        page(reader, f"{url}?after={quote(key)}")


def test_one_goes_through_the_members_of_a_segment_by_their_qualification_and_back(reader: Client) -> None:
    """Of both statuses, some of them at the same moment, each once."""
    segment, now = SegmentFactory.create(), timezone.now()
    members = [
        MembershipFactory.create(
            segment=segment,
            status=["realized", "existing"][number % 2],
            last_qualification_time=now - timedelta(microseconds=number * 7 % 60 // 4),
        )
        for number in range(60)
    ]
    MembershipFactory.create(segment=segment, status="exited", last_qualification_time=now)
    members.sort(key=lambda member: (member.last_qualification_time, member.pk), reverse=True)
    url, pages, query = reverse("profiles:segment", args=[segment.pk]), [], ""
    while True:
        pages.append(reader.get(f"{url}?{query}").context["slice"])
        if pages[-1].older is None:
            break
        query = f"before={pages[-1].older}"
    assert [len(each.rows) for each in pages] == [25, 25, 10]
    assert [row.pk for each in pages for row in each.rows] == [member.pk for member in members]
    assert pages[0].newer is None
    for earlier, later in ((pages[2], pages[1]), (pages[1], pages[0])):
        back = reader.get(f"{url}?after={earlier.newer}").context["slice"]
        assert [row.pk for row in back.rows] == [row.pk for row in later.rows]
    assert back.newer is None
    # Nobody is later than the latest: the first page.
    nobody = reader.get(f"{url}?after={selectors._key(members[0])}").context["slice"]
    assert [row.pk for row in nobody.rows] == [row.pk for row in pages[0].rows]


def test_a_member_of_a_segment_is_found_by_identity(reader: Client) -> None:
    segment = SegmentFactory.create()
    url = reverse("profiles:segment", args=[segment.pk])
    for status in ("realized", "exited"):
        identity = IdentityFactory.create(value=f"{status}@example.com")
        MembershipFactory.create(segment=segment, profile=identity.profile, status=status)
    IdentityFactory.create(value="nobody@example.com")

    def found(query: str) -> list[str]:
        rows = reader.get(f"{url}?{query}").context["rows"]
        return [row.identities[0].value for _membership, row in rows]

    assert found("q=realized@example.com") == ["realized@example.com"]
    assert found("q=exited@example.com") == []
    assert found("q=exited@example.com&status=exited") == ["exited@example.com"]
    missed = page(reader, f"{url}?q=nobody@example.com&status=exited")
    assert "Nobody with this identity" in missed and "?status=realized&amp;q=nobody%40example.com" in missed


def test_a_segment_tells_who_came_and_left_by_the_day(reader: Client) -> None:
    segment = SegmentFactory.create()
    today = timezone.now().date()
    for ago, realized, exited in ((50, 7, 0), (1, 1200, 30)):
        MemberCount.objects.create(
            segment=segment,
            day=today - timedelta(days=ago),
            realized=realized,
            exited=exited,
            members=realized - exited,
        )
    response = reader.get(reverse("profiles:segment", args=[segment.pk]))
    assert [response.context[name] for name in ("members", "joined", "left")] == [1177, 1200, 30]
    shown = response.content.decode()
    assert "at most 1,230 in a day" in shown
    assert shown.count('<rect class="plot-') == 2
    yesterday = (today - timedelta(days=1)).isoformat()
    assert "1,200" in shown.partition(f">{yesterday}<")[2].partition("</tr>")[0]


def test_a_large_segment_is_not_counted_to_its_end(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "COUNTED", 3)
    segment = SegmentFactory.create()
    for _member in range(6):
        MembershipFactory.create(segment=segment, status="existing")
    shown = page(reader, reverse("profiles:segment", args=[segment.pk]))
    assert "Members (6)" in shown and "Existing (3+)" in shown


def test_a_segment_has_few_queries_however_many_members(reader: Client) -> None:
    segment = SegmentFactory.create()
    url = reverse("profiles:segment", args=[segment.pk])
    MembershipFactory.create(segment=segment)
    few = queries(reader, url)
    for _member in range(20):
        MembershipFactory.create(segment=segment)
    assert queries(reader, url) == few <= 14


# --- Schema


def test_the_core_schema_is_shown_as_a_tree(reader: Client) -> None:
    leaves = SchemaField.objects.exclude(type="object")
    assert leaves.count() >= 60
    recommended = {
        "person.name.firstName",
        "person.name.lastName",
        "personalEmail.address",
        "segmentMembership.status",
    }
    assert set(leaves.filter(path__in=recommended).values_list("path", flat=True)) == recommended
    tree = reader.get(SCHEMA).context["tree"]
    person = next(node for node in tree if node.key == "person")
    assert "name" in [child.key for child in person.children]
    assert sum(node.leaves for node in tree) == leaves.count()


def test_every_core_field_has_its_groups() -> None:
    paths = set(SchemaField.objects.values_list("path", flat=True))
    parents = {path.rpartition(".")[0] for path in paths if "." in path}
    assert parents <= set(SchemaField.objects.filter(type="object").values_list("path", flat=True))
    objects = set(SchemaField.objects.filter(type="object").values_list("path", flat=True))
    assert objects <= set(itertools.chain.from_iterable([parents]))


def test_the_schema_is_searched_and_own_fields_are_marked(reader: Client) -> None:
    SchemaField.objects.create(path="_ours.shoeSize", title="Shoe size", type="integer")
    found = page(reader, f"{SCHEMA}?q=SHOE")
    assert "shoeSize" in found and "Custom" in found and "birthDate" not in found
    assert "No field found" in page(reader, f"{SCHEMA}?q=zzzz")
    assert "No field found" in page(reader, f"{SCHEMA}?q=%00")


def test_the_schema_has_few_queries(reader: Client) -> None:
    assert queries(reader, SCHEMA) <= 7


def test_pages_are_in_korean_for_those_who_read_it(reader: Client) -> None:
    assert 'lang="ko"' in reader.get(PROFILES, headers={"accept-language": "ko"}).content.decode()


def test_nothing_is_written_by_looking(reader: Client) -> None:
    membership = MembershipFactory.create()
    before = Profile.objects.values().get(), SegmentMembership.objects.values().get()
    for url in (
        reverse("profiles:profile", args=[membership.profile_id]),
        reverse("profiles:segment", args=[membership.segment_id]),
    ):
        page(reader, url)
    assert (Profile.objects.values().get(), SegmentMembership.objects.values().get()) == before
