"""The database itself refuses to change the trail: triggers, for both databases.

What is older than :data:`KEPT_DAYS` may be deleted, by the database's own clock. On SQLite a migration that alters the
table makes it anew, without triggers: it must call :func:`protect` again.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

KEPT_DAYS = 365

_SQLITE = {
    "audit_entry_no_update": "BEFORE UPDATE ON audit_entry",
    "audit_entry_no_delete": "BEFORE DELETE ON audit_entry"
    f" WHEN OLD.at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEPT_DAYS} days')",
    # INSERT OR REPLACE would be a deletion that fires no trigger.
    "audit_entry_no_replace": "BEFORE INSERT ON audit_entry"
    " WHEN EXISTS (SELECT 1 FROM audit_entry WHERE id = NEW.id)",
}

_POSTGRESQL = f"""
CREATE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.at <= now() - interval '{KEPT_DAYS} days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER audit_entry_no_change BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_entry_append_only();
CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_append_only();
"""


def protect(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Begin to refuse."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_POSTGRESQL)
        return
    for name, when in _SQLITE.items():
        schema_editor.execute(
            f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
        )


def unprotect(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Take it back: for a migration backwards, and for tests that empty the database."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION audit_entry_append_only() CASCADE")
        return
    for name in _SQLITE:
        schema_editor.execute(f"DROP TRIGGER {name}")


def forwards(_apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    protect(schema_editor)


def backwards(_apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    unprotect(schema_editor)
