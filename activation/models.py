"""What goes where: dataflows, what waits to be exported, and the account of what was."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Func, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from destinations.fields import EncryptedJSONField
from destinations.models import AlertKind, Destination
from profiles.models import Profile, SchemaField, Segment

SLOTS = 256
"""Profiles are split by a stable hash, the last byte of their id, into so many slots; lanes own ranges of them."""

MAX_LANES = 64


class Slot(Func):
    """The last byte of a UUID column: random in UUIDs of versions 4 and 7."""

    arity = 1
    output_field = models.SmallIntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="(get_byte(uuid_send(%(expressions)s), 15))::smallint", **extra
        )

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # Kept as 32 hexadecimal digits.
        digits = "'0123456789abcdef'"
        high, low = (f"instr({digits}, substr(%(expressions)s, {place}, 1))" for place in (31, 32))
        return self.as_sql(compiler, connection, template=f"({high} * 16 + {low} - 17)", **extra)


def new_generation() -> int:
    """A number that no other writing of a row has: 63 random bits."""
    return secrets.randbits(63)


class Dataflow(models.Model):
    """What is activated to a destination: mapped segments and mapped attributes.

    What people choose in the wizard is a draft (``draft_segments``, ``draft_attributes``, present while ``draft_at``
    is set) until *Finish* makes it live (``segments``, ``attributes``): a live dataflow goes on unchanged while it is
    edited.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")  # never finished
        ENABLED = "enabled", _("Enabled")
        DISABLED = "disabled", _("Disabled")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    destination = models.OneToOneField(
        Destination, models.CASCADE, related_name="dataflow", verbose_name=_("destination")
    )
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.DRAFT, db_index=True)
    version = models.PositiveIntegerField(
        default=1, editable=False
    )  # counts edits: of two at once, the later is told
    # The version that ``updated_by`` began from: an older page of theirs has not seen what others did before.
    edited_from = models.PositiveIntegerField(default=0, editable=False)
    draft_at = models.DateTimeField(_("draft saved"), null=True, blank=True)
    finished_at = models.DateTimeField(_("last finished"), null=True, blank=True)
    # How many workers may deliver at once. Can be changed while it runs.
    lane_count = models.PositiveSmallIntegerField(
        _("lanes"), default=4, validators=[MinValueValidator(1), MaxValueValidator(MAX_LANES)]
    )
    # While the destination as a whole refuses: why, in the other side's words, and when the next try is.
    held_until = models.DateTimeField(_("held until"), null=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=100, blank=True, editable=False)
    error_message = models.TextField(_("error message"), blank=True, editable=False)
    error_at = models.DateTimeField(_("error since"), null=True, editable=False)
    # Enabled until all that was queued by then is delivered, and then disabled.
    draining_since = models.DateTimeField(_("draining since"), null=True, editable=False)
    # Many were queued at once, the last time: when, and how many of the many waited then.
    bulk_at = models.DateTimeField(_("last backfill or replay"), null=True, editable=False)
    bulk_total = models.PositiveBigIntegerField(_("records of it"), default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("updated by"),
    )

    segments = models.ManyToManyField(
        Segment, through="MappedSegment", related_name="dataflows", verbose_name=_("segments")
    )
    attributes = models.ManyToManyField(
        SchemaField, through="MappedAttribute", related_name="dataflows", verbose_name=_("attributes")
    )
    draft_segments = models.ManyToManyField(
        Segment, through="DraftSegment", related_name="+", verbose_name=_("segments in drafts")
    )
    draft_attributes = models.ManyToManyField(
        SchemaField, through="DraftAttribute", related_name="+", verbose_name=_("attributes in drafts")
    )

    class Meta:
        verbose_name = _("dataflow")
        verbose_name_plural = _("dataflows")
        permissions = [
            ("activate_destinations", _("Activate Destinations")),
            ("view_monitoring", _("View Monitoring")),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="draft") | Q(finished_at__isnull=False),
                name="dataflow_finished_before_enabled",
            ),
            models.CheckConstraint(
                condition=Q(lane_count__gte=1) & Q(lane_count__lte=MAX_LANES), name="dataflow_lane_count"
            ),
        ]

    def __str__(self) -> str:
        return str(self.destination)


