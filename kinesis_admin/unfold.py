"""How the Django admin (django-unfold) looks: our name, our blue, nothing from outside."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Kinesis Admin",
    "SITE_HEADER": "Kinesis Admin",
    "SITE_SUBHEADER": _("Django admin"),
    "SITE_URL": "/",
    "SITE_ICON": lambda request: static("img/mark.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("img/mark.svg")}
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_LANGUAGES": True,
    "BORDER_RADIUS": "4px",
    # The greys of static/css/app.css, and shades around its accent: 600 is light's accent, 400 dark's.
    "COLORS": {
        "base": {
            "50": "#fafafa",
            "100": "#f5f5f5",
            "200": "#e4e4e4",
            "300": "#d5d5d5",
            "400": "#a2a2a2",
            "500": "#6e6e6e",
            "600": "#555555",
            "700": "#464646",
            "800": "#2a2a2a",
            "900": "#222222",
            "950": "#1a1a1a",
        },
        "primary": {
            "50": "#f1f7fe",
            "100": "#e0edfc",
            "200": "#c2dbfa",
            "300": "#94c6fb",
            "400": "#5aa9fa",
            "500": "#2a85e6",
            "600": "#0d66d0",
            "700": "#0a52a8",
            "800": "#0b4587",
            "900": "#0e3b6f",
            "950": "#0a264a",
        },
    },
    "SIDEBAR": {"show_search": True},
    "SITE_DROPDOWN": [
        {
            "icon": "arrow_back",
            "title": _("Back to Kinesis Admin"),
            "link": reverse_lazy("destinations:overview"),
        }
    ],
}
