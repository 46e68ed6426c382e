"""Batches of lines that several processes ingest at once, so that it comes to the same as one after the other.

The processes are forked: they have Django from whoever reads the file, and connections of their own. They get batches
by a pipe, and end when nobody holds the other end any more; so they do, after their batch, when whoever reads the file
is killed. They alone read what the lines say, and tell whom a batch names before they ingest it.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, TypeAlias

from django.db import connections

from kinesis_admin import garbage
from profiles import xdm
from profiles.ingest import Fragment, Refused, Result, ingest
from profiles.reasons import Reason

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

Read: TypeAlias = Fragment | Refused  # a line
# Hashes of identities: shorter than those, and the same in processes that are forked. Where two are the same by chance,
# somebody waits in vain.
Named: TypeAlias = frozenset[int]
Told: TypeAlias = tuple[Result, Reason]  # what became of a line: see Outcome
LOCKED = "locked"  # what a process says before that
GO = "go"  # what it hears after it has told whom its batch names


class ProcessEnded(Exception):
    """A process is gone in the middle of its batch. The batch may be in or not."""


def ingest_lines(lines: Iterable[bytes]) -> list[Told]:
    """Ingest a batch here. What is stored just so already is not written.

    Args:
        lines: JSON as :mod:`profiles.xdm` has it.

    Returns:
        What became of each.
    """
    return _ingest([_read(line) for line in lines])


def ingest_together(batches: Iterable[Sequence[bytes]], processes: int) -> Iterator[tuple[int, list[Told]]]:
    """Ingest batches as :func:`ingest_lines` does, several at once.

    What they say of one customer goes in in their order. A batch is ingested when the one before it holds the locks
    of its profiles: it will wait for those that they have in common. And when no batch under way has one of its
    identities: that may be a new one, of a profile that can't be locked yet.

    The caller's connections are closed, if there are any: the processes can't share them. Nor its transaction.

    Args:
        processes: at most. One more is started when a batch finds none idle.

    Returns:
        The number of each batch, from 0, and what became of its lines, as they come.

    Raises:
        ProcessEnded: see there.
        Exception: what :func:`profiles.ingest.ingest` raised, or reading the batches. What is under way is done, and
            told, before.
    """
    team = _Team(processes)
    try:
        for number, lines in enumerate(batches):
            while not team.somebody_idle():
                yield from team.hear()
            team.hand_out(number, lines)
        while team.at_work:
            yield from team.hear()
    except Exception:
        while team.at_work:
            yield from team.hear()
        raise
    finally:
        team.end()


class _Team:
    def __init__(self, most: int) -> None:
        self.most = most
        self.processes: dict[Connection, ForkProcess] = {}  # by our ends of the pipes
        self.idle: list[Connection] = []
        self.at_work: dict[Connection, int] = {}  # the numbers of their batches
        # Those that read, or have read, a batch, in the order of the batches.
        self.waiting: deque[Connection] = deque()
        self.named: dict[Connection, Named] = {}  # of those that have read
        self.locking: Connection | None = None  # the one that began to ingest last, until it holds its locks

    def somebody_idle(self) -> bool:
        return bool(self.idle or len(self.processes) < self.most)

    def hand_out(self, number: int, lines: Sequence[bytes]) -> None:
        pipe = self.idle.pop() if self.idle else self._start()
        self.at_work[pipe] = number
        self.waiting.append(pipe)
        _say(pipe, lines)

    def _start(self) -> Connection:
        for connection in connections.all(initialized_only=True):
            connection.close()
            if connection.vendor == "postgresql":
                connection.close_pool()  # type: ignore[attr-defined]  # it has threads
        context = get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, [*self.processes, ours]), daemon=True)
        # Ctrl-C reaches everybody at the terminal. Whoever reads the file decides what it means; the process, which has
        # it from us, does not hear it.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, before)
        theirs.close()
        self.processes[ours] = process
        return ours

    def hear(self) -> Iterator[tuple[int, list[Told]]]:
        """Wait until somebody says something. Have the next batch ingested, if it may be by now."""
        for pipe in wait(list(self.at_work)):
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except (EOFError, ConnectionResetError):
                said = ProcessEnded()
            if isinstance(said, frozenset):
                self.named[pipe] = said
                continue
            if self.locking is pipe:
                self.locking = None
            if said == LOCKED:
                continue
            number = self.at_work.pop(pipe)
            self.named.pop(pipe, None)
            if isinstance(said, Exception):
                if pipe in self.waiting:
                    self.waiting.remove(pipe)
                raise said
            self.idle.append(pipe)
            yield number, said
        self._go_on()

    def _go_on(self) -> None:
        if not self.waiting or self.locking is not None:
            return
        pipe = self.waiting[0]
        names = self.named.get(pipe)
        others = (self.named[other] for other in self.at_work if other not in self.waiting)
        if names is not None and all(map(names.isdisjoint, others)):
            self.locking = self.waiting.popleft()
            _say(pipe, GO)

    def end(self) -> None:
        for pipe in self.processes:
            pipe.close()
        for process in self.processes.values():
            process.join()


def _say(pipe: Connection, what: object) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # it is gone: that is heard
        pipe.send(what)


def _work(pipe: Connection, not_ours: Iterable[Connection]) -> None:
    """What a process does."""
    for other in not_ours:
        other.close()  # as long as somebody holds it, nobody hears that whoever reads the file is gone
    garbage.collect_less_often()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            lines = pipe.recv()
            try:
                read = [_read(line) for line in lines]
                pipe.send(_named(read))
                pipe.recv()  # GO, when the batch may be ingested
                pipe.send(_ingest(read, partial(pipe.send, LOCKED)))
            except Exception as error:
                pipe.send(error)


def _read(line: bytes) -> Read:
    try:
        return xdm.fragment(xdm.parse_json(line))
    except Refused as refused:
        return refused


def _named(read: Iterable[Read]) -> Named:
    return frozenset(
        hash((code.lower(), value))
        for fragment in read
        if isinstance(fragment, Fragment)
        for code, value in fragment.identities
    )


def _ingest(read: Sequence[Read], locked: Callable[[], object] = lambda: None) -> list[Told]:
    fragments = [fragment for fragment in read if isinstance(fragment, Fragment)]
    outcomes = iter(ingest(fragments, skip_unchanged=True, locked=locked))
    told: list[Told] = []
    for fragment in read:
        if isinstance(fragment, Refused):
            told.append((Result.REJECTED, fragment.reason))
        else:
            outcome = next(outcomes)
            told.append((outcome.result, outcome.reason))
    return told
