"""`manage.py import_profiles FILE`: profiles from NDJSON, one XDM profile a line (see profiles/xdm.py).

The file may be gzipped (told by its first bytes, not its name); ``-`` is standard input. Fields that the schema does
not know go in, too: the schema says what can be mapped, not what may be stored. A line that can't go in is written to
the rejects, one JSON object ``{"line": number, "reason": …, "text": …}`` each, and the rest goes in. Values that are
stored already are not written again: running it twice changes nothing and exports nothing.

Batches go in by several processes at once; what the file says of one customer goes in in its order all the same
(:mod:`profiles.importers`). Each batch goes in whole or not at all, also where the import is stopped or killed: it is
simply run again.

Exit code 0 if something went in or was there, or nothing was to do; 1 if every line was rejected or the file can't be
read.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Self, TextIO, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

import audit
from kinesis_admin import garbage
from profiles.importers import ProcessEnded, Told, ingest_lines, ingest_together
from profiles.ingest import MAX_BYTES, Result

BATCH = 1000
FIRST_BATCH = 100  # written before there are processes to share the work, which then find everything loaded
BATCH_BYTES = 8 * MAX_BYTES  # large profiles come in smaller batches
MAX_LINE = 2 * MAX_BYTES  # attributes, identities and memberships together, in JSON with room for escapes
KEPT_OF_LONG_LINE = 200  # bytes, in the rejects

GZIP_MAGIC = b"\x1f\x8b"
MANY = 10_000  # profiles: what fewer of them do to statistics, nobody notices
UNLINKED = "unlinked"  # counted beside the results


class Command(BaseCommand):
    requires_system_checks = ()  # they load every page; what starts the product makes them
    help = (
        "Import profiles from NDJSON (plain or gzip, FILE or - for standard input), one XDM profile a line."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the file; - is standard input")
        parser.add_argument(
            "--rejected",
            metavar="PATH",
            help="where lines go that can't be imported; default FILE.rejected, import.rejected for standard input",
        )
        parser.add_argument(
            "--processes",
            metavar="N",
            type=int,
            help="that write side by side; default: one a core, and one on macOS or where the database is SQLite",
        )

    def handle(self, *, file: str, rejected: str | None, processes: int | None, **options: Any) -> None:
        if processes is None:
            # The others are forked, which some libraries of macOS do not survive.
            several = connection.vendor == "postgresql" and sys.platform != "darwin"
            processes = (os.cpu_count() or 1) if several else 1
        if processes < 1:
            raise CommandError("--processes is a number from 1.")
        garbage.collect_less_often()
        rejects = _Rejects(Path(rejected or ("import.rejected" if file == "-" else f"{file}.rejected")))
        counts: Counter[str] = Counter()
        statistics = _Statistics()
        with ExitStack() as stack:
            stack.callback(_note, file, counts, rejects)
            try:
                raw = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
            except OSError as error:
                raise CommandError(f"{file}: {error.strerror}.") from error
            source = _Counted(raw)
            stack.enter_context(rejects)
            progress = stack.enter_context(
                Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    DownloadColumn(),
                    TimeElapsedColumn(),
                    console=Console(stderr=True),
                    auto_refresh=False,  # by a thread: processes are forked here
                    # A log has no use for a bar.
                    disable=not sys.stderr.isatty(),
                )
            )
            size = Path(file).stat().st_size if Path(file).is_file() else None
            task = progress.add_task("Importing", total=size)
            stop = stack.enter_context(_Stop())
            try:
                for batch, told in _written(stop.read(_batches(_lines(source), rejects)), processes):
                    counts.update(_counted(batch, told, rejects))
                    statistics.follow(counts[Result.CREATED])
                    progress.update(
                        task,
                        refresh=True,
                        completed=source.count,
                        description=f"{counts.total() - counts[UNLINKED]:,} profiles",
                    )
            except (OSError, EOFError, zlib.error) as error:
                raise CommandError(
                    f"{file} can't be read to its end: {error}. What came before is imported:"
                    f" {_summary(counts, rejects)}"
                ) from error
            except ProcessEnded as error:
                raise CommandError(
                    "One of the processes was killed: is there memory enough? Run it again; what is in stays:"
                    f" {_summary(counts, rejects)}"
                ) from error
            if stop.asked:
                raise CommandError(
                    f"Stopped. Run it again for the rest; what is in stays: {_summary(counts, rejects)}",
                    returncode=128 + signal.SIGINT,
                )
            progress.update(task, refresh=True, completed=source.count)
        self.stdout.write(_summary(counts, rejects))
        if rejects.count:
            self.stdout.write(f"Rejected lines and the reasons are in {rejects.path}.")
            if not counts:
                raise CommandError("Every line was rejected.")


def _note(file: str, counts: Counter[str], rejects: _Rejects) -> None:
    """For the audit trail: one entry an import, also of one that broke off."""
    if counts or rejects.count:
        numbers = {
            str(result): counts[result] for result in (Result.CREATED, Result.UPDATED, Result.UNCHANGED)
        }
        audit.record("profiles.imported", after=numbers | {"rejected": rejects.count}, name=Path(file).name)


def _summary(counts: Counter[str], rejects: _Rejects) -> str:
    summary = (
        f"{counts[Result.CREATED]} created, {counts[Result.UPDATED]} updated,"
        f" {counts[Result.UNCHANGED]} unchanged, {rejects.count} rejected."
    )
    if counts[UNLINKED]:
        summary += f" Of {counts[UNLINKED]} the identities were not linked: they would have been too many."
    return summary


class _Statistics:
    """Has PostgreSQL count anew what an import has doubled. By itself it does so once a minute: until then it takes
    for small what is not, reads all of a segment for a page of its members, and people wait.
    """

    def __init__(self) -> None:
        self._next = MANY

    def follow(self, created: int) -> None:
        """
        Args:
            created: profiles, so far.
        """
        if created < self._next or connection.vendor != "postgresql":
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "ANALYZE profiles_profile (id), profiles_identity (profile_id, namespace_id, value),"
                " profiles_segmentmembership (profile_id, segment_id, status, last_qualification_time)"
            )
            cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'profiles_profile'::regclass")
            self._next = created + max(MANY, int(cursor.fetchone()[0]))


class _Stop:
    """Ctrl-C ends the reading; what was read goes in. Pressed once more, it does what it does elsewhere."""

    def __init__(self) -> None:
        self.asked = self.reading = False

    def __enter__(self) -> Self:
        self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_signal: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.reading:  # there may be nothing more to read for a long time
            raise KeyboardInterrupt

    def read(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            try:
                self.reading = True
                batch = None if self.asked else next(batches, None)
            except KeyboardInterrupt:
                batch = None
            finally:
                self.reading = False
            if batch is None:
                return
            yield batch


class _Counted(io.RawIOBase):
    """Counts the bytes that were read: of a gzipped file, those that have a total."""

    def __init__(self, inner: BinaryIO) -> None:
        self.inner, self.count = inner, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.inner.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _Rejects:
    """The file of what can't be imported. It is made when there is something to tell; an earlier one is replaced."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.file: TextIO | None = None

    def __enter__(self) -> None:
        # What an earlier run said is no longer so.
        self.path.unlink(missing_ok=True)

    def __exit__(self, *exception: object) -> None:
        if self.file is not None:
            self.file.close()

    def add(self, number: int, reason: object, line: bytes) -> None:
        self.count += 1
        if self.file is None:
            # Customers' data: for nobody else to read.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self.file = os.fdopen(descriptor, "w", encoding="utf-8")
        text = line.rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
        self.file.write(
            json.dumps({"line": number, "reason": str(reason), "text": text}, ensure_ascii=False) + "\n"
        )


