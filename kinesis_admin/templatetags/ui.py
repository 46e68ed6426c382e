"""The page's vocabulary: fields, tables, statuses, times, menus and dialogs as template tags.

Pages say what a thing is (`{% field form.name %}`, `{% status "positive" _("Enabled") %}`); how it looks
and how a screen reader hears it is decided once: here, in `templates/components/` and `static/css/app.css`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from django import forms, template
from django.conf import settings
from django.core.paginator import Page
from django.forms import BoundField
from django.http import HttpRequest
from django.template import Context
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _
from lucide import _render_icon

from access.roles import RIGHTS

register = template.Library()

NOTHING = "\N{EN DASH}"

VARIANT_ICONS = {
    "positive": "circle-check",
    "notice": "triangle-alert",
    "negative": "circle-alert",
    "info": "info",
    "neutral": "info",
}

WIZARD_STEPS = {
    "authentication": _("Authentication"),
    "setup": _("Setup"),
    "segments": _("Select segments"),
    "attributes": _("Select attributes"),
    "review": _("Review"),
}
UPLOAD_STEPS = {"file": _("File"), "columns": _("Columns")}
POLICY_STEPS = {
    "policy-name": _("Name and description"),
    "policy-labels": _("Labels"),
    "policy-actions": _("Marketing actions"),
    "policy-review": _("Review"),
}


# -- small things ----------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _icon(name: str, size: int, css_class: str) -> SafeString:
    # The svg is rendered once a process: a table of 25 rows asks for the same few icons 100 times.
    svg = _render_icon(
        name, size, **{"class": f"icon {css_class}".strip(), "aria-hidden": "true", "focusable": "false"}
    )
    return mark_safe(svg)


@register.simple_tag
def icon(name: str, size: int = 16, css_class: str = "") -> SafeString:
    """A lucide icon, `size` CSS pixels wide, hidden from screen readers: words say what it means.

    Raises `lucide.IconDoesNotExist` for a name that lucide does not have.
    """
    return _icon(str(name), int(size), str(css_class))


@register.simple_tag
def environment_name() -> str:
    """The name in the badge of the top bar, e.g. `demo`; empty shows none."""
    return str(getattr(settings, "ENVIRONMENT_NAME", "") or "")


@register.simple_tag
def status(variant: str, word: object) -> SafeString:
    """A dot and a word. `variant`: positive, notice, negative, neutral or processing."""
    return format_html('<span class="status status-{}">{}</span>', variant, word)


@register.simple_tag
def badge(word: object, variant: str = "neutral") -> SafeString:
    """A word in a box: a label, a type, a count."""
    return format_html('<span class="badge badge-{}">{}</span>', variant, word)


@register.simple_tag
def cut(text: object, lines: int = 1) -> SafeString:
    """Text that is cut to `lines` (1 to 3) where it does not fit, with the whole of it in a tooltip."""
    css_class = "cut" if lines == 1 else f"cut-lines cut-{lines}"
    return format_html('<span class="{}" title="{}">{}</span>', css_class, text, text)


@register.simple_tag
def copy_id(value: object, label: object = "") -> SafeString:
    """An id in monospace, cut where it does not fit, with a button that copies all of it."""
    return format_html(
        '<span class="copy-id"><code class="cut" title="{0}">{0}</code>'
        '<button type="button" class="icon-button small js-only" data-copy="{0}"'
        ' aria-label="{1}" title="{1}">{2}</button></span>',
        value,
        label or gettext("Copy"),
        _icon("copy", 14, ""),
    )


@register.simple_tag
def meter(value: float, maximum: float, label: object) -> SafeString:
    """A progress bar with its name for screen readers. `value` out of `maximum`, in any one unit."""
    return format_html(
        '<progress class="meter" value="{}" max="{}" aria-label="{}"></progress>', value, maximum or 1, label
    )


@register.simple_tag
def skeleton(lines: int = 3) -> SafeString:
    """Grey bars in the place of what is being fetched."""
    bars = mark_safe('<span class="skeleton-line"></span>' * int(lines))
    return format_html('<div class="skeleton" aria-hidden="true">{}</div>', bars)


@register.filter
def number(value: object) -> str:
    """A number with thousands separators of the active language; a dash for None."""
    if value is None or value == "":
        return NOTHING
    return number_format(str(value) if not isinstance(value, int | float) else value, force_grouping=True)


@register.filter
def at(mapping: Mapping[Any, Any], key: object) -> Any:
    """What a mapping has at a key; None where it has nothing."""
    return mapping.get(key)


@register.filter
def up_to(value: int, most: int) -> str:
    """A number that was counted to `most` and no further: "10,000+" above it."""
    return f"{number(most)}+" if value > most else number(value)


@register.filter
def dotted(path: str) -> SafeString:
    """A path of the schema that breaks after its dots, and nowhere else."""
    return format_html_join(mark_safe(".<wbr>"), "{}", ((key,) for key in path.split(".")))


# -- time ------------------------------------------------------------------------------------------


# Up to so many seconds, in units of so many seconds: static/js/app.js refreshes the words by the same steps.
_STEPS = (
    (
        3600,
        60,
        ngettext_lazy("%(n)d minute ago", "%(n)d minutes ago", "n"),
        ngettext_lazy("in %(n)d minute", "in %(n)d minutes", "n"),
    ),
    (
        86_400,
        3600,
        ngettext_lazy("%(n)d hour ago", "%(n)d hours ago", "n"),
        ngettext_lazy("in %(n)d hour", "in %(n)d hours", "n"),
    ),
    (
        30 * 86_400,
        86_400,
        ngettext_lazy("%(n)d day ago", "%(n)d days ago", "n"),
        ngettext_lazy("in %(n)d day", "in %(n)d days", "n"),
    ),
    (
        365 * 86_400,
        30 * 86_400,
        ngettext_lazy("%(n)d month ago", "%(n)d months ago", "n"),
        ngettext_lazy("in %(n)d month", "in %(n)d months", "n"),
    ),
    (
        math.inf,
        365 * 86_400,
        ngettext_lazy("%(n)d year ago", "%(n)d years ago", "n"),
        ngettext_lazy("in %(n)d year", "in %(n)d years", "n"),
    ),
)


def _distance(moment: datetime, now: datetime) -> str:
    seconds = int((now - moment).total_seconds())
    if abs(seconds) < 60:
        return gettext("just now")
    _limit, unit, past, future = next(step for step in _STEPS if abs(seconds) < step[0])
    return str((past if seconds > 0 else future) % {"n": abs(seconds) // unit})


@register.filter
def ago(moment: datetime | None, never: str = NOTHING) -> SafeString | str:
    """A moment relative to now ("5 minutes ago"), with the exact UTC time on hover.

    `moment` must be aware; None gives `never`.
    """
    if not moment:
        return never
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        _distance(moment, timezone.now()),
    )


@register.filter
def utc(moment: datetime | None) -> str:
    """A moment as exact UTC, `2026-11-23 22:00:00 UTC`; a dash for None."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else NOTHING


