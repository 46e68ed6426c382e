"""The whole story in a real browser: from signing in to the records in the stream, and then one more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from playwright.sync_api import Page, expect

from kinesis_admin.processes import wait_until
from tests.browser.accessibility import assert_accessible
from tests.product import Product
from tests.services import ROOT

SEGMENTS = ("High propensity to convert", "Newsletter readers")

# What the profiles hold, said by the database and not by the code under test.
_PROFILES = """
import json
from profiles.models import SegmentMembership, Profile
members = SegmentMembership.objects.filter(segment__name__in=%r, status__in=["realized", "existing"])
found = {}
for profile in Profile.objects.filter(pk__in=members.values("profile")):
    found[str(profile.pk)] = {
        "attributes": profile.attributes,
        "identities": sorted((i.namespace.code, i.value) for i in profile.identities.all()),
        "memberships": {
            m.segment_id: [
                m.status,
                m.last_qualification_time.isoformat(timespec="milliseconds").replace(".000", ""),
                m.segment.name,
            ]
            for m in profile.memberships.all()
        },
    }
print(json.dumps(found))
"""


def test_a_marketer_connects_a_stream_and_finds_the_customers_in_it(
    page: Page, product: Product, sign_in: Callable[[Page], None]
) -> None:
    sign_in(page)

    # Catalog
    page.goto("/destinations/catalog/")
    assert_accessible(page)
    page.screenshot(path=ROOT / "var" / "browser" / "catalog.png")
    page.goto("/destinations/connect/kinesis/")

    # Authentication: first with a wrong key
    _fill_account(page, product, secret="not-the-secret-at-all")
    page.get_by_role("button", name="Connect to destination").click()
    expect(page.get_by_text("InvalidSignatureException").first).to_be_visible()
    expect(page.get_by_label("Account name")).to_have_value("The marketing team's stream")
    expect(page.get_by_label("Secret access key", exact=True)).to_have_value("")
    assert "not-the-secret-at-all" not in page.content()
    assert_accessible(page)

    page.get_by_label("Secret access key", exact=True).fill(product.secret_access_key)
    page.get_by_role("button", name="Connect to destination").click()
    expect(page.get_by_text("Connected", exact=True).first).to_be_visible()
    assert product.secret_access_key not in page.content()
    assert_accessible(page)
    page.get_by_role("button", name="Next").or_(page.get_by_role("link", name="Next")).click()

    # Setup
    page.wait_for_url("**/setup/**")
    page.get_by_label("Name", exact=True).fill("Customers of the spring campaign")
    _choose_stream(page, "profile-exports")
    page.get_by_label("Include segment names").check()
    page.get_by_label("Email Targeting").check()
    assert_accessible(page)
    page.get_by_role("button", name=re.compile("Next|Create")).last.click()

    # Select segments
    page.wait_for_url("**/segments/")
    for name in SEGMENTS:
        page.get_by_role("checkbox", name=name).check()
    expect(page.locator("#chosen-count")).to_have_text("2")
    assert_accessible(page)
    page.get_by_role("button", name="Next").click()

    # Select attributes, one more than the recommended, with a live sample
    page.wait_for_url("**/attributes/")
    page.get_by_role("button", name="Add new field").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("searchbox").fill("loyalty.tier")
    dialog.locator("button[value='loyalty.tier']").click()
    assert_accessible(page)
    dialog.get_by_role("button", name="Done").click()
    expect(page.locator("#attribute-rows").get_by_text("loyalty.tier", exact=True)).to_be_visible()
    expect(page.locator("#sample")).to_contain_text('"segmentMembership"')
    page.get_by_role("button", name="Next").click()

    # Review and finish
    page.wait_for_url("**/review/")
    profiles = _profiles(product)
    expect(page.locator(".big-number")).to_have_text(f"{len(profiles):,}")
    assert_accessible(page)
    before = {
        key: len(found) for key, found in _records(product).items()
    }  # other tests write to the stream, too
    page.get_by_role("button", name="Finish").click()

    # The destination's page, and the records in the stream viewer within 5 s
    page.wait_for_url(re.compile(r"/destinations/[0-9a-f-]{36}/"))
    page.get_by_role("link", name="Stream viewer").click()
    expect(page.get_by_text("shardId-00000000000").first).to_be_visible(timeout=5_000)
    assert_accessible(page)

    # Read back by boto3 and equal, field by field, to what the profiles hold
    assert wait_until(lambda: len(_records(product, before)) >= len(profiles), seconds=30)
    records = _records(product, before)
    assert sorted(records) == sorted(profiles)
    for profile_id, found in records.items():
        assert len(found) == 1, "exactly once"
        assert found[0] == _expected(profiles[profile_id])

    # One profile changes, in a way that makes no difference to a rule, and its one new record arrives
    profile_id = min(key for key, found in profiles.items() if _tier(found) not in ("gold", "platinum"))
    page.goto(f"/profiles/{profile_id}/")
    assert_accessible(page)
    namespace, value = profiles[profile_id]["identities"][0]
    _import(
        product,
        {
            "identityMap": {namespace: [{"id": value}]},
            "loyalty": {"tier": "diamond"},
            "testProfile": True,
        },
    )
    assert wait_until(lambda: len(_records(product, before)[profile_id]) == 2, seconds=20)
    records = _records(product, before)
    assert sum(map(len, records.values())) == len(profiles) + 1
    assert records[profile_id][1] == {**records[profile_id][0], "loyalty": {"tier": "diamond"}}


def _fill_account(page: Page, product: Product, *, secret: str) -> None:
    new = page.get_by_role("radio", name="New account")
    if new.count():
        new.check()
    page.get_by_label("Account name").fill("The marketing team's stream")
    page.get_by_label("Access key ID").fill(product.access_key_id)
    page.get_by_label("Secret access key", exact=True).fill(secret)
    page.get_by_label("Region").select_option("us-east-1")
    page.get_by_label("Endpoint URL").fill(product.kinesis_url)


def _choose_stream(page: Page, name: str) -> None:
    page.get_by_role("radio", name=re.compile(name)).or_(
        page.get_by_label("Stream", exact=True)
    ).first.click()


def _profiles(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        product.manage("shell", "--no-imports", "-c", _PROFILES % (SEGMENTS,)).splitlines()[-1]
    )
    return found


def _expected(profile: dict[str, Any]) -> dict[str, Any]:
    """The record by behaviour.md, worked out anew: nested attributes, all memberships, all identities."""
    record: dict[str, Any] = {}
    for path in ("person.name.firstName", "person.name.lastName", "personalEmail.address", "loyalty.tier"):
        at: Any = profile["attributes"]
        for key in path.split("."):
            at = at.get(key, {}) if isinstance(at, dict) else {}
        if at != {}:
            *groups, leaf = path.split(".")
            into = record
            for group in groups:
                into = into.setdefault(group, {})
            into[leaf] = at
    record["segmentMembership"] = {
        "ups": {
            segment_id: {"lastQualificationTime": when.replace("+00:00", "Z"), "status": status, "name": name}
            for segment_id, (status, when, name) in profile["memberships"].items()
        }
    }
    identity_map: dict[str, list[dict[str, str]]] = {}
    for code, value in profile["identities"]:
        identity_map.setdefault(code.lower(), []).append({"id": value})
    record["identityMap"] = identity_map
    return record


def _tier(profile: dict[str, Any]) -> str:
    return str(profile["attributes"].get("loyalty", {}).get("tier"))


def _records(product: Product, before: Mapping[str, int] | None = None) -> dict[str, list[dict[str, Any]]]:
    """What is in the stream by partition key, which is the profile's id, in the order of arrival.

    Args:
        before: how many of each key's records are left out: those that were there already.
    """
    kinesis = boto3.client(
        "kinesis",
        region_name="us-east-1",
        endpoint_url=product.kinesis_url,
        aws_access_key_id=product.access_key_id,
        aws_secret_access_key=product.secret_access_key,
        config=Config(retries={"mode": "standard", "max_attempts": 10}),
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for shard in kinesis.list_shards(StreamName="profile-exports")["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName="profile-exports", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=10_000)
            for record in answer["Records"]:
                found.setdefault(record["PartitionKey"], []).append(json.loads(record["Data"]))
            if not answer["MillisBehindLatest"]:
                break
            iterator = answer["NextShardIterator"]
    old = before or {}
    return {key: new for key, records in found.items() if (new := records[old.get(key, 0) :])}


def _import(product: Product, profile: dict[str, Any]) -> None:
    path = product.env_file.with_name("change.ndjson")
    path.write_text(json.dumps(profile) + "\n")
    product.manage("import_profiles", str(path))
