"""Neither logs nor error mails tell a secret or a customer's data."""

from __future__ import annotations

import json
import logging
import sys
from logging.config import dictConfig
from typing import Any

import pytest
from django.conf import settings
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from kinesis_admin.logs import logging_config
from kinesis_admin.middleware import RequestLogMiddleware

SECRET = "wJalrXUtnFEMI/K7MDENG"
NAME = "Jane Doe"  # reports show the lines around the crash as they are written


@pytest.mark.parametrize("debug", [False, True])
def test_the_report_of_a_crash_has_no_form_values_and_no_variables(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    request = RequestFactory().post("/connect/", {"secret_access_key": SECRET, "name": NAME})
    try:
        held = {"secret": SECRET}
        raise RuntimeError(f"{len(held)} went wrong")
    except RuntimeError:
        reporter = ExceptionReporter(request, *sys.exc_info())

    for report in (reporter.get_traceback_html(), reporter.get_traceback_text()):
        assert "1 went wrong" in report
        assert SECRET not in report
        assert NAME not in report
        assert settings.SECRET_KEY not in report


@pytest.mark.parametrize("as_json", [True, False])
def test_a_logged_traceback_has_no_values_of_variables(as_json: bool, capsys: Any) -> None:
    dictConfig(logging_config(level="INFO", json=as_json))
    try:
        held = "wJalr" + "XUtnFEMI"
        raise RuntimeError(f"{len(held)} characters")
    except RuntimeError:
        logging.getLogger("tests").exception("it broke")
    finally:
        dictConfig(settings.LOGGING)

    written = capsys.readouterr().err
    assert "RuntimeError: 13 characters" in written
    assert "wJalrXUtnFEMI" not in written
    if as_json:
        assert json.loads(written)["level"] == "error"


def test_the_request_log_leaves_out_what_was_searched_for() -> None:
    request = RequestFactory().get("/profiles/?q=jane@example.com")

    assert RequestLogMiddleware.format_request(request) == "GET /profiles/"
