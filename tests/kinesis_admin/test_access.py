"""No page without signing in, and none without its permission: every URL there is, tried."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

# Open to everybody.
OPEN = {"sign_in", "sign_out", "healthz", "readyz", "metrics", "set_language"}
# Producers don't sign in: tests/profiles/inlets/ says who may.
OPEN |= {"profiles:collect", "profiles:collect_batch"}
OPEN |= {"admin:login", "admin:logout", "admin:jsi18n"}
# Open to everybody who is signed in.
OWN = {"root", "password_change", "password_change_done", "admin:password_change"}
EXAMPLES = {"uuid": str(UUID(int=1)), "slug": "amazon-kinesis", "int": "1", "str": "x", "path": "x"}


def urls(
    patterns: list[URLPattern | URLResolver], prefix: str = "/", namespace: str = ""
) -> Iterator[tuple[str, str]]:
    """The name and an example of every URL, with made-up ids."""
    for pattern in patterns:
        route = str(pattern.pattern)
        path = prefix + route
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from urls(pattern.url_patterns, path, namespace + inner)
            continue
        for name, converter in pattern.pattern.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower().replace("string", "str")
            for written in (f"<{kind}:{name}>", f"<{name}>"):
                path = path.replace(written, EXAMPLES[kind])
        if "<" in path or "(" in path:
            path = prefix + "x"  # the admin's own regular expressions
        yield namespace + (pattern.name or path), path


EVERY = sorted(set(urls(get_resolver().url_patterns)))


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "path"), [pair for pair in EVERY if pair[0] not in OPEN])
@pytest.mark.parametrize("method", ["get", "post"])
def test_who_is_not_signed_in_is_sent_to_sign_in(client: Client, name: str, path: str, method: str) -> None:
    response = getattr(client, method)(path)

    if name == "root":
        assert response["Location"] == "/destinations/"
    elif response.status_code != 405:
        assert response.status_code == 302, f"{path} answers {response.status_code}"
        assert response["Location"].startswith(("/sign-in/?next=", "/admin/login/?next=")), response[
            "Location"
        ]


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "path"), [pair for pair in EVERY if pair[0] not in OPEN | OWN])
@pytest.mark.parametrize("method", ["get", "post"])
def test_who_lacks_every_permission_is_refused(client: Client, name: str, path: str, method: str) -> None:
    client.force_login(get_user_model().objects.create_user("newcomer"))

    response = getattr(client, method)(path)

    if path.startswith("/admin/"):
        # Not staff: asked for another account.
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/?next=")
    else:
        assert response.status_code in (403, 405), f"{path} answers {response.status_code}"
