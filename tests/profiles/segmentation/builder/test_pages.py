"""The builder's page as a browser without JavaScript sees it: every button is a submit button of one form."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from profiles.ingest import Fragment, ingest
from profiles.models import Segment
from profiles.segmentation.builder.parts import MAX_DEPTH, MAX_ROWS
from tests.factories import SchemaFieldFactory, UserFactory
from tests.profiles.segmentation.builder.pages import Form
from tests.profiles.segmentation.ruled import ruled

pytestmark = pytest.mark.django_db

NEW = reverse("profiles:segment_new")
MANAGER = ["profiles.view_segment", "profiles.manage_segments"]


class Builder:
    """Somebody at the page: presses buttons and fills in what is there."""

    def __init__(self, url: str = NEW, rights: list[str] | None = None) -> None:
        self.client, self.url = Client(), url
        self.client.force_login(UserFactory.create(permissions=rights or [*MANAGER, "profiles.view_profile"]))
        self.show(self.client.get(url))

    def show(self, response: Any) -> None:
        self.response = response
        self.page = unescape(response.content.decode())
        self.form = Form(response.content.decode())

    def press(self, do: str = "", **said: str) -> Builder:
        """Press a button; ``r_0_value="x"`` fills in before."""
        assert do in self.form.buttons, f"{do} is no button of the page: {sorted(self.form.buttons)[:30]}"
        return self.send({"do": do}, **said)

    def send(self, button: dict[str, str], **said: str) -> Builder:
        filled = {name.replace("_", "-"): value for name, value in said.items()}
        if "rule" not in filled:
            assert filled.keys() <= self.form.data.keys(), self.form.data.keys()
        self.show(self.client.post(self.url, {**self.form.data, **filled, **button}))
        return self

    def exchange(self, **said: str) -> Builder:
        """What HTMX sends when something was filled in."""
        filled = {name.replace("_", "-"): value for name, value in said.items()}
        self.show(self.client.post(self.url, {**self.form.data, **filled}, headers={"HX-Request": "true"}))
        return self

    def choose(self, place: str, field: str, operator: str = "", **said: str) -> Builder:
        """Choose the field of a condition and what is asked of it."""
        self.press(f"pick:{place}").press(f"field:{place}:{field}")
        if operator:
            self.press("", **{f"r_{place.replace('-', '_')}_operator": operator})
        return self.press("", **said) if said else self

    @property
    def rule(self) -> str:
        return self.form.data["rule"]


@pytest.fixture(autouse=True)
def _fields() -> None:
    for path, kind in (
        ("_ours.x", "integer"),
        ("_ours.t", "string"),
        ("_ours.l", "array"),
        ("_ours.m", "map"),
    ):
        SchemaFieldFactory.create(path=path, type=kind, title=f"Title of {path}")


def test_a_rule_is_built_without_typing_pql() -> None:
    builder = Builder()
    builder.choose("0", "_ours.x", "number >", r_0_value="1000")
    assert builder.rule == "_ours.x > 1000"
    builder.press("group:")
    builder.choose("1-0", "_ours.t", "text in", r_1_0_value="gold\n\n platinum ")
    builder.press("add:1").choose("1-1", "segmentMembership")
    assert "as soon as every condition is complete" in builder.page
    ruled("other", "_ours.x > 1")
    builder.press("").press("", r_1_1_value="other")
    assert builder.rule == '_ours.x > 1000 and (_ours.t in ["gold", "platinum"] or inSegment("other"))'
    assert "as soon as every condition is complete" not in builder.page
    builder.press("", r_mode="none")
    builder.send({"action": "live"}, name="High propensity")
    assert builder.response.status_code == 302
    rule = 'not (_ours.x > 1000 or _ours.t in ["gold", "platinum"] or inSegment("other"))'
    assert Segment.objects.get(name="High propensity").rule == rule


def test_the_text_is_shown_in_the_builder_and_the_builder_in_the_text() -> None:
    builder = Builder().press("", rule='_ours.x >= 3 or _ours.t.contains("b", false)')
    assert builder.form.data["r-mode"] == "any"
    assert (builder.form.data["r-0-operator"], builder.form.data["r-0-value"]) == ("number >=", "3")
    assert (builder.form.data["r-1-value"], builder.form.data["r-1-case"]) == ("b", "on")
    builder.press("remove:0")
    assert builder.rule == '_ours.t.contains("b", false)'


def test_whoever_changed_the_text_meant_the_text() -> None:
    builder = Builder(reverse("profiles:segment_edit", args=[ruled("s", "_ours.x > 1").pk]))
    builder.send({"action": "save"}, rule="_ours.x > 2", name="s", **{"r-0-value": "3"})
    assert Segment.objects.get().rule == "_ours.x > 2"
    # And who filled in the builder meant that, though the text did not follow yet.
    builder = Builder(builder.url)
    builder.send({"action": "save"}, r_0_value="4")
    assert Segment.objects.get().rule == "_ours.x > 4"


def test_a_rule_that_is_only_looked_at_stays_as_it_was_written() -> None:
    segment = ruled("s", '( _ours.x>1 )  AND\n$1._ours.t = "a"')
    builder = Builder(reverse("profiles:segment_edit", args=[segment.pk]))
    assert builder.form.data["r-1-value"] == "a"
    builder.press("add:").press("remove:2").send({"action": "save"}, name="Renamed")
    saved = Segment.objects.get()
    assert (saved.name, saved.rule, saved.rule_version) == ("Renamed", segment.rule, segment.rule_version)


@pytest.mark.parametrize(
    "rule, said",
    [
        ("_ours.x * 2 > 4", "no form for this part: _ours.x * 2 > 4"),
        (" or ".join("_ours.x = 1" for _n in range(MAX_ROWS + 1)), "more than 50 conditions"),
        ("not (" * MAX_DEPTH + "not (_ours.x = 1 and _ours.x = 2)" + ")" * MAX_DEPTH, "deeper than 5 levels"),
    ],
)
def test_a_rule_that_is_too_rich_stays_a_text(rule: str, said: str) -> None:
    segment = ruled("s", rule)
    builder = Builder(reverse("profiles:segment_edit", args=[segment.pk]))
    assert "more than the builder can show" in builder.page and said in builder.page
    assert "r-mode" not in builder.form.data
    builder.send({"action": "save"}, name="Renamed")
    saved = Segment.objects.get()
    assert (saved.name, saved.rule) == ("Renamed", rule)
    # Made simpler, it is in the builder again.
    assert Builder(builder.url).press("", rule="_ours.x = 1").form.data["r-0-value"] == "1"


def test_a_text_that_is_no_rule_says_so_and_stays() -> None:
    builder = Builder().press("", rule="_ours.x >")
    assert "The text is no rule yet" in builder.page and "not finished" in builder.page
    assert builder.rule == "_ours.x >"


def test_entries_of_a_list_are_asked_in_a_group_of_their_own() -> None:
    builder = Builder().choose("0", "_ours.l", "each")
    assert builder.form.focus == ["id_r-0-0-below"]
    builder.press("", r_0_0_below="price", r_0_0_operator="number >")
    builder.press("add:0", r_0_0_value="10")
    assert builder.form.focus == ["id_r-0-1-below"]
    builder.press("", r_0_1_below="sku", r_0_1_value="a", r_0_mode="none")
    assert builder.rule == 'exists(x from _ours.l where not (x.price > 10 or x.sku = "a"))'
    # They stay with their list.
    assert builder.press("up:0-0").form.data["r-0-0-below"] == "price"


def test_keys_of_a_map_and_identities_are_asked() -> None:
    builder = Builder().choose("0", "_ours.m", "text =", r_0_below="k.2", r_0_value="v")
    builder.press("add:").choose("1", "identityMap.Email", "some endsWith", r_1_value="@example.com")
    email = 'exists(i from identityMap.get("Email") where i.id.endsWith("@example.com"))'
    assert builder.rule == f'_ours.m.k.get("2") = "v" and {email}'


def test_what_is_moved_goes_through_groups_and_keeps_the_focus() -> None:
    builder = Builder().press("", rule="_ours.x = 1 and (_ours.x = 2 or _ours.x = 3) and _ours.x = 4")
    rules = []
    for place in ("0", "0-0", "0-1", "0-2", "1"):
        builder.press(f"down:{place}")
        rules.append(builder.rule)
    assert rules == [
        "(_ours.x = 1 or _ours.x = 2 or _ours.x = 3) and _ours.x = 4",
        "(_ours.x = 2 or _ours.x = 1 or _ours.x = 3) and _ours.x = 4",
        "(_ours.x = 2 or _ours.x = 3 or _ours.x = 1) and _ours.x = 4",
        "(_ours.x = 2 or _ours.x = 3) and _ours.x = 1 and _ours.x = 4",
        "(_ours.x = 2 or _ours.x = 3) and _ours.x = 4 and _ours.x = 1",
    ]
    assert builder.form.focus == ["down-r-2"]
    assert builder.press("up:2").press("up:1").form.focus == ["up-r-0-2"]


def test_the_focus_is_where_the_change_was() -> None:
    builder = Builder().press("pick:0")
    assert builder.form.focus == ["search-r-0"]
    assert builder.press("field:0:_ours.x").form.focus == ["id_r-0-operator"]
    assert builder.press("pick:0").press("close:0").form.focus == ["field-r-0"]
    assert builder.press("add:").form.focus == ["search-r-1"]
    assert builder.press("group:").form.focus == ["id_r-2-mode"]
    assert builder.press("remove:1").form.focus == ["remove-r-1"]
    assert builder.press("remove:1").form.focus == ["remove-r-0"]
    assert builder.press("remove:0").form.focus == ["add-r"]
    assert builder.rule == ""


# --- What is wrong


def test_what_is_missing_is_said_at_the_condition_when_it_is_saved() -> None:
    builder = Builder().choose("0", "_ours.x").press("add:").press("group:").press("remove:2-0")
    assert "This is missing" not in builder.page
    builder.send({"action": "live"}, name="a")
    assert builder.response.status_code == 422
    assert "Value of condition 1" in builder.page and "This is missing" in builder.page
    assert "Choose a field, or remove this condition." in builder.page
    assert "This group is empty" in builder.page
    assert "Complete the conditions that are marked" in builder.page
    assert not Segment.objects.exists()
    # A draft, too, loses nothing of it.
    builder.send({"action": "draft"}, name="a")
    assert builder.response.status_code == 422


@pytest.mark.parametrize(
    "field, operator, value, said",
    [
        ("_ours.x", "number =", "many", "“many” is no number"),
        ("_ours.x", "number =", "1e999", "too large"),
        ("_ours.x", "number in", "1\ntwo", "“two” is no number"),
        ("_ours.t", "text =", "x" * 501, "500 characters at most; this one has 501"),
        ("_ours.t", "text in", "a\n" + "x" * 501, "500 characters at most"),
        ("_ours.t", "text =", "a\0b", "Null characters"),
        ("_ours.t", "text matches", "(", "no regular expression"),
        ("_ours.t", "number =", "1", "a text with a number"),
        ("_ours.t", "day =", "2020-02-30", "“2020-02-30” is no day"),
        ("segmentMembership", "member", "nobody", "Select a valid choice"),
        ("_ours.x", "last", "", "a number. Expected here: a date"),
        ("identityMap.Nothing", "known", "", "There is no identity namespace Nothing"),
        ("_ours.nothing", "known", "", "There is no field _ours.nothing"),
        ("a..b", "known", "", "can't be the key"),
        ("identityMap.Email", "before", "", "a list. Expected here: a date"),
        ("identityMap.Email", "true", "", "A condition is expected"),
    ],
)
def test_what_is_wrong_is_said_at_the_condition(field: str, operator: str, value: str, said: str) -> None:
    builder = Builder()
    row = {"r-0-subject": field, "r-0-operator": operator, "r-0-value": value, "r-0-amount": "3"}
    response = builder.client.post(NEW, {**builder.form.data, **row, "do": ""})
    assert response.status_code == 200
    page = unescape(response.content.decode())
    errors = page[page.index('id="r-0-errors"') :]
    assert said in errors[: errors.index("</div>")]


def test_a_segment_that_would_ask_for_itself_says_so_at_the_condition() -> None:
    segment = ruled("s", "_ours.x > 1")
    ruled("other", 'inSegment("s")')
    builder = Builder(reverse("profiles:segment_edit", args=["s"])).choose("0", "segmentMembership", "member")
    assert builder.send({"action": "save"}, r_0_value="other").response.status_code == 422
    assert "The segment would refer to itself: s → other → s" in builder.page
    segment.refresh_from_db()
    assert segment.rule == "_ours.x > 1"


@pytest.mark.parametrize(
    "do", ["add:9-9", "up:", "pick:x", "remove:0-0-0-0", "field:", "nothing", "add:-1", "down:²"]
)
def test_a_button_that_makes_no_sense_does_nothing(do: str) -> None:
    builder = Builder().press("", rule="_ours.x = 1")
    assert builder.send({"do": do}).rule == "_ours.x = 1"


def test_the_limits_hold() -> None:
    rule = " and ".join(f"_ours.x = {n}" for n in range(MAX_ROWS))
    builder = Builder().press("", rule=rule)
    assert "The builder takes 50 conditions" in builder.page
    assert builder.press("add:").rule == rule
    # Whoever sends more of them is told, and so is who nests them deeper.
    more = {f"r-{MAX_ROWS}-subject": "_ours.x", f"r-{MAX_ROWS}-operator": "known"}
    assert "50 conditions, in 5 levels" in builder.send({"do": "", **more}).page
    deep = {f"r{'-0' * level}-mode": "all" for level in range(300)}
    builder = Builder()
    assert "50 conditions, in 5 levels" in builder.send({"do": "", **deep}).page
    # The buttons go only as far as that.
    builder = Builder()
    for place in ("", "1", "1-1", "1-1-1"):
        builder.press(f"group:{place}")
    assert "group:1-1-1-1" not in builder.form.buttons


# --- Who sees what, and how much it costs


def customers(*tiers: str) -> None:
    ingest(
        [Fragment([("Email", f"{n}@example.com")], {"_ours": {"t": tier}}) for n, tier in enumerate(tiers)]
    )


def test_frequent_values_are_offered_to_those_who_may_see_customers() -> None:
    customers("gold", "gold", "silver", "silver", "silver", "secret")
    builder = Builder().choose("0", "_ours.t")
    assert '<option value="silver">\n<option value="gold">'.replace("\n", "") in builder.page
    assert "secret" not in builder.page  # only one customer has it
    builder.press("", r_0_operator="text in").press("toggle:0:gold").press("toggle:0:silver")
    assert builder.rule == '_ours.t in ["gold", "silver"]'
    assert builder.press("toggle:0:gold").rule == '_ours.t in ["silver"]'
    assert "silver" not in Builder(rights=MANAGER).choose("0", "_ours.t").page


def test_an_exchange_says_that_the_text_is_another_one() -> None:
    builder = Builder().exchange(rule="_ours.x = 1")
    assert "rule-changed" in builder.response.headers["HX-Trigger-After-Settle"]
    assert (
        "rule-changed" in builder.exchange(**{"r-0-value": "2"}).response.headers["HX-Trigger-After-Settle"]
    )
    assert "HX-Trigger-After-Settle" not in builder.exchange().response.headers
    assert not Segment.objects.exists()


def test_the_builder_has_few_queries_however_long_the_rule_is() -> None:
    ruled("s", "_ours.x > 1")
    customers("gold", "gold")

    def queries(rule: str) -> int:
        builder = Builder()
        with CaptureQueriesContext(connection) as captured:
            builder.exchange(rule=rule)
        assert builder.form.data["r-0-value"]
        return len(captured)

    few = queries('_ours.t = "gold" and inSegment("s")')
    many = " and ".join(f'_ours.t = "{n}" and inSegment("s") and isNotNull(_ours.m.k{n})' for n in range(15))
    assert queries(many) == few <= 10
