"""Posting to the real web server: what Django's test client can't send."""

from __future__ import annotations

import http.client
import json

import pytest

from profiles.inlets import collection, services
from profiles.models import Inlet, Profile
from tests.profiles.inlets.conftest import entity

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True, serialized_rollback=True)]


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


def test_a_chunked_body_goes_in_and_too_large_ones_hear_why(web_port: int, inlet: Inlet) -> None:
    body = json.dumps(entity(_a="x" * 200_000)).encode()
    chunks = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
    assert post(web_port, inlet, iter(chunks))[0] == 200
    assert Profile.objects.get().attributes == {"_a": "x" * 200_000}

    large = b"x" * (3 * collection.MAX_BODY)
    for sent in (large, iter([large])):
        status, told = post(web_port, inlet, sent)
        assert (status, told["status"]) == (413, 413)
