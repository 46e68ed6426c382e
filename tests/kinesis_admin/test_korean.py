"""Korean: chosen by the reader, and whole, down to the words of the packages that we show."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import unfold
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils.translation import gettext, ngettext, override
from django.utils.translation.template import templatize

from activation.templatetags.activation import reason_in_words
from destinations.connectors.kinesis import regions
from kinesis_admin.messages import read
from profiles.core_names import CORE_NAMESPACES, CORE_TITLES
from profiles.models import IdentityNamespace, SchemaField

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


# -- the catalog ---------------------------------------------------------------------------------------------------


def test_no_particle_that_hangs_on_the_last_letter_follows_a_variable() -> None:
    """은/는, 이/가, 을/를, 와/과 and (으)로 would be wrong for half of the values: a noun or a colon goes between."""
    catalog = read(settings.LOCALE_PATHS[0] / "ko" / "LC_MESSAGES" / "django.po")
    texts = [
        text
        for entry in catalog
        for text in ([entry.string] if isinstance(entry.string, str) else entry.string or [])
    ]

    assert [
        text for text in texts if re.search(r"\)[sd]”?(은|는|이|가|을|를|와|과|으로|로)(?![가-힣])", text)
    ] == []


# -- the data that we bring ----------------------------------------------------------------------------------------


def test_the_core_schema_has_titles_in_the_readers_language_and_is_found_by_them(
    admin_client: Client,
) -> None:
    page = admin_client.get(
        "/schema/", {"q": "휴대폰 번호"}, headers={"accept-language": "ko"}
    ).content.decode()

    assert "휴대폰 번호" in page and 'title="mobilePhone.number"' in page
    assert 'title="homePhone.number"' not in page


@pytest.mark.django_db
def test_the_titles_of_own_fields_stay_as_they_were_typed() -> None:
    own = SchemaField.objects.create(path="_ours.email", title="Email")
    core = SchemaField.objects.get(path="consents.marketing.email")

    with override("ko"):
        assert (own.label, core.label) == ("Email", "이메일")


@pytest.mark.django_db
def test_every_name_that_the_migration_brings_is_there_to_be_translated() -> None:
    assert set(SchemaField.objects.values_list("title", flat=True)) == set(CORE_TITLES)
    assert set(IdentityNamespace.objects.values_list("name", flat=True)) == set(CORE_NAMESPACES)


def test_regions_have_the_names_that_aws_gives_them_and_are_in_their_order() -> None:
    with override("ko"):
        partition, rows = regions.choices()[0]

    assert partition == "AWS Standard"
    assert ("ap-northeast-2", "아시아 태평양(서울) — ap-northeast-2") in rows
    assert rows == sorted(rows, key=lambda row: row[1])


# -- what was stored of exports ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (
            "Mandatory but not there: person.name, loyalty.tier",
            "값이 없는 필수 속성: person.name, loyalty.tier",
        ),
        (
            "Its attributes are nested too deeply for JSON.",
            "속성이 너무 깊게 중첩되어 JSON으로 만들 수 없습니다.",
        ),
        ("User: x is not authorized", "User: x is not authorized"),
        ("", ""),
    ],
)
def test_our_own_words_of_a_reason_are_translated_and_those_of_aws_stay(stored: str, shown: str) -> None:
    with override("ko"):
        assert reason_in_words(stored) == shown
    with override("en"):
        assert reason_in_words(stored) == stored


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
