"""How fast customers come in, beside a bare INSERT … ON CONFLICT of the same JSON in the same run.

Over HTTP (gunicorn and two producers, all on this machine), by ``import_profiles``, and in rules: one asked of the
whole store, all of them asked of what was written. The store has fifty live rules and three live dataflows, which get
their outbox rows; nobody delivers them meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.request import urlopen

import psycopg
from django.conf import settings
from django.db import connection
from django.utils import timezone

from activation.models import PendingExport
from bench import customers, engine, report, store
from bench.producer import produce
from bench.report import Figure
from kinesis_admin import garbage
from kinesis_admin.processes import Program, free_port, wait_until
from profiles.inlets import services
from profiles.models import Profile, Segment, SegmentMembership
from profiles.pql import Subject, parse
from profiles.segmentation import store as evaluations
from profiles.segmentation.rules import Rules

ROOT = Path(__file__).resolve().parent.parent
BATCH = 200
PRODUCERS = 2
TOLD = 40_000  # customers of whom something is told over HTTP
IN_A_FILE = 100_000  # customers of whom a file tells


def measure(records: int, rounds: int) -> None:
    """The figures of a store with so many customers."""
    customers.fill(records)
    fill_floor()
    for number in range(3):
        segments = [f"rule-{each:02d}" for each in range(10 * number, 10 * number + 5)]
        store.dataflow(f"flow {number}", segments, store.to("http://127.0.0.1:1"))
    with engine.workers():
        show_http(min(TOLD, records // 2), records, rounds)
        show_import(min(IN_A_FILE, records // 2), records, rounds)
        show_rules(records)


def show_http(told: int, records: int, rounds: int) -> None:
    with web(PRODUCERS) as host:
        posted(host, batches_of(customers.changed, records, 20 * BATCH, seed=0))  # for warming up
        for seed in range(1, rounds + 1):
            batches = batches_of(customers.changed, records, told, seed)
            bare = told / floor(ready(batches))
            settle_down()
            seconds, each = posted(host, batches)
            p95 = 1000 * quantiles(each, n=20)[-1]
            report.show(
                f"HTTP batches of {BATCH}, {records:,} customers, {len(customers.RULES)} rules, 3 dataflows; "
                f"{report.machine()}",
                [
                    Figure("updates/s", f"{told / seconds:,.0f}", "3,000", told / seconds >= 3000),
                    Figure("p95 of a batch, ms", f"{p95:,.0f}", "400", p95 < 400),
                    *against(bare, told / seconds),
                    Figure("outbox rows", f"{PendingExport.objects.count():,}"),
                ],
            )


def show_import(told: int, records: int, rounds: int) -> None:
    for seed in range(1, rounds + 1):
        cases = {
            "changed": batches_of(customers.whole, records, told, 100 + seed),
            "new": batches_of(
                partial(_whole_from, seed * records),
                records,
                told,
                seed,
            ),
        }
        for name, batches in cases.items():
            settle_down()
            with in_a_file(batches) as path:
                bare = told / floor(read(path))
                seconds, most = imported(path)
            report.show(
                f"import_profiles, {told:,} {name} customers; {report.machine()}",
                [
                    Figure("profiles/s", f"{told / seconds:,.0f}", "5,000", told / seconds >= 5000),
                    *against(bare, told / seconds),
                    Figure("memory of all its processes, MiB", f"{most:,}"),
                ],
            )


def settle_down() -> None:
    """What the database would do in the background, sooner or later, of what was written before."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def against(bare: float, ours: float) -> list[Figure]:
    return [
        Figure(
            f"times slower than INSERT … ON CONFLICT ({bare:,.0f}/s)",
            f"{bare / ours:.1f}",
            "4",
            bare <= 4 * ours,
        )
    ]


def show_rules(records: int) -> None:
    garbage.collect_less_often()  # as a worker does
    total = Profile.objects.count()
    figures = []
    for what, rule in (
        ("a rule that half of the customers fulfil, asked for the first time", "loyalty.points > 2500"),
        ("the same, asked again: everybody is confirmed", "loyalty.points > 2500"),
        ("the same, asked a third time: nothing changes", "loyalty.points > 2500"),
        ("changed a little: some come, some go", "loyalty.points > 2550"),
    ):
        Segment.objects.update_or_create(
            pk="asked",
            defaults={
                "name": "asked",
                "rule": rule,
                "origin": "segmentation",
                "rule_version": time.time_ns(),
            },
        )
        evaluations.request(["asked"])
        settle_down()
        before = most_memory(forget=True)
        started = time.perf_counter()
        evaluations.evaluate("asked", seconds=engine.LONGEST)
        spent = (time.perf_counter() - started) * 1e6 / total
        grown = most_memory() - before
        figures += [
            Figure(f"{what}: seconds for a million", f"{spent:.1f}", "15", spent < 15),
            Figure("  memory that it grew by, MiB", f"{grown}", "50", grown < 50),
        ]
    members = SegmentMembership.objects.filter(segment="asked", status__in=["realized", "existing"]).count()
    figures += [Figure("members in the end", f"{members:,} of {total:,}"), *streaming()]
    report.show(f"Rules, {total:,} customers; {report.machine()}", figures)


