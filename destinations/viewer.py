"""The stream viewer: the newest records of a destination, as people can read them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from destinations.connectors.base import ReadRecord
from destinations.models import Destination

NEWEST = 20  # records
SHOWN_BYTES = 16 * 1024  # of a record; one of Kinesis may have 10 MiB
SHOWN_BINARY = 256  # bytes


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """A record and its data as text: other producers may have written anything.

    Args:
        text: what the data says; of data that is not UTF-8, its bytes in hexadecimal.
        shown: bytes of the data that ``text`` stands for.
    """

    record: ReadRecord
    text: str
    shown: int
    binary: bool = False

    @property
    def key(self) -> str:
        """Names the record among all of the stream."""
        key = f"{self.record.shard}-{self.record.sequence_number}"
        return key if self.record.sub_sequence is None else f"{key}-{self.record.sub_sequence}"

    @property
    def size(self) -> int:
        return len(self.record.data)

    @property
    def cut(self) -> bool:
        return self.shown < self.size


def newest_records(destination: Destination) -> list[ShownRecord]:
    """The newest :data:`NEWEST` records over all shards, newest first. Takes up to 10 s.

    Raises:
        ConnectorError: in the other side's words.
        KeyLost: the account's credentials must be entered again.
    """
    connection = destination.account.connection()
    return [_shown(r) for r in destination.type.read_newest(connection, destination.settings, NEWEST)]


def fingerprint(records: Sequence[ShownRecord]) -> str:
    """The same for the same records: a record never changes."""
    return hashlib.sha256(" ".join(record.key for record in records).encode()).hexdigest()[:16]


def _shown(record: ReadRecord) -> ShownRecord:
    start = record.data[:SHOWN_BYTES]
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        # The cut may go through a character, which has up to four bytes.
        if len(start) == len(record.data) or error.start < len(start) - 3:
            return ShownRecord(record, start[:SHOWN_BINARY].hex(" "), len(start[:SHOWN_BINARY]), binary=True)
        start = start[: error.start]
        text = start.decode()
    return ShownRecord(record, text, len(start))
