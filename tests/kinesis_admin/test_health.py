"""/healthz and /readyz."""

from __future__ import annotations

from django.test import Client


def test_the_process_is_healthy_without_a_database(client: Client) -> None:
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.content == b"ok"
