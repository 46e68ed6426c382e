"""Celery tasks: what is to be done stands in the database."""

from __future__ import annotations

from celery import shared_task

from audit import services


@shared_task
def forget_old() -> None:
    """Delete what is older than it is kept."""
    services.forget_old()
