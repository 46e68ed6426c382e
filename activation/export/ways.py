"""Open ways to destinations, kept by a worker from one task to the next: a client takes longer to make than a batch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from activation.export.pace import LearnedShards
from destinations.connectors.base import ConnectorError, Sender
from destinations.models import Destination

KEPT = 128  # by each thread; a third of a MB each


@dataclass(frozen=True, slots=True)
class Way:
    """A sender, and what was learned of the other side with it."""

    sender: Sender
    shards: LearnedShards = field(default_factory=LearnedShards)


_local = threading.local()  # a sender is not shared between threads


def open_way(destination: Destination) -> Way:
    """The way to a destination as it is now, with its account loaded.

    Raises:
        ConnectorError, KeyLost: there is none.
    """
    ways: OrderedDict[Any, tuple[Any, Way]] = _local.__dict__.setdefault("ways", OrderedDict())
    account = destination.account
    current = (destination.version, account.pk, account.credentials, account.updated_at)
    kept = ways.get(destination.pk)
    if kept is not None:
        if kept[0] == current:
            ways.move_to_end(destination.pk)
            return kept[1]
        ways.pop(destination.pk)[1].sender.close()
    try:
        type_ = destination.type
    except KeyError:
        message = f"The destination type “{account.connector}” is not installed."
        raise ConnectorError("NotAvailable", message) from None
    way = Way(type_.open_sender(account.connection(), destination.settings))
    ways[destination.pk] = (current, way)
    if len(ways) > KEPT:
        ways.popitem(last=False)[1][1].sender.close()
    return way
