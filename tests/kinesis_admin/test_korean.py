"""Korean: chosen by the reader, and whole, down to the words of the packages that we show."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import unfold
from django.contrib.auth.models import User
from django.test import Client
from django.utils.translation import gettext, ngettext, override
from django.utils.translation.template import templatize

UNFOLD = Path(unfold.__file__).parent


# -- which language a page is in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepts", "heading"), [("ko-KR,ko;q=0.9,en;q=0.5", "로그인"), ("fr,en", "Sign in")]
)
def test_a_page_is_in_the_language_that_the_browser_asks_for(
    client: Client, accepts: str, heading: str
) -> None:
    page = client.get("/sign-in/", headers={"accept-language": accepts}).content.decode()

    assert f"<h1>{heading}</h1>" in page


def test_the_language_that_was_chosen_stays_and_leads_back_to_the_page(client: Client) -> None:
    answer = client.post("/i18n/setlang/", {"language": "ko", "next": "/sign-in/?next=/segments/"})

    assert answer.headers["Location"] == "/sign-in/?next=/segments/"
    page = client.get("/sign-in/", headers={"accept-language": "en"}).content.decode()
    assert '<html lang="ko"' in page and "<h1>로그인</h1>" in page


def test_choosing_a_language_leads_to_no_other_site(client: Client) -> None:
    answer = client.post("/i18n/setlang/", {"language": "ko", "next": "https://example.com/"})

    assert answer.headers["Location"] == "/"


def test_a_language_that_there_is_not_changes_nothing(client: Client) -> None:
    client.post("/i18n/setlang/", {"language": "tlh", "next": "/sign-in/"})

    assert '<html lang="en"' in client.get("/sign-in/").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/nothing/here/", "페이지를 찾을 수 없습니다"),
        ("/destinations/", "이 페이지를 볼 권한이 없습니다"),
    ],
)
def test_refusals_are_in_the_readers_language(client: Client, path: str, title: str) -> None:
    client.force_login(User.objects.create_user("reader"))

    assert f"<h1>{title}</h1>" in client.get(path, headers={"accept-language": "ko"}).content.decode()


# -- the Django admin ----------------------------------------------------------------------------------------------


def words_of_unfold() -> Iterator[str]:
    """The messages of its templates and its Python, without what is not installed; of plurals the singular."""
    paths = [path for path in UNFOLD.rglob("*") if "contrib" not in path.relative_to(UNFOLD).parts]
    for path in (path for path in paths if path.suffix == ".html"):
        code = templatize(path.read_text())
        for written in re.findall(r"gettext\(u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", code):
            yield ast.literal_eval(written)
    for path in (path for path in paths if path.suffix == ".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("_" | "gettext" | "gettext_lazy"), [ast.Constant(str(word)), *_]):
                    yield word


def test_every_word_of_unfold_is_translated() -> None:
    """By Django or by us: Unfold comes without translations."""
    found = {word for word in words_of_unfold() if re.sub(r"%\(\w+\)s", "", word).strip()}

    with override("ko"):
        english = {word for word in found if gettext(word) == word and ngettext(word, word, 2) == word}

    assert len(found) > 100
    assert english == set(), "add them to kinesis_admin.unfold.WORDS, and translate them"
