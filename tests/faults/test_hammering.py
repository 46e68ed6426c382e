"""Two importers and an HTTP producer hammer the same customers, while a worker delivers what they change."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from activation.models import FailedExport, PendingExport
from destinations.fields import Encrypted
from kinesis_admin.processes import Program, wait_until
from profiles.inlets import services
from profiles.models import Identity, Profile, SegmentMembership
from profiles.pql import parse
from tests.factories import AccountFactory, DataflowFactory, DestinationFactory, SchemaFieldFactory
from tests.local_kinesis import KinesisProcess
from tests.profiles.segmentation.ruled import ruled
from tests.services import ROOT, database_url

from .proving import size

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

CUSTOMERS = 1000
SECONDS = size("FAULTS_HAMMERING", 60, on_sqlite=5)
BATCH = 200
RULES = {
    "everyone": "isNotNull(_ours)",
    "even": "_ours.first % 2 = 0",
    "ahead": "_ours.first > _ours.shop or _ours.second = 3",
    "asking": 'inSegment("even") and not inSegment("ahead")',
}
MAPPED = {"all": ("everyone",), "some": ("even", "asking")}
WRITERS = ("first", "second", "shop")


def told(customer: int, writer: str, turn: int) -> dict[str, Any]:
    identities = {"CRMID": [{"id": f"C-{customer}"}]}
    return {"identityMap": identities, "_ours": {writer: (turn * 7 + customer) % 100, f"{writer}Turn": turn}}


def until_time_is_up(write: Callable[[list[int], int], None], seed: int) -> int:
    """Write of every customer, in another order each time. How often."""
    end, turn = time.monotonic() + SECONDS, 0
    while not turn or time.monotonic() < end:
        turn += 1
        write(random.Random(seed + turn).sample(range(CUSTOMERS), CUSTOMERS), turn)
    return turn


def importer(name: str, folder: Path) -> int:
    def write(customers: list[int], turn: int) -> None:
        path = folder / f"{name}.ndjson"
        path.write_text("".join(f"{json.dumps(told(customer, name, turn))}\n" for customer in customers))
        subprocess.run(
            [sys.executable, "manage.py", "import_profiles", str(path)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database_url()},
            check=True,
            capture_output=True,
        )

    return until_time_is_up(write, seed=len(name))


def producer(port: int, inlet: str) -> int:
    server = HTTPConnection("127.0.0.1", port, timeout=60)

    def write(customers: list[int], turn: int) -> None:
        for start in range(0, CUSTOMERS, BATCH):
            entities = [told(customer, "shop", turn) for customer in customers[start : start + BATCH]]
            body = json.dumps({"messages": [{"body": {"xdmEntity": entity}} for entity in entities]})
            server.request("POST", f"/collection/batch/{inlet}", body)
            answer = server.getresponse()
            assert answer.status == 207 and b'"status"' not in answer.read()

    return until_time_is_up(write, seed=1000)


@pytest.fixture
def streams() -> Any:
    running = KinesisProcess(streams=tuple(f"{name}:32" for name in MAPPED))
    running.start()
    yield running
    running.stop()


def test_every_update_is_in_and_the_last_record_of_everybody_is_the_final_state(
    streams: KinesisProcess, web_port: int, celery_worker: Program, tmp_path: Path
) -> None:
    segments = {key: ruled(key, rule) for key, rule in RULES.items()}
    connection = streams.connection()
    account = AccountFactory.create(
        credentials=Encrypted.of(connection.credentials), settings=dict(connection.settings)
    )
    field = SchemaFieldFactory.create(path="_ours", type="object")
    for name, mapped in MAPPED.items():
        dataflow = DataflowFactory.create(
            destination=DestinationFactory.create(account=account, name=name, settings={"stream": name}),
            segments=[segments[key] for key in mapped],
        )
        dataflow.mapped_attributes.create(field=field, position=0)
    inlet = services.create_inlet(name="Shop", protected=False)[0]

    with ThreadPoolExecutor(3) as pool:
        running = [
            pool.submit(importer, "first", tmp_path),
            pool.submit(importer, "second", tmp_path),
            pool.submit(producer, web_port, inlet.pk),
        ]
        turns = dict(zip(WRITERS, (each.result() for each in running), strict=True))
    sys.stderr.write(f"{turns} times {CUSTOMERS} customers in {SECONDS} s\n")
    assert wait_until(lambda: not PendingExport.objects.exists(), seconds=60 + SECONDS)

    # Every update is in.
    names = dict(Identity.objects.values_list("profile_id", "value"))
    final = {str(profile.pk): profile.attributes["_ours"] for profile in Profile.objects.all()}
    assert len(final) == CUSTOMERS
    for profile_id, name in names.items():
        customer = int(name.removeprefix("C-"))
        expected = [told(customer, writer, turn)["_ours"] for writer, turn in turns.items()]
        assert final[str(profile_id)] == {**expected[0], **expected[1], **expected[2]}

    # The members are those of a recomputation.
    statuses: dict[str, dict[str, str]] = {key: {} for key in final}
    for profile_id, segment_id, status in SegmentMembership.objects.values_list(
        "profile_id", "segment_id", "status"
    ):
        statuses[str(profile_id)][segment_id] = status
    for key, rule in RULES.items():
        members = {pk for pk, found in statuses.items() if found.get(key, "exited") != "exited"}
        assert members == {str(pk) for pk in parse(rule).members(timezone.now())}, key

    # What stands last in each stream.
    for name, mapped in MAPPED.items():
        records = {key: json.loads(data) for key, data in streams.accepted(name)}
        for key, found in statuses.items():
            if not any(found.get(segment) for segment in mapped):
                assert key not in records
                continue
            last = records[key]["segmentMembership"]["ups"]
            if any(found.get(segment, "exited") != "exited" for segment in mapped):
                assert records[key]["_ours"] == final[key]
                assert {segment: each["status"] for segment, each in last.items()} == found
            else:  # who has left is told of no more
                assert all(last[segment]["status"] == "exited" for segment in mapped if segment in found)
    assert not FailedExport.objects.exists()
