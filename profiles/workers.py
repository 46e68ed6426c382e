"""Telling the workers that something stands in the database to be done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
from celery import current_app
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def tell(task: str, calls: Iterable[Sequence[str | int]]) -> None:
    """Send a task for each of these arguments. When Redis is away, a sweep tells them later."""
    try:
        for arguments in calls:
            current_app.send_task(task, args=arguments)
    except OperationalError as error:
        log.warning("workers_not_told", reason=str(error))
