"""People are Django's users and roles its groups; here is what those lack: service accounts and API tokens."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from access.roles import CORE_ROLES


class Role(Group):
    """A group, seen as what it is here: a named set of rights."""

    objects: ClassVar[models.Manager[Role]] = models.Manager()  # type: ignore[assignment]
    # What selectors.all_roles() found out about it, beside `members`: how many have it.
    rights: set[str]

    class Meta:
        proxy = True
        verbose_name = _("role")
        verbose_name_plural = _("roles")
        default_permissions = ()
        permissions = [("view_people", _("View People")), ("manage_people", _("Manage People"))]

    def __str__(self) -> str:
        return self.label

    @property
    def core(self) -> bool:
        """It comes with the product: its rights are those of the table, and it stays."""
        return self.name in CORE_ROLES

    @property
    def label(self) -> str:
        """The name, in the reader's language if it is a core one."""
        return str(CORE_ROLES[self.name].label) if self.core else self.name

    @property
    def description(self) -> str:
        return str(CORE_ROLES[self.name].description) if self.core else ""


class ServiceAccount(models.Model):
    """Marks a user that is a program: it has roles and API tokens, and no way to sign in."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="service_account"
    )
    description = models.CharField(_("description"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        verbose_name = _("service account")
        verbose_name_plural = _("service accounts")

    def __str__(self) -> str:
        return self.user.get_username()


class ApiToken(models.Model):
    """What a program shows instead of a password. Of the token only a digest is stored.

    It may what its owner may, as far as its scopes say so, until it expires.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    scopes = models.JSONField(_("scopes"), default=list)  # rights, as app.codename
    digest = models.CharField(max_length=64, unique=True, editable=False)
    tail = models.CharField(_("ends in"), max_length=4, editable=False)  # to recognise it by
    expires_at = models.DateTimeField(_("expires"))
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def dialog_id(self) -> str:
        return f"revoke-{self.pk}"

    @property
    def expired(self) -> bool:
        return self.expires_at <= timezone.now()
