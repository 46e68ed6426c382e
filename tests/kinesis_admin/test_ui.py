"""The template tags that every page is made of."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django import forms
from django.core.paginator import Paginator
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone, translation

from kinesis_admin.templatetags import ui


def render(source: str, **context: Any) -> str:
    with translation.override("en"):
        return Template("{% load ui %}" + source).render(Context(context))


class ExampleForm(forms.Form):
    name = forms.CharField(help_text="What people call it.")
    secret = forms.CharField(widget=forms.PasswordInput)
    account = forms.ChoiceField(widget=forms.RadioSelect, choices=[("new", "New"), ("old", "Existing")])
    agree = forms.BooleanField(required=False)
    kept = forms.CharField(widget=forms.HiddenInput, required=False)


def test_a_field_ties_label_hint_and_error_to_its_input() -> None:
    html = render("{% field form.name %}", form=ExampleForm({}))

    assert '<label class="field-label" for="id_name">' in html
    assert 'aria-describedby="id_name_helptext id_name_error"' in html
    assert 'id="id_name_helptext"' in html and 'id="id_name_error"' in html
    assert 'aria-invalid="true"' in html
    assert "This field is required." in html


def test_a_group_of_radios_is_a_fieldset_with_a_legend() -> None:
    html = render("{% field form.account %}", form=ExampleForm())

    assert "<fieldset" in html and "<legend" in html
    assert html.count('type="radio"') == 2


def test_a_password_field_can_be_shown_and_its_value_is_never_written() -> None:
    html = render("{% field form.secret %}", form=ExampleForm({"secret": "wJalrXUtnFEMI"}))

    assert 'data-reveal="id_secret"' in html
    assert "wJalrXUtnFEMI" not in html


def test_a_hidden_field_is_only_its_input() -> None:
    assert "<label" not in render("{% field form.kept %}", form=ExampleForm())


def test_the_error_summary_links_to_the_fields() -> None:
    html = render("{% error_summary form %}", form=ExampleForm({}))

    assert "3 things need your attention" in html
    assert 'href="#id_name"' in html
    assert 'href="#id_account_0"' in html  # the first radio: the group itself takes no focus


def test_a_form_without_errors_has_no_summary() -> None:
    good = ExampleForm({"name": "a", "secret": "b", "account": "new"})

    assert render("{% error_summary form none %}", form=good, none=None).strip() == ""


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=30), "just now"),
        (timedelta(minutes=1, seconds=5), "1 minute ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=40), "1 month ago"),
        (timedelta(days=800), "2 years ago"),
        (-timedelta(minutes=3, seconds=5), "in 3 minutes"),
    ],
)
def test_a_time_is_relative(passed: timedelta, words: str) -> None:
    with translation.override("en"):
        assert f">{words}</time>" in ui.ago(timezone.now() - passed)


def test_a_time_shows_exact_utc_on_hover() -> None:
    html = ui.ago(datetime(2026, 11, 23, 22, 0, 5, tzinfo=UTC))

    assert 'title="2026-11-23 22:00:05 UTC"' in html
    assert 'datetime="2026-11-23T22:00:05Z"' in html


def test_no_time_has_words_of_its_own() -> None:
    assert ui.ago(None, "Never") == "Never"


def test_numbers_have_thousands_separators() -> None:
    with translation.override("en"):
        assert ui.number(1234567) == "1,234,567"
        assert ui.number(0) == "0"
        assert ui.number(None) == "\N{EN DASH}"


def test_json_is_indented_and_keeps_korean() -> None:
    assert ui.json_pretty({"name": "지우"}) == '{\n  "name": "지우"\n}'
    assert ui.json_pretty(b'{"a":1}') == '{\n  "a": 1\n}'
    assert ui.json_pretty("no json") == "no json"


def test_json_that_python_can_not_hold_stays_as_it_is() -> None:
    deep = "[" * 10_000 + "]" * 10_000
    assert ui.json_pretty(deep) == deep
    assert ui.json_pretty("9" * 10_000) == "9" * 10_000
    half = ui.json_pretty('{"a": "\\ud800"}')
    assert half == '{\n  "a": "\\ud800"\n}'
    half.encode()  # a page can be made of it


def test_values_are_escaped_everywhere() -> None:
    bad = '<script>alert("x")</script>'
    tags = [
        "{% status 'positive' bad %}",
        "{% badge bad %}",
        "{% cut bad %}",
        "{% copy_id bad %}",
        "{% code_block bad bad %}",
        "{% json_tree tree %}",
        "{% stat bad bad bad %}",
        "{% alert 'info' bad %}{{ bad }}{% endalert %}",
        "{% empty_state 'info' bad %}{{ bad }}{% endempty_state %}",
        "{% dialog 'd' bad %}{{ bad }}{% enddialog %}",
        "{% row_menu 'm' bad %}{{ bad }}{% endrow_menu %}",
        "{% sort_header 'x' bad %}",
    ]
    request = RequestFactory().get("/", {"q": bad})
    for tag in tags:
        html = render(tag, bad=bad, tree={bad: {bad: bad}}, request=request)
        assert "<script>" not in html, tag
        assert "&lt;script&gt;" in html, tag


def test_a_sort_header_keeps_the_query_and_turns_round() -> None:
    request = RequestFactory().get("/", {"q": "seoul", "page": "7", "sort": "name"})
    html = render("{% sort_header 'name' 'Name' 'name' target='results' %}", request=request)

    assert 'aria-sort="ascending"' in html
    assert 'href="?q=seoul&amp;sort=-name"' in html
    assert 'hx-target="#results"' in html


def test_pagination_says_where_one_is_and_keeps_the_query() -> None:
    request = RequestFactory().get("/", {"q": "seoul", "page": "2"})
    page = Paginator(range(10_000), 25).get_page(2)
    html = render("{% pagination page %}", request=request, page=page)

    assert "26\N{EN DASH}50 of 10,000" in html
    assert 'href="?q=seoul&amp;page=3"' in html
    assert 'aria-current="page">2<' in html


def test_a_single_page_has_no_links_and_an_empty_list_nothing() -> None:
    one = Paginator(range(3), 25).get_page(1)
    none = Paginator(range(0), 25).get_page(1)

    assert "<nav" not in render("{% pagination page %}", page=one)
    assert render("{% pagination page %}", page=none).strip() == ""


def test_the_step_bar_marks_done_current_and_upcoming() -> None:
    html = render("{% stepbar 'setup' links %}", links={"authentication": "/a/"})

    assert html.count("step-done") == 1
    assert html.count('aria-current="step"') == 1
    assert html.count("step-upcoming") == 3
    assert 'href="/a/"' in html
    assert "Step 2 of 5" in html


def test_the_rights_one_lacks_are_said_in_words() -> None:
    with translation.override("en"):
        assert ui.missing_rights("destinations.manage_destinations, profiles.view_segment") == (
            "Manage Destinations, View Segments"
        )
        assert ui.missing_rights("") == ""


def test_hours_are_drawn_to_scale_and_told_as_a_table() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    points = [(noon, (3, 1)), (noon + timedelta(hours=1), (0, 2)), (noon + timedelta(hours=2), (0, 0))]
    series = [("Accepted", "accent"), ("Rejected", "negative")]
    shown = render('{% bars "hours" points series "Messages" %}', points=points, series=series)
    bars = re.findall(r'<rect class="plot-(\w+)" x="(\d+)" y="([\d.]+)" width="8" height="([\d.]+)"/>', shown)
    assert bars == [
        ("accent", "1", "25.00", "75.00"),
        ("negative", "1", "0.00", "25.00"),
        ("negative", "11", "50.00", "50.00"),
    ]
    assert "at most 4 in an hour" in shown
    assert shown.count("<tr>") == 1 + len(points)
    assert shown.index("11-20 14:00") < shown.index("11-20 12:00")


def test_a_path_breaks_after_its_dots_and_is_text() -> None:
    assert ui.dotted("consents.share.<b>") == "consents.<wbr>share.<wbr>&lt;b&gt;"
