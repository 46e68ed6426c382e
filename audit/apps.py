from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = _("Audit")

    def ready(self) -> None:
        from django.contrib.auth.models import Group, User
        from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

        from audit import signing, trail

        user_logged_in.connect(signing.signed_in, dispatch_uid="audit")
        user_logged_out.connect(signing.signed_out, dispatch_uid="audit")
        user_login_failed.connect(signing.failed, dispatch_uid="audit")
        trail.watch(User, "user", "groups", "user_permissions", passing=("last_login",))
        trail.watch(Group, "group", "permissions")
