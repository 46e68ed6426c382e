"""``manage.py compile_catalogs``: what ``compilemessages`` does, without GNU gettext."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from kinesis_admin.messages import compile_catalogs


class Command(BaseCommand):
    help = "Compile the translations that changed (with Babel: GNU gettext is not needed)."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        for path in compile_catalogs(settings.LOCALE_PATHS):
            self.stdout.write(f"Compiled {path}")
