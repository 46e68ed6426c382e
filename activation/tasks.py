"""Celery tasks: an id comes in, a function is called. What is to be done stands in the database."""

from __future__ import annotations

import uuid

from celery import shared_task

from activation import services
from activation.alerts import messages, watch
from activation.export import delivery, farewell, outbox


@shared_task
def deliver(dataflow_id: str, lane: int) -> None:
    """Deliver what waits in a lane of a dataflow."""
    delivery.deliver(uuid.UUID(dataflow_id), lane)


@shared_task
def sweep() -> None:
    """Disable what is drained. Start whatever stands: what a dead worker left, what was queued while Redis was away,
    what was held.
    """
    services.finish_drains()
    outbox.wake_lanes(delivery.startable(), again=True)


@shared_task
def look_for_alerts() -> None:
    """See what people want to be told."""
    watch.look()


@shared_task
def send_alerts() -> None:
    """Send the messages that are due."""
    messages.send_waiting()


@shared_task
def forget_alerts() -> None:
    """Delete what was told long ago."""
    watch.forget_old()


@shared_task
def send_farewells() -> None:
    """Send the last records of who was erased."""
    farewell.send_due()
