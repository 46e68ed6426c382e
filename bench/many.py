"""200 dataflows, of which one writes to a dead endpoint and one to a stream that throttles: are the others as fast as
without these two?
"""

from __future__ import annotations

from collections.abc import Sequence

from activation.export import lanes, outbox
from activation.models import Dataflow, PendingExport
from bench import engine, report, sink, store
from bench.report import Figure
from kinesis_admin.processes import free_port
from profiles.models import Profile
from tests.local_kinesis import KinesisProcess

DATAFLOWS = 198
EACH = 50  # records
ALIKE = 0.15


def measure(records: int, rounds: int) -> None:
    """The throttled one is offered ``records``, the dead one, too."""
    store.fill(records)
    kinesis = KinesisProcess(streams=("bench:1",))
    kinesis.start()
    try:
        with sink.running() as url, engine.workers(2):
            well = [
                store.dataflow(f"well {n}", ["even", "odd"], store.to(url), lane_count=1)
                for n in range(DATAFLOWS)
            ]
            ill = [
                store.dataflow("dead", ["even", "odd"], store.to(f"http://127.0.0.1:{free_port()}")),
                store.dataflow("throttled", ["even", "odd"], kinesis.connection()),
            ]
            seconds_of(well)  # for warming up
            alone, beside = [], []
            for _ in range(rounds):
                alone.append(seconds_of(well))
                engine.queue(ill)
                outbox.wake(ill[0])
                outbox.wake(ill[1])
                beside.append(seconds_of(well))
                assert PendingExport.objects.filter(dataflow__in=ill).count() > records, (
                    "The ill ones are well"
                )
                PendingExport.objects.all().delete()
    finally:
        kinesis.stop()
    slower = min(beside) / min(alone) - 1
    report.show(
        f"{DATAFLOWS} dataflows with {EACH} records each; {report.machine()}",
        [
            Figure("seconds until they have sent all, alone", f"{min(alone):.2f}"),
            Figure(
                "beside a dead and a throttled one",
                f"{min(beside):.2f} ({slower:+.0%})",
                f"± {ALIKE:.0%}",
                slower <= ALIKE,
            ),
        ],
    )


def seconds_of(dataflows: Sequence[Dataflow], *, beside: Sequence[Dataflow] = ()) -> float:
    """Seconds until each has delivered some records, while others try to."""
    engine.enable(dataflows, False)
    ids = list(Profile.objects.values_list("pk", flat=True)[:EACH])
    outbox.queue((dataflow.pk, pk, "attribute") for dataflow in dataflows for pk in ids)
    engine.settle_down()
    engine.enable(beside)
    outbox.wake_lanes(lanes.every_lane([dataflow.pk for dataflow in beside]), again=True)
    return engine.delivered(dataflows, len(ids) * len(dataflows))
