"""Profiles: who the customers are, how they are known, what is known of them, and the segments they belong to."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from profiles.fields import LongJSONField
from profiles.reasons import Reason

IDENTITY_MAX_LENGTH = 1024  # AEP's limit for an identity value
# What an XDM record has besides attributes; they have tables of their own.
RESERVED_KEYS = ("identityMap", "segmentMembership")


class Profile(models.Model):
    """One customer: attributes as an XDM-shaped JSON tree, identities, segment memberships.

    Written only by :mod:`profiles.ingest`: that is where changes are announced.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    attributes = LongJSONField(_("attributes"), default=dict)
    # Path → when it was last written, in milliseconds since 1970; also of paths that were removed. It decides what
    # stays of two profiles that are merged.
    written = LongJSONField(_("written"), default=dict, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)

    class Meta:
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")

    def __str__(self) -> str:
        return str(self.id)


class MergedProfile(models.Model):
    """The id of a profile that proved to be the same customer as another: it leads to the one that stayed."""

    id = models.UUIDField(primary_key=True, editable=False)
    survivor = models.ForeignKey(Profile, models.CASCADE, related_name="merged")
    merged_at = models.DateTimeField(_("merged"), default=timezone.now)

    class Meta:
        verbose_name = _("merged profile")
        verbose_name_plural = _("merged profiles")

    def __str__(self) -> str:
        return str(self.id)


