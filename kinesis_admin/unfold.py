"""How the Django admin (django-unfold) looks: our name, our blue, nothing from outside; and its words, to translate."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

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

# What Unfold says and Django does not: Unfold comes without translations, here they get into ours.
WORDS = (
    _("Add row"),
    _("After you've created a user, you’ll be able to edit more user options."),
    _("All applications"),
    _("Apply Filters"),
    _("Choose file to upload"),
    _("Click to cancel"),
    _("Click to download"),
    _("Dark"),
    _("Dataset not found. No action performed."),
    _("Expand row"),
    _("False"),
    _("Filters"),
    _("Forgotten your password or username?"),
    _("General"),
    _("Go back"),
    _("Image preview"),
    _("Light"),
    _("Loading more results..."),
    _("More actions"),
    _("No data"),
    _("No recent searches"),
    _("No results found"),
    _("No results matching your query"),
    _("Previous"),
    _(
        "Raw passwords are not stored, so there is no way to see this user’s password, but you can change the "
        'password using <a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    _("Recent searches"),
    _("Record picture"),
    _("Reset filters"),
    _("Return to site"),
    _("Run"),
    _("Search apps and models..."),
    _("Select action"),
    _("Select action to run"),
    _("Select all rows"),
    _("Select currency"),
    _("Select record"),
    _("Select value"),
    _("Submit"),
    _("System"),
    _("This item will be deleted."),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("Toggle password visibility"),
    _("True"),
    _("Type to search"),
    _("Welcome"),
    _("Welcome back to"),
    _("You can not create nested object without parent"),
    _("You have been successfully logged out from the administration"),
    ngettext_lazy(
        "\n                Found %(counter)s result in %(time)s seconds\n            ",
        "\n                Found %(counter)s results in %(time)s seconds\n            ",
    ),
)
