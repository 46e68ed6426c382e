"""What stands in a cell, as an identity or as an attribute; or why it can't be, in a marketer's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from profiles.ingest import Refused
from profiles.inlets.messages import HASHED, normalised
from profiles.models import IdentityNamespace, SchemaField
from profiles.reasons import Reason
from profiles.reasons import Reason as _
from profiles.uploads.rows import Row

# What a spreadsheet makes of a long number that it takes for a quantity: the last digits are lost.
ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d{2}", re.IGNORECASE)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
PHONE = re.compile(r"\+?[\d\s().\-/]{4,30}")
INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?", re.ASCII)
DATE = re.compile(r"(\d{4})([-./])(\d{1,2})\2(\d{1,2})", re.ASCII)
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# Types that one cell can be.
SINGLE = ("string", "integer", "number", "boolean", "date", "date-time")


class Unusable(Exception):
    """A row that can't be taken: because of this value, for this reason."""

    def __init__(self, value: str, reason: Reason) -> None:
        super().__init__(value, reason)
        self.value, self.reason = value, reason


def identity(namespace: IdentityNamespace, value: str) -> str:
    """An identity as it is stored. In namespaces of hashes plain addresses and numbers are hashed: a list of them is no
    reason to have them leave the house as they are.

    Raises:
        Refused: it can't be one of this namespace.
    """
    value = value.strip()
    if not value:
        raise Refused(_("The row has no identity."))
    if ROUNDED.fullmatch(value):
        raise Refused(
            _("A spreadsheet has rounded this number. Format the column as text, enter the numbers anew.")
        )
    if namespace.code.lower() in HASHED:
        return normalised(namespace.code, value)
    if namespace.type == IdentityNamespace.Type.EMAIL and not EMAIL.fullmatch(value):
        raise Refused(_("This is no email address."))
    if namespace.type == IdentityNamespace.Type.PHONE and not PHONE.fullmatch(value):
        raise Refused(_("This is no phone number."))
    return value


def _integer(value: str) -> int:
    if not INTEGER.fullmatch(value):
        raise Refused(_("This is no whole number."))
    return int(value)


def _number(value: str) -> float:
    if not NUMBER.fullmatch(value):
        raise Refused(_("This is no number with a decimal point."))
    return float(value)


def _boolean(value: str) -> bool:
    if (word := WORDS.get(value.lower())) is None:
        raise Refused(_("This is neither true nor false."))
    return word


def _date(value: str) -> str:
    try:
        match = DATE.fullmatch(value)
        year, _point, month, day = match.groups() if match else ("", "", "", "")
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        raise Refused(_("This is no date as 2026-11-25.")) from None


def _date_time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Refused(_("This is no date and time as 2026-11-25T09:30:00+09:00.")) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


CONVERT: Mapping[str, Callable[[str], Any]] = {
    SchemaField.Type.INTEGER: _integer,
    SchemaField.Type.NUMBER: _number,
    SchemaField.Type.BOOLEAN: _boolean,
    SchemaField.Type.DATE: _date,
    SchemaField.Type.DATE_TIME: _date_time,
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes an identity and attributes of a row.

    Args:
        width: how many columns the file has.
        identity_column: where the identity stands.
        paths: of the columns, in their order; empty: ignored.
        types: of these paths, as :class:`profiles.models.SchemaField` has them.
    """

    width: int
    identity_column: int
    namespace: IdentityNamespace
    paths: Sequence[str] = ()
    types: Mapping[str, str] = field(default_factory=dict)

    def read(self, row: Row) -> tuple[str, dict[str, Any]]:
        """Raises Unusable."""
        if row.problem:
            raise Unusable(",".join(row.cells), row.problem)
        cells = row.cells
        if len(cells) < self.width or any(cells[self.width :]):
            raise Unusable(
                ",".join(cells),
                _("Columns in this row: %(found)s; in the first one: %(expected)s.")
                % {"found": len(cells), "expected": self.width},
            )
        key = self._of(cells[self.identity_column], lambda value: identity(self.namespace, value))
        attributes: dict[str, Any] = {}
        for cell, path in zip(cells, self.paths, strict=False):
            # An empty cell says nothing: what is known stays.
            if path and (value := cell.strip()):
                self._put(attributes, path, self._of(value, CONVERT.get(self.types.get(path, ""), str)))
        return key, attributes

    def _of(self, value: str, convert: Callable[[str], Any]) -> Any:
        try:
            return convert(value)
        except Refused as refused:
            raise Unusable(value, refused.reason) from None

    def _put(self, tree: dict[str, Any], path: str, value: Any) -> None:
        *groups, key = path.split(".")
        for group in groups:
            tree = tree.setdefault(group, {})
        tree[key] = value
