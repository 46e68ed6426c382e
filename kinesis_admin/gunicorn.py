"""How gunicorn serves the product; ``gunicorn --config python:kinesis_admin.gunicorn kinesis_admin.wsgi``.

Everything here can be overridden on the command line or in ``GUNICORN_CMD_ARGS``.
"""

from __future__ import annotations

import os

from django.urls import get_resolver

from kinesis_admin import garbage
from kinesis_admin.logs import logging_config

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4
timeout = 60
graceful_timeout = 10
control_socket_disable = True
# The request log is Django's (one line a request with its id); gunicorn's own lines look the same.
logconfig_dict = logging_config(
    level=os.environ.get("LOG_LEVEL", "INFO"), json=os.environ.get("LOG_FORMAT", "json") == "json"
)
# It warns of every answer to HEAD: Django leaves dropping the body to the server.
logconfig_dict["loggers"]["gunicorn.http.wsgi"] = {"level": "ERROR"}


def post_worker_init(_worker: object) -> None:
    """What a process does before its first request."""
    get_resolver().url_patterns  # noqa: B018  (loads the views)
    garbage.collect_less_often()
