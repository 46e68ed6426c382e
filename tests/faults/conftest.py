from __future__ import annotations

from collections.abc import Iterator

import pytest

from profiles.models import Segment
from tests.factories import SegmentFactory
from tests.local_kinesis import STREAM, KinesisProcess


@pytest.fixture
def everyone() -> Segment:
    return SegmentFactory.create(id="everyone")


@pytest.fixture
def wide_kinesis() -> Iterator[KinesisProcess]:
    """A stream that takes more than we send."""
    running = KinesisProcess(streams=(f"{STREAM}:64",))
    running.start()
    yield running
    running.stop()
