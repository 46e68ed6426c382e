"""Posting to the real web server: what Django's test client can't send."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.conf import settings

from kinesis_admin.processes import Program, free_port, wait_until
from profiles.inlets import collection, services
from profiles.models import Inlet, Profile
from tests.profiles.inlets.conftest import entity
from tests.services import ROOT, database_url

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True, serialized_rollback=True)]


@pytest.fixture
def port(transactional_db: None) -> Iterator[int]:
    """gunicorn on the test's database."""
    port = free_port()
    server = Program(
        "web",
        [
            *(sys.executable, "-m", "gunicorn", "--chdir", str(ROOT)),
            *("--config", "python:kinesis_admin.gunicorn", "kinesis_admin.wsgi"),
        ],
        env={**os.environ, "DATABASE_URL": database_url(), "PORT": str(port), "WEB_CONCURRENCY": "1"},
        log_folder=Path(settings.VAR_DIR) / "log",
    )

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    assert wait_until(lambda: not server.alive or answers(), seconds=30) and server.alive, server.last_lines
    yield port
    server.stop()


@pytest.fixture
def inlet(transactional_db: None) -> Inlet:
    return services.create_inlet(name="Web shop", protected=False)[0]


def post(port: int, inlet: Inlet, body: object, **headers: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", f"/collection/{inlet.pk}", body, headers)  # type: ignore[arg-type]
    response = connection.getresponse()
    told = json.load(response)
    connection.close()
    return response.status, told


def test_a_chunked_body_goes_in_and_too_large_ones_hear_why(port: int, inlet: Inlet) -> None:
    body = json.dumps(entity(_a="x" * 200_000)).encode()
    chunks = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
    assert post(port, inlet, iter(chunks))[0] == 200
    assert Profile.objects.get().attributes == {"_a": "x" * 200_000}

    large = b"x" * (3 * collection.MAX_BODY)
    for sent in (large, iter([large])):
        status, told = post(port, inlet, sent)
        assert (status, told["status"]) == (413, 413)
