"""Celery tasks: an id comes in, a function is called."""

from __future__ import annotations

from celery import shared_task

from profiles.inlets import intake


@shared_task
def forget_messages() -> None:
    """Forget the ids of messages that came long ago."""
    intake.forget_old()
