"""What a destination type provides.

A destination type is one package beside ``connectors/kinesis/``: its catalog card, the fields of its account
and of its destination, the permissions that it needs, its sender. Everything else in the product speaks only
to the :class:`Connector` it gets from :mod:`destinations.connectors`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self

import msgspec
from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Text = str | Promise


class ConnectorError(Exception):
    """The other side, or the way to it, refused.

    Args:
        code: the other side's own code, e.g. ``InvalidSignatureException``; ours (``EndpointNotAllowed``)
            where it said nothing.
        message: the other side's own words, never with a secret in them.
        hint: what a person can do about it, in the reader's language; empty when there is nothing to add.
    """

    def __init__(self, code: str, message: str, hint: Text = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Spec:
    """The catalog entry of a destination type.

    ``id`` is AEP's connection spec id (Flow Service API) where AEP has the type.
    """

    slug: str
    id: uuid.UUID | None
    name: str
    description: Text
    category: Text
    connection_type: Text  # "Streaming" or "Batch"
    export_type: Text  # "Profile-based"
    icon: str  # a lucide icon
    documentation_url: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """What is needed to reach the other side: credentials (secret) and settings (not secret), both plain
    JSON values.
    """

    credentials: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Any]


class CheckStatus(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"  # can't be asked here; the first export will tell


@dataclass(frozen=True, slots=True)
class Check:
    """One row under *Connect to destination*.

    Args:
        name: what was checked, e.g. ``kinesis:ListStreams``.
        detail: the outcome in the other side's words, or what was found ("12 streams").
    """

    name: Text
    status: CheckStatus
    detail: Text = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A place in the account that can be written to: for Kinesis, a data stream.

    The optional ones are None where the account may not ask for them.

    Args:
        ignores_keys: it spreads records by itself, whatever their partition key: no order is promised.
    """

    name: str
    status: str = ""
    mode: str = ""
    shards: int | None = None
    retention_hours: int | None = None
    max_record_bytes: int | None = None
    records_per_second: int | None = None
    bytes_per_second: int | None = None
    ignores_keys: bool = False


# Records and what became of them are structs: a dataclass takes five times as long to make.


class Record(msgspec.Struct, frozen=True, gc=False):
    """What is sent: the bytes and the key that decides where they land and what they are ordered with."""

    partition_key: str
    data: bytes


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """This record was taken.

    Args:
        sub_sequence: its place among the records that were packed together, which share a sequence number; None for one
            that was sent as it is.
    """

    shard: str
    sequence_number: str
    sub_sequence: int | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """This record was not taken this time, or nobody knows whether it was.

    Args:
        throttled: the other side takes no more for now: what comes next must come slower.
        shard: where it takes no more, if that is not everywhere.
        maybe_taken: it may have been taken all the same: another go may deliver it twice.
    """

    code: str
    message: str
    throttled: bool = False
    shard: str = ""
    maybe_taken: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """This record will never be taken (too large, not valid): it belongs to the dead letters."""

    code: str
    message: str


Result = Delivered | TryAgain | Refused


class Sender(Protocol):
    """Writes records to one destination. Not shared between threads."""

    batch_size: ClassVar[int]

    def send(self, records: Sequence[Record]) -> list[Result]:
        """Send ``records`` in as few requests as the limits of the other side allow.

        Args:
            records: at most ``batch_size`` of them.

        Returns:
            A result for every record, in the same order.

        Raises:
            ConnectorError: the destination as a whole can't be written to (refused credentials, stream gone), and
                no record was taken. When some had been taken by then, their results are returned instead and
                the others are `TryAgain`.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record read back for the stream viewer. ``sub_sequence`` as in :class:`Delivered`."""

    shard: str
    sequence_number: str
    partition_key: str
    arrived_at: datetime
    data: bytes
    sub_sequence: int | None = None


class AccountForm(forms.Form):
    """The *Authentication* step: a name, and the fields that the connector adds in a subclass.

    Fields named in ``secret_fields`` are stored encrypted and never rendered with a value. When ``stored`` is
    given (editing an account), leaving a secret blank keeps what is stored.
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset()

    name = forms.CharField(label=_("Account name"), max_length=255)

    def __init__(self, data: Any = None, *, stored: Connection | None = None, **kwargs: Any) -> None:
        self.stored = stored
        super().__init__(data, **kwargs)

    def connection(self) -> Connection:
        """The connection that the valid form describes, stored secrets filled in."""
        raise NotImplementedError

    @classmethod
    def for_editing(cls, name: str, connection: Connection, data: Any = None) -> Self:
        """The form with everything but the secrets filled in."""
        initial = {"name": name, **connection.settings}
        return cls(data, stored=connection, initial=initial)


class DestinationForm(forms.Form):
    """The connector's own fields of the *Setup* step (for Kinesis: the stream).

    ``target_field`` names the field that holds the target's name: the page offers ``targets`` there. When
    ``targets`` is given (not None) it is everything there is, and a name that is not in it is an error at the
    field.
    """

    target_field: ClassVar[str] = ""

    def __init__(self, data: Any = None, *, targets: Sequence[Target] | None = None, **kwargs: Any) -> None:
        self.targets = targets
        super().__init__(data, **kwargs)

    def target_settings(self) -> dict[str, Any]:
        """Plain JSON values to keep with the destination."""
        raise NotImplementedError


class Connector(Protocol):
    """A destination type that can be set up. All calls that go over the network end within 10 seconds."""

    spec: Spec
    account_form: type[AccountForm]
    destination_form: type[DestinationForm]
    permissions_name: Text  # what the policy to copy is called at the other side

    def hint(self, code: str, message: str) -> Text:
        """What a person can do about a :class:`ConnectorError` of which code and message were kept; may be empty."""
        ...

    def about_credentials(self, code: str, message: str) -> bool:
        """Whether other credentials are what such an error asks for."""
        ...

    def masked(self, credentials: Mapping[str, str]) -> str:
        """What may be shown of credentials, e.g. ``AKIA…7Q4X``."""
        ...

    def permissions_needed(self, settings: Mapping[str, Any], target: str = "") -> str:
        """The least-privilege policy to copy, as text."""
        ...

    def check(self, connection: Connection) -> list[Check]:
        """Test the connection for real. Does not raise for what the other side says: it is in the rows."""
        ...

    def list_targets(self, connection: Connection) -> list[Target]:
        """Every place that can be written to, names at least. Raises ConnectorError."""
        ...

    def describe_target(self, connection: Connection, settings: Mapping[str, Any]) -> Target:
        """The chosen place, with all that the account may know of it. Raises ConnectorError when it can't be
        written to.
        """
        ...

    def target_name(self, settings: Mapping[str, Any]) -> str:
        """The chosen place in words, e.g. the stream's name."""
        ...

    def open_sender(self, connection: Connection, settings: Mapping[str, Any]) -> Sender: ...

    def read_newest(
        self, connection: Connection, settings: Mapping[str, Any], limit: int
    ) -> list[ReadRecord]:
        """The newest ``limit`` records over all shards, newest first. Raises ConnectorError."""
        ...
