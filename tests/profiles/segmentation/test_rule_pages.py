"""The pages that make and change segments."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activation.models import MappedSegment
from profiles import selectors
from profiles.ingest import Fragment, ingest
from profiles.models import Evaluation, Segment, SegmentMembership
from profiles.segmentation import estimate as estimating
from profiles.segmentation import store
from tests.factories import DataflowFactory, SchemaFieldFactory, SegmentFactory, UserFactory
from tests.profiles.segmentation.ruled import members, ruled

pytestmark = pytest.mark.django_db

NEW, ESTIMATE = reverse("profiles:segment_new"), reverse("profiles:segment_estimate")
RIGHTS = ["profiles.view_segment", "profiles.manage_segments", "profiles.view_profile"]


@pytest.fixture(autouse=True)
def _fields() -> None:
    SchemaFieldFactory.create(path="_ours.x", type="integer")


@pytest.fixture
def manager() -> Client:
    return with_rights(RIGHTS)


def with_rights(rights: list[str]) -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=rights))
    return client


def url(name: str, segment: Segment) -> str:
    return reverse(f"profiles:segment_{name}", args=[segment.pk])


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content


def customers(*values: int) -> None:
    ingest([Fragment([("Email", f"{value}@example.com")], {"_ours": {"x": value}}) for value in values])


def said(response: Any, client: Client) -> str:
    """The page that a redirect leads to."""
    assert response.status_code == 302, response.content.decode()
    return text(client.get(response.headers["Location"]))


# --- Rights


def test_only_those_who_manage_segments_see_these_pages() -> None:
    segment = ruled("s", "_ours.x > 1")
    client = with_rights(["profiles.view_segment"])
    for name in ("edit", "delete", "publish", "archive", "duplicate"):
        assert client.get(url(name, segment)).status_code == 403
        assert client.post(url(name, segment)).status_code == 403
    assert client.get(NEW).status_code == client.post(ESTIMATE).status_code == 403
    page = text(client.get(reverse("profiles:segment", args=["s"])))
    assert "Archive" not in page and url("edit", segment) not in page
    assert NEW not in text(client.get(reverse("profiles:segments")))


# --- Making one


def test_a_segment_is_made_and_asked_of_everybody(manager: Client) -> None:
    customers(1, 2, 3)
    answer = manager.post(NEW, {"name": "  Rich   ones ", "rule": "_ours.x > 1", "action": "live"})
    segment = Segment.objects.get()
    assert (segment.name, segment.state, segment.origin) == ("Rich ones", "live", "segmentation")
    page = said(answer, manager)
    assert "Every customer is asked now" in page
    assert "The rule is being asked of every customer" in page and "every 2s" in page
    store.evaluate(segment.pk)
    assert members(segment.pk) == {"2@example.com", "3@example.com"}
    page = text(manager.get(reverse("profiles:segment", args=[segment.pk])))
    assert "every 2s" not in page and "2@example.com" in page


def test_a_draft_is_kept_and_made_live_later(manager: Client) -> None:
    customers(2)
    manager.post(NEW, {"name": "a", "rule": "_ours.x >", "action": "draft"})
    segment = Segment.objects.get()
    assert (segment.state, segment.rule) == ("draft", "_ours.x >")
    answer = manager.post(url("publish", segment), follow=True)
    assert "not finished" in text(answer)
    form = {"name": "a", "rule": "_ours.x > 1", "version": segment.rule_version}
    answer = manager.post(url("edit", segment), {**form, "action": "live", "rule": "_ours.x > ?"})
    assert answer.status_code == 422
    segment.refresh_from_db()
    assert (segment.state, segment.rule) == ("draft", "_ours.x >")
    manager.post(url("edit", segment), {**form, "action": "save"})
    assert not Evaluation.objects.exists()
    segment.refresh_from_db()
    assert "Every customer is asked now" in said(manager.post(url("publish", segment)), manager)
    assert Evaluation.objects.exists()


def test_without_a_rule_there_is_a_draft_only(manager: Client) -> None:
    answer = manager.post(NEW, {"name": "a", "rule": " ", "action": "live"})
    assert answer.status_code == 422
    assert "Say who is in the segment" in text(answer)
    assert manager.post(NEW, {"name": "a", "rule": "", "action": "draft"}).status_code == 302


def test_an_error_stands_at_the_rule_and_what_was_written_stays(manager: Client) -> None:
    answer = manager.post(NEW, {"name": "a", "rule": "_ours.x > 1 and _ours.z", "action": "live"})
    assert answer.status_code == 422
    page = text(answer)
    assert "Character 17: There is no field _ours.z" in page
    assert "_ours.x &gt; 1 and _ours.z</textarea>" in page
    assert not Segment.objects.exists()


# --- Changing one


def test_a_rule_is_changed_unless_somebody_else_did(manager: Client) -> None:
    segment = ruled("s", "_ours.x > 1")
    form = {"name": "new", "rule": "_ours.x > 2", "version": segment.rule_version}
    assert manager.post(url("edit", segment), form).status_code == 302
    segment.refresh_from_db()
    assert (segment.name, segment.rule) == ("new", "_ours.x > 2")
    answer = manager.post(url("edit", segment), {**form, "rule": "_ours.x > 3"})
    assert answer.status_code == 422
    assert "Somebody else changed this rule" in text(answer)
    segment.refresh_from_db()
    assert segment.rule == "_ours.x > 2"


def test_a_segment_without_a_rule_of_ours_keeps_what_it_has(manager: Client) -> None:
    segment = SegmentFactory.create(id="up", name="up", rule="the list of May")
    page = text(manager.get(url("edit", segment)))
    assert "id_rule" not in page and "id_name" in page
    manager.post(url("edit", segment), {"name": "upload", "rule": "x", "version": segment.rule_version})
    segment.refresh_from_db()
    assert (segment.name, segment.rule) == ("upload", "the list of May")
    assert url("duplicate", segment) not in text(manager.get(reverse("profiles:segment", args=["up"])))


@pytest.mark.parametrize("id", ["a/b", "a//b/", "ä?x=1#y", "100%", "new"])
def test_it_works_whatever_the_id_is(manager: Client, id: str) -> None:
    segment = ruled(id, "_ours.x > 1")
    assert manager.get(url("edit", segment)).status_code == 200
    assert "is live" not in said(manager.post(url("archive", segment)), manager)
    assert "is live" in said(manager.post(url("publish", segment)), manager)
    assert manager.get(url("delete", segment)).status_code == 200
    assert "was deleted" in said(manager.post(url("delete", segment)), manager)


def test_a_duplicate_is_edited_next(manager: Client) -> None:
    segment = ruled("s", "_ours.x > 1")
    Segment.objects.update(name="n" * 255)
    page = said(manager.post(url("duplicate", segment)), manager)
    assert "Save and make live" in page and "_ours.x &gt; 1" in page


def test_a_segment_in_use_says_so(manager: Client) -> None:
    segment = ruled("s", "_ours.x > 1")
    dataflow = DataflowFactory.create(destination__name="Seoul stream")
    MappedSegment.objects.create(dataflow=dataflow, segment=segment)
    for name in ("archive", "delete"):
        assert "in use by Seoul stream" in said(manager.post(url(name, segment)), manager)
    assert Segment.objects.get().state == "live"


def test_the_list_shows_what_state_segments_are_in(manager: Client) -> None:
    for state in Segment.State:
        ruled(state, "_ours.x > 1", state)
    Evaluation.objects.create(segment=ruled("busy", "_ours.x > 1"), done=1, total=4)
    page = text(manager.get(reverse("profiles:segments")))
    for word in ("Draft", "Live", "Archived", "Evaluating, 25%"):
        assert word in page


# --- The estimate


def test_the_estimate_says_how_many_and_shows_some(manager: Client) -> None:
    customers(*range(30))
    page = text(manager.post(ESTIMATE, {"rule": "_ours.x > 4"}))
    assert '<strong class="big-number">25</strong> of 30 profiles' in page
    assert page.count("@example.com</span>") == 10
    assert '<strong class="big-number">0</strong> of 30' in text(
        manager.post(ESTIMATE, {"rule": "_ours.x > 40"})
    )
    assert not Segment.objects.exists() and not SegmentMembership.objects.exists()


def test_customers_are_shown_to_those_who_may_see_them() -> None:
    customers(1, 2)
    client = with_rights(RIGHTS[:2])
    page = text(client.post(ESTIMATE, {"rule": "_ours.x > 1"}))
    assert '<strong class="big-number">1</strong> of 2' in page
    assert "@example.com" not in page


@pytest.mark.parametrize(
    "rule, message, shown",
    [
        ("_ours.x > 1 & b", "Write “and”", "_ours.x &gt; 1 </span><mark>&amp;</mark><span"),
        ("_ours.x >", "not finished", "_ours.x &gt;</span><mark> </mark><span"),
        (
            "_ours.x\n = 'a' or\nb",
            "straight double",
            ' = </span><mark>&#x27;</mark><span class="dim">a&#x27; or<',
        ),
        ('_ours.x = 1 or inSegment("s")', "refer to itself", "<mark>i</mark>"),
        ('_ours.x = "5%"', "a number with a text", "<mark>&quot;</mark>"),
        ("<script>", "does not fit", "<mark>&lt;</mark>"),
        ("x" * 20_000, "10000 characters", "<mark>x</mark>"),
        ("(" * 500, "50 levels", "<mark>(</mark>"),
    ],
)
def test_the_estimate_shows_where_a_mistake_is(manager: Client, rule: str, message: str, shown: str) -> None:
    ruled("s", "_ours.x > 1")
    page = text(manager.post(ESTIMATE, {"rule": rule, "segment": "s"}))
    assert message in page
    assert shown in page


def test_without_a_rule_there_is_nothing_to_estimate(manager: Client) -> None:
    assert "estimated while the rule is written" in text(manager.post(ESTIMATE, {"rule": " "}))


def test_without_javascript_the_page_estimates(manager: Client) -> None:
    customers(1, 2)
    page = text(manager.post(NEW, {"name": "kept", "rule": "_ours.x > 1", "action": "estimate"}))
    assert '<strong class="big-number">1</strong> of 2' in page
    assert 'value="kept"' in page and "_ours.x &gt; 1</textarea>" in page
    segment = ruled("s", "_ours.x > 0")
    page = text(manager.post(url("edit", segment), {"rule": "_ours.x > 1", "action": "estimate"}))
    assert '<strong class="big-number">1</strong> of 2' in page
    segment.refresh_from_db()
    assert segment.rule == "_ours.x > 0"


def test_the_estimate_has_few_queries_however_many_customers(manager: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            manager.post(ESTIMATE, {"rule": '_ours.x > 0 and isNotNull(identityMap.get("Email"))'})
        return len(captured)

    customers(1)
    few = queries()
    customers(*range(60))
    assert queries() == few <= 18


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's stores are small")
def test_of_a_large_store_a_part_is_asked(manager: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    customers(*range(400))
    monkeypatch.setattr(estimating, "EXACT_UP_TO", 100)
    monkeypatch.setattr(estimating, "ASKED", 400)  # all pages: else it could be none
    page = text(manager.post(ESTIMATE, {"rule": "_ours.x >= 100"}))
    assert '<strong class="big-number">300</strong> of 400 profiles' in page


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no limit of time")
def test_a_rule_that_takes_too_long_is_not_waited_for(
    manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest([Fragment([("Email", "a")], {"_ours": {"l": list(range(3_000))}})])
    SchemaFieldFactory.create(path="_ours.l", type="array")
    monkeypatch.setattr(estimating, "MOST_SECONDS", 0.1)
    rule = (
        "exists(a from _ours.l where exists(b from _ours.l where exists(c from _ours.l where a + b + c < 0)))"
    )
    assert "took longer" in text(manager.post(ESTIMATE, {"rule": rule}))


def test_the_wizard_offers_live_segments_only() -> None:
    for state in Segment.State:
        ruled(state, "_ours.x > 1", state)
    assert [segment.pk for segment in selectors.segments(state="live")] == ["live"]
