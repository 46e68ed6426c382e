"""The trail: one row an act, never changed."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from audit.actions import ACTIONS, Kind
from audit.origin import NOBODY
from audit.trail import HIDDEN


class Change(NamedTuple):
    """A line of before → after, as pages show it; of a secret neither is known."""

    field: str
    old: str = ""
    new: str = ""
    secret: bool = False


class Entry(models.Model):
    """That somebody did something, or tried to.

    Neither person nor object is a foreign key: the entry stays as it is when they go. The database refuses to change a
    row, and to delete one that is not old (:mod:`audit.append_only`).
    """

    id = models.UUIDField(primary_key=True, editable=False)  # grows with time: audit.keys
    at = models.DateTimeField(_("at"), default=timezone.now)
    action = models.CharField(_("action"), max_length=64)
    actor = models.CharField(_("who"), max_length=255)  # a user name, or "system"
    actor_id = models.CharField(max_length=64, blank=True)
    object_type = models.CharField(_("kind of object"), max_length=100, blank=True)
    object_id = models.CharField(_("id of the object"), max_length=255, blank=True)
    object_name = models.CharField(_("object"), max_length=255, blank=True)
    # {field: [before, after]}, or {field: "changed"} of a secret
    changes = models.JSONField(_("changes"), default=dict)
    ip = models.GenericIPAddressField(_("address"), null=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True)
    place = models.CharField(_("from"), max_length=255, blank=True)  # "POST /path/", a command or a task

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [("export_entry", _("Export Audit"))]
        indexes = [
            models.Index(fields=["actor", "id"], name="audit_by_actor"),
            models.Index(fields=["action", "id"], name="audit_by_action"),
            models.Index(fields=["object_id", "id"], name="audit_by_object"),
            models.Index(fields=["object_name", "id"], name="audit_by_name"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor}: {self.action} {self.object_name}".rstrip()

    def get_absolute_url(self) -> str:
        return reverse("audit:entry", args=[self.pk])

    @property
    def label(self) -> str | Promise:
        """The action in the reader's language."""
        known = ACTIONS.get(self.action)
        return known.label if known else self.action

    @property
    def kind(self) -> Kind:
        known = ACTIONS.get(self.action)
        return known.kind if known else Kind.NEUTRAL

    @property
    def who(self) -> str | Promise:
        """Who did it, in the reader's language."""
        return self.actor if self.actor_id else NOBODY.get(self.actor, self.actor)

    @property
    def lines(self) -> list[Change]:
        """Before → after, by field."""
        return [
            Change(field, secret=True)
            if value == HIDDEN
            else Change(field, _shown(value[0]), _shown(value[1]))
            for field, value in sorted(self.changes.items())
        ]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
