"""What the workers do about signing in."""

from __future__ import annotations

from celery import shared_task

from access.sessions import SessionStore


@shared_task
def forget_sessions() -> None:
    """Delete sessions that have expired."""
    SessionStore.clear_expired()
