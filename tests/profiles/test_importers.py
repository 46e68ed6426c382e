"""Files that several processes import at once."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from profiles import importers
from profiles.importers import Told, ingest_together
from profiles.ingest import Fragment, Result, ingest
from profiles.management.commands import import_profiles
from profiles.models import Identity, Profile
from tests.profiles.segmentation.ruled import members, ruled
from tests.profiles.test_commands import rejects, run

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time"),
]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_profiles, "BATCH", 10)


def line(names: list[str], **attributes: Any) -> bytes:
    found = [{"id": name} for name in names]
    return json.dumps({"identityMap": {"Email": found}, **attributes}).encode() + b"\n"


def test_what_a_file_says_of_one_customer_goes_in_in_its_order(tmp_path: Path) -> None:
    """Most are stored, and named now by one of their identities and now by the other; some are new, some get linked."""
    customers, dice = 30, random.Random(1)
    known = [Fragment([("Email", f"a{n}"), ("Email", f"b{n}")], {"x": -1}) for n in range(customers // 2)]
    ingest(known)
    ruled("odd", "x % 2 = 1")
    last: dict[int, int] = {}
    file = tmp_path / "told.ndjson"
    with file.open("wb") as written:
        for number in range(900):
            customer = dice.randrange(customers)
            new = customer not in last and customer >= len(known)
            names = [f"a{customer}", f"b{customer}"]
            written.write(
                line(names if new else [dice.choice(names)], x=number, **{f"y{number % 7}": number})
            )
            last[customer] = number
    assert f"{customers - len(known)} created" in run("import_profiles", str(file), processes=3)
    final = {
        int(identity.value[1:]): identity.profile.attributes["x"]
        for identity in Identity.objects.filter(value__startswith="a").select_related("profile")
    }
    assert final == last
    assert members("odd") == {f"a{customer}" for customer, number in last.items() if number % 2}
    assert Profile.objects.count() == customers


def test_lines_that_cannot_go_in_are_told_by_their_numbers(tmp_path: Path) -> None:
    lines = [line([f"{number}"], x=number) for number in range(100)]
    for number in range(0, 100, 7):
        lines[number] = line([f"{number}"], **{"a.b": number})
    lines[50] = b"{\n"
    file = tmp_path / "told.ndjson"
    file.write_bytes(b"".join(lines))
    assert "84 created, 0 updated, 0 unchanged, 16 rejected." in run(
        "import_profiles", str(file), processes=2
    )
    told = {reject["line"]: reject for reject in rejects(tmp_path / "told.ndjson.rejected")}
    assert sorted(told) == sorted([51, *range(1, 101, 7)])
    assert "a.b" in told[8]["reason"] and told[8]["text"] == lines[7].decode().strip()
    assert "84 unchanged, 16 rejected." in run("import_profiles", str(file), processes=2)


def test_a_file_of_one_batch_needs_no_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importers._Team, "_start", lambda _team: pytest.fail("started"))
    file = tmp_path / "told.ndjson"
    file.write_bytes(b"".join(line([f"{number}"]) for number in range(10)))
    assert "10 created" in run("import_profiles", str(file), processes=4)


def test_nothing_is_forked_on_macos_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(importers._Team, "_start", lambda _team: pytest.fail("started"))
    file = tmp_path / "told.ndjson"
    file.write_bytes(b"".join(line([f"{number}"]) for number in range(30)))
    assert "30 created" in run("import_profiles", str(file))


def batches(count: int) -> Iterator[list[bytes]]:
    for batch in range(count):
        yield [line([f"{batch}-{number}"], x=batch) for number in range(10)]


def test_what_was_under_way_is_told_when_reading_fails() -> None:
    def broken() -> Iterator[list[bytes]]:
        yield from batches(5)
        raise EOFError

    done: list[tuple[int, list[Told]]] = []
    with pytest.raises(EOFError):
        done.extend(ingest_together(broken(), 2))
    assert sorted(number for number, _told in done) == [0, 1, 2, 3, 4]
    assert {result for _number, told in done for result, _reason in told} == {Result.CREATED}
    assert Profile.objects.count() == 50


def test_a_batch_that_fails_is_raised_and_the_others_are_whole() -> None:
    done: list[tuple[int, list[Told]]] = []
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE profiles_profile ADD CONSTRAINT no_three CHECK (attributes -> 'x' <> '3')"
        )
    try:
        with pytest.raises(IntegrityError, match="no_three"):
            done.extend(ingest_together(batches(5), 2))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE profiles_profile DROP CONSTRAINT no_three")
    numbers = {number for number, _told in done}
    assert numbers >= {0, 1, 2} and 3 not in numbers
    assert Profile.objects.count() == 10 * len(done)


def test_a_process_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where memory runs out. What the others do is whole."""
    start = importers._Team._start

    def start_and_kill_the_second(team: importers._Team) -> Any:
        pipe = start(team)
        if len(team.processes) == 2:
            process = team.processes[pipe]
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
        return pipe

    monkeypatch.setattr(importers._Team, "_start", start_and_kill_the_second)
    file = tmp_path / "told.ndjson"
    file.write_bytes(b"".join(line([f"{number}"], x=number) for number in range(200)))
    with pytest.raises(CommandError, match="was killed"):
        run("import_profiles", str(file), processes=2)
    assert 0 < Profile.objects.count() < 200
    assert "0 rejected" in run("import_profiles", str(file), processes=1)
    assert Profile.objects.count() == 200


@pytest.mark.parametrize("processes", [1, 3])
def test_the_database_counts_anew_what_an_import_has_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(import_profiles, "MANY", 20)
    file = tmp_path / "told.ndjson"
    file.write_bytes(b"".join(line([f"{number}"]) for number in range(170)))
    with CaptureQueriesContext(connection) as captured:
        run("import_profiles", str(file), processes=processes)
    # Of 20, 40, 80 and 160. Others may be ahead of what was told.
    counted = sum("ANALYZE" in query["sql"] for query in captured.captured_queries)
    assert counted == 4 if processes == 1 else 2 <= counted <= 4
