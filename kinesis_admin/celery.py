"""The Celery application: workers that export day and night, and beat that wakes the sweep.

The configuration is in settings.py (``CELERY_…``). Redis carries ids only, and nothing is lost with it: what is to be
exported stands in the database, and the sweep finds it there.
"""

from __future__ import annotations

import logging.config
import os
from typing import Any

from celery import Celery, bootsteps
from celery.signals import setup_logging, worker_process_init
from django_structlog.celery.steps import DjangoStructLogInitStep

from kinesis_admin import garbage

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kinesis_admin.settings")

app = Celery("kinesis_admin")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _log_as_django_does(**_kwargs: Any) -> None:
    # With a receiver here Celery leaves logging alone.
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


@worker_process_init.connect
def _collect_garbage_less_often(**_kwargs: Any) -> None:
    garbage.collect_less_often()


class Heartbeat(bootsteps.StartStopStep):
    """Tells /readyz that a worker takes tasks: written while the consumer runs, gone soon after it stops."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.entry: Any = None

    def start(self, consumer: Any) -> None:
        from kinesis_admin import health

        health.beat()
        self.entry = consumer.timer.call_repeatedly(health.HEARTBEAT_EVERY, health.beat)

    def stop(self, consumer: Any) -> None:
        if self.entry is not None:
            self.entry.cancel()
            self.entry = None


app.steps["worker"].add(DjangoStructLogInitStep)
app.steps["consumer"].add(Heartbeat)
