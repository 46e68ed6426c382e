"""A model field for secrets: JSON, encrypted with keys that the database does not have.

The value of the field is an :class:`Encrypted`, which opens only when asked to: no ``repr``, log or template shows more
than that there is something.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _


class KeyLost(Exception):
    """None of ``CREDENTIAL_KEYS`` opens what is stored: it must be entered again."""


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.CREDENTIAL_KEYS])


class Encrypted:
    """Values that were encrypted. Compared by what is stored, shown by nothing."""

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Encrypt ``values`` with the newest key."""
        return cls(_fernet().encrypt(json.dumps(dict(values)).encode()).decode())

    def open(self) -> dict[str, str]:
        """The values.

        Raises:
            KeyLost: it was encrypted with a key that is not among ``CREDENTIAL_KEYS``.
        """
        try:
            opened: dict[str, str] = json.loads(_fernet().decrypt(self.token))
        except (InvalidToken, ValueError):
            raise KeyLost from None
        return opened

    def rotated(self) -> Self:
        """The same values, encrypted with the newest key. Raises KeyLost."""
        try:
            return type(self)(_fernet().rotate(self.token).decode())
        except (InvalidToken, ValueError):
            raise KeyLost from None

    @property
    def readable(self) -> bool:
        try:
            self.open()
        except KeyLost:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encrypted) and other.token == self.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return "<Encrypted>"

    __str__ = __repr__


if TYPE_CHECKING:
    _TextField = models.TextField[Encrypted | Mapping[str, str], Encrypted]
else:
    _TextField = models.TextField


class EncryptedJSONField(_TextField):
    """Holds an :class:`Encrypted`; a plain mapping that is assigned is encrypted when it is saved."""

    description = _("Encrypted JSON")
    secret = True  # the audit trail tells that it changed, and no more

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Encrypted | None:
        return None if value is None else Encrypted(value)

    def to_python(self, value: Any) -> Encrypted | None:
        if value is None or isinstance(value, Encrypted):
            return value
        if isinstance(value, Mapping):
            return Encrypted.of(value)
        if isinstance(value, str):  # a fixture: dumpdata writes what is stored
            return Encrypted(value)
        raise ValidationError(_("This can't be encrypted."))

    def get_prep_value(self, value: Any) -> str | None:
        encrypted = self.to_python(value)
        return None if encrypted is None else encrypted.token

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj)) or ""

    def formfield(self, *args: Any, **kwargs: Any) -> None:
        """None: no form may show it. Forms have write-only fields of their own."""
