from __future__ import annotations

import uuid
from typing import Any

import pytest

from kinesis_admin.celery import app
from tests.local_kinesis import RunningKinesis


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Redis is there. The dataflows whose workers were told, in the order of the messages."""
    dataflows: list[uuid.UUID] = []

    def take(task: str, args: list[Any]) -> None:
        assert task == "activation.tasks.deliver"
        [dataflow_id] = args
        assert type(dataflow_id) is str
        dataflows.append(uuid.UUID(dataflow_id))

    monkeypatch.setattr(app, "send_task", take)
    return dataflows


@pytest.fixture
def kinesis(local_kinesis: RunningKinesis) -> RunningKinesis:
    """A stream that takes everything at once."""
    local_kinesis.kinesis.enforce_throughput = False
    return local_kinesis
