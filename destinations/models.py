"""Where data goes: accounts at the other side, and the destinations that are written to with them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings as project
from django.db import models
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from destinations import connectors
from destinations.connectors.base import Connection, Connector
from destinations.fields import EncryptedJSONField
from governance.models import MarketingAction

if TYPE_CHECKING:
    from activation.models import Dataflow


class AlertKind(models.TextChoices):
    """What people can be told of a destination. Who watches is ``activation.alerts``."""

    RUN_STARTED = "run_started", _("A flow run starts")
    RUN_SUCCEEDED = "run_succeeded", _("A flow run succeeds")
    RUN_FAILED = "run_failed", _("A flow run fails")
    DELAYED = "delayed", _("Records are delayed")
    SKIPPED = "skipped", _("Too many profiles are skipped")
    ON_HOLD = "on_hold", _("The destination takes no records")
    CREDENTIALS = "credentials", _("The credentials fail")


class Account(models.Model):
    """Credentials for one destination type (in AEP's API: a base connection)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=255)
    connector = models.SlugField(_("destination type"))
    credentials = EncryptedJSONField(_("credentials"))
    masked = models.CharField(_("access key"), max_length=64)  # what may be shown: AKIA…7Q4X
    settings = models.JSONField(_("settings"), default=dict)
    connected_at = models.DateTimeField(_("last connected"), null=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    created_by = models.ForeignKey(
        project.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="account_name",
                violation_error_message=_("There is an account with this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def type(self) -> Connector:
        return connectors.get(self.connector)

    def connection(self) -> Connection:
        """What the connector needs to reach the other side. Raises KeyLost."""
        return Connection(credentials=self.credentials.open(), settings=self.settings)


class Destination(models.Model):
    """An account plus where to write with it (in AEP's API: a target connection)."""

    PARTITION_BY_PROFILE = "profile"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        Account, models.PROTECT, related_name="destinations", verbose_name=_("account")
    )
    name = models.CharField(_("name"), max_length=255)
    description = models.TextField(_("description"), blank=True)
    settings = models.JSONField(_("settings"), default=dict)  # the connector's: {"stream": …}
    include_segment_names = models.BooleanField(_("include segment names"), default=False)
    include_segment_timestamps = models.BooleanField(_("include segment timestamps"), default=False)
    include_delivery = models.BooleanField(_("include delivery details"), default=False)
    # "profile", "identity:CODE" or "attribute:PATH"
    partition_key = models.CharField(_("partition key"), max_length=300, default=PARTITION_BY_PROFILE)
    marketing_actions = models.ManyToManyField(
        MarketingAction, blank=True, related_name="destinations", verbose_name=_("marketing actions")
    )
    version = models.PositiveIntegerField(
        default=1, editable=False
    )  # counts edits: of two at once, the later is told
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    created_by = models.ForeignKey(
        project.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )

    if TYPE_CHECKING:
        dataflow: Dataflow

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        ordering = ["name"]
        permissions = [("manage_destinations", _("Manage Destinations"))]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="destination_name",
                violation_error_message=_("There is a destination with this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("destinations:destination", args=[self.pk])

    @property
    def type(self) -> Connector:
        return connectors.get(self.account.connector)

    @property
    def target(self) -> str:
        """Where it writes, in words: the name of the stream."""
        return self.type.target_name(self.settings)

    @property
    def partition_key_label(self) -> str:
        """The partition key in the reader's language."""
        kind, _colon, value = self.partition_key.partition(":")
        if kind == "identity":
            return gettext("Identity %(namespace)s, else the profile id") % {"namespace": value}
        if kind == "attribute":
            return gettext("Attribute %(path)s") % {"path": value}
        return gettext("Profile id")
