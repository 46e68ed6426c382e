"""Catalogs are compiled without GNU gettext, and what is not translated is named."""

from __future__ import annotations

import gettext
import os
from pathlib import Path

from babel.messages.catalog import Catalog

from kinesis_admin.messages import compile_catalogs, untranslated

PO = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"

msgid "Sign in"
msgstr "로그인"

#, fuzzy
msgid "Sign out"
msgstr "로그인"
"""


def write_catalog(folder: Path) -> Path:
    path = folder / "ko" / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True)
    path.write_text(PO)
    return path


def test_a_compiled_catalog_is_what_django_reads(tmp_path: Path) -> None:
    path = write_catalog(tmp_path)

    assert compile_catalogs([tmp_path]) == [path]

    korean = gettext.translation("django", tmp_path, ["ko"])
    assert korean.gettext("Sign in") == "로그인"
    assert korean.gettext("Sign out") == "Sign out", "a fuzzy one is a guess"


def test_a_catalog_is_compiled_again_only_when_it_changed(tmp_path: Path) -> None:
    path = write_catalog(tmp_path)
    compile_catalogs([tmp_path])

    assert compile_catalogs([tmp_path]) == []

    later = path.with_suffix(".mo").stat().st_mtime + 10
    os.utime(path, (later, later))
    assert compile_catalogs([tmp_path]) == [path]


def test_messages_without_a_finished_translation_are_named() -> None:
    template, korean = Catalog(), Catalog(locale="ko")
    for text in ("done", "new", "guessed", "blank"):
        template.add(text)
    template.add("done", context="menu")
    template.add(("%d row", "%d rows"))
    korean.add("done", "완료")
    korean.add("guessed", "추측", flags=["fuzzy"])
    korean.add("blank", "")
    korean.add(("%d row", "%d rows"), ("%d행",))

    assert untranslated(template, korean) == [
        ("new", "missing"),
        ("guessed", "fuzzy"),
        ("blank", "empty"),
        ("done", "missing"),
    ]
