"""What stands in a cell, as an identity or an attribute."""

from __future__ import annotations

from typing import Any

import pytest

from profiles.ingest import Refused
from profiles.models import IdentityNamespace
from profiles.uploads.values import CONVERT, identity


@pytest.mark.parametrize(
    "kind, cell, value",
    [
        ("integer", "1200", 1200),
        ("integer", "-5", -5),
        ("integer", "1,200", None),
        ("integer", "12.0", None),
        ("integer", "٣", None),
        ("number", "3.50", 3.5),
        ("number", "3,5", None),
        ("number", "1e400", None),
        ("number", "nan", None),
        ("boolean", "TRUE", True),
        ("boolean", "0", False),
        ("boolean", "maybe", None),
        ("date", "2026-11-05", "2026-11-05"),
        ("date", "2026.1.5", "2026-01-05"),
        ("date", "2026/01/05", "2026-01-05"),
        ("date", "2026-01.05", None),
        ("date", "05/01/2026", None),
        ("date", "2026-02-30", None),
        ("date-time", "2026-11-25T09:30:00+09:00", "2026-11-25T09:30:00+09:00"),
        ("date-time", "2026-11-25 09:30", "2026-11-25T09:30:00+00:00"),
        ("date-time", "yesterday", None),
    ],
)
def test_cells_become_values_of_their_type_or_are_refused(kind: str, cell: str, value: Any) -> None:
    if value is None:
        with pytest.raises(Refused):
            CONVERT[kind](cell)
    else:
        converted = CONVERT[kind](cell)
        assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    "code, type, cell, value",
    [
        ("Email", "EMAIL", " kim@example.com ", "kim@example.com"),
        ("Email", "EMAIL", "김민준", None),
        ("Phone", "PHONE", "+82 10-1234-5678", "+82 10-1234-5678"),
        ("Phone", "PHONE", "kim@example.com", None),
        ("CRMID", "CROSS_DEVICE", "00012", "00012"),
        ("CRMID", "CROSS_DEVICE", "8.21012E+11", None),
        ("CRMID", "CROSS_DEVICE", "1E5", "1E5"),
        ("Email_LC_SHA256", "EMAIL", "B" * 64, "b" * 64),
        ("Email_LC_SHA256", "EMAIL", "no hash", None),
    ],
)
def test_identities_look_as_their_namespace_says(code: str, type: str, cell: str, value: str | None) -> None:
    namespace = IdentityNamespace(code=code, type=type)
    if value is None:
        with pytest.raises(Refused):
            identity(namespace, cell)
    else:
        assert identity(namespace, cell) == value
