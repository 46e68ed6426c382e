"""What the tests of inlets share: inlets, and a producer that posts to them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from profiles.inlets import limit, services
from profiles.models import Inlet


@dataclass(frozen=True, slots=True)
class Answer:
    """What an inlet answered."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def detail(self) -> str:
        return str(self.body["detail"])


class Producer:
    """Posts to an inlet as a producer does: without a session, and with CSRF checks on."""

    def __init__(self, inlet: Inlet | str, token: str = "") -> None:
        self.inlet = inlet.pk if isinstance(inlet, Inlet) else inlet
        self.token = token
        self.client = Client(enforce_csrf_checks=True)

    def message(self, message: object, *, query: str = "", **headers: str) -> Answer:
        return self.raw("collect", json.dumps(message).encode(), query=query, **headers)

    def batch(self, *messages: object, query: str = "", **headers: str) -> Answer:
        body = json.dumps({"messages": messages}).encode()
        return self.raw("collect_batch", body, query=query, **headers)

    def zipped(self, name: str, body: bytes) -> Answer:
        return self.raw(name, gzip.compress(body), content_encoding="gzip")

    def raw(self, name: str, body: bytes, *, query: str = "", **headers: str) -> Answer:
        if self.token:
            headers.setdefault("authorization", f"Bearer {self.token}")
        response = self.client.post(
            reverse(f"profiles:{name}", args=[self.inlet]) + query,
            body,
            content_type="application/json",
            headers={key.replace("_", "-"): value for key, value in headers.items()},
        )
        assert not response.cookies
        return Answer(response.status_code, response.headers, response.json())


def entity(email: str = "a@example.com", **attributes: Any) -> dict[str, Any]:
    """A message about the customer with this address."""
    identities = {"identityMap": {"Email": [{"id": email, "primary": True}]}}
    return {"header": {"datasetId": "x"}, "body": {"xdmMeta": {}, "xdmEntity": {**attributes, **identities}}}


@pytest.fixture(autouse=True)
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where Redis would be: every test finds that out for itself."""
    monkeypatch.setattr(limit._Away, "until", 0.0)


@pytest.fixture
def inlet(db: None) -> Inlet:
    """An open inlet."""
    return services.create_inlet(name="Web shop", protected=False)[0]


@pytest.fixture
def producer(inlet: Inlet) -> Producer:
    return Producer(inlet)
