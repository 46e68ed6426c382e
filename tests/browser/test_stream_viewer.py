"""The stream viewer while it is open: what arrives appears, and whoever reads goes on reading."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from destinations.connectors.kinesis.local.signature import Keys
from tests.browser.accessibility import assert_accessible
from tests.local_kinesis import client_of
from tests.product import Product

STREAM = "looked-at"  # of its own: other tests count what is in theirs

_MAKE = """
from destinations.fields import Encrypted
from destinations.models import Account, Destination
account = Account.objects.create(
    name="Looked at", connector="kinesis", masked="LOCA…", settings={"region": "us-east-1", "endpoint_url": %r},
    credentials=Encrypted.of({"access_key_id": %r, "secret_access_key": %r}),
)
print(Destination.objects.create(name="Looked at", account=account, settings={"stream": %r}).pk)
"""


def test_a_record_that_arrives_appears_and_disturbs_nobody(
    page: Page, product: Product, sign_in: Callable[[Page], None]
) -> None:
    keys = Keys(product.access_key_id, product.secret_access_key)
    kinesis = client_of(product.kinesis_url, keys)
    kinesis.create_stream(StreamName=STREAM, ShardCount=1)
    code = _MAKE % (product.kinesis_url, keys.access_key_id, keys.secret_access_key, STREAM)
    destination = product.manage("shell", "--no-imports", "-c", code).splitlines()[-1]
    sign_in(page)
    page.goto(f"/destinations/{destination}/?tab=stream")
    expect(page.get_by_text("No records yet")).to_be_visible()

    # The first one appears. Open it by keyboard, and stay on it.
    kinesis.put_record(StreamName=STREAM, PartitionKey="an-older-one", Data='{"city": "서울"}'.encode())
    older = page.locator("details", has_text="an-older-one")
    summary = older.locator("summary")
    expect(summary).to_contain_text("shardId-000000000000", timeout=5_000)
    summary.focus()
    page.keyboard.press("Enter")
    expect(older).to_have_attribute("open", "")
    expect(older).to_contain_text('"city": "서울"')
    assert_accessible(page)

    # Looking again without anything new touches nothing: the element is the same.
    page.evaluate("document.querySelector('#stream').dataset.marked = '1'")
    with page.expect_response(lambda response: "/stream/?" in response.url) as looked:
        pass
    assert looked.value.status == 204
    expect(page.locator("#stream")).to_have_attribute("data-marked", "1")

    kinesis.put_record(StreamName=STREAM, PartitionKey="a-newer-one", Data=b"{}")
    newer = page.locator("details", has_text="a-newer-one")
    expect(newer).to_be_visible(timeout=10_000)
    expect(newer).not_to_have_attribute("open", "")
    expect(older).to_have_attribute("open", "")
    expect(summary).to_be_focused()
    expect(page.locator("details").first).to_contain_text("a-newer-one")
