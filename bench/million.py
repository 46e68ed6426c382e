"""A new team's first day: a file of all customers, a rule over them, its activation; and the pages meanwhile.

Everything is as in production: gunicorn, a worker of two processes, Redis, and beat's sweep. The pages are asked for
one after the other, a second between two, by somebody who may see everything.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from statistics import median
from urllib.request import Request, urlopen

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from access.sessions import cookie_of
from activation.models import Dataflow
from activation.services import Choice, finish, save_attributes, save_segments
from bench import customers, engine, report, sink, store
from bench.ingest import ROOT, web
from bench.report import Figure
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from kinesis_admin.processes import wait_until
from profiles import services
from profiles.models import Evaluation, Profile, Segment

RULE = "loyalty.points > 2500"  # half of the customers
PAGE = 0.3  # seconds that a page may take
WEB = 2  # processes
BETWEEN = 1.0  # seconds between two pages

Spent = Mapping[str, list[float]]  # seconds of each page, by its name


def measure(records: int, rounds: int) -> None:
    """One round is enough: it is long."""
    Segment.objects.bulk_create(
        Segment(id=segment_id, name=segment_id, rule=rule, origin=Segment.Origin.SEGMENTATION)
        for segment_id, rule in customers.RULES.items()
    )
    person = User.objects.create_superuser("bench")
    call_command("collectstatic", verbosity=0, interactive=False)  # the pages link them
    with sink.running() as url, engine.workers(2), web(WEB) as host:
        destination = _destination(url)
        for _time in range(2 * WEB):  # both have what pages are made of
            with asked(host, person, _pages(destination), between=0):
                pass
        with asked(host, person, _pages(destination)) as pages:
            seconds = _import(records)
        rate = records / seconds
        show(
            "import_profiles",
            seconds,
            Figure("profiles/s", f"{rate:,.0f}", "5,000", rate >= 5000),
            pages=pages,
        )

        engine.settle_down()
        with asked(host, person, _pages(destination)) as pages:
            seconds, segment = _evaluate()
        members = segment.memberships.count()
        million = seconds * 1e6 / records
        figures = (
            Figure("members", f"{members:,}"),
            Figure("seconds for a million", f"{million:.1f}", "15", million < 15),
        )
        show("A new rule", seconds, *figures, pages=pages)

        engine.settle_down()
        with asked(host, person, _pages(destination)) as pages:
            seconds = _activate(destination, segment, person, members)
        figure = Figure("records/s", f"{members / seconds:,.0f}")
        show("Finish: the whole backfill, acknowledged", seconds, figure, pages=pages)


def _import(records: int) -> float:
    """Seconds that the file of so many takes, as in the terminal."""
    dice = random.Random(records)
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        for number in range(records):
            file.write(f"{json.dumps(customers.whole(number, dice))}\n")
        file.flush()
        started = time.perf_counter()
        command = [sys.executable, "manage.py", "import_profiles", file.name]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - started


def _evaluate() -> tuple[float, Segment]:
    """Seconds from saving a rule until a worker has asked everybody."""
    started = time.perf_counter()
    segment = services.create_segment(name="Big spenders", rule=RULE, origin=Segment.Origin.SEGMENTATION)
    assert wait_until(lambda: not Evaluation.objects.exists(), seconds=engine.LONGEST)
    return time.perf_counter() - started, segment


def _destination(url: str) -> Destination:
    to = store.to(url)
    account = Account.objects.create(
        name="bench",
        connector="kinesis",
        credentials=Encrypted.of(to.credentials),
        settings=dict(to.settings),
    )
    return Destination.objects.create(account=account, name="bench", settings={"stream": "bench"})


def _activate(destination: Destination, segment: Segment, person: User, members: int) -> float:
    """Seconds from *Finish* until every member's record is at the destination and settled."""
    save_segments(destination=destination, version=0, by=person, shown=[segment.pk], ticked=[segment.pk])
    dataflow = Dataflow.objects.get(destination=destination)
    choices = [Choice(path) for path in store.ATTRIBUTES]
    save_attributes(destination=destination, version=dataflow.version, by=person, choices=choices)
    dataflow.refresh_from_db()
    started = time.perf_counter()
    finished = finish(
        destination=destination,
        version=dataflow.version,
        by=person,
        segments=1,
        attributes=len(choices),
    )
    assert finished.queued == members
    engine.wait_for([dataflow], members)
    return time.perf_counter() - started


# --- The pages meanwhile


@contextmanager
def asked(host: str, person: User, paths: Mapping[str, str], between: float = BETWEEN) -> Iterator[Spent]:
    """Ask for pages, by name, until the block ends, and each of them once at least. How long each took, in seconds."""
    browser = Client()
    browser.force_login(person)
    name = settings.SESSION_COOKIE_NAME
    cookie = f"{name}={cookie_of(browser.cookies[name].value)}"
    spent: dict[str, list[float]] = defaultdict(list)
    over = threading.Event()

    def ask() -> None:
        for page, path in cycle(paths.items()):
            over.wait(between)
            if over.is_set() and page in spent:
                return
            started = time.perf_counter()
            with urlopen(Request(f"http://{host}{path}", headers={"Cookie": cookie})) as answer:
                answer.read()
                assert answer.url.endswith(path), f"{path} led to {answer.url}"
            spent[page].append(time.perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield spent
        finally:
            over.set()
            asking.result()


def _pages(destination: Destination) -> dict[str, str]:
    """What somebody looks at, from the navigation on."""
    pages = {
        "Catalog": reverse("destinations:catalog"),
        "Destinations": reverse("destinations:browse"),
        "Segments": reverse("profiles:segments"),
        "a segment": reverse("profiles:segment", args=["rule-01"]),
        "Profiles": reverse("profiles:profiles"),
        "Schema": reverse("profiles:schema"),
        "Audit": reverse("audit:entries"),
        "the destination": reverse("destinations:destination", args=[destination.pk]),
    }
    if profile := Profile.objects.order_by("-pk").first():
        pages["a profile"] = reverse("profiles:profile", args=[profile.pk])
    return pages


def show(title: str, seconds: float, *figures: Figure, pages: Spent) -> None:
    times = {page: sorted(spent) for page, spent in pages.items()}
    slowest = max(times, key=lambda page: median(times[page]))
    longest = max(times, key=lambda page: times[page][-1])
    everything = sorted(each for spent in times.values() for each in spent)
    p95 = everything[min(len(everything) * 95 // 100, len(everything) - 1)]
    report.show(
        f"{title}; {report.machine()}",
        [
            Figure("seconds", f"{seconds:,.0f}"),
            *figures,
            Figure(
                f"pages asked for meanwhile: {len(everything)}; median, ms", f"{1e3 * median(everything):.0f}"
            ),
            Figure("  p95, ms", f"{1e3 * p95:.0f}", f"{1e3 * PAGE:.0f}", p95 < PAGE),
            Figure(f"  the longest of all, {longest}, ms", f"{1e3 * everything[-1]:.0f}"),
            Figure(f"  the slowest page, {slowest}: median, ms", f"{1e3 * median(times[slowest]):.0f}"),
        ],
    )
