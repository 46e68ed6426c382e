"""What templates ask about signing in."""

from __future__ import annotations

from collections.abc import Iterable

from django import template
from django.conf import settings
from django.utils.translation import gettext

from access.roles import RIGHTS

register = template.Library()

# What tells them in a User-Agent, the special before the general: most say that they are Chrome and Safari, too.
_BROWSERS = {
    "Edg": "Microsoft Edge", "OPR/": "Opera", "SamsungBrowser/": "Samsung Internet", "Whale/": "Whale",
    "FxiOS/": "Firefox", "Firefox/": "Firefox", "CriOS/": "Chrome", "Chrome/": "Chrome", "Safari/": "Safari",
}  # fmt: skip
_SYSTEMS = {
    "Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS X": "macOS",
    "CrOS": "ChromeOS", "Linux": "Linux",
}  # fmt: skip


@register.simple_tag
def single_sign_on() -> str:
    """The name of the OpenID Connect provider that people may sign in with; empty where there is none."""
    apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    return str(apps[0]["name"]) if apps else ""


@register.filter
def lines(texts: Iterable[str]) -> str:
    """One a line."""
    return "\n".join(texts)


@register.filter
def browser(user_agent: str) -> str:
    """What a browser and its system are called, of what it says of itself; that itself where it is no known one."""
    found, system = (
        next((name for mark, name in known.items() if mark in user_agent), "")
        for known in (_BROWSERS, _SYSTEMS)
    )
    if not found or not system:
        return user_agent or gettext("Unknown")
    return gettext("%(browser)s on %(system)s") % {"browser": found, "system": system}


@register.simple_tag
def rights_in_words(rights: Iterable[str]) -> str:
    """Names of rights (``app.codename``) as people read them, with commas between, in the order of the table."""
    wanted = set(rights)
    return ", ".join(str(word) for right, word in RIGHTS.items() if right in wanted)
