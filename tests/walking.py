"""From page to page as a person goes, over every address that a page names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

from django.test import Client
from django.urls import Resolver404, ResolverMatch, resolve

_ADDRESS = re.compile(r'(?:href|action|formaction|hx-get|hx-post)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Page:
    """What somebody sees. ``links``: where it leads, what is posted included, of our own addresses."""

    address: str
    text: str
    links: list[tuple[str, ResolverMatch]]


def walk(client: Client) -> Iterator[Page]:
    """Every page that can be reached from the first one: a page (and each of its tabs) once, whatever its filters are;
    of pages of the same kind, one.
    """
    waiting, seen = ["/"], set()
    while waiting:
        address = waiting.pop()
        response = client.get(address, follow=True)
        assert response.status_code in (200, 204, 405), f"{address} answers {response.status_code}"
        if "html" not in response.headers.get("Content-Type", ""):
            continue
        page = Page(address, response.content.decode(), [])
        for found in _ADDRESS.findall(page.text):
            parts = urlsplit(urljoin(address, unescape(found)))
            if parts.netloc or parts.path.startswith(("/static/", "/sign-out/")):
                continue
            try:
                match = resolve(parts.path)
            except Resolver404:
                continue
            page.links.append((parts.path, match))
            kind = (match.view_name, *parse_qs(parts.query).get("tab", ()))
            if kind not in seen and f'action="{found}"' not in page.text:
                seen.add(kind)
                waiting.append(f"{parts.path}?{parts.query}" if parts.query else parts.path)
        yield page
