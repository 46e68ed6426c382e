"""Structured logs: one JSON object a line (or coloured text in a terminal), with request, task and dataflow ids."""

from __future__ import annotations

from typing import Any

import structlog


def logging_config(*, level: str, json: bool) -> dict[str, Any]:
    """Django's LOGGING, and structlog set up to match.

    Args:
        level: the least level that is written, e.g. ``INFO``.
        json: JSON lines instead of text for people.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Tracebacks as text, never with the values of variables: those are customers' data and credentials.
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *renderers,
                ],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # boto's debug log has request bodies and signatures in it.
            **{name: {"level": "WARNING"} for name in ("botocore", "boto3", "urllib3")},
            # A second line for every 404.
            "django.request": {"level": "ERROR"},
            # A line for every task and every tick.
            **{
                name: {"level": "WARNING"}
                for name in ("celery.app.trace", "celery.worker.strategy", "celery.beat")
            },
        },
    }
