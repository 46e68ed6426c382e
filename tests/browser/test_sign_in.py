"""Signing in, as a person does it."""

from __future__ import annotations

import base64
import hmac
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import WIDE
from tests.product import Product


def test_the_sign_in_page_is_accessible_and_refuses_in_words(page: Page, product: Product) -> None:
    page.goto("/destinations/")
    expect(page).to_have_url(f"{product.url}/sign-in/?next=/destinations/")
    assert_accessible(page)

    page.get_by_label("Username").fill(product.user)
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_text("You were not signed in")).to_be_visible()
    assert_accessible(page)


def test_one_lands_on_the_destinations_and_gets_out_again(
    page: Page, product: Product, sign_in: Callable[[Page], None]
) -> None:
    sign_in(page)
    expect(page).to_have_url(f"{product.url}/destinations/")
    expect(page).to_have_title("Destinations · Kinesis Admin")

    page.context.clear_cookies()
    page.reload()

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


# --- Second steps --------------------------------------------------------------------------------------------------

_MAKE = """
from django.contrib.auth.models import Group, User
for name in ("kim", "lee"):
    person = User.objects.create_user(name, f"{name}@example.com", "a good password")
    person.groups.add(Group.objects.get(name="Marketer"))
"""


@pytest.fixture(scope="module")
def people(product: Product) -> None:
    product.manage("shell", "--no-imports", "-c", _MAKE)


@pytest.fixture
def browse(browser: Browser, product: Product) -> Iterator[Callable[[], Page]]:
    """Pages of browsers that know nobody, by a name: passkeys belong to one, and an IP address has none."""
    contexts = []

    def browse() -> Page:
        context = browser.new_context(
            base_url=f"http://localhost:{product.port}", viewport=WIDE, locale="en-US"
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        return context.new_page()

    yield browse
    for context in contexts:
        context.close()


def by_password(page: Page, name: str) -> None:
    page.goto("/sign-in/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=True).fill("a good password")
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm(page: Page) -> None:
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Password", exact=True).fill("a good password")
    page.get_by_role("button", name="Confirm").click()


def with_a_fingerprint_reader(page: Page) -> Page:
    """Chromium's virtual authenticator, which always finds the right finger."""
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    devices.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return page


def test_a_passkey_opens_the_account_alone_and_as_the_second_step(
    people: None, browse: Callable[[], Page]
) -> None:
    page = with_a_fingerprint_reader(browse())
    by_password(page, "kim")
    page.goto("/account/second-step/passkeys/new/")
    confirm(page)
    page.get_by_label("Name").fill("Laptop 노트북")
    page.get_by_label("Use it instead of the password, too").check()
    assert_accessible(page)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("Security key added.")).to_be_visible()

    # Alone.
    page.context.clear_cookies()
    page.goto("/sign-in/?next=/account/second-step/passkeys/")
    page.get_by_role("button", name="Use a passkey").click()
    row = page.get_by_role("row", name="Laptop 노트북")
    expect(row).to_contain_text("Passkey")
    expect(row).not_to_contain_text("Never")
    assert_accessible(page)

    # After the password.
    page.context.clear_cookies()
    by_password(page, "kim")
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/destinations/")

    # Who has no such key is told so, and stays out.
    stranger = with_a_fingerprint_reader(browse())
    by_password(stranger, "kim")
    stranger.get_by_role("button", name="Use a passkey").click()
    expect(stranger.get_by_text("No passkey was used.")).to_be_visible()
    stranger.goto("/destinations/")
    expect(stranger.get_by_role("heading", name="Second step")).to_be_visible()

    # It is taken away again.
    page.goto("/account/second-step/passkeys/")
    page.get_by_role("link", name="Remove").click()
    confirm(page)
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Security key removed.")).to_be_visible()
    again = browse()
    by_password(again, "kim")
    again.wait_for_url("**/destinations/")


def test_an_app_is_asked_for_its_code_and_a_session_is_ended_from_another(
    people: None, browse: Callable[[], Page]
) -> None:
    here, there = browse(), browse()
    by_password(there, "lee")
    by_password(here, "lee")
    here.goto("/account/second-step/app/")
    confirm(here)
    secret = here.locator("[data-copy]").first.get_attribute("data-copy") or ""
    assert_accessible(here)
    here.get_by_label("Code", exact=True).fill("000000")
    here.get_by_role("button", name="Activate").click()
    expect(here.get_by_text("Incorrect code.").first).to_be_visible()
    here.get_by_label("Code", exact=True).fill(code_of(secret))
    here.get_by_role("button", name="Activate").click()
    expect(here.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert_accessible(here)
    recovery = here.locator("pre").inner_text().split()
    assert len(recovery) == 10

    again = browse()
    by_password(again, "lee")
    label = "Code of the authenticator app, or a recovery code"
    expect(again.get_by_role("button", name="Use a passkey")).to_have_count(0)
    again.get_by_label(label).fill("000000")
    again.get_by_role("button", name="Sign in").click()
    expect(again.get_by_text("Incorrect code.").first).to_be_visible()
    assert_accessible(again)
    again.get_by_label(label).fill(recovery[0])
    again.get_by_role("button", name="Sign in").click()
    again.wait_for_url("**/destinations/")

    here.goto("/account/sessions/")
    rows = here.get_by_role("row").filter(has=here.get_by_role("button", name="Sign out"))
    others = rows.count()
    rows.first.get_by_role("button", name="Sign out").click()
    expect(here.get_by_text("The session was signed out.")).to_be_visible()
    expect(rows).to_have_count(others - 1)
    here.get_by_role("button", name="Sign out all others").click()
    expect(here.get_by_text("Signed out of all other sessions.")).to_be_visible()
    for page in (there, again):
        page.goto("/segments/")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    here.reload()
    expect(here.get_by_text("This one")).to_be_visible()


def code_of(secret: str) -> str:
    """What an authenticator app shows now (RFC 6238), worked out anew."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    offset = digest[-1] & 15
    number: int = struct.unpack(">I", digest[offset : offset + 4])[0]
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"
