"""What data may be used for: labels on data, marketing actions on destinations, and policies that keep them apart."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from governance.conditions import Condition
from profiles.models import SchemaField, Segment


class Words:
    """Name and description of something that may have come with the product: then they are translated."""

    if TYPE_CHECKING:
        name: Any
        description: Any
        core: Any

    @property
    def title(self) -> str:
        """The name, in the reader's language if it is a core one."""
        return gettext(self.name) if self.core else str(self.name)

    @property
    def about(self) -> str:
        """The description, in the reader's language if it is a core one."""
        return gettext(self.description) if self.core and self.description else str(self.description)


class MarketingAction(Words, models.Model):
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
        return self.title


# The names and descriptions that the migration inserts, here so that they are translated.
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
CORE_INTENTS = (
    _("Using data to analyze how people use the organization's sites and apps."),
    _("Joining data with data that directly identifies a person."),
    _("Targeting ads on a site with data that was collected on others."),
    _("Using data in data science workflows."),
    _("Using data to target people by email."),
    _("Giving data to another company."),
    _("Choosing and showing ads on the organization's own sites and apps."),
    _("Fitting the content of the organization's own sites and apps to a person."),
    _("Sharing segments with partners by common identifiers."),
    _("Personalizing for one identity without joining it with others."),
)


class Label(Words, models.Model):
    """A mark on data that says what it is, or what was agreed about it. Fields below a labelled one have it, too.

    Its code stays as it is: policies are written with it.
    """

    class Kind(models.TextChoices):
        CONTRACT = "contract", _("Contract")
        IDENTITY = "identity", _("Identity")
        SENSITIVE = "sensitive", _("Sensitive")
        OWN = "own", _("Own")

    code = models.CharField(_("code"), max_length=20)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    kind = models.CharField(_("kind"), max_length=9, choices=Kind, default=Kind.OWN, editable=False)
    position = models.PositiveSmallIntegerField(default=1000, editable=False)  # core ones in AEP's order
    fields = models.ManyToManyField(
        SchemaField, blank=True, related_name="labels", verbose_name=_("schema fields")
    )
    segments = models.ManyToManyField(Segment, blank=True, related_name="labels", verbose_name=_("segments"))

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        ordering = ["position", "code"]
        permissions = [("manage_labels", _("Manage Usage Labels"))]
        constraints = [
            models.UniqueConstraint(
                Lower("code"),
                name="label_code",
                violation_error_message=_("There is a label with this code already."),
            )
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def core(self) -> bool:
        return self.kind != Label.Kind.OWN


class Policy(Words, models.Model):
    """That data with certain labels must not be used for certain marketing actions.

    What the wizard was told and not finished is in ``draft``: what is enabled holds unchanged meanwhile.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")  # never finished
        ENABLED = "enabled", _("Enabled")
        DISABLED = "disabled", _("Disabled")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    condition = models.JSONField(_("condition"), default=dict)  # as governance.conditions writes it
    marketing_actions = models.ManyToManyField(
        MarketingAction, related_name="policies", verbose_name=_("marketing actions")
    )
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.DRAFT, db_index=True)
    core = models.BooleanField(_("core"), default=False, editable=False)
    # {"name", "description", "condition", "marketing_actions": [ids]}
    draft = models.JSONField(_("draft"), null=True, blank=True, editable=False)
    # Counts edits: of two at once, the later is told.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("policy")
        verbose_name_plural = _("policies")
        ordering = ["-core", "name"]
        permissions = [("manage_policies", _("Manage Policies"))]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="policy_name",
                violation_error_message=_("There is a policy with this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def enabled(self) -> bool:
        return self.state == Policy.State.ENABLED

    @property
    def rule(self) -> Condition:
        """The condition, to ask and to show."""
        return Condition.read(self.condition)


class ConsentPolicy(Words, models.Model):
    """That for certain marketing actions only profiles are exported whose field says yes (governance.consent)."""

    FIELD_TYPES = (SchemaField.Type.STRING, SchemaField.Type.BOOLEAN)
    core = False  # people make them

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    field = models.ForeignKey(
        SchemaField, models.PROTECT, related_name="consent_policies", verbose_name=_("consent field")
    )
    marketing_actions = models.ManyToManyField(
        MarketingAction, related_name="consent_policies", verbose_name=_("marketing actions")
    )
    enabled = models.BooleanField(_("enabled"), default=False, editable=False)
    # Counts edits: of two at once, the later is told.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("consent policy")
        verbose_name_plural = _("consent policies")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="consent_policy_name",
                violation_error_message=_("There is a consent policy with this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name
