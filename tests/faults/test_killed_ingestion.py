"""A worker that asks a rule of the whole store, and an import, are killed in the middle: what is there is right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils import timezone

from kinesis_admin.processes import wait_until
from profiles import tasks
from profiles.management.commands import import_profiles
from profiles.models import Evaluation, Identity, Profile, SegmentMembership
from profiles.pql import parse
from profiles.segmentation import store
from tests.profiles.segmentation.ruled import ruled
from tests.services import ROOT, StartWorker, database_url

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

RULE = "x % 2 = 0"


def members(segment_id: str) -> set[object]:
    stored = SegmentMembership.objects.filter(segment=segment_id).exclude(status="exited")
    return set(stored.values_list("profile_id", flat=True))


def is_gone(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_next_worker_goes_on_where_a_killed_one_stopped_asking(start_worker: StartWorker) -> None:
    pages = 8
    Profile.objects.bulk_create(
        (Profile(attributes={"x": number}) for number in range(pages * store.PAGE)), batch_size=5000
    )
    ruled("even", RULE)
    worker = start_worker()
    store.request(["even"])
    assert wait_until(lambda: Evaluation.objects.filter(done__gt=0).exists(), seconds=60, every=0.005)
    worker.kill()
    done = Evaluation.objects.get().done
    assert 0 < done < pages * store.PAGE
    start_worker()
    tasks.evaluate_waiting()  # as beat does

    def is_done() -> bool:
        # It never begins anew.
        return not Evaluation.objects.filter(done__lt=done).exists() and not Evaluation.objects.exists()

    assert wait_until(is_done, seconds=60)
    assert members("even") == set(parse(RULE).members(timezone.now()))
    assert set(SegmentMembership.objects.values_list("status", flat=True)) == {"realized"}, "asked once"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped"])
def test_an_import_that_was_killed_or_stopped_is_run_again(how: signal.Signals, tmp_path: Path) -> None:
    ruled("even", RULE)
    count = 20_000
    file = tmp_path / "customers.ndjson"
    with file.open("w") as written:
        for number in range(count):
            identities = {"CRMID": [{"id": f"C-{number}"}], "Email": [{"id": f"{number}@example.com"}]}
            written.write(f"{json.dumps({'identityMap': identities, 'x': number})}\n")
    command = [sys.executable, "manage.py", "import_profiles", str(file)]
    env = {**os.environ, "DATABASE_URL": database_url()}

    killed = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, process_group=0)
    assert wait_until(lambda: Profile.objects.count() > import_profiles.BATCH, seconds=60, every=0.005)
    # Ctrl-C reaches all processes of a terminal.
    (os.killpg if how == signal.SIGINT else os.kill)(killed.pid, how)
    assert killed.wait(timeout=60) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert wait_until(lambda: is_gone(killed.pid), seconds=60)
    left = dict(Profile.objects.values_list("pk", "attributes__x"))
    assert 0 < len(left) < count
    # Batches went in whole: everybody has both identities, and is where the rule says.
    assert Identity.objects.count() == 2 * len(left)
    assert members("even") == {pk for pk, x in left.items() if x % 2 == 0}

    again = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert f"{count - len(left)} created, 0 updated, {len(left)} unchanged, 0 rejected" in again.stdout
    assert set(Profile.objects.values_list("attributes__x", flat=True)) == set(range(count))
    assert Identity.objects.count() == 2 * count
    assert members("even") == set(parse(RULE).members(timezone.now()))
