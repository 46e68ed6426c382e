"""``manage.py check_messages``: whether every language says everything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from kinesis_admin.messages import read, untranslated

SHOWN = 50


class Command(BaseCommand):
    help = "Fail unless every message of the source has a finished translation in every language; name the others."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help=f"name all of them, not only the first {SHOWN}"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        template = extract()
        wrong = 0
        for language, _name in settings.LANGUAGES:
            if language == "en":  # the source
                continue
            path = Path(settings.LOCALE_PATHS[0]) / language / "LC_MESSAGES" / "django.po"
            catalog = read(path) if path.exists() else Catalog()
            found = untranslated(template, catalog)
            for text, reason in found if options["all"] else found[:SHOWN]:
                self.stdout.write(f"{language}: {reason}: {text!r}")
            self.stdout.write(f"{language}: {len(found)} of {len(template)} messages are not translated.")
            wrong += len(found)
            if path.exists():
                # Placeholders that a translation lost or misspelled would break the page.
                checked = subprocess.run(
                    ["msgfmt", "--check-format", "--check-header", "-o", os.devnull, str(path)],
                    capture_output=True,
                    text=True,
                )
                self.stdout.write(checked.stderr)
                wrong += checked.returncode != 0
        if wrong:
            raise CommandError(
                "Messages are not complete: manage.py makemessages -l ko --no-location finds them."
            )


def extract() -> Catalog:
    """All messages of our apps and templates, by GNU gettext through Django's own extraction.

    On a copy: the extraction writes files beside the templates, and into the locale folder.
    """
    root: Path = settings.BASE_DIR
    ours = [Path(app.path) for app in apps.get_app_configs() if Path(app.path).parent == root]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in [*ours, root / "templates"]:
            shutil.copytree(
                source, folder / source.name, ignore=shutil.ignore_patterns("*.pyc", "__pycache__")
            )
        (folder / "locale").mkdir()
        env = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        done = subprocess.run(
            [sys.executable, "-m", "django", "makemessages", "--locale", "en"],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CommandError(f"The messages can't be extracted:\n{done.stderr}")
        return read(folder / "locale" / "en" / "LC_MESSAGES" / "django.po")
