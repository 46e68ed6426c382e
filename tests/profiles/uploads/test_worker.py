"""Uploads in a real worker, which is killed in the middle."""

from __future__ import annotations

import pytest
from django.db.models import Count, Min

from activation.models import PendingExport
from kinesis_admin.processes import Program, wait_until
from profiles import tasks
from profiles.models import Identity, Segment, SegmentMembership, Upload, UploadPart
from tests.factories import DataflowFactory
from tests.profiles.uploads.conftest import addresses, done, members, started
from tests.services import StartWorker

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

ROWS = 6_000


def state(upload: Upload) -> str:
    return Upload.objects.values_list("state", flat=True).get(pk=upload.pk)


def test_a_start_wakes_the_worker_and_the_second_waits_for_the_first(
    segment: Segment, celery_worker: Program
) -> None:
    first = started(addresses("a", "b") + "x\n", segment, Upload.Way.REPLACE)
    second = started(addresses("b", "c"), segment, Upload.Way.REPLACE)
    assert wait_until(lambda: state(second) == "done", seconds=30)
    assert state(first) == "done"
    assert members("vip") == {"b", "c"}
    assert not UploadPart.objects.exists()


def test_a_killed_worker_is_followed_where_it_was(segment: Segment, start_worker: StartWorker) -> None:
    """Every row once: what the dead one had under way was not committed; what was committed is not done again."""
    done(addresses("left"), segment)
    DataflowFactory.create(segments=[segment], state="disabled")  # it queues, and nobody delivers
    names = [f"customer{number}" for number in range(ROWS)]
    text = (
        addresses(*names[: ROWS // 2]) + '"broken\n' + addresses(*names[ROWS // 2 :]).removeprefix("email\n")
    )
    worker = start_worker()
    upload = started(text, segment, Upload.Way.REPLACE)

    read = []
    for share in (0.2, 0.6):
        assert wait_until(
            lambda share=share: Upload.objects.get(pk=upload.pk).rows > share * ROWS,  # type: ignore[misc]
            seconds=60,
            every=0.01,
        )
        worker.kill()
        upload.refresh_from_db()
        read.append(upload.rows)
        assert Identity.objects.count() == upload.accepted + 1
        worker = start_worker()
        tasks.uploads_waiting()
    assert 0 < read[0] < read[1] < ROWS
    assert wait_until(lambda: state(upload) == "done", seconds=90)

    upload.refresh_from_db()
    counts = (upload.rows, upload.accepted, upload.created, upload.joined, upload.left, upload.rejected)
    assert counts == (ROWS + 2, ROWS, ROWS, ROWS, 1, 1)
    assert members("vip") == set(names)
    memberships = SegmentMembership.objects.exclude(status="exited")
    assert memberships.aggregate(n=Count("pk"), since=Min("last_qualification_time")) == {
        "n": ROWS,
        "since": upload.started_at,
    }
    assert PendingExport.objects.count() == ROWS + 1
