"""Encrypts every account's credentials, and people's second steps, with the newest of ``CREDENTIAL_KEYS``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from access.services import rotate_second_factors
from destinations import services


class Command(BaseCommand):
    help = (
        "Encrypt the credentials of every account, and people's second steps, with the first of CREDENTIAL_KEYS. To "
        "change keys: put a new one in front, restart, run this, then take the old one away."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done = services.rotate_keys()
        self.stdout.write(f"Accounts encrypted with the newest key: {done.rotated}")
        self.stdout.write(f"Second steps encrypted with the newest key: {rotate_second_factors()}")
        if done.lost:
            raise CommandError(
                f"No key of CREDENTIAL_KEYS opens the credentials of {len(done.lost)} of the accounts. Put the key "
                "back that they were encrypted with, or enter them again:\n"
                + "\n".join(f"  {name}" for name in done.lost)
            )
