from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = _("Audit")

    def ready(self) -> None:
        from allauth.mfa import signals as mfa
        from django.contrib.auth.models import Group, User
        from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

        from audit import signing, trail

        user_logged_in.connect(signing.signed_in, dispatch_uid="audit")
        user_logged_out.connect(signing.signed_out, dispatch_uid="audit")
        user_login_failed.connect(signing.failed, dispatch_uid="audit")
        mfa.authentication_failed.connect(signing.code_failed, dispatch_uid="audit")
        mfa.authenticator_added.connect(signing.step_added, dispatch_uid="audit")
        mfa.authenticator_removed.connect(signing.step_removed, dispatch_uid="audit")
        mfa.authenticator_reset.connect(signing.codes_made, dispatch_uid="audit")
        trail.watch(User, "user", "groups", "user_permissions", passing=("last_login",))
        trail.watch(Group, "group", "permissions")
