from __future__ import annotations

import pytest

from destinations.connectors.kinesis.local import LocalKinesis
from tests.local_kinesis import STREAM, RunningKinesis


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def kinesis(clock: Clock) -> LocalKinesis:
    """The streams without HTTP, at a time of our own."""
    kinesis = LocalKinesis(clock=clock)
    kinesis.create_stream(STREAM, 2)
    return kinesis


@pytest.fixture
def unthrottled(local_kinesis: RunningKinesis) -> RunningKinesis:
    local_kinesis.kinesis.enforce_throughput = False
    return local_kinesis
