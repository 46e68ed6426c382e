"""Every page with data in it, in both languages, both themes and both widths (two looks have them all): no axe
violation, nothing sticks out.

The screenshots are in ``var/browser/pages/``, to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from tests.browser.accessibility import assert_accessible
from tests.browser.activated import Activated, Governed, activate, govern
from tests.browser.conftest import NARROW, WIDE
from tests.product import Product
from tests.services import ROOT

PAGES = {
    "overview": "/destinations/",
    "catalog": "/destinations/catalog/",
    "catalog-card": "/destinations/catalog/?type=kinesis",
    "catalog-nothing-found": "/destinations/catalog/?q=nothing+like+this",
    "browse": "/destinations/browse/",
    "accounts": "/destinations/accounts/",
    "account-edit": "/destinations/accounts/{account}/edit/",
    "account-delete": "/destinations/accounts/{account}/delete/",
    "connect": "/destinations/connect/kinesis/",
    "setup": "/destinations/connect/kinesis/setup/{account}/",
    "destination-runs": "/destinations/{destination}/",
    "destination-data": "/destinations/{destination}/?tab=data",
    "destination-stream": "/destinations/{destination}/?tab=stream",
    "destination-edit": "/destinations/{destination}/edit/",
    "destination-delete": "/destinations/{destination}/delete/",
    "segments-step": "/activation/{destination}/segments/",
    "attributes-step": "/activation/{destination}/attributes/",
    "review-step": "/activation/{destination}/review/",
    "run": "/activation/runs/{run}/",
    "runs-alone": "/activation/{destination}/runs/",
    "capacity": "/activation/{destination}/capacity/",
    "failures": "/activation/{destination}/failures/",
    "failures-closed": "/activation/{destination}/failures/?state=discarded&code=RecordTooLarge",
    "failure": "/activation/failures/{failure}/",
    "failures-replay": "/activation/{destination}/failures/replay/?all=1",
    "failures-discard": "/activation/{destination}/failures/discard/?id={failure}",
    "replay": "/activation/{destination}/replay/",
    "replay-counted": "/activation/{destination}/replay/?which=exported&since=2020-01-01T00:00&until=",
    "replay-invalid": "/activation/{destination}/replay/?which=exported&since=x&until=",
    "drain": "/activation/{destination}/drain/",
    "purge": "/activation/{destination}/purge/",
    "cancel-backfill": "/activation/{destination}/cancel-backfill/",
    "lanes": "/activation/{destination}/lanes/",
    "profiles": "/profiles/",
    "profile": "/profiles/{profile}/",
    "profile-erase": "/profiles/{profile}/erase/",
    "segments": "/segments/",
    "segment": "/segments/{segment}/",
    "segments-nothing-found": "/segments/?state=archived&origin=import",
    "segment-member-not-found": "/segments/{segment}/?q=nobody%40example.com",
    "segment-new": "/segment/new/",
    "segment-edit": "/segment/edit/{segment}/",
    "segment-delete": "/segment/delete/{segment}/",
    "upload-file": "/segment/upload/",
    "upload-columns": "/segment/upload/{draft}/columns/",
    "upload": "/segment/upload/{upload}/",
    "uploads": "/segment/uploads/{uploaded}/",
    "segment-uploaded": "/segments/{uploaded}/",
    "schema": "/schema/",
    "namespaces": "/namespaces/",
    "namespace-new": "/namespaces/new/",
    "namespace-edit": "/namespaces/{namespace}/edit/",
    "namespace-delete": "/namespaces/{namespace}/delete/",
    "schema-found": "/schema/?q=loyalty",
    "schema-unknown": "/schema/unknown/",
    "schema-add": "/schema/add/?path=_ours.shoeSize&type=integer",
    "inlets": "/inlets/",
    "inlet-new": "/inlets/new/",
    "inlet": "/inlets/{inlet}/",
    "inlet-days": "/inlets/{inlet}/?by=day",
    "inlet-edit": "/inlets/{inlet}/edit/",
    "inlet-delete": "/inlets/{inlet}/delete/",
    "alerts": "/activation/alerts/",
    "alerts-read": "/activation/alerts/?unread=1",
    "subscription": "/activation/{destination}/alerts/",
    "audit": "/audit/",
    "audit-nothing-found": "/audit/?actor=nobody",
    "audit-entry": "/audit/{entry}/",
    "review-forbidden": "/activation/{forbidden}/review/",
    "policies": "/governance/policies/",
    "policy": "/governance/policies/?policy={policy}",
    "policy-new": "/governance/policies/new/",
    "policy-labels": "/governance/policies/{policy}/labels/",
    "policy-actions": "/governance/policies/{policy}/marketing-actions/",
    "policy-review": "/governance/policies/{policy}/review/",
    "policy-delete": "/governance/policies/{policy}/delete/",
    "consent-policies": "/governance/consent-policies/?policy={consent}",
    "consent-policies-nothing-found": "/governance/consent-policies/?q=nothing+like+this",
    "consent-policy-edit": "/governance/consent-policies/{consent}/edit/",
    "consent-policy-switch": "/governance/consent-policies/{asking}/switch/?enabled=1",
    "marketing-actions": "/governance/marketing-actions/",
    "marketing-action-delete": "/governance/marketing-actions/{action}/delete/",
    "labels": "/governance/labels/",
    "label-edit": "/governance/labels/{own_label}/edit/",
    "label-fields": "/governance/labels/fields/?field=loyalty&field=person.name",
    "label-segment": "/governance/labels/segments/?segment={segment}",
    "people": "/people/",
    "person": "/people/1/",
    "person-new": "/people/new/",
    "service-accounts": "/people/service-accounts/",
    "service-account-new": "/people/service-accounts/new/",
    "roles": "/people/roles/",
    "role-new": "/people/roles/new/",
    "password": "/account/password/",
    "second-step": "/account/second-step/",
    "confirm": "/account/second-step/app/",
    "passkeys": "/account/second-step/passkeys/",
    "sessions": "/account/sessions/",
    "tokens": "/account/tokens/",
    "token-new": "/account/tokens/new/",
    "not-found": "/nothing/here/",
}
LOOKS: dict[str, tuple[str, str, ViewportSize]] = {
    "en-light-1440": ("en", "light", WIDE),
    "ko-dark-390": ("ko", "dark", NARROW),
}


@pytest.fixture(scope="module")
def ids(product: Product) -> dict[str, str]:
    """What stands in braces in the addresses."""
    activated = activate(product)
    governed = govern(product)
    return {
        **{key: getattr(activated, key) for key in Activated.__slots__},
        **{key: getattr(governed, key) for key in Governed.__slots__},
    }


# Each look in a process, with a product of its own.
@pytest.fixture(
    scope="module",
    params=[pytest.param(look, marks=pytest.mark.xdist_group(f"pages {look[:2]}")) for look in LOOKS],
)
def look(request: pytest.FixtureRequest, browser: Browser, product: Product) -> Iterator[tuple[str, Page]]:
    language, theme, viewport = LOOKS[request.param]
    context = browser.new_context(base_url=product.url, viewport=viewport)
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.goto("/sign-in/")
    page.get_by_label("Username").fill(product.user)
    page.get_by_label("Password", exact=True).fill(product.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/destinations/")
    context.add_cookies(
        [
            {"name": "django_language", "value": language, "url": product.url},
            {"name": "theme", "value": theme, "url": product.url},
        ]
    )
    yield request.param, page
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_accessible_and_fits(name: str, look: tuple[str, Page], ids: dict[str, str]) -> None:
    look_name, page = look
    page.goto(PAGES[name].format(**ids))
    settled(page)

    page.screenshot(path=ROOT / "var" / "browser" / "pages" / f"{name}-{look_name}.png", full_page=True)
    assert page.locator("html").get_attribute("lang") == look_name[:2]
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0, f"{page.url} is {too_wide} px wider than the window"
    assert_accessible(page)


def settled(page: Page) -> None:
    """Wait until the parts that HTMX loads are there."""
    page.wait_for_function("() => !document.querySelector('.htmx-request, [hx-trigger=\"load\"] .skeleton')")
    page.wait_for_timeout(100)


def test_the_pages_of_an_empty_product_help_on(
    page: Page, product: Product, sign_in: Callable[[Page], None]
) -> None:
    """A search that finds nothing stands in for an empty list: its page says so and offers a way on."""
    sign_in(page)
    for path in (
        "/destinations/browse/?q=zzz",
        "/destinations/accounts/?q=zzz",
        "/profiles/?q=zzz",
        "/segments/?q=zzz",
        "/inlets/?q=zzz",
        "/namespaces/?q=zzz",
        "/schema/unknown/?q=zzz",
        "/governance/policies/?q=zzz",
        "/governance/consent-policies/?q=zzz",
        "/governance/labels/?q=zzz",
        "/governance/marketing-actions/?q=zzz",
        "/people/?q=zzz",
    ):
        page.goto(path)
        assert page.locator(".empty-state, .empty").count() == 1, path
        assert_accessible(page)
