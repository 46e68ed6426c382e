"""Telling the workers that something stands in the database to be done."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from celery import current_app
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def tell(task: str, keys: Iterable[object]) -> None:
    """Send a task for each key. When Redis is away, a sweep tells them later."""
    try:
        for key in keys:
            current_app.send_task(task, args=[str(key)])
    except OperationalError as error:
        log.warning("workers_not_told", reason=str(error))