class MappedSegment(models.Model):
    """A segment whose members are exported. A segment in use can't be deleted."""

    dataflow = models.ForeignKey(
        Dataflow, models.CASCADE, related_name="mapped_segments", verbose_name=_("dataflow")
    )
    segment = models.ForeignKey(Segment, models.PROTECT, related_name="mappings", verbose_name=_("segment"))
    created_at = models.DateTimeField(_("mapped"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)

    class Meta:
        verbose_name = _("mapped segment")
        verbose_name_plural = _("mapped segments")
        constraints = [models.UniqueConstraint(fields=["dataflow", "segment"], name="segment_mapped_once")]

    def __str__(self) -> str:
        return self.segment_id


class MappedAttribute(models.Model):
    """An attribute that records hold. A profile without a mandatory one is excluded; of a hashed one, records hold
    the SHA-256 (:mod:`activation.export.hashing`).
    """

    dataflow = models.ForeignKey(
        Dataflow, models.CASCADE, related_name="mapped_attributes", verbose_name=_("dataflow")
    )
    field = models.ForeignKey(
        SchemaField, models.PROTECT, related_name="mappings", verbose_name=_("schema field")
    )
    mandatory = models.BooleanField(_("mandatory"), default=False)
    hashed = models.BooleanField(_("hashed"), default=False)
    position = models.PositiveSmallIntegerField(_("position"))

    class Meta:
        verbose_name = _("mapped attribute")
        verbose_name_plural = _("mapped attributes")
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["dataflow", "field"], name="attribute_mapped_once")]

    def __str__(self) -> str:
        return str(self.field)


class DraftSegment(models.Model):
    """A segment chosen in the wizard."""

    dataflow = models.ForeignKey(Dataflow, models.CASCADE, related_name="+", verbose_name=_("dataflow"))
    segment = models.ForeignKey(Segment, models.CASCADE, related_name="+", verbose_name=_("segment"))

    class Meta:
        verbose_name = _("segment in a draft")
        verbose_name_plural = _("segments in drafts")
        constraints = [models.UniqueConstraint(fields=["dataflow", "segment"], name="draft_segment_once")]

    def __str__(self) -> str:
        return self.segment_id


class DraftAttribute(models.Model):
    """An attribute chosen in the wizard."""

    dataflow = models.ForeignKey(Dataflow, models.CASCADE, related_name="+", verbose_name=_("dataflow"))
    field = models.ForeignKey(SchemaField, models.CASCADE, related_name="+", verbose_name=_("schema field"))
    mandatory = models.BooleanField(_("mandatory"), default=False)
    hashed = models.BooleanField(_("hashed"), default=False)
    position = models.PositiveSmallIntegerField(_("position"))

    class Meta:
        verbose_name = _("attribute in a draft")
        verbose_name_plural = _("attributes in drafts")
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["dataflow", "field"], name="draft_attribute_once")]

    def __str__(self) -> str:
        return str(self.field)


class Lane(models.Model):
    """The right to deliver the records of a part of a dataflow's profiles: one worker at a time has it, for as long as
    its lease lasts.

    ``token`` fences: a worker whose lease was taken over finds another token and commits nothing. ``of`` is how many
    lanes the dataflow had when the lease was given: lanes of another number wait until all of these are given back.
    """

    dataflow = models.ForeignKey(Dataflow, models.CASCADE, related_name="lanes", verbose_name=_("dataflow"))
    number = models.PositiveSmallIntegerField(_("number"))
    of = models.PositiveSmallIntegerField(_("of"))
    token = models.UUIDField(null=True, editable=False)
    leased_until = models.DateTimeField(_("leased until"), null=True)
    # What each shard was found to take from this lane (activation.export.pace).
    pace = models.JSONField(_("pace"), default=dict)
    # Profiles whose records are being sent, 16 bytes an id: what of them arrived, nobody knows until it is settled.
    under_way = models.BinaryField(_("under way"), default=b"")
    # When a message to a worker, already sent, comes due: no second one is sent for that.
    wake_at = models.DateTimeField(_("next wake"), null=True)

    class Meta:
        verbose_name = _("lane")
        verbose_name_plural = _("lanes")
        constraints = [models.UniqueConstraint(fields=["dataflow", "number"], name="lane_once")]

    def __str__(self) -> str:
        return f"{self.dataflow_id} {self.number + 1}/{self.of}"


