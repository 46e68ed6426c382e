"""How transactions of many rows begin and end: locks that stand for no row (PostgreSQL's advisory ones), and commits
that wait for no disk. SQLite has one writer at a time anyway.
"""

from __future__ import annotations

from django.db import connection

# Shared by all that write profiles and memberships; whoever must have the store for itself does not share it. It is the
# first lock of a transaction.
INGESTION = b"ingest"
# Held by whoever changes what policies decide by, until that is committed (governance.enforcement). After INGESTION.
GOVERNANCE = b"govern"
# Held by whoever raises or clears an alert: of troubles that are one, one is told.
ALERTS = b"alerts"


def advisory_lock(name: bytes, *, shared: bool) -> None:
    """Wait for a lock and hold it until the end of the transaction.

    Args:
        name: up to 7 bytes; locks of one database with the same name are the same.
        shared: any number of transactions may hold it at once, but none beside one that does not share.

    PostgreSQL starts no helper processes for the rest of the transaction: what is read under such a lock is found by
    indexes, in less time than they take to start.
    """
    if connection.vendor == "postgresql":
        function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {function}(%s), set_config('max_parallel_workers_per_gather', '0', true)",
                [int.from_bytes(name)],
            )


def commit_without_waiting() -> None:
    """Have the current transaction answered before it is on the disk, where it is half a second later. A crash of
    PostgreSQL in between takes it back as a whole. What is committed later, and waited for, is not on the disk without
    it.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit TO off")
