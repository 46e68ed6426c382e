"""Why something could not be taken: said now in one language, stored, and read later in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext


@dataclass(frozen=True, slots=True)
class Reason:
    """A message and what is filled in: as text it is in the reader's language. Without a message it is false.

    Args:
        message: in English, with places like ``%(limit)s``, as the catalogs of messages have it.
        params: what goes there; JSON.
    """

    message: str = ""
    params: Mapping[str, str | int] = field(default_factory=dict)

    def __mod__(self, params: Mapping[str, str | int]) -> Reason:
        return Reason(self.message, params)

    def __bool__(self) -> bool:
        return bool(self.message)

    def __str__(self) -> str:
        if not self.message:
            return ""
        text = gettext(self.message)
        return text % self.params if self.params else text


NO_REASON = Reason()