class ExportReason(models.TextChoices):
    """What queued an export: the newest cause where several folded into one row."""

    BACKFILL = "backfill", _("Backfill")
    MEMBERSHIP = "membership", _("Segment membership changed")
    IDENTITY = "identity", _("Identity changed")
    ATTRIBUTE = "attribute", _("Mapped attribute written")
    REPLAY = "replay", _("Replay")
    # Of receipts alone:
    CONSENT = "consent", _("Consent withdrawn")  # of a last record
    UNSURE = (
        "unsure",
        _("Perhaps delivered"),
    )  # it was sent, and whoever sent it did not hear, or tell, of an answer


class PendingExport(models.Model):
    """The outbox: a profile that is to be exported to a dataflow, written in the transaction of the change itself.

    Every writing gives the row a new ``generation``. Delivery deletes the row only with the generation that it read, so
    a change that comes while the profile is being sent leaves the row standing for another go.
    """

    dataflow = models.ForeignKey(
        Dataflow, models.CASCADE, related_name="pending", db_index=False, verbose_name=_("dataflow")
    )
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+", verbose_name=_("profile"))
    slot = models.GeneratedField(
        expression=Slot("profile"), output_field=models.SmallIntegerField(_("slot")), db_persist=True
    )
    generation = models.BigIntegerField(default=new_generation, editable=False)
    reason = models.CharField(_("reason"), max_length=10, choices=ExportReason)
    # One of many that were queued at once (a backfill): changes of the moment overtake it.
    bulk = models.BooleanField(_("bulk"), default=False)
    created_at = models.DateTimeField(_("queued"), default=timezone.now)
    available_at = models.DateTimeField(_("not before"), default=timezone.now)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    error_code = models.CharField(_("last error"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("pending export")
        verbose_name_plural = _("pending exports")
        constraints = [models.UniqueConstraint(fields=["dataflow", "profile"], name="pending_once")]
        indexes = [
            models.Index(fields=["dataflow", "bulk", "available_at", "id", "slot"], name="pending_next")
        ]

    def __str__(self) -> str:
        return f"{self.dataflow_id} ← {self.profile_id}"


class DataflowRun(models.Model):
    """The accounting window of a dataflow: one hour, beginning at ``started_at``.

    Numbers change only in the transaction that removes the rows they count (:mod:`activation.export.settle`).
    """

    WINDOW = timedelta(hours=1)
    # What a run counts, by the names of its columns.
    COUNTS = (
        "activated",
        "failed",
        "excluded",
        "identities",
        "attempts",
        "retries",
        "throttled",
        "duplicates",
        "bytes",
    )

    class Status(models.TextChoices):
        PROCESSING = "processing", _("Processing")
        COMPLETED = "completed", _("Completed")
        FAILED = "failed", _("Failed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataflow = models.ForeignKey(Dataflow, models.CASCADE, related_name="runs", verbose_name=_("dataflow"))
    started_at = models.DateTimeField(_("start"))
    last_at = models.DateTimeField(_("last activity"))
    activated = models.PositiveBigIntegerField(_("profiles activated"), default=0)
    excluded = models.PositiveBigIntegerField(_("profiles excluded"), default=0)
    failed = models.PositiveBigIntegerField(_("profiles failed"), default=0)
    identities = models.PositiveBigIntegerField(_("identities activated"), default=0)
    attempts = models.PositiveBigIntegerField(_("records sent"), default=0)
    retries = models.PositiveBigIntegerField(_("records sent again"), default=0)
    throttled = models.PositiveBigIntegerField(_("records throttled"), default=0)
    # The other side took them, perhaps, but its answer did not arrive: they were sent again.
    duplicates = models.PositiveBigIntegerField(_("possible duplicates"), default=0)
    bytes = models.PositiveBigIntegerField(_("bytes"), default=0)  # of record data delivered
    # From queueing to acknowledgement: profiles in each of latency.BOUNDS, for the percentiles.
    latencies = models.JSONField(_("latencies"), default=list)
    received = models.GeneratedField(
        expression=F("activated") + F("excluded") + F("failed"),
        output_field=models.PositiveBigIntegerField(_("profiles received")),
        db_persist=True,
    )

    class Meta:
        verbose_name = _("dataflow run")
        verbose_name_plural = _("dataflow runs")
        ordering = ["-started_at"]
        constraints = [models.UniqueConstraint(fields=["dataflow", "started_at"], name="run_once_an_hour")]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"

    @staticmethod
    def start_of(moment: datetime) -> datetime:
        """When the run of a moment started: at the full hour."""
        return moment.replace(minute=0, second=0, microsecond=0)

    @property
    def ends_at(self) -> datetime:
        return self.started_at + self.WINDOW

    @property
    def processing_time(self) -> timedelta:
        """From the start to the last activity, in whole seconds."""
        return timedelta(seconds=max(0, round((self.last_at - self.started_at).total_seconds())))

    @property
    def activation_rate(self) -> float | None:
        """Activated out of received, in percent; None where nothing was received."""
        received = self.activated + self.problems
        return 100 * self.activated / received if received else None

    @property
    def problems(self) -> int:
        """Profiles that were not exported."""
        return self.excluded + self.failed

    @property
    def status(self) -> Status:
        """Processing while its hour lasts; failed if the hour was used and nothing got through."""
        if self.ends_at > timezone.now():
            return self.Status.PROCESSING
        return self.Status.FAILED if self.failed and not self.activated else self.Status.COMPLETED


class FailedExport(models.Model):
    """A dead letter: a profile that was not exported, and why; and what people did about it."""

    class Kind(models.TextChoices):
        FAILED = "failed", _("Failed")
        EXCLUDED = "excluded", _("Excluded")

    class State(models.TextChoices):
        OPEN = "open", pgettext_lazy("failed export", "Open")
        REPLAYED = "replayed", _("Replayed")
        DISCARDED = "discarded", _("Discarded")

    run = models.ForeignKey(
        DataflowRun, models.CASCADE, related_name="failures", verbose_name=_("dataflow run")
    )
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+", verbose_name=_("profile"))
    kind = models.CharField(_("kind"), max_length=8, choices=Kind)
    code = models.CharField(_("code"), max_length=100)
    reason = models.TextField(_("reason"))
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.OPEN)
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("closed by"),
    )
    note = models.CharField(_("note"), max_length=500, blank=True)  # why it was discarded

    class Meta:
        verbose_name = _("failed export")
        verbose_name_plural = _("failed exports")
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["run", "code", "-created_at"], name="failure_by_code"),
            models.Index(fields=["run"], condition=Q(state="open"), name="failure_open"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="open", closed_at=None) | (~Q(state="open") & Q(closed_at__isnull=False)),
                name="failure_closed_at",
            )
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.profile_id}"


