"""Many that wait against a few: neither the rate nor a worker's memory depends on how many there are."""

from __future__ import annotations

from activation.models import Dataflow, PendingExport
from bench import cpu, engine, report, sink, store
from bench.export import MEMORY
from bench.report import Figure

FEW = 100_000
SENT = 50_000  # while it is measured
ALIKE = 0.15


def measure(records: int, rounds: int) -> None:
    """Few, many and few again, ``rounds`` times; the first few are for warming up."""
    store.fill(records)
    with sink.running() as url, engine.workers(2) as pids:
        whole = store.dataflow("whole", ["even", "odd"], store.to(url))
        few, many = [], []
        for number in range(rounds + 1):
            few.append(rate(whole, min(FEW, records)))
            if number < rounds:
                many.append(rate(whole, records))
        memory = max(cpu.most_memory(pid) for name, pid in pids.items() if name.startswith("worker"))
    of_few, of_many = max(few), max(many)
    report.show(
        f"{records:,} waiting against {FEW:,}; {report.machine()}",
        [
            Figure(f"records/s, {FEW:,} waiting", f"{of_few:,.0f}"),
            Figure(
                f"records/s, {records:,} waiting",
                f"{of_many:,.0f} ({of_many / of_few - 1:+.0%})",
                f"± {ALIKE:.0%}",
                of_many >= (1 - ALIKE) * of_few,
            ),
            Figure("MB of a worker process", f"{memory:.0f}", f"{MEMORY:.0f}", memory < MEMORY),
        ],
    )


def rate(dataflow: Dataflow, waiting: int) -> float:
    """Records a second, of the first ones of so many."""
    engine.queue([dataflow])
    if waiting < PendingExport.objects.count():
        last = PendingExport.objects.order_by("id").values_list("id", flat=True)[waiting]
        PendingExport.objects.filter(id__gte=last).delete()
        engine.settle_down()
    seconds = engine.delivered([dataflow], min(SENT, waiting))
    # What the workers still have under way comes to its end, too.
    engine.enable([dataflow], False)
    engine.quiet()
    PendingExport.objects.all().delete()
    return min(SENT, waiting) / seconds
