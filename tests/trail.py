"""The audit trail of the tests, which have to put back what they changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from audit import append_only


@contextmanager
def changeable() -> Iterator[None]:
    """Meanwhile the trail does not refuse to go."""
    with connection.schema_editor() as editor:
        append_only.unprotect(editor)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            append_only.protect(editor)