class Delivery(models.Model):
    """The last record of a profile that a dataflow delivered, and where in the stream it is. Who has none is not known
    there: also what was perhaps delivered has one, without a place.

    The database does not check the references: that would lock, and write, the profile's own row with every receipt.
    What keeps them true is the outbox (declared above, so it is deleted from first): who settles has its row locked,
    and writes receipts of profiles that are still there.
    """

    dataflow = models.ForeignKey(
        Dataflow, models.CASCADE, related_name="+", db_constraint=False, verbose_name=_("dataflow")
    )
    profile = models.ForeignKey(
        Profile,
        models.CASCADE,
        related_name="deliveries",
        db_constraint=False,
        db_index=False,
        verbose_name=_("profile"),
    )
    delivered_at = models.DateTimeField(_("delivered"))
    reason = models.CharField(_("reason"), max_length=10, choices=ExportReason)
    shard = models.CharField(_("shard"), max_length=128)
    sequence_number = models.CharField(_("sequence number"), max_length=128)
    # How many records of the profile the dataflow has delivered for sure: the later of two has the higher number.
    version = models.PositiveIntegerField(_("version"), default=1)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [models.UniqueConstraint(fields=["profile", "dataflow"], name="delivery_latest")]

    def __str__(self) -> str:
        return f"{self.shard}/{self.sequence_number}"


# -- alerts ----------------------------------------------------------------------------------------------------------


