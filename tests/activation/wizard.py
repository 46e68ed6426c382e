"""How the tests send the forms of the activation wizard."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from activation import selectors
from activation.models import DraftAttribute, DraftSegment
from destinations.models import Destination
from profiles.models import Segment

HTMX = {"HX-Request": "true"}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, destination: Destination) -> str:
    return reverse(f"activation:{name}", args=[destination.pk])


def chosen(destination: Destination) -> set[str]:
    return set(
        DraftSegment.objects.filter(dataflow__destination=destination).values_list("segment", flat=True)
    )


def paths(destination: Destination) -> list[str]:
    rows = DraftAttribute.objects.filter(dataflow__destination=destination).order_by("position")
    return list(rows.values_list("field__path", flat=True))


def version(destination: Destination) -> int:
    return selectors.Selection.of(destination).version


def send_segments(
    client: Client, destination: Destination, shown: list[Segment], ticked: list[Segment], **data: Any
) -> Any:
    sent = {
        "version": version(destination),
        "shown": [s.pk for s in shown],
        "name": [s.name for s in shown],
        "segment": [s.pk for s in ticked],
        "action": "next",
    }
    return client.post(url("segments", destination), sent | data)


def send_attributes(client: Client, destination: Destination, *chosen_paths: str, **data: Any) -> Any:
    sent: dict[str, Any] = {"version": version(destination), "path": list(chosen_paths), "action": "next"}
    return client.post(url("attributes", destination), sent | data)


def send_finish(client: Client, destination: Destination, **data: Any) -> Any:
    selection = selectors.Selection.of(destination)
    sent: dict[str, Any] = {
        "version": selection.version,
        "segments": selection.segment_count(),
        "attributes": len(selection.attributes()),
    }
    return client.post(url("finish", destination), sent | data, follow=False)


def ready(client: Client, destination: Destination, *segments: Segment) -> None:
    """A draft that can be finished, with the recommended attributes."""
    send_segments(client, destination, list(segments), list(segments))


def said(response: Any) -> str:
    """The messages of a redirect."""
    return " ".join(str(message) for message in get_messages(response.wsgi_request))