Line = tuple[int, bytes]
Batch = list[Line]


def _lines(source: _Counted) -> Iterator[Line]:
    """Lines and their numbers, unzipped. Of one that is longer than MAX_LINE, the beginning: a byte too long."""
    plain = io.BufferedReader(source, buffer_size=1 << 18)
    zipped = plain.peek(2)[:2] == GZIP_MAGIC
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if zipped else plain
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        yield number, line
        # The rest of a line that is too long: never in memory as a whole.
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE + 1)
            if len(line) <= MAX_LINE:
                break


def _batches(lines: Iterator[Line], rejects: _Rejects) -> Iterator[Batch]:
    """Batches of lines; empty ones are passed over."""
    batch: Batch = []
    size, most = 0, min(FIRST_BATCH, BATCH)
    for number, line in lines:
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # Windows editors begin UTF-8 with a mark
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            rejects.add(number, f"The line is longer than {MAX_LINE} bytes.", line[:KEPT_OF_LONG_LINE])
            continue
        batch.append((number, line))
        size += len(line)
        if len(batch) >= most or size >= BATCH_BYTES:
            yield batch
            batch, size, most = [], 0, BATCH
    if batch:
        yield batch


def _written(batches: Iterator[Batch], processes: int) -> Iterator[tuple[Batch, list[Told]]]:
    """Ingest the batches: the first one here, and if there are more, by processes."""
    for batch in batches if processes == 1 else islice(batches, 1):
        yield batch, ingest_lines(line for _number, line in batch)
    under_way: dict[int, Batch] = {}

    def handed_out() -> Iterator[list[bytes]]:
        for number, batch in enumerate(batches):
            under_way[number] = batch
            yield [line for _number, line in batch]

    for number, told in ingest_together(handed_out(), processes):
        yield under_way.pop(number), told


def _counted(batch: Batch, told: list[Told], rejects: _Rejects) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (number, line), (result, reason) in zip(batch, told, strict=True):
        if result == Result.REJECTED:
            rejects.add(number, reason, line)
        else:
            counts[result] += 1
            counts[UNLINKED] += bool(reason)
    return counts