class Subscription(models.Model):
    """What a person wants to be told of a destination: by the bell always, by e-mail and webhook where they say so."""

    destination = models.ForeignKey(
        Destination, models.CASCADE, related_name="subscriptions", verbose_name=_("destination")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    kinds = models.JSONField(_("alerts"), default=list)  # AlertKind
    by_email = models.BooleanField(_("by e-mail"), default=True)
    language = models.CharField(_("language"), max_length=10, default=settings.LANGUAGE_CODE)
    webhook_url = models.CharField(_("webhook URL"), max_length=500, blank=True)
    webhook_secret = EncryptedJSONField(_("webhook secret"), default=dict, blank=True)  # {"secret": …}
    # The last message that could not be sent, and why; empty once one arrives again.
    problem = models.TextField(_("problem"), blank=True, editable=False)
    problem_at = models.DateTimeField(_("problem at"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("alert subscription")
        verbose_name_plural = _("alert subscriptions")
        constraints = [models.UniqueConstraint(fields=["destination", "user"], name="subscription_once")]

    def __str__(self) -> str:
        return f"{self.destination} → {self.user}"


class Alert(models.Model):
    """Something that people are told: that a run did something, or that a trouble began (and, later, ended).

    A trouble is one alert from its beginning to its end, however often it is seen: the database knows it once.
    """

    dataflow = models.ForeignKey(Dataflow, models.CASCADE, related_name="alerts", verbose_name=_("dataflow"))
    kind = models.CharField(_("kind"), max_length=16, choices=AlertKind)
    run = models.ForeignKey(
        DataflowRun, models.CASCADE, null=True, related_name="+", verbose_name=_("dataflow run")
    )
    facts = models.JSONField(_("facts"), default=dict)  # codes, counts and names; nothing of a customer
    # The first alert of several dataflows that have the trouble in common, e.g. of a broken stream.
    part_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="+", verbose_name=_("part of")
    )
    raised_at = models.DateTimeField(_("raised"), default=timezone.now)
    well_since = models.DateTimeField(_("well since"), null=True)  # not seen any more, but it may come again
    cleared_at = models.DateTimeField(_("cleared"), null=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints = [
            models.UniqueConstraint(fields=["run", "kind"], name="alert_once_a_run"),
            models.UniqueConstraint(
                fields=["dataflow", "kind"],
                condition=Q(run__isnull=True, cleared_at__isnull=True),
                name="alert_once_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.dataflow_id}"


class Notice(models.Model):
    """A line under somebody's bell."""

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="notices", verbose_name=_("alert"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    cleared = models.BooleanField(_("all-clear"), default=False)
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    read_at = models.DateTimeField(_("read"), null=True)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        constraints = [models.UniqueConstraint(fields=["alert", "user", "cleared"], name="notice_once")]
        indexes = [
            models.Index(fields=["user", "id"], name="notice_newest"),
            models.Index(fields=["user"], condition=Q(read_at=None), name="notice_unread"),
        ]

    def __str__(self) -> str:
        return f"{self.alert_id} → {self.user_id}"


class AlertMessage(models.Model):
    """The outbox of alerts: a message that is to be sent; gone once it is."""

    class Channel(models.TextChoices):
        EMAIL = "email", _("E-mail")
        WEBHOOK = "webhook", _("Webhook")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, related_name="messages", verbose_name=_("alert subscription")
    )
    alert = models.ForeignKey(Alert, models.CASCADE, related_name="+", verbose_name=_("alert"))
    cleared = models.BooleanField(_("all-clear"), default=False)
    channel = models.CharField(_("channel"), max_length=8, choices=Channel)
    created_at = models.DateTimeField(_("queued"), default=timezone.now)
    available_at = models.DateTimeField(_("not before"), default=timezone.now, db_index=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)

    class Meta:
        verbose_name = _("alert message")
        verbose_name_plural = _("alert messages")
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "alert", "cleared", "channel"], name="alert_message_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.alert_id}"


# -- privacy ---------------------------------------------------------------------------------------------------------


class Farewell(models.Model):
    """The last record of a person who was erased, until it is delivered (:mod:`activation.export.farewell`)."""

    dataflow = models.ForeignKey(Dataflow, models.CASCADE, related_name="+", verbose_name=_("dataflow"))
    partition_key = models.CharField(_("partition key"), max_length=256)
    data = models.BinaryField(_("record"))
    created_at = models.DateTimeField(_("queued"), default=timezone.now)
    available_at = models.DateTimeField(_("not before"), db_index=True)

    class Meta:
        verbose_name = _("last record")
        verbose_name_plural = _("last records")

    def __str__(self) -> str:
        return f"{self.dataflow_id}: {self.pk}"
