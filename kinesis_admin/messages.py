"""The catalogs of messages: compiled with Babel, so that running needs no GNU gettext, and what is missing in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po


def catalogs(locale_folders: Iterable[Path]) -> list[Path]:
    """The ``.po`` files in folders like ``locale/``."""
    return sorted(path for folder in locale_folders for path in folder.glob("*/LC_MESSAGES/*.po"))


def compile_catalogs(locale_folders: Iterable[Path]) -> list[Path]:
    """Compile every ``.po`` whose ``.mo`` is older than it or not there. The ones that were compiled."""
    compiled = []
    for source in catalogs(locale_folders):
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        # Into place at once: another process may be reading it.
        partial = target.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as out:
            write_mo(out, read(source))
        partial.replace(target)
        compiled.append(source)
    return compiled


def read(path: Path) -> Catalog:
    """The catalog in a ``.po`` file; its language is the name of the folder."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name)


def untranslated(template: Catalog, translation: Catalog) -> list[tuple[str, str]]:
    """Messages of ``template`` that ``translation`` lacks: the message's text and why (missing, empty, fuzzy)."""
    found = []
    for message in template:
        if not message.id:
            continue
        text = message.id if isinstance(message.id, str) else message.id[0]
        ours = translation.get(text, message.context)
        if ours is None or (isinstance(ours.id, str) is not isinstance(message.id, str)):
            found.append((text, "missing"))
        elif ours.fuzzy:
            found.append((text, "fuzzy"))
        elif not ours.string or (not isinstance(ours.string, str) and not all(ours.string)):
            found.append((text, "empty"))
    return found