# -- JSON ------------------------------------------------------------------------------------------


@register.filter
def json_pretty(value: object) -> str:
    """A value, or the JSON in a string or bytes, as indented JSON; other strings come back as they are."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    text = value if isinstance(value, str) else None
    try:
        pretty = json.dumps(
            value if text is None else json.loads(text), indent=2, ensure_ascii=False, default=str
        )
    except (ValueError, RecursionError):  # not JSON, or nested deeper than Python reads
        if text is None:
            raise
        return text
    # Half of a surrogate pair can be escaped in JSON, but a page can't hold it.
    return pretty.encode(errors="backslashreplace").decode()


@register.simple_tag
def code_block(text: object, label: object = "", css_class: str = "", name: object = "") -> SafeString:
    """Text in monospace with its label and a button that copies it.

    `css_class="tall"` lets it grow, "wrapped" breaks its lines. `name` is what a screen reader calls it, where several
    in a page have the same label.
    """
    return format_html(
        '<figure class="code {2}"><figcaption><span class="code-label">{1}</span>'
        '<button type="button" class="button quiet small js-only" data-copy-block>{3}<span>{4}</span>'
        '</button></figcaption><pre tabindex="0" role="region" aria-label="{5}"><code>{0}</code></pre>'
        "</figure>",
        text,
        label,
        css_class,
        _icon("copy", 14, ""),
        gettext("Copy"),
        name or label or gettext("Code"),
    )


@register.simple_tag
def json_tree(
    value: object, open_levels: int = 2, moments: Mapping[str, datetime] | None = None
) -> SafeString:
    """A JSON value as a tree that opens and closes; the first `open_levels` levels are open.

    `moments` says when paths (keys with dots between) were written: it is told beside them.
    """
    if not value:
        return format_html('<p class="dim">{}</p>', gettext("Nothing here."))
    return _tree(value, int(open_levels), moments or {}, "")


def _tree(value: object, open_levels: int, moments: Mapping[str, datetime], prefix: str) -> SafeString:
    if isinstance(value, Mapping):
        items: Iterable[tuple[object, object]] = value.items()
    else:
        items = enumerate(value) if isinstance(value, list | tuple) else [("", value)]
    return format_html(
        '<ul class="tree">{}</ul>',
        format_html_join("", "{}", ((_branch(k, v, open_levels, moments, prefix),) for k, v in items)),
    )


def _branch(
    key: object, value: object, open_levels: int, moments: Mapping[str, datetime], prefix: str
) -> SafeString:
    path = f"{prefix}{key}"
    moment = moments.get(path)
    note = format_html(' <span class="tree-note">{}</span>', ago(moment)) if moment else ""
    if isinstance(value, Mapping | list | tuple) and value:
        count = len(value)
        return format_html(
            '<li><details{}><summary><span class="tree-key">{}</span> <span class="tree-note">{}</span>{}'
            "</summary>{}</details></li>",
            mark_safe(" open") if open_levels > 0 else "",
            key,
            ngettext("%d entry", "%d entries", count) % count,
            note,
            _tree(value, open_levels - 1, moments, f"{path}."),
        )
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return format_html(
        '<li class="tree-leaf"><span class="tree-key">{}</span> <span class="tree-value">{}</span>{}</li>',
        key,
        shown,
        note,
    )


# -- forms -----------------------------------------------------------------------------------------


def _kind(widget: forms.Widget) -> str:
    # RadioSelect is the base of CheckboxSelectMultiple, so the order matters.
    if isinstance(widget, forms.CheckboxSelectMultiple):
        return "checkboxes"
    if isinstance(widget, forms.RadioSelect):
        return "radios"
    if isinstance(widget, forms.CheckboxInput):
        return "checkbox"
    if isinstance(widget, forms.PasswordInput):
        return "password"
    if isinstance(widget, forms.SelectMultiple | forms.Textarea):
        return "tall"
    return "select" if isinstance(widget, forms.Select) else "text"


@register.inclusion_tag("components/field.html")
def field(
    bound: BoundField, *, css_class: str = "", label: object = "", hide_label: bool = False
) -> dict[str, Any]:
    """A form's field whole: label, required mark, hint, widget and errors, tied together for screen readers.

    Works for text, number, URL, e-mail, select, textarea, checkbox, radio group, checkbox group and password
    (with a button that shows it). `css_class`: `wide` fills the column, `short` is for a few characters,
    `mono` for ids, `row` sets radios side by side, `columns-2` many checkboxes.
    """
    return {
        "field": bound,
        "kind": _kind(bound.field.widget),
        "css_class": css_class,
        "label": label or bound.label,
        "hide_label": hide_label,
    }


@register.inclusion_tag("components/error_summary.html")
def error_summary(*all_forms: forms.BaseForm | Iterable[forms.BaseForm] | None) -> dict[str, Any]:
    """What is wrong in the forms of a page, with links to the fields; takes the focus. Else empty.

    `all_forms` are forms, or several of them at once.
    """
    errors: list[dict[str, object]] = []
    several = ((given,) if isinstance(given, forms.BaseForm) else given or () for given in all_forms)
    for form in chain.from_iterable(several):
        if not form.is_bound:
            continue
        errors += [{"message": message, "label": "", "target": ""} for message in form.non_field_errors()]
        for bound in form:
            target = bound.id_for_label or f"{bound.auto_id}_0"
            # A hidden field has nothing to jump to.
            target = "" if bound.is_hidden else target
            errors += [
                {"message": message, "label": bound.label, "target": target} for message in bound.errors
            ]
    return {"errors": errors}


# -- tables and lists ------------------------------------------------------------------------------


def _query(request: HttpRequest | None, **changes: str | None) -> str:
    query = request.GET.copy() if request is not None else None
    if query is None:
        return "?"
    for key, value in changes.items():
        query.pop(key, None)
        if value is not None:
            query[key] = value
    return f"?{query.urlencode()}"


@register.inclusion_tag("components/sort_header.html", takes_context=True)
def sort_header(
    context: Context, key: str, label: object, current: str = "", *, numeric: bool = False, target: str = ""
) -> dict[str, Any]:
    """A column head that sorts: a link to `?sort=key`, or to `?sort=-key` when that is how it stands.

    `current` is the sort in force (`"name"`, `"-created"`), `numeric` sets the head to the right, `target` is
    the id of the element that HTMX replaces. The rest of the query string stays; the page number goes.
    """
    ascending, descending = current == key, current == f"-{key}"
    return {
        "key": key,
        "label": label,
        "numeric": numeric,
        "target": target,
        "direction": "ascending" if ascending else "descending" if descending else "",
        "url": _query(context.get("request"), sort=f"-{key}" if ascending else key, page=None),
    }


@register.inclusion_tag("components/pagination.html", takes_context=True)
def pagination(context: Context, page: Page[Any], *, target: str = "", name: str = "page") -> dict[str, Any]:
    """`1 to 25 of 10,000` and links to the pages around; keeps the query. `target`: see `sort_header`."""
    request: HttpRequest | None = context.get("request")
    paginator = page.paginator
    links = [
        {"number": entry, "url": _query(request, **{name: str(entry)}) if isinstance(entry, int) else ""}
        for entry in paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1)
    ]
    return {
        "page": page,
        "links": links,
        "target": target,
        "previous_url": _query(request, **{name: str(page.number - 1)}) if page.has_previous() else "",
        "next_url": _query(request, **{name: str(page.number + 1)}) if page.has_next() else "",
    }


@register.inclusion_tag("components/stat.html")
def stat(
    label: object, value: object, note: object = "", *, variant: str = "", url: str = ""
) -> dict[str, Any]:
    """A number with its name, for an overview. `variant` colours the note: positive, notice or negative."""
    shown = number(value) if isinstance(value, int | float) else value
    return {"label": label, "value": shown, "note": note, "variant": variant, "url": url}


@register.inclusion_tag("components/bars.html")
def bars(
    bars_id: str,
    points: Sequence[tuple[date, Sequence[int]]],
    series: Sequence[tuple[object, str]],
    label: object,
    *,
    unit: str = "hour",
) -> dict[str, Any]:
    """Numbers by the hour or by the day as stacked bars, and the same numbers as a table.

    `bars_id` is the id of what is drawn, for HTMX to fetch anew while the table may be open. `points`: the hour or day
    (`unit`) of UTC and its numbers, the oldest first; `series`: name and colour (accent, positive, notice or negative)
    of each number, from the bottom.
    """
    most = max((sum(numbers) for _moment, numbers in points), default=0)
    rects = []
    for place, (_moment, numbers) in enumerate(points):
        top = 100.0
        for number_, (_name, variant) in zip(numbers, series, strict=True):
            height = 100 * number_ / (most or 1)
            top -= height
            if number_:
                rects.append(
                    {"x": place * 10 + 1, "y": f"{top:.2f}", "height": f"{height:.2f}", "variant": variant}
                )
    return {
        "id": bars_id,
        "unit": unit,
        "points": points,
        "series": series,
        "label": label,
        "most": most,
        "rects": rects,
        "width": 10 * len(points),
    }


@register.inclusion_tag("components/sparkline.html")
def sparkline(numbers: Sequence[int], label: object) -> dict[str, Any]:
    """Numbers over time as a small line, for a row of a table; `label` says what they are, the oldest first."""
    least, most = min(numbers), max(numbers)
    heights = [18 - 16 * (number_ - least) / (most - least) if most > least else 10 for number_ in numbers]
    step = 60 / max(1, len(numbers) - 1)
    points = " ".join(f"{place * step + 2:.1f},{height:.1f}" for place, height in enumerate(heights))
    change = numbers[-1] - numbers[0]
    return {
        "numbers": [number(each) for each in numbers],
        "points": points,
        "label": label,
        "change": f"{'+' if change > 0 else '−'}{number(abs(change))}" if change else "",
    }


# -- things that hold other things -----------------------------------------------------------------


@register.simple_block_tag
def alert(content: str, variant: str = "info", title: object = "") -> str:
    """A message in the page. `variant`: info, positive, notice or negative (which is announced at once)."""
    return render_to_string(
        "components/alert.html",
        {
            "content": content,
            "variant": variant,
            "title": title,
            "icon_name": VARIANT_ICONS.get(variant, "info"),
        },
    )


@register.simple_block_tag
def empty_state(content: str, icon_name: str, title: object) -> str:
    """What would be here and, as content, a sentence in `<p>` and a button for the next step."""
    return render_to_string(
        "components/empty_state.html", {"content": content, "icon_name": icon_name, "title": title}
    )


@register.simple_block_tag
def dialog(content: str, dialog_id: str, title: object, css_class: str = "") -> str:
    """A modal dialog; content is its body and, last, `<div class="dialog-actions">`.

    Opened by `<button data-dialog="ID">`; a link with `data-dialog` opens it too, and is followed without
    JavaScript.
    """
    return render_to_string(
        "components/dialog.html",
        {"content": content, "id": dialog_id, "title": title, "css_class": css_class},
    )


@register.simple_block_tag
def row_menu(content: str, menu_id: str, label: object, icon_name: str = "ellipsis") -> str:
    """The `…` of a row: content is `<li>`s with links and buttons of class `menu-item`.

    `menu_id` is unique in the page; `label` names the row: "Actions for Seoul stream".
    """
    return render_to_string(
        "components/row_menu.html",
        {"content": content, "id": menu_id, "label": label, "icon_name": icon_name},
    )


# -- the frame -------------------------------------------------------------------------------------


@register.inclusion_tag("components/nav_item.html", takes_context=True)
def nav_item(
    context: Context, view_name: str, label: object, icon_name: str, also: str = ""
) -> dict[str, Any]:
    """An entry of the left navigation, current on its page and on the pages in `also` (space between)."""
    request: HttpRequest | None = context.get("request")
    match = request.resolver_match if request is not None else None
    here = match.view_name if match is not None else ""
    return {
        "url": reverse(view_name),
        "label": label,
        "icon_name": icon_name,
        "current": here == view_name,
        "within": here in also.split(),
    }


@register.inclusion_tag("components/tab.html", takes_context=True)
def tab(
    context: Context, url: str, label: object, count: int | None = None, *, current: bool | None = None
) -> dict[str, Any]:
    """A link in `<nav class="tabs">`; current when its path is the page's, or as `current` says."""
    request: HttpRequest | None = context.get("request")
    if current is None:
        current = request is not None and request.path == str(url).partition("?")[0]
    return {"url": url, "label": label, "count": count, "current": current}


