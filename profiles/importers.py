"""Batches of lines that several processes ingest at once, so that it comes to the same as one after the other.

The processes are forked: they have Django from whoever reads the file, and connections of their own. They get batches
by a pipe, and end when nobody holds the other end any more; so they do, after their batch, when whoever reads the file
is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, TypeAlias

from django.db import connections

from kinesis_admin import garbage
from profiles import xdm
from profiles.ingest import Fragment, Result, ingest
from profiles.reasons import Reason

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

Named: TypeAlias = frozenset[tuple[str, str]]  # identities
Told: TypeAlias = tuple[Result, Reason]  # what became of a line: see Outcome
LOCKED = "locked"  # what a process says before that


class ProcessEnded(Exception):
    """A process is gone in the middle of its batch. The batch may be in or not."""


def named(fragments: Iterable[Fragment]) -> Named:
    """The identities that a batch names."""
    return frozenset((code.lower(), value) for fragment in fragments for code, value in fragment.identities)


def ingest_together(
    batches: Iterable[tuple[Sequence[bytes], Named]], processes: int
) -> Iterator[tuple[int, list[Told]]]:
    """Ingest batches, several at once. What is stored just so already is not written.

    What they say of one customer goes in in their order. A batch is handed out when the one before it holds the locks
    of its profiles: it will wait for those that they have in common. And when no batch under way has one of its
    identities: that may be a new one, of a profile that can't be locked yet.

    The caller's connections are closed, if there are any: the processes can't share them. Nor its transaction.

    Args:
        batches: lines that :mod:`profiles.xdm` can read, and the identities that they name.
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
        for number, (lines, names) in enumerate(batches):
            while not team.may_take(names):
                yield from team.hear()
            team.hand_out(number, lines, names)
        while team.busy:
            yield from team.hear()
    except Exception:
        while team.busy:
            yield from team.hear()
        raise
    finally:
        team.end()


class _Team:
    def __init__(self, most: int) -> None:
        self.most = most
        self.processes: dict[Connection, ForkProcess] = {}  # by our ends of the pipes
        self.idle: list[Connection] = []
        self.busy: dict[Connection, tuple[int, Named]] = {}
        self.locking: Connection | None = None  # the one that was told last, until it holds its locks

    def may_take(self, names: Named) -> bool:
        return (
            self.locking is None
            and bool(self.idle or len(self.processes) < self.most)
            and all(names.isdisjoint(others) for _number, others in self.busy.values())
        )

    def hand_out(self, number: int, lines: Sequence[bytes], names: Named) -> None:
        pipe = self.idle.pop() if self.idle else self._start()
        self.locking, self.busy[pipe] = pipe, (number, names)
        with suppress(BrokenPipeError, ConnectionResetError):  # it is gone: that is heard
            pipe.send(lines)

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
        """Wait until somebody says something."""
        for pipe in wait(list(self.busy)):
            assert isinstance(pipe, Connection)
            try:
                told = pipe.recv()
            except (EOFError, ConnectionResetError):
                told = ProcessEnded()
            if self.locking is pipe:
                self.locking = None
            if told == LOCKED:
                continue
            number, _names = self.busy.pop(pipe)
            if isinstance(told, Exception):
                raise told
            self.idle.append(pipe)
            yield number, told

    def end(self) -> None:
        for pipe in self.processes:
            pipe.close()
        for process in self.processes.values():
            process.join()


def _work(pipe: Connection, not_ours: Iterable[Connection]) -> None:
    """What a process does."""
    for other in not_ours:
        other.close()  # as long as somebody holds it, nobody hears that whoever reads the file is gone
    garbage.collect_less_often()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            lines = pipe.recv()
            try:
                fragments = [xdm.fragment(xdm.parse_json(line)) for line in lines]
                outcomes = ingest(fragments, skip_unchanged=True, locked=partial(pipe.send, LOCKED))
                pipe.send([(outcome.result, outcome.reason) for outcome in outcomes])
            except Exception as error:
                pipe.send(error)