class IdentityNamespace(models.Model):
    """What kind of value an identity is: ``ECID``, ``Email``, … Codes differ by more than their case.

    Some core ones have a dot; own ones do not, so that any rule can name them.
    """

    class Type(models.TextChoices):
        COOKIE = "COOKIE", _("Cookie ID")
        CROSS_DEVICE = "CROSS_DEVICE", _("Cross-device ID")
        DEVICE = "DEVICE", _("Device ID")
        EMAIL = "EMAIL", _("Email")
        MOBILE = "MOBILE", _("Mobile")
        NON_PEOPLE = "NON_PEOPLE", _("Non-people identifier")
        PHONE = "PHONE", _("Phone")

    code = models.CharField(
        _("code"),
        max_length=64,
        validators=[
            RegexValidator(
                r"^[A-Za-z][A-Za-z0-9_]*\Z",
                _("A code is letters, digits and underscores, and begins with a letter."),
            )
        ],
    )
    name = models.CharField(_("name"), max_length=255)
    type = models.CharField(_("type"), max_length=16, choices=Type, default=Type.CROSS_DEVICE)
    custom = models.BooleanField(_("made here"), default=True)

    class Meta:
        verbose_name = _("identity namespace")
        verbose_name_plural = _("identity namespaces")
        ordering = ["code"]
        permissions = [("manage_namespaces", _("Manage Identity Namespaces"))]
        constraints = [
            models.UniqueConstraint(
                Lower("code"),
                name="namespace_code",
                violation_error_message=_("There is a namespace with this code already."),
            )
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def label(self) -> str:
        """The name, in the reader's language if it is a core one."""
        return self.name if self.custom else gettext(self.name)


class Identity(models.Model):
    """A value by which a profile is known. It names one profile at most."""

    # Here and with memberships the database checks no foreign key: it would look each row's keys up, and lock what they
    # name, row by row. Whoever writes these rows holds INGESTION and the locks of their profiles; whoever deletes a
    # profile holds its lock, too, and whoever deletes a namespace or a segment has INGESTION alone (profiles.locks).
    profile = models.ForeignKey(
        Profile, models.CASCADE, db_constraint=False, related_name="identities", verbose_name=_("profile")
    )
    # And no index where another one begins with the column.
    namespace = models.ForeignKey(
        IdentityNamespace,
        models.PROTECT,
        db_index=False,
        db_constraint=False,
        related_name="+",
        verbose_name=_("identity namespace"),
    )
    value = models.CharField(_("value"), max_length=IDENTITY_MAX_LENGTH)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    # The id of the merged profile that brought it.
    merged_from = models.UUIDField(_("merged from"), null=True, editable=False)

    class Meta:
        verbose_name = _("identity")
        verbose_name_plural = _("identities")
        # The value first: a person searches without saying in which namespace.
        constraints = [models.UniqueConstraint(fields=["value", "namespace"], name="identity_value")]

    def __str__(self) -> str:
        return f"{self.namespace_id}:{self.value}"


class SchemaField(models.Model):
    """A path of the union schema, e.g. ``person.name.firstName``. Object fields are the groups of the tree."""

    class Type(models.TextChoices):
        STRING = "string", _("String")
        INTEGER = "integer", _("Integer")
        NUMBER = "number", _("Number")
        BOOLEAN = "boolean", _("Boolean")
        DATE = "date", _("Date")
        DATE_TIME = "date-time", _("Date-time")
        ARRAY = "array", _("Array")
        MAP = "map", _("Map")
        OBJECT = "object", _("Object")

    path = models.CharField(_("path"), max_length=255, unique=True)
    title = models.CharField(_("title"), max_length=255)
    type = models.CharField(_("type"), max_length=16, choices=Type, default=Type.STRING)
    custom = models.BooleanField(_("made here"), default=True)

    class Meta:
        verbose_name = _("schema field")
        verbose_name_plural = _("schema fields")
        ordering = ["path"]
        permissions = [("manage_schema", _("Manage Schema"))]

    def __str__(self) -> str:
        return self.path

    @property
    def label(self) -> str:
        """The title, in the reader's language if it is a core field."""
        return self.title if self.custom else gettext(self.title)


class IngestedPath(models.Model):
    """A path that something was written to, once. What is not in the schema is kept, and offered for adding to it."""

    path = models.CharField(_("path"), max_length=255, unique=True)
    type = models.CharField(_("type"), max_length=16, choices=SchemaField.Type)  # of the first value
    created_at = models.DateTimeField(_("first seen"), default=timezone.now)

    class Meta:
        verbose_name = _("ingested path")
        verbose_name_plural = _("ingested paths")
        ordering = ["path"]

    def __str__(self) -> str:
        return self.path


def new_segment_id() -> str:
    return str(uuid.uuid4())


def new_version() -> int:
    """A number that no other writing of a rule has: 63 random bits."""
    return secrets.randbits(63)


class Segment(models.Model):
    """A named group of profiles. Its id is an opaque string: it is kept as it came in."""

    class Origin(models.TextChoices):
        SEGMENTATION = "segmentation", _("Segmentation service")
        UPLOAD = "upload", _("Custom upload")
        IMPORT = "import", _("Came in with profiles")

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")  # the rule is still being written; nobody is in it
        LIVE = "live", _("Live")
        ARCHIVED = "archived", _("Archived")  # the members stay as they were; the rule is not asked any more

    id = models.CharField(_("id"), primary_key=True, max_length=255, default=new_segment_id)
    name = models.CharField(_("name"), max_length=255, db_index=True)
    description = models.TextField(_("description"), blank=True)
    origin = models.CharField(_("origin"), max_length=16, choices=Origin, default=Origin.UPLOAD)
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.LIVE)
    # PQL. Of a live segment of the segmentation service it decides who is a member (profiles.segmentation).
    rule = models.TextField(_("rule"), blank=True)
    # Another one whenever the rule or the state is: whoever has compiled rules sees whether they are still these.
    rule_version = models.BigIntegerField(default=new_version, editable=False)
    evaluated_at = models.DateTimeField(_("last evaluated"), null=True, blank=True)
    # Days after their last qualification in which members of an uploaded segment stay. None: for ever.
    expires_after = models.PositiveSmallIntegerField(_("expires after days"), null=True, blank=True)
    expires_since = models.DateTimeField(null=True, editable=False)  # that it is so many days
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    # Of the definition (name, rule), not of the members: a record with segment timestamps shows it.
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ["name", "id"]
        permissions = [("manage_segments", _("Manage Segments"))]

    def __str__(self) -> str:
        return self.name

    @property
    def takes_uploads(self) -> bool:
        """Its members are named by uploaded files."""
        return self.origin == self.Origin.UPLOAD and self.state == self.State.LIVE


