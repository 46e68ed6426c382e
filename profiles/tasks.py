"""Celery tasks: an id comes in, a function is called. What is to be done stands in the database."""

from __future__ import annotations

import uuid

from celery import shared_task

from profiles.inlets import intake
from profiles.segmentation import counts, store
from profiles.uploads import work


@shared_task
def evaluate(segment_id: str) -> None:
    """Ask a segment's rule of the profiles that it was not asked of yet."""
    store.evaluate(segment_id)


@shared_task
def evaluate_waiting() -> None:
    """Start the evaluations that stand: what a dead worker left, and what was saved while Redis was away."""
    store.wake()


@shared_task
def evaluate_timed() -> None:
    """Ask the rules that ask what time it is."""
    store.request_timed()


@shared_task
def forget_exited() -> None:
    """Drop memberships that were left long ago."""
    store.forget_exited()


@shared_task
def fold_counts() -> None:
    """Sum up the counts of members."""
    counts.fold()


@shared_task
def forget_messages() -> None:
    """Forget the ids of messages that came long ago."""
    intake.forget_old()


@shared_task
def upload(upload_id: str, progress: int) -> None:
    """Take the next rows of an uploaded file, unless others went on since it was so far."""
    work.proceed(uuid.UUID(upload_id), progress=progress)


@shared_task
def uploads_waiting() -> None:
    """Go on with the uploads that are under way: what a dead worker left, and what was started while Redis was away."""
    work.wake_all()


@shared_task
def expire_members() -> None:
    """Let members of uploaded segments leave whose time is over."""
    work.expire()


@shared_task
def forget_uploads() -> None:
    """Delete drafts that nobody started, and old reports."""
    work.forget()
