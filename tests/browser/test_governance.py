"""A steward, a marketer, an auditor: what may not be exported is not, all see why, and all of it is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.activated import activate
from tests.browser.conftest import NARROW, WIDE
from tests.product import Product
from tests.services import ROOT

NAME = "Exports to the agency"
POLICY = "고객 주소는 대행사에 보내지 않음"

_MAKE = """
from django.contrib.auth.models import Group, User

for name in ("Marketer", "Data steward", "Auditor"):
    user = User.objects.create_user(name.split()[-1].lower(), password="a good password")
    user.groups.add(Group.objects.get(name=name))
"""


@pytest.fixture
def account(product: Product) -> Iterator[str]:
    """The name of an account; there are a steward, a marketer and an auditor."""
    activate(product)
    product.manage("shell", "--no-imports", "-c", _MAKE)
    yield "Local stream of the marketing team"
    # Or other tests' exports would be judged by it.
    gone = f"from governance.models import Policy; Policy.objects.filter(name={POLICY!r}).delete()"
    product.manage("shell", "--no-imports", "-c", gone)


@pytest.fixture
def as_(browser: Browser, product: Product) -> Iterator[Callable[[str], Page]]:
    """Pages in which people are signed in, by their names."""
    contexts = []

    def sign_in(name: str) -> Page:
        context = browser.new_context(base_url=product.url, viewport=WIDE, locale="en-US")
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.goto("/sign-in/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password", exact=True).fill("a good password")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in/" not in url)
        return page

    yield sign_in
    for context in contexts:
        context.close()


def shot(page: Page, name: str) -> None:
    page.screenshot(path=ROOT / "var" / "browser" / f"governance-{name}.png", full_page=True)


def choose_field(page: Page, path: str) -> None:
    """Choose a field of the schema, and go on to its labels."""
    page.goto(f"/schema/?q={path}")
    page.get_by_role("checkbox", name=path, exact=True).check()
    page.get_by_role("button", name="Edit labels").click()
    expect(page.get_by_role("heading", name="Edit labels")).to_be_visible()


def test_a_steward_forbids_what_a_marketer_then_leaves_out_and_an_auditor_reads_all_of_it(
    account: str, as_: Callable[[str], Page]
) -> None:
    steward, marketer, auditor = as_("steward"), as_("marketer"), as_("auditor")

    # The steward labels the address, and makes a policy in four steps.
    choose_field(steward, "personalEmail.address")
    steward.get_by_label("I1", exact=False).first.check()
    steward.get_by_role("button", name="Add the ticked labels").click()
    expect(steward.get_by_text("I1 was added.")).to_be_visible()
    steward.get_by_role("link", name="Policies", exact=True).click()
    steward.get_by_role("link", name="Create policy").click()
    steward.get_by_label("Name", exact=True).fill(POLICY)
    steward.get_by_role("button", name="Next", exact=True).click()
    steward.locator("#group-C2").check()
    steward.get_by_role("button", name="Add group").click()
    steward.locator("#group-0-I1").check()
    assert_accessible(steward)
    shot(steward, "labels")
    steward.locator("#remove-group-0").click()
    expect(steward.locator("#group-0-I1")).to_have_count(0)
    steward.locator("#group-I1").check()
    steward.get_by_role("button", name="Next", exact=True).click()
    steward.get_by_label("Export to Third Party").check()
    steward.get_by_role("button", name="Next", exact=True).click()
    expect(steward.get_by_text("C2 or I1")).to_be_visible()
    steward.get_by_role("button", name="Finish").click()
    rail = steward.get_by_role("complementary")
    expect(rail).to_contain_text("Disabled")
    rail.get_by_role("button", name="Enable").click()
    expect(steward.get_by_role("complementary")).to_contain_text("Enabled")

    # The marketer sets up a destination with that action, and can't finish: one screen says why.
    marketer.goto("/destinations/connect/kinesis/")
    marketer.get_by_role("radio", name="Existing account").check()
    marketer.get_by_role("radio", name=account).check()
    marketer.get_by_role("button", name="Connect to destination").click()
    marketer.get_by_role("link", name="Next").click()
    marketer.get_by_label("Name", exact=True).fill(NAME)
    marketer.get_by_role("radio", name="profile-exports").check()
    marketer.get_by_label("Export to Third Party").check()
    marketer.get_by_role("button", name="Next").last.click()
    marketer.wait_for_url("**/segments/")
    marketer.locator("#segment-rows").get_by_role("checkbox").first.check()
    marketer.get_by_role("button", name="Next", exact=True).click()
    marketer.get_by_role("heading", name="Select attributes").wait_for()
    marketer.get_by_role("button", name="Next", exact=True).click()
    expect(marketer.get_by_role("heading", name="A policy does not allow this")).to_be_visible()
    expect(marketer.get_by_role("button", name="Finish")).to_be_disabled()
    violation = marketer.locator(".violation")
    for words in (POLICY, "C2 or I1", "Export to Third Party", "personalEmail.address"):
        expect(violation).to_contain_text(words)
    nodes = violation.locator(".lineage-node")
    expect(nodes).to_contain_text(
        ["personalEmail.address", "Attribute of the records", NAME, "profile-exports"]
    )
    assert_accessible(marketer)
    shot(marketer, "forbidden")
    marketer.set_viewport_size(NARROW)
    assert marketer.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    shot(marketer, "forbidden-390")
    marketer.set_viewport_size(WIDE)

    # Pressed all the same, the server refuses, too.
    marketer.locator("[value=next]:disabled").evaluate("button => { button.disabled = false }")
    with marketer.expect_response(lambda response: response.request.method == "POST") as refused:
        marketer.get_by_role("button", name="Finish").click()
    assert refused.value.status == 422
    expect(marketer.get_by_role("button", name="Finish")).to_be_disabled()

    # They leave the address out, and finish.
    marketer.locator(".violation").get_by_role("link", name="Select attributes").click()
    marketer.get_by_role("button", name="Remove personalEmail.address").click()
    expect(marketer.get_by_role("button", name="Remove personalEmail.address")).to_have_count(0)
    marketer.get_by_role("button", name="Next", exact=True).click()
    marketer.get_by_role("button", name="Finish").click()
    expect(marketer.get_by_role("heading", name=NAME)).to_be_visible()

    # From then on the steward may not label what goes there: the dataflow is named.
    choose_field(steward, "person.name.firstName")
    steward.get_by_label("I1", exact=False).first.check()
    steward.get_by_role("button", name="Add the ticked labels").click()
    refusal = steward.get_by_role("alert")
    expect(refusal).to_contain_text("It was not labelled")
    expect(refusal).to_contain_text(NAME)
    expect(steward.locator(".violation")).to_contain_text("person.name.firstName")
    assert_accessible(steward)
    shot(steward, "refused")

    # Nor may they look at what everybody did; the auditor may.
    assert steward.goto("/audit/").status == 403  # type: ignore[union-attr]
    auditor.goto("/destinations/")
    auditor.get_by_role("link", name="Audit", exact=True).click()
    rows = auditor.locator("#results tbody tr")
    for act in (
        ("Labelled data", "I1", "steward"),
        ("Wrote a policy", POLICY, "steward"),
        ("Enabled a policy", POLICY, "steward"),
        ("Created a destination", NAME, "marketer"),
        ("Was refused by a policy", NAME, "marketer"),
        ("Activated segments", NAME, "marketer"),
        ("Was refused by a policy", NAME, "steward"),
        ("Was refused", "GET /audit/", "steward"),
    ):
        told = rows
        for word in act:
            told = told.filter(has=auditor.get_by_text(word, exact=True))
        expect(told).to_have_count(1)
    assert_accessible(auditor)
    shot(auditor, "audit")
    rows.filter(has_text="steward").get_by_role("link", name="Was refused by a policy").click()
    expect(auditor.get_by_text("It uses person.name.firstName (I1).")).to_be_visible()
    assert_accessible(auditor)
    shot(auditor, "audit-refused")
