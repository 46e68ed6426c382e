"""What templates ask about signing in."""

from __future__ import annotations

from collections.abc import Iterable

from django import template
from django.conf import settings

from access.roles import RIGHTS

register = template.Library()


@register.simple_tag
def single_sign_on() -> str:
    """The name of the OpenID Connect provider that people may sign in with; empty where there is none."""
    apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    return str(apps[0]["name"]) if apps else ""


@register.filter
def lines(texts: Iterable[str]) -> str:
    """One a line."""
    return "\n".join(texts)


@register.simple_tag
def rights_in_words(rights: Iterable[str]) -> str:
    """Names of rights (``app.codename``) as people read them, with commas between, in the order of the table."""
    wanted = set(rights)
    return ", ".join(str(word) for right, word in RIGHTS.items() if right in wanted)