class Evaluation(models.Model):
    """That a segment's rule is being asked of every profile, in the order of their ids; gone when that is done."""

    segment = models.OneToOneField(
        Segment, models.CASCADE, primary_key=True, related_name="evaluation", verbose_name=_("segment")
    )
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    after = models.UUIDField(null=True, editable=False)  # the last profile that was asked
    done = models.PositiveBigIntegerField(_("profiles asked"), default=0)
    total = models.PositiveBigIntegerField(_("profiles"), null=True)  # when it began

    class Meta:
        verbose_name = _("evaluation")
        verbose_name_plural = _("evaluations")

    def __str__(self) -> str:
        return self.segment_id

    @property
    def percent(self) -> int:
        return min(99, 100 * self.done // self.total) if self.total else 0


class SegmentMembership(models.Model):
    """That a profile is, or was, in a segment."""

    class Status(models.TextChoices):
        REALIZED = "realized", _("Realized")  # just qualified
        EXISTING = "existing", _("Existing")  # still qualifies
        EXITED = "exited", _("Exited")

    MEMBER_STATUSES = (Status.REALIZED, Status.EXISTING)

    profile = models.ForeignKey(
        Profile,
        models.CASCADE,
        db_index=False,
        db_constraint=False,
        related_name="memberships",
        verbose_name=_("profile"),
    )
    segment = models.ForeignKey(
        Segment,
        models.CASCADE,
        db_index=False,
        db_constraint=False,
        related_name="memberships",
        verbose_name=_("segment"),
    )
    status = models.CharField(_("status"), max_length=8, choices=Status)
    last_qualification_time = models.DateTimeField(_("last qualification"))
    # When the profile came into the segment and when it left, in turn, in milliseconds since 1970 with spaces between;
    # the newest few. What the last one was, the status says: then they alternate. A text: it is read with every row
    # that a batch reads, and looked into where it changes.
    moments = models.TextField(_("history"), default="", editable=False)

    class Meta:
        verbose_name = _("segment membership")
        verbose_name_plural = _("segment memberships")
        constraints = [
            models.UniqueConstraint(fields=["profile", "segment"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(status__in=["realized", "existing", "exited"]), name="membership_status"
            ),
        ]
        indexes = [
            # Of a status, whose membership is the oldest: who was not in a new file, and who expires.
            models.Index(
                fields=["segment", "status", "last_qualification_time"], name="membership_by_segment"
            ),
            models.Index(
                fields=["last_qualification_time"],
                condition=models.Q(status="exited"),
                name="membership_exited",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}: {self.status}"

    @property
    def history(self) -> list[tuple[bool, datetime]]:
        """When the profile came into the segment (true) and left it, the newest first."""
        member = self.status != self.Status.EXITED
        return [
            ((place % 2 == 0) is member, datetime.fromtimestamp(int(moment) / 1000, UTC))
            for place, moment in enumerate(reversed(self.moments.split()))
        ]


class MemberCount(models.Model):
    """What a transaction, or a day, did to the number of a segment's members: the sum over all rows is the number.

    A row is added in the transaction that changes the memberships, so nobody waits for anybody. From time to time the
    rows of a day become one (:mod:`profiles.segmentation.counts`).
    """

    segment = models.ForeignKey(
        Segment, models.CASCADE, related_name="member_counts", verbose_name=_("segment"), db_index=False
    )
    day = models.DateField(_("day"))  # of UTC
    realized = models.PositiveBigIntegerField(_("qualified"), default=0)
    exited = models.PositiveBigIntegerField(_("exited"), default=0)
    # Members more, or less. A profile that is merged or deleted is one member less, and did not leave.
    members = models.BigIntegerField(_("members"), default=0)

    class Meta:
        verbose_name = _("count of members")
        verbose_name_plural = _("counts of members")
        indexes = [models.Index(fields=["segment", "day"], name="member_count_by_day")]

    def __str__(self) -> str:
        return f"{self.segment_id} {self.day}"


# --- Inlets --------------------------------------------------------------------------------------------------------


def new_inlet_id() -> str:
    """64 hexadecimal digits: nobody guesses the id of an open inlet."""
    return secrets.token_hex(32)


class Inlet(models.Model):
    """A streaming connection: an id that producers post profiles to (:mod:`profiles.inlets`).

    Without a token it is open to whoever knows the id. Of the token only a digest is stored.
    """

    id = models.CharField(_("id"), primary_key=True, max_length=64, default=new_inlet_id, editable=False)
    name = models.CharField(_("name"), max_length=255)
    # Of a message without an identityMap, what stands at the path is an identity in the namespace.
    namespace = models.ForeignKey(
        IdentityNamespace,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("default identity namespace"),
    )
    identity_path = models.CharField(_("identity field"), max_length=255, blank=True)
    normalise = models.BooleanField(_("hash what is not hashed"), default=False)
    token_digest = models.CharField(max_length=64, blank=True, editable=False)
    token_at = models.DateTimeField(_("token made"), null=True, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    # A message of profiles.reasons, in English, and what is filled in.
    last_error = models.TextField(_("last error"), blank=True)
    last_error_params = models.JSONField(default=dict, editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        verbose_name = _("inlet")
        verbose_name_plural = _("inlets")
        ordering = ["name", "id"]
        permissions = [("manage_inlets", _("Manage Inlets"))]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="inlet_name",
                violation_error_message=_("There is an inlet with this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def protected(self) -> bool:
        """It asks for a token."""
        return bool(self.token_digest)

    @property
    def last_problem(self) -> Reason:
        return Reason(self.last_error, self.last_error_params)


class InletHour(models.Model):
    """What came in through an inlet in the hour that began at ``started_at``; counted with the messages themselves."""

    inlet = models.ForeignKey(Inlet, models.CASCADE, related_name="hours")
    started_at = models.DateTimeField(_("start"))
    last_at = models.DateTimeField(_("last message"))
    accepted = models.PositiveBigIntegerField(_("accepted"), default=0)
    repeated = models.PositiveBigIntegerField(_("repeated"), default=0)
    rejected = models.PositiveBigIntegerField(_("rejected"), default=0)
    # Of the accepted ones: whose identities would have linked too many.
    unlinked = models.PositiveBigIntegerField(_("not linked"), default=0)
    bytes = models.PositiveBigIntegerField(_("bytes"), default=0)

    class Meta:
        verbose_name = _("hour of an inlet")
        verbose_name_plural = _("hours of inlets")
        constraints = [models.UniqueConstraint(fields=["inlet", "started_at"], name="inlet_hour_once")]
        indexes = [models.Index(fields=["started_at"], name="inlet_hour_by_age")]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"


class InletSample(models.Model):
    """The beginning of a message that an inlet could not take, or not link (``accepted``). The newest few are kept."""

    inlet = models.ForeignKey(Inlet, models.CASCADE, related_name="samples")
    at = models.DateTimeField(_("at"), default=timezone.now)
    accepted = models.BooleanField(_("accepted"), default=False)
    # A message of profiles.reasons, in English, and what is filled in.
    reason = models.TextField(_("reason"))
    params = models.JSONField(default=dict)
    text = models.TextField(_("message"), blank=True)

    class Meta:
        verbose_name = _("sample of an inlet")
        verbose_name_plural = _("samples of inlets")

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def problem(self) -> Reason:
        return Reason(self.reason, self.params)


class ReceivedMessage(models.Model):
    """That a message with a certain ``_id`` came in, so that a repeated one changes nothing. Kept for some days.

    ``id`` is made of the inlet and the message's own id; ``batch`` is the request that brought it.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    batch = models.UUIDField()
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("received message")
        verbose_name_plural = _("received messages")

    def __str__(self) -> str:
        return str(self.id)


# --- Uploads -------------------------------------------------------------------------------------------------------


class Upload(models.Model):
    """A file of identities that says who is in a segment, from the draft to the report (:mod:`profiles.uploads`).

    Without a segment it is a draft of a new one. The file is in :class:`UploadPart` until it has been read.
    """

    class Way(models.TextChoices):
        APPEND = "append", _("Add to the members")
        REPLACE = "replace", _("Replace the members: who is not in the file leaves")
        REMOVE = "remove", _("Take out who is in the file")

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        WAITING = "waiting", _("Waiting")  # for a worker, or for another upload to the same segment
        READING = "reading", _("Reading the file")
        LEAVING = "leaving", _("Taking out who is not in the file")
        DONE = "done", _("Done")
        STOPPED = "stopped", _("Stopped")

    ACTIVE = (State.WAITING, State.READING, State.LEAVING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    segment = models.ForeignKey(
        Segment, models.CASCADE, null=True, blank=True, related_name="uploads", verbose_name=_("segment")
    )
    segment_name = models.CharField(_("name of the new segment"), max_length=255, blank=True)
    file_name = models.CharField(_("file"), max_length=255)
    size = models.PositiveBigIntegerField(_("size"))  # bytes
    encoding = models.CharField(_("encoding"), max_length=16)
    delimiter = models.CharField(_("delimiter"), max_length=1)
    has_header = models.BooleanField(_("the first row names the columns"), default=True)
    # By the places of the columns: the path that one is written to; empty where it is ignored.
    columns = models.JSONField(_("columns"), default=list)
    identity_column = models.PositiveSmallIntegerField(_("identity column"), default=0)
    namespace = models.CharField(_("identity namespace"), max_length=64, blank=True)
    way = models.CharField(_("what to do"), max_length=8, choices=Way, default=Way.APPEND)
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.DRAFT)
    language = models.CharField(max_length=10, editable=False)  # of whoever reads the report
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    queued_at = models.DateTimeField(_("queued"), null=True, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True, editable=False)
    # Where the next batch begins (profiles.uploads.rows.Place).
    place = models.JSONField(default=list, editable=False)
    rows = models.PositiveBigIntegerField(_("rows read"), default=0)
    accepted = models.PositiveBigIntegerField(_("accepted"), default=0)
    rejected = models.PositiveBigIntegerField(_("rejected"), default=0)
    unknown = models.PositiveBigIntegerField(_("not in the segment"), default=0)  # of those to be taken out
    created = models.PositiveBigIntegerField(_("new customers"), default=0)
    joined = models.PositiveBigIntegerField(_("joined"), default=0)
    left = models.PositiveBigIntegerField(_("left"), default=0)

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        indexes = [models.Index(fields=["state", "queued_at"], name="upload_by_state")]

    def __str__(self) -> str:
        return self.file_name

    @property
    def active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def progress(self) -> int:
        """Grows with every batch."""
        return self.rows + self.left

    @property
    def bytes_read(self) -> int:
        # The lower half of what a text file tells is the byte; the rest is the decoder's.
        return self.place[0] % 2**64 if self.place else 0

    @property
    def percent(self) -> int:
        return min(99, 100 * self.bytes_read // (self.size or 1))


class UploadPart(models.Model):
    """A part of an uploaded file, in the database: a worker on another machine reads it there."""

    upload = models.ForeignKey(Upload, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        verbose_name = _("part of an upload")
        verbose_name_plural = _("parts of uploads")
        constraints = [models.UniqueConstraint(fields=["upload", "number"], name="upload_part_once")]

    def __str__(self) -> str:
        return str(self.number)


class UploadRejection(models.Model):
    """A row of a file that could not be taken, in words for whoever uploaded it."""

    upload = models.ForeignKey(Upload, models.CASCADE, related_name="rejections")
    row = models.PositiveBigIntegerField(_("row"))  # as a spreadsheet counts: the first is 1
    value = models.TextField(_("value"))
    reason = models.TextField(_("reason"))

    class Meta:
        verbose_name = _("rejected row")
        verbose_name_plural = _("rejected rows")
        constraints = [models.UniqueConstraint(fields=["upload", "row"], name="upload_rejection_once")]

    def __str__(self) -> str:
        return f"{self.row}: {self.reason}"
