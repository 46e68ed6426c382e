from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GovernanceConfig(AppConfig):
    name = "governance"
    verbose_name = _("Governance")

    def ready(self) -> None:
        from governance.enforcement import judge_changed_rule
        from profiles.signals import rule_changed

        rule_changed.connect(judge_changed_rule, dispatch_uid="governance")
