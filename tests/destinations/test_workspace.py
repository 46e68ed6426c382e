"""The workspace: Overview, Catalog, Browse."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.template import Context, Template
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from activation.models import Dataflow, DataflowRun
from destinations import connectors, selectors
from destinations.models import Destination
from destinations.selectors import Concern, Status
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    SegmentFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

OVERVIEW, CATALOG, BROWSE = (reverse(f"destinations:{name}") for name in ("overview", "catalog", "browse"))

VIEW = "destinations.view_destination"
MANAGE = "destinations.manage_destinations"
MONITOR = "activation.view_monitoring"
ACTIVATE = ["activation.activate_destinations", "profiles.view_profile", "profiles.view_segment"]


def person(*rights: str) -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=list(rights)))
    return client


@pytest.fixture
def client() -> Client:
    """The browser of a person who may do everything here."""
    return person(VIEW, MANAGE, MONITOR, *ACTIVATE)


def text_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        text_of(client, url)
    return len(captured)


def ran(dataflow: Dataflow, *, hours_ago: int = 0, **numbers: int) -> DataflowRun:
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    return DataflowRun.objects.create(dataflow=dataflow, started_at=start, last_at=start, **numbers)


def refused(dataflow: Dataflow) -> Dataflow:
    dataflow.error_code = "AccessDeniedException"
    dataflow.error_message = "not authorized <to> write"
    dataflow.error_at = timezone.now()
    dataflow.save()
    return dataflow


def of_every_status() -> dict[str, Destination]:
    """A destination of each status, named by it."""
    enabled = DataflowFactory.create(destination__name="enabled")
    ran(enabled)
    error = refused(DataflowFactory.create(destination__name="error"))
    ran(error)
    disabled = refused(DataflowFactory.create(destination__name="disabled", state="disabled"))
    dataflows = [enabled, error, disabled]
    dataflows.append(DataflowFactory.create(destination__name="processing"))
    dataflows.append(DataflowFactory.create(destination__name="draft", state="draft", finished_at=None))
    return {str(dataflow): dataflow.destination for dataflow in dataflows}


# --- Who may see what


@pytest.mark.parametrize("url", [OVERVIEW, CATALOG, BROWSE])
def test_every_tab_needs_the_right_to_view_destinations(url: str) -> None:
    assert Client().get(url)["Location"] == f"/sign-in/?next={url}"
    assert person(MONITOR, "profiles.view_profile", "profiles.manage_segments").get(url).status_code == 403
    assert person(MANAGE).get(url).status_code == 200  # it includes seeing them
    assert person(VIEW).get(url).status_code == 200
    assert person(VIEW).post(url).status_code == 405


@pytest.mark.parametrize("url", [OVERVIEW, CATALOG, f"{CATALOG}?type=kinesis", BROWSE])
def test_who_may_only_look_is_offered_nothing_else(url: str) -> None:
    destination = DataflowFactory.create(state="draft", finished_at=None).destination
    run = ran(DataflowFactory.create(), failed=3)
    shown = text_of(person(VIEW), url)
    for forbidden in (
        reverse("destinations:connect", args=["kinesis"]),
        reverse("activation:segments", args=[destination.pk]),
        reverse("activation:disable", args=[run.dataflow.destination_id]),
        reverse("destinations:edit", args=[destination.pk]),
        reverse("destinations:delete", args=[destination.pk]),
        reverse("activation:run", args=[run.pk]),
        "Activate segments</a>",
        "24 hours",
    ):
        assert forbidden not in shown


def test_who_may_manage_but_not_activate_can_set_up_another() -> None:
    DestinationFactory.create()
    shown = text_of(person(VIEW, MANAGE), CATALOG)
    assert "Activate segments</a>" not in shown
    assert "Set up</a>" in shown


# --- Overview


def steps_done(client: Client) -> int:
    return text_of(client, OVERVIEW).count("(done)")


def test_the_overview_leads_from_nothing_to_the_first_activation(client: Client) -> None:
    empty = text_of(client, OVERVIEW)
    assert "<title>Destinations · Kinesis Admin</title>" in empty
    assert "First steps" in empty and "Needs attention" not in empty
    assert reverse("destinations:connect", args=["kinesis"]) in empty
    assert steps_done(client) == 0

    account = AccountFactory.create()
    assert steps_done(client) == 1

    destination = DestinationFactory.create(account=account)
    assert steps_done(client) == 2
    assert reverse("activation:segments", args=[destination.pk]) in text_of(client, OVERVIEW)

    DataflowFactory.create(destination=destination)
    assert "First steps" not in text_of(client, OVERVIEW)


def test_the_overview_counts_what_there_is_and_what_the_last_day_brought(client: Client) -> None:
    segment = SegmentFactory.create()
    first = DataflowFactory.create(segments=[segment, SegmentFactory.create()])
    second = DataflowFactory.create(segments=[segment], state="disabled")
    DestinationFactory.create(account=first.destination.account)
    ran(first, activated=1_000_000, excluded=5, failed=1)
    ran(first, hours_ago=2, activated=500)
    ran(second, hours_ago=3, activated=7, failed=2)
    ran(second, hours_ago=25, activated=90, excluded=90, failed=90)
    totals = client.get(OVERVIEW).context["totals"]
    assert totals == selectors.Totals(
        accounts=2,
        destinations=3,
        live=2,
        enabled=1,
        segments=2,
        activated=1_000_507,
        excluded=5,
        failed=3,
    )
    assert "1,000,507" in text_of(client, OVERVIEW)


def test_what_needs_attention_comes_gravest_first(client: Client) -> None:
    by_name = of_every_status()
    failing = DataflowFactory.create(destination__name="a few failed")
    ran(failing, activated=90, failed=3)
    ran(failing, hours_ago=4, failed=4)
    long_ago = DataflowFactory.create(destination__name="failed last week")
    ran(long_ago, hours_ago=24 * 7, failed=9)
    DestinationFactory.create(name="new")

    attention = client.get(OVERVIEW).context["attention"]
    assert [(row.destination.name, row.concern, row.failed) for row in attention] == [
        ("error", Concern.ERROR, 0),
        ("a few failed", Concern.FAILED, 7),
        ("draft", Concern.DRAFT, 0),
        ("new", Concern.DRAFT, 0),
    ]
    shown = text_of(client, OVERVIEW)
    assert "not authorized &lt;to&gt; write" in shown
    assert "7 profiles failed" in shown
    assert reverse("activation:segments", args=[by_name["draft"].pk]) in shown


def test_where_nothing_needs_attention_that_is_said(client: Client) -> None:
    ran(DataflowFactory.create(), activated=1)
    assert "every activated destination takes its records" in text_of(client, OVERVIEW)


def test_long_lists_of_the_overview_are_cut_and_lead_on(client: Client) -> None:
    for _number in range(selectors.SHOWN + 1):
        DestinationFactory.create()
    page = client.get(OVERVIEW)
    assert len(page.context["attention"]) == selectors.SHOWN
    assert "There are more" in page.content.decode()
    Destination.objects.all()[0].delete()
    assert "There are more" not in text_of(client, OVERVIEW)


def test_the_latest_runs_are_one_a_destination_the_newest_first(client: Client) -> None:
    old, new = DataflowFactory.create(), DataflowFactory.create()
    DataflowFactory.create()  # never ran
    ran(old, hours_ago=9)
    last_of_old = ran(old, hours_ago=5)
    last_of_new = ran(new, hours_ago=1)
    latest = client.get(OVERVIEW).context["latest"]
    assert [row.last_run for row in latest] == [last_of_new, last_of_old]


# --- Catalog


def names(client: Client, query: str = "") -> list[str]:
    return [card.spec.name for card in client.get(CATALOG + query).context["cards"]]


def test_the_catalog_has_every_type_of_the_registry_what_is_available_first(client: Client) -> None:
    assert names(client) == [spec.name for spec in connectors.catalog()]
    assert names(client)[0] == "Amazon Kinesis"
    shown = text_of(client, CATALOG)
    off = [spec for spec in connectors.catalog() if not connectors.is_available(spec.slug)]
    assert off
    assert shown.count("Not available yet") == len(off)
    for spec in off:
        assert reverse("destinations:connect", args=[spec.slug]) not in shown


def test_a_card_offers_to_set_up_until_there_is_a_destination(client: Client) -> None:
    AccountFactory.create()  # an account alone sends nothing anywhere
    assert "Set up</a>" in text_of(client, CATALOG)
    DestinationFactory.create()
    shown = text_of(client, CATALOG)
    assert "Set up</a>" not in shown
    assert f'href="{BROWSE}?platform=kinesis">Activate segments</a>' in shown
    assert "Set up another" in shown


@pytest.mark.parametrize(
    "query, found",
    [
        ("?q=KINESIS", ["Amazon Kinesis"]),
        ("?q=json+hub", ["Azure Event Hubs"]),
        ("?q=%20", 4),
        ("?q=nothing+like+this", []),
        ("?q=%00", []),
        ("?category=streaming", ["HTTP API"]),
        ("?category=cloud-storage&q=amazon", ["Amazon Kinesis", "Amazon S3"]),
        ("?category=unknown", 4),
    ],
)
def test_the_catalog_is_searched_and_filtered(client: Client, query: str, found: list[str] | int) -> None:
    assert names(client, query) == found or len(names(client, query)) == found


def test_categories_count_what_was_found_and_are_the_same_in_every_language(client: Client) -> None:
    def categories(query: str) -> list[tuple[str, int]]:
        return sorted((each.key, each.count) for each in client.get(CATALOG + query).context["categories"])

    assert categories("") == [("cloud-storage", 3), ("streaming", 1)]
    assert categories("?q=amazon") == [("cloud-storage", 2)]
    client.cookies["django_language"] = "ko"
    assert categories("") == [("cloud-storage", 3), ("streaming", 1)]


def test_a_search_that_finds_nothing_says_so_and_leads_back(client: Client) -> None:
    shown = text_of(client, f"{CATALOG}?q=<script>")
    assert "No destination type found" in shown and f'href="{CATALOG}"' in shown
    assert "“<script>”" not in shown


def test_mine_are_the_types_with_an_account(client: Client) -> None:
    assert names(client, "?show=mine") == []
    assert "Nothing is connected yet" in text_of(client, f"{CATALOG}?show=mine")
    AccountFactory.create()
    assert names(client, "?show=mine") == ["Amazon Kinesis"]


@pytest.mark.parametrize("spec", connectors.catalog(), ids=lambda spec: spec.slug)
def test_the_rail_tells_more_of_any_type(client: Client, spec: Any) -> None:
    account = AccountFactory.create()
    DestinationFactory.create_batch(2, account=account)
    shown = text_of(client, f"{CATALOG}?q=amazon&type={spec.slug}")
    rail = shown[shown.index('<aside class="rail') :]
    for said in (spec.name, spec.description, spec.category, spec.connection_type, spec.documentation_url):
        assert str(escape(said)) in rail
    assert ("View accounts" in shown) and ('href="?q=amazon"' in rail)
    assert (f'{BROWSE}?platform=kinesis">2</a>' in rail) == (spec.slug == "kinesis")


def test_a_type_that_does_not_exist_opens_no_rail(client: Client) -> None:
    assert '<aside class="rail' not in text_of(client, f"{CATALOG}?type=%00")


def test_who_closes_the_rail_is_back_at_its_card(client: Client) -> None:
    answer = client.get(
        CATALOG, headers={"HX-Request": "true", "HX-Trigger": "close-kinesis"}
    ).content.decode()
    assert re.findall(r'id="type-(\w+)"[^>]* autofocus', answer) == ["kinesis"]
    assert " autofocus" not in text_of(client, CATALOG)


# --- Browse


def found(client: Client, query: str = "") -> list[str]:
    return [row.destination.name for row in client.get(BROWSE + query).context["rows"]]


def test_without_destinations_browse_says_what_would_be_there(client: Client) -> None:
    shown = text_of(client, BROWSE)
    assert "No destinations yet" in shown and CATALOG in shown
    assert 'type="search" name="q" value=""' not in shown[shown.index("<main") :]


def test_a_row_shows_the_destination(client: Client) -> None:
    account = AccountFactory.create(name="Seoul <team>")
    dataflow = DataflowFactory.create(
        destination__name="고객 스트림",
        destination__account=account,
        segments=SegmentFactory.create_batch(3),
    )
    ran(dataflow, hours_ago=3, failed=1)
    run = ran(dataflow, hours_ago=2, activated=1)
    shown = text_of(client, BROWSE)
    for said in (
        "고객 스트림",
        dataflow.destination.get_absolute_url(),
        "profile-exports",
        "Seoul &lt;team&gt;",
        "Amazon Kinesis",
        "Completed",
        reverse("activation:run", args=[run.pk]),
        '<td class="num">3</td>',
    ):
        assert said in shown
    assert "Seoul <team>" not in shown


def test_the_word_of_a_status_is_what_it_is_filtered_by(client: Client) -> None:
    """The filter's rule and the rule of activation's words are two; they must not part."""
    of_every_status()
    DestinationFactory.create(name="also draft")
    of_status: dict[str, list[str]] = {status: [] for status in Status.values}
    word = Template("{% load activation %}{% dataflow_status row.destination.dataflow row.last_run %}")
    for status in Status:
        for row in client.get(BROWSE, {"status": status.value}).context["rows"]:
            of_status[status.value].append(row.destination.name)
            assert f">{status.label}<" in word.render(Context({"row": row}))
    assert of_status == {s.value: [s.value] for s in Status} | {"draft": ["also draft", "draft"]}


def test_the_tag_asks_by_itself_whether_there_was_a_run() -> None:
    dataflow = DataflowFactory.create()
    word = Template("{% load activation %}{% dataflow_status dataflow %}")
    assert "Processing" in word.render(Context({"dataflow": dataflow}))
    ran(dataflow)
    assert "Enabled" in word.render(Context({"dataflow": dataflow}))
    assert "Draft" in word.render(Context({"dataflow": None}))


def test_destinations_are_searched_and_filtered(client: Client) -> None:
    seoul, tokyo = AccountFactory.create(name="Seoul"), AccountFactory.create(name="Tokyo")
    DestinationFactory.create(name="Spring campaign", account=seoul)
    DestinationFactory.create(name="spring 100%", account=tokyo)
    DestinationFactory.create(name="Autumn", account=tokyo)
    assert found(client, "?q=SPRING") == ["spring 100%", "Spring campaign"]
    assert found(client, "?q=100%25") == ["spring 100%"]
    assert found(client, f"?account={tokyo.pk}") == ["Autumn", "spring 100%"]
    assert found(client, f"?q=spring&account={tokyo.pk}&platform=kinesis&status=draft") == ["spring 100%"]
    assert found(client, "?status=enabled") == []


@pytest.mark.parametrize("query", ["?q=zzz", "?q=%00", "?status=enabled", "?q=%3Cscript%3E&status=error"])
def test_what_is_not_found_is_said_and_leads_back(client: Client, query: str) -> None:
    DestinationFactory.create()
    shown = text_of(client, BROWSE + query)
    assert "No destination found" in shown and f'href="{BROWSE}"' in shown
    assert "“<script>”" not in shown


@pytest.mark.parametrize(
    "query", ["?status=x", "?platform=s3", "?account=x", "?account=%00", "?sort=x", "?sort=--name", "?page=x"]
)
def test_what_can_not_be_filtered_by_is_ignored(client: Client, query: str) -> None:
    DestinationFactory.create(name="there")
    assert found(client, query) == ["there"]


def test_every_column_sorts_both_ways(client: Client) -> None:
    now = timezone.now()

    def make(name: str, *, account: str, days: int, segments: int, hours: int | None) -> None:
        destination = DestinationFactory.create(
            name=name, account=AccountFactory.create(name=account), created_at=now - timedelta(days=days)
        )
        dataflow = DataflowFactory.create(
            destination=destination, segments=SegmentFactory.create_batch(segments)
        )
        modified(destination, dataflow, now - timedelta(days=days), now - timedelta(days=10 - days))
        if hours is not None:
            ran(dataflow, hours_ago=hours + 50)
            ran(dataflow, hours_ago=hours)

    make("b", account="x", days=1, segments=2, hours=4)
    make("A", account="Y", days=4, segments=0, hours=None)
    make("c", account="Z", days=8, segments=1, hours=2)
    expected = {
        "name": ["A", "b", "c"],
        "run": ["A", "b", "c"],
        "platform": ["A", "b", "c"],
        "account": ["b", "A", "c"],
        "segments": ["A", "c", "b"],
        "created": ["c", "A", "b"],
        "modified": ["A", "c", "b"],
    }
    assert set(expected) == set(selectors.DESTINATION_SORTS)
    for sort, order in expected.items():
        assert found(client, f"?sort={sort}") == order, sort
        # There is one platform: what is the same goes by name.
        descending = order if sort == "platform" else order[::-1]
        assert found(client, f"?sort=-{sort}") == descending, sort
    rows = client.get(f"{BROWSE}?sort=modified").context["rows"]
    times = [row.modified_at for row in rows]
    assert times == sorted(times)


def modified(destination: Destination, dataflow: Dataflow, at: datetime, activation_at: datetime) -> None:
    Destination.objects.filter(pk=destination.pk).update(updated_at=at)
    Dataflow.objects.filter(pk=dataflow.pk).update(updated_at=activation_at)


def test_many_destinations_come_in_pages_that_keep_what_was_asked(client: Client) -> None:
    account = AccountFactory.create()
    for number in range(30):
        DestinationFactory.create(name=f"Stream {number:02}", account=account)
    DestinationFactory.create(name="Other", account=account)
    first, second = found(client, "?q=stream"), found(client, "?q=stream&page=2")
    assert first + second == [f"Stream {number:02}" for number in range(30)]
    assert found(client, "?q=stream&page=99") == second
    assert 'href="?q=stream&amp;sort=-name&amp;page=2"' in text_of(client, f"{BROWSE}?q=stream&sort=-name")


@pytest.mark.parametrize("url", [OVERVIEW, BROWSE, f"{BROWSE}?sort=-run&status=enabled", CATALOG])
def test_a_page_takes_the_same_queries_with_3_rows_and_with_30(client: Client, url: str) -> None:
    def grow(number: int) -> None:
        for _row in range(number):
            dataflow = DataflowFactory.create(segments=[SegmentFactory.create()])
            ran(dataflow, failed=1)
            refused(DataflowFactory.create())
            DestinationFactory.create()

    grow(1)
    few = queries(client, url)
    grow(9)
    assert queries(client, url) == few <= 14


def row_menu(client: Client) -> str:
    shown = text_of(client, BROWSE)
    return shown[shown.index('class="menu-cell"') :]


def test_the_menu_of_a_row_offers_what_its_state_allows(client: Client) -> None:
    destination = DestinationFactory.create(name="Seoul")
    enable, disable = (reverse(f"activation:{name}", args=[destination.pk]) for name in ("enable", "disable"))
    menu = row_menu(client)
    for name in ("destinations:edit", "destinations:delete", "activation:segments"):
        assert reverse(name, args=[destination.pk]) in menu
    assert "Activate segments" in menu
    assert enable not in menu and disable not in menu

    dataflow = DataflowFactory.create(destination=destination, state="draft", finished_at=None)
    assert "Continue the activation" in (menu := row_menu(client))
    assert enable not in menu and disable not in menu

    dataflow.state, dataflow.finished_at = Dataflow.State.ENABLED, timezone.now()
    dataflow.save()
    assert "Edit activation" in (menu := row_menu(client))
    assert "Disable “Seoul”?" in menu and disable in menu and enable not in menu

    dataflow.state = Dataflow.State.DISABLED
    dataflow.save()
    menu = row_menu(client)
    assert "Enable “Seoul”?" in menu and enable in menu and disable not in menu


def test_the_dialogs_of_browse_disable_and_enable(client: Client) -> None:
    dataflow = DataflowFactory.create()
    for expected in (Dataflow.State.DISABLED, Dataflow.State.ENABLED):
        (action,) = re.findall(r'<form method="post" action="(/activation/[^"]+)"', row_menu(client))
        assert client.post(action).status_code == 302
        dataflow.refresh_from_db()
        assert dataflow.state == expected
