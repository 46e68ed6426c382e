from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class AccessConfig(AppConfig):
    name = "access"
    verbose_name = _("People and access")

    def ready(self) -> None:
        from access.roles import give_core_roles_their_rights

        # After Django's own receiver, which makes the permissions: `django.contrib.auth` is installed before us.
        post_migrate.connect(give_core_roles_their_rights, dispatch_uid="core_roles")