@register.inclusion_tag("components/stepbar.html")
def stepbar(current: str, links: Mapping[str, str] | None = None, *, only: str = "") -> dict[str, Any]:
    """The steps of a wizard with `current` (a key of WIZARD_STEPS, UPLOAD_STEPS or POLICY_STEPS) marked.

    `links` maps steps already done to their URLs; `only` names the steps shown, space between, when fewer.
    """
    words = next(steps for steps in (WIZARD_STEPS, UPLOAD_STEPS, POLICY_STEPS) if current in steps)
    keys: Sequence[str] = only.split() or list(words)
    here = keys.index(current)
    steps = [
        {
            "number": place + 1,
            "label": words[key],
            "state": "done" if place < here else "current" if place == here else "upcoming",
            "url": (links or {}).get(key, "") if place != here else "",
        }
        for place, key in enumerate(keys)
    ]
    return {"steps": steps, "number": here + 1, "total": len(keys), "label": words[current]}


@register.simple_tag
def missing_rights(exception: object) -> str:
    """The rights that a refused page names, in words: "Manage Destinations, View Segments"; else empty.

    `exception` is what `403.html` gets: the text of PermissionDenied, permission names with spaces or commas
    between.
    """
    names = str(exception or "").replace(",", " ").split()
    return ", ".join(str(RIGHTS[name]) for name in names if name in RIGHTS)
