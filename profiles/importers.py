"""Batches that several processes ingest at once, so that it comes to the same as one after the other.

Each process is started anew, with a connection of its own. It gets batches by a pipe, and ends when nobody holds the
other end any more; so it does, after its batch, when whoever reads the file is killed. (It imports this module before
Django is set up.)
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, TypeAlias

import django

from kinesis_admin import garbage

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from profiles.ingest import Fragment, Outcome

Named: TypeAlias = set[tuple[str, str]]  # identities
LOCKED = "locked"  # what a process says before the outcomes


class ProcessEnded(Exception):
    """A process is gone in the middle of its batch. The batch may be in or not."""


def ingest_together(
    batches: Iterable[Sequence[Fragment]], processes: int
) -> Iterator[tuple[int, list[Outcome]]]:
    """Ingest batches, several at once. What is stored just so already is not written.

    What they say of one customer goes in in their order. A batch is handed out when the one before it holds the locks
    of its profiles: it will wait for those that they have in common. And when no batch under way has one of its
    identities: that may be a new one, of a profile that can't be locked yet.

    Args:
        processes: at most. One more is started when a batch finds none idle.

    Returns:
        The number of each batch, from 0, and the outcomes of its fragments, as they come.

    Raises:
        ProcessEnded: see there.
        Exception: what :func:`profiles.ingest.ingest` raised, or reading the batches. What is under way is done, and
            told, before.
    """
    team = _Team(processes)
    try:
        for number, batch in enumerate(batches):
            named = {(code.lower(), value) for fragment in batch for code, value in fragment.identities}
            while not team.may_take(named):
                yield from team.hear()
            team.hand_out(number, batch, named)
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
        self.processes: dict[Connection, SpawnProcess] = {}  # by our ends of the pipes
        self.idle: list[Connection] = []
        self.busy: dict[Connection, tuple[int, Named]] = {}
        self.locking: Connection | None = None  # the one that was told last, until it holds its locks

    def may_take(self, named: Named) -> bool:
        return (
            self.locking is None
            and bool(self.idle or len(self.processes) < self.most)
            and all(named.isdisjoint(others) for _number, others in self.busy.values())
        )

    def hand_out(self, number: int, batch: Sequence[Fragment], named: Named) -> None:
        pipe = self.idle.pop() if self.idle else self._start()
        self.locking, self.busy[pipe] = pipe, (number, named)
        with suppress(BrokenPipeError, ConnectionResetError):  # it is gone: that is heard
            pipe.send(batch)

    def _start(self) -> Connection:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        # Ctrl-C reaches everybody at the terminal. Whoever reads the file decides what it means; the process, which has
        # it from us, does not hear it.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, before)
        theirs.close()
        self.processes[ours] = process
        return ours

    def hear(self) -> Iterator[tuple[int, list[Outcome]]]:
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
            number, _named = self.busy.pop(pipe)
            if isinstance(told, Exception):
                raise told
            self.idle.append(pipe)
            yield number, told

    def end(self) -> None:
        for pipe in self.processes:
            pipe.close()
        for process in self.processes.values():
            process.join()


def _work(pipe: Connection) -> None:
    """What a process does."""
    django.setup()
    from profiles.ingest import ingest

    garbage.collect_less_often()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            batch = pipe.recv()
            try:
                pipe.send(ingest(batch, skip_unchanged=True, locked=partial(pipe.send, LOCKED)))
            except Exception as error:
                pipe.send(error)
