"""The Django project: settings, URLs, Celery, and `make run`. Nothing about the domain."""

from kinesis_admin.celery import app as celery_app

__all__ = ["celery_app"]
