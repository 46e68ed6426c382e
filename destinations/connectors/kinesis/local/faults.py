"""What can go wrong with Kinesis, on demand: errors, throttles, delays, resets, answers that never come."""

from __future__ import annotations

import logging
import random
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import ApiError

HANG = 60.0  # seconds after which a connection without an answer is closed after all

Params = dict[str, Any]
Perform = Callable[[str, Params], Params]

logger = logging.getLogger(__name__)


class Kind(StrEnum):
    ERROR = "error"  # answered with ``code``, ``message`` and ``status``; nothing is done
    RECORDS = "records"  # records of a PutRecords fail with ``code`` and ``message``; the others are taken
    PAGE = "page"  # a web page with ``status``, as of a proxy; nothing is done
    RESET = "reset"  # the connection is reset; nothing is done
    HANG = "hang"  # no answer comes; nothing is done
    RESET_AFTER = "reset_after"  # all is done, then the connection is reset
    HANG_AFTER = "hang_after"  # all is done, and no answer comes
    BREAK_OFF = "break_off"  # all is done, and the answer breaks off in the middle
    DELAY = "delay"  # all is done and answered, ``seconds`` later


class Unanswered(Exception):
    """No answer, or none of Kinesis. ``answer`` is what was done, and ``kind`` what becomes of it."""

    def __init__(self, fault: Fault, answer: Params | None = None) -> None:
        super().__init__(fault.kind)
        self.fault = fault
        self.answer = answer


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        kind: what.
        operation: which calls, ``*`` for all.
        rate: the share of the calls, or of the records, that it happens to.
        times: how many calls it happens to; None for ever.
        lasts: seconds from when it was added; None for ever.
        wanted: tells of a partition key whether the record fails; None for all.
        seconds: of a delay.
        code, message, status: of an answer.
    """

    kind: Kind
    operation: str = "PutRecords"
    rate: float = 1.0
    times: int | None = None
    lasts: float | None = None
    wanted: Callable[[str], bool] | None = None
    seconds: float = 0.0
    code: str = "InternalFailure"
    message: str = "failed on demand"
    status: int = 400

    @classmethod
    def of_json(cls, values: Params) -> Fault:
        """The same from plain values; ``keys`` is a regular expression in place of ``wanted``.

        Raises:
            ValueError, TypeError: there is no such kind or field.
        """
        values = dict(values)
        keys = values.pop("keys", None)
        wanted = re.compile(keys).search if keys else None
        return cls(Kind(values.pop("kind")), wanted=wanted and (lambda key: bool(wanted(key))), **values)


class Faults:
    """The faults of a server. The first that happens decides; delays add up. Thread-safe.

    Args:
        seed: of the random choices; a new one is made, and logged with the first fault that needs it.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self._random = random.Random(self.seed)
        self._faults: list[tuple[Fault, float]] = []  # with when it ends
        self._lock = threading.Lock()
        self._released = threading.Event()

    def add(self, fault: Fault) -> None:
        if fault.rate < 1:
            logger.warning("Faults at random, seed %s", self.seed)
        ends = float("inf") if fault.lasts is None else time.monotonic() + fault.lasts
        with self._lock:
            self._faults.append((fault, ends))

    def clear(self) -> None:
        """From now on nothing goes wrong; what hangs is let go."""
        with self._lock:
            self._faults.clear()
        self.release()
        self._released = threading.Event()

    def release(self) -> None:
        """Let go what waits, e.g. because the server stops."""
        self._released.set()

    def wait(self, seconds: float) -> None:
        self._released.wait(seconds)

    def answer(self, operation: str, params: Params, perform: Perform) -> Params:
        """What ``perform`` answers, unless something goes wrong.

        Raises:
            ApiError: as Kinesis answers.
            Unanswered: for whoever has the connection.
        """
        fault, failing, delay = self._draw(operation, params)
        if delay:
            self.wait(delay)
        if fault is None:
            return perform(operation, params)
        match fault.kind:
            case Kind.ERROR:
                raise ApiError(fault.code, fault.message, fault.status)
            case Kind.RECORDS:
                return _put_some(params, failing, fault, perform)
            case Kind.PAGE | Kind.RESET | Kind.HANG:
                raise Unanswered(fault)
            case _:
                raise Unanswered(fault, perform(operation, params))

    def _draw(self, operation: str, params: Params) -> tuple[Fault | None, list[bool], float]:
        """The fault that decides, which records it fails, and the seconds of all delays."""
        delay, now = 0.0, time.monotonic()
        with self._lock:
            self._faults = [(f, ends) for f, ends in self._faults if f.times != 0 and ends > now]
            for fault, _ends in self._faults:
                if fault.operation not in ("*", operation):
                    continue
                failing: list[bool] = []
                if fault.kind == Kind.RECORDS:
                    failing = [self._fails(fault, entry["PartitionKey"]) for entry in params["Records"]]
                    happens = any(failing)
                else:
                    happens = self._random.random() < fault.rate
                if not happens:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                if fault.kind != Kind.DELAY:
                    return fault, failing, delay
                delay += fault.seconds
        return None, [], delay

    def _fails(self, fault: Fault, key: str) -> bool:
        return (fault.wanted is None or fault.wanted(key)) and self._random.random() < fault.rate


def _put_some(params: Params, failing: list[bool], fault: Fault, perform: Perform) -> Params:
    good = [entry for entry, fails in zip(params["Records"], failing, strict=True) if not fails]
    taken = iter(perform("PutRecords", {**params, "Records": good})["Records"] if good else [])
    failed = {"ErrorCode": fault.code, "ErrorMessage": fault.message}
    rows = [failed if fails else next(taken) for fails in failing]
    return {
        "FailedRecordCount": sum("ErrorCode" in row for row in rows),
        "Records": rows,
        "EncryptionType": "NONE",
    }
