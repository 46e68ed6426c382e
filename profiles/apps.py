from __future__ import annotations

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.utils.translation import gettext_lazy as _

import audit


class ProfilesConfig(AppConfig):
    name = "profiles"
    verbose_name = _("Profiles")

    def ready(self) -> None:
        from profiles.models import IdentityNamespace, SchemaField
        from profiles.pql import sqlite

        audit.watch(SchemaField, "schema_field")
        audit.watch(IdentityNamespace, "namespace")
        connection_created.connect(sqlite.register)
