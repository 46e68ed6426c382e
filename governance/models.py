"""What data may be used for: marketing actions (labels and policies build on them)."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class MarketingAction(models.Model):
    """The declared intent of an export. The ten core ones come with the product and do not change."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    core = models.BooleanField(_("core"), default=False, editable=False)

    class Meta:
        verbose_name = _("marketing action")
        verbose_name_plural = _("marketing actions")
        ordering = ["-core", "name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="marketing_action_name",
                violation_error_message=_("There is a marketing action with this name already."),
            )
        ]

    def __str__(self) -> str:
        """The name in the reader's language if it is a core one."""
        return gettext(self.name) if self.core else self.name


# The names that the migration inserts, here so that they are translated.
CORE_MARKETING_ACTIONS = (
    _("Analytics"),
    _("Combine with Directly Identifiable Data"),
    _("Cross Site Targeting"),
    _("Data Science"),
    _("Email Targeting"),
    _("Export to Third Party"),
    _("Onsite Advertising"),
    _("Onsite Personalization"),
    _("Segment Match"),
    _("Single Identity Personalization"),
)