def most_memory(*, forget: bool = False) -> int:
    """The most memory that this process had, in MiB, since it was asked to forget."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def streaming() -> list[Figure]:
    """Every rule asked of customers in memory; and a change that concerns few of them, beside ten times as many."""
    found = []
    paths = {"loyalty.points", "loyalty.tier"}
    more = {f"other-{number}": parse(f'_other.field{number} = "x"') for number in range(450)}
    own = {segment_id: parse(rule) for segment_id, rule in customers.RULES.items()}
    now = timezone.now()
    for rules in (Rules(own), Rules(own | more)):
        everything = rules.asked(rules.index.concerned([path.partition(".")[0] for path in store.ATTRIBUTES]))
        few = rules.asked(rules.index.concerned(paths))
        for asked, what in ((everything, "all fields written"), (few, "two fields written")):
            assert asked is not None
            subjects = [Subject(kind.attributes, {}, set(kind.segments), now) for kind in customers.kinds()]
            started = time.perf_counter()
            for subject in subjects:
                list(asked.decide(subject, frozenset()))
            spent = (time.perf_counter() - started) * 1e6 / len(subjects)
            each = spent / len(asked.ways)
            found.append(
                Figure(
                    f"{what}, {len(asked.ways)} of {len(rules)} rules: µs a rule a profile",
                    f"{each:.2f}",
                    "2",
                    each < 2,
                )
            )
    return found


# --- The floor


def fill_floor() -> None:
    """The floor has the same customers to begin with, so that it updates them, too."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE floor (key text PRIMARY KEY, data jsonb)")
        cursor.execute(
            "INSERT INTO floor SELECT i.value, p.attributes FROM profiles_profile p"
            " JOIN profiles_identity i ON i.profile_id = p.id"
            " JOIN profiles_identitynamespace n ON n.id = i.namespace_id AND n.code = 'CRMID'"
        )
        cursor.execute("VACUUM ANALYZE floor")


def ready(batches: Sequence[Sequence[dict[str, Any]]]) -> list[list[tuple[str, str]]]:
    """Keys and JSON, made before it is measured."""
    return [[(key_of(entity), json.dumps(entity)) for entity in batch] for batch in batches]


def read(path: str) -> Iterator[list[tuple[str, str]]]:
    """Keys and JSON, as whoever imports a file reads them."""
    with open(path) as file:
        for lines in iter(lambda: list(islice(file, BATCH)), []):
            yield [(key_of(json.loads(line)), line) for line in lines]


def key_of(entity: dict[str, Any]) -> str:
    key: str = entity["identityMap"]["CRMID"][0]["id"]
    return key


def floor(batches: Iterable[Sequence[tuple[str, str]]]) -> float:
    """Seconds that psycopg takes to write these rows (key, JSON) by INSERT … ON CONFLICT, a transaction a batch."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        started = time.perf_counter()
        for batch in batches:
            with database.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO floor VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET data = excluded.data",
                    batch,
                )
            database.commit()
        return time.perf_counter() - started


# --- HTTP


@contextmanager
def web(processes: int) -> Iterator[str]:
    """The product's web server. Its host and port."""
    port = free_port()
    environment = {"PORT": str(port), "WEB_CONCURRENCY": str(processes), "INLET_REQUESTS_PER_SECOND": "0"}
    command = ["gunicorn", "--config", "python:kinesis_admin.gunicorn", "kinesis_admin.wsgi"]
    server = Program(
        "web",
        [sys.executable, "-m", *command],
        env={**os.environ, **environment, "LOG_LEVEL": "INFO"},
        log_folder=Path(settings.VAR_DIR) / "log",
    )

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz"):
                return True
        except OSError:
            return False

    try:
        assert wait_until(answers, seconds=60), server.last_lines
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


def posted(host: str, batches: Sequence[Sequence[dict[str, Any]]]) -> tuple[float, list[float]]:
    """Post batches of entities by all producers at once. Seconds of it all, and of each batch."""
    inlet = services.create_inlet(name=f"bench {time.time()}", protected=False)[0]
    path = f"/collection/batch/{inlet.pk}"
    bodies = [json.dumps({"messages": list(map(customers.message, batch))}).encode() for batch in batches]
    parts = [bodies[place::PRODUCERS] for place in range(PRODUCERS)]
    with ProcessPoolExecutor(PRODUCERS, get_context("spawn")) as pool:
        list(pool.map(len, parts))  # the processes are there
        started = time.perf_counter()
        answers = list(pool.map(produce, [host] * PRODUCERS, [path] * PRODUCERS, parts))
        return time.perf_counter() - started, [each for part in answers for each in part]


def _whole_from(first: int, number: int, dice: random.Random) -> dict[str, Any]:
    return customers.whole(first + number, dice)


def batches_of(
    tell: Callable[[int, random.Random], dict[str, Any]], store_size: int, count: int, seed: int
) -> list[list[dict[str, Any]]]:
    """Batches about customers of whom each is told once."""
    dice = random.Random(seed)
    numbers = dice.sample(range(store_size), count)
    told = [tell(number, dice) for number in numbers]
    return [told[start : start + BATCH] for start in range(0, count, BATCH)]


# --- Import


@contextmanager
def in_a_file(batches: Sequence[Sequence[dict[str, Any]]]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        for batch in batches:
            file.writelines(f"{json.dumps(entity)}\n" for entity in batch)
        file.flush()
        yield file.name


def imported(path: str) -> tuple[float, int]:
    """Seconds of ``import_profiles``, as it runs in the terminal, and the most memory that it took, in MiB."""
    settle_down()
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "import_profiles", path], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    most = 0
    while process.poll() is None:
        most = max(most, memory(process.pid))
        time.sleep(0.1)
    assert process.returncode == 0
    return time.perf_counter() - started, most


def memory(process: int) -> int:
    """Of a process and its children, in MiB; what they share counts once."""
    folder = Path(f"/proc/{process}")
    try:
        children = (folder / f"task/{process}/children").read_text().split()
        rollup = (folder / "smaps_rollup").read_text()
        return int(rollup.partition("\nPss:")[2].split()[0]) // 1024 + sum(map(memory, map(int, children)))
    except (OSError, IndexError):  # it has just ended
        return 0
