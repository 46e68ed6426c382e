"""Every read of the activation screens: what the wizard shows, runs, what waits, who exported a profile last."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Max, Min, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activation.models import (
    Dataflow,
    DataflowRun,
    Delivery,
    DraftAttribute,
    DraftSegment,
    FailedExport,
    MappedAttribute,
    MappedSegment,
    PendingExport,
)
from destinations.models import Destination
from governance.enforcement import Use, Violation, judge
from profiles import selectors as store
from profiles.models import RESERVED_KEYS, Profile, SchemaField, Segment, SegmentMembership

PAGE = 25
"""Rows of a page of any table here."""

MANY = 1_000
"""What pages that ask every few seconds count to."""

SAMPLES = 5
"""Profiles shown for one error code of a run."""

RECOMMENDED = (
    "person.name.firstName",
    "person.name.lastName",
    "personalEmail.address",
    "segmentMembership.status",
)
"""What AEP recommends to map to a streaming destination, prefilled in the wizard."""

PARTITION_BY_ATTRIBUTE = "attribute:"

SegmentRows = QuerySet[DraftSegment] | QuerySet[MappedSegment]


@dataclass(frozen=True, slots=True)
class ChosenAttribute:
    """A row of *Select attributes*."""

    field: SchemaField
    mandatory: bool
    hashed: bool = False

    @property
    def hashable(self) -> bool:
        """Identities and memberships are always sent as they are."""
        return self.field.path.partition(".")[0] not in RESERVED_KEYS


@dataclass(frozen=True, slots=True)
class AttributeChanges:
    """Attributes that are added, removed, and those of which the option is another one."""

    added: Sequence[ChosenAttribute] = ()
    removed: Sequence[SchemaField] = ()
    mandatory: Sequence[ChosenAttribute] = ()
    hashed: Sequence[ChosenAttribute] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step is not done, in the reader's language."""

    step: str
    message: str


# -- the wizard ----------------------------------------------------------------------------------------------------


def chosen_segment_rows(dataflow: Dataflow | None) -> SegmentRows:
    """The rows that say which segments are chosen: of the draft, or of what is live where there is no draft."""
    if dataflow is None:
        return DraftSegment.objects.none()
    if dataflow.draft_at is not None:
        return DraftSegment.objects.filter(dataflow=dataflow)
    return MappedSegment.objects.filter(dataflow=dataflow)


def chosen_among(dataflow: Dataflow | None, segment_ids: Collection[str]) -> set[str]:
    """Those of ``segment_ids`` that are chosen."""
    rows = chosen_segment_rows(dataflow).filter(segment__in=segment_ids)
    return set(rows.values_list("segment_id", flat=True))


def chosen_attributes(destination: Destination, dataflow: Dataflow | None) -> list[ChosenAttribute]:
    """The chosen attributes in their order: of the draft, of what is live, or the recommended ones."""
    rows: Iterable[DraftAttribute | MappedAttribute]
    if dataflow is not None and dataflow.draft_at is not None:
        rows = DraftAttribute.objects.filter(dataflow=dataflow).select_related("field")
    elif dataflow is not None and dataflow.state != Dataflow.State.DRAFT:
        rows = MappedAttribute.objects.filter(dataflow=dataflow).select_related("field")
    else:
        paths = list(RECOMMENDED)
        if (partition := partition_attribute(destination)) and partition not in paths:
            paths.append(partition)
        fields = {f.path: f for f in SchemaField.objects.filter(path__in=paths)}
        return [ChosenAttribute(fields[path], mandatory=False) for path in paths if path in fields]
    return [ChosenAttribute(row.field, row.mandatory, row.hashed) for row in rows]


def partition_attribute(destination: Destination) -> str:
    """The path whose value is the partition key of the records; empty where it is something else."""
    prefix, key = PARTITION_BY_ATTRIBUTE, destination.partition_key
    return key.removeprefix(prefix) if key.startswith(prefix) else ""


class Selection:
    """What the wizard shows of a destination: its draft, else what is live, else what is recommended."""

    def __init__(self, destination: Destination, dataflow: Dataflow | None) -> None:
        self.destination = destination
        self.dataflow = dataflow

    @classmethod
    def of(cls, destination: Destination) -> Selection:
        return cls(destination, Dataflow.objects.filter(destination=destination).first())

    @property
    def version(self) -> int:
        return self.dataflow.version if self.dataflow else 0

    @property
    def is_draft(self) -> bool:
        """There are changes that are not finished."""
        return self.dataflow is not None and self.dataflow.draft_at is not None

    @property
    def is_live(self) -> bool:
        """It was finished before: what is edited here changes something that runs, or could."""
        return self.dataflow is not None and self.dataflow.state != Dataflow.State.DRAFT

    def segments(self) -> QuerySet[Segment]:
        rows = chosen_segment_rows(self.dataflow)
        return Segment.objects.filter(pk__in=rows.values("segment"))

    def added_segments(self) -> QuerySet[Segment]:
        """Those that *Finish* would backfill."""
        if not self.is_live:
            return self.segments()
        live = MappedSegment.objects.filter(dataflow=self.dataflow)
        return self.segments().exclude(pk__in=live.values("segment"))

    def removed_segments(self) -> QuerySet[Segment]:
        if not self.is_live:
            return Segment.objects.none()
        live = MappedSegment.objects.filter(dataflow=self.dataflow)
        chosen = chosen_segment_rows(self.dataflow)
        return Segment.objects.filter(pk__in=live.values("segment")).exclude(pk__in=chosen.values("segment"))

    def segment_count(self) -> int:
        return self._segment_count

    @cached_property
    def _segment_count(self) -> int:
        return chosen_segment_rows(self.dataflow).count()

    def attributes(self) -> list[ChosenAttribute]:
        return self._attributes

    @cached_property
    def _attributes(self) -> list[ChosenAttribute]:
        return chosen_attributes(self.destination, self.dataflow)

    def problems(self) -> list[Problem]:
        """What is missing, in the order of the steps."""
        found = []
        if not self.segment_count():
            found.append(Problem("segments", gettext("Choose at least one segment.")))
        if not self.attributes():
            found.append(Problem("attributes", gettext("Choose at least one attribute.")))
        partition = partition_attribute(self.destination)
        if self.attributes() and partition and partition not in {a.field.path for a in self.attributes()}:
            message = gettext(
                "Records of this destination are distributed by “%(path)s”: add that attribute, or choose another "
                "partition key where the destination is edited."
            )
            found.append(Problem("attributes", message % {"path": partition}))
        return found

    def attribute_changes(self) -> AttributeChanges:
        """What *Finish* would change of the attributes; nothing unless live."""
        if not self.is_live:
            return AttributeChanges()
        rows = MappedAttribute.objects.filter(dataflow=self.dataflow).select_related("field")
        live = {row.field_id: row for row in rows}
        chosen = {a.field.pk for a in self.attributes()}
        kept = [(a, live[a.field.pk]) for a in self.attributes() if a.field.pk in live]
        return AttributeChanges(
            added=[a for a in self.attributes() if a.field.pk not in live],
            removed=[row.field for row in live.values() if row.field_id not in chosen],
            mandatory=[a for a, row in kept if a.mandatory != row.mandatory],
            hashed=[a for a, row in kept if a.hashed != row.hashed],
        )

    def use(self) -> Use:
        """What it would use data for, once finished. Two queries."""
        return Use(
            name=self.destination.name,
            destination=_where(self.destination),
            paths=[a.field.path for a in self.attributes()],
            segments=list(chosen_segment_rows(self.dataflow).values_list("segment_id", flat=True)),
            actions=set(self.destination.marketing_actions.values_list("pk", flat=True)),
            url=self.destination.get_absolute_url(),
        )

    def violations(self) -> list[Violation]:
        """The policies that it would violate, once finished."""
        return judge([self.use()])


SEGMENT_SORTS = ("name", "-name", "members", "-members", "evaluated", "-evaluated")


def segment_page(
    number: int | str | None, *, search: str = "", sort: str = "name", among: QuerySet[Segment] | None = None
) -> Page[Segment]:
    """A page of the segments that ``search`` finds, each with ``members``: how many profiles are in it.

    Members are counted for the page's rows alone, but where they are what is sorted by.

    Args:
        sort: one of :data:`SEGMENT_SORTS`.
        among: only these.
    """
    found = store.segments(search=search, sort=sort, state=Segment.State.LIVE)
    if among is not None:
        found = found.filter(pk__in=among.order_by().values("pk"))
    page = _page(found, number)
    if not sort.endswith("members"):
        members_of = store.member_counts(segment.pk for segment in page)
        for segment in page:
            segment.members = members_of[segment.pk]
    return page


def members(segments: QuerySet[Segment]) -> QuerySet[Profile]:
    """The profiles that are in at least one of the segments, each once."""
    rows = SegmentMembership.objects.filter(
        segment__in=segments.order_by().values("pk"), status__in=SegmentMembership.MEMBER_STATUSES
    )
    return Profile.objects.filter(pk__in=rows.values("profile"))


@dataclass(frozen=True, slots=True)
class Backfill:
    """What *Finish* will send at once.

    Args:
        records: of how many profiles.
        at_most: those who are in several of many large segments are counted in each.
    """

    records: int
    at_most: bool = False


def backfill(segments: QuerySet[Segment]) -> Backfill:
    """Of these segments. Members of large ones are not counted one by one: that takes seconds. Three queries."""
    counts = store.member_counts(segments.order_by().values_list("pk", flat=True))
    total = sum(counts.values())
    if total > store.COUNTED:
        return Backfill(total, at_most=sum(map(bool, counts.values())) > 1)
    return Backfill(members(segments).count())


def uses(among: QuerySet[Dataflow]) -> list[Use]:
    """What dataflows use data for by their live mappings, where the destination has marketing actions. Four queries."""
    dataflows = list(
        among.filter(destination__marketing_actions__isnull=False)
        .distinct()
        .select_related("destination__account")
        .prefetch_related("destination__marketing_actions")
        .order_by("destination__name")
    )
    paths: dict[uuid.UUID, list[str]] = defaultdict(list)
    attributes = MappedAttribute.objects.filter(dataflow__in=dataflows).order_by("position")
    for key, path in attributes.values_list("dataflow_id", "field__path"):
        paths[key].append(path)
    segments: dict[uuid.UUID, list[str]] = defaultdict(list)
    mapped = MappedSegment.objects.filter(dataflow__in=dataflows).order_by("pk")
    for key, segment_id in mapped.values_list("dataflow_id", "segment_id"):
        segments[key].append(segment_id)
    return [
        Use(
            name=dataflow.destination.name,
            destination=_where(dataflow.destination),
            paths=paths[dataflow.pk],
            segments=segments[dataflow.pk],
            actions={action.pk for action in dataflow.destination.marketing_actions.all()},
            url=dataflow.destination.get_absolute_url(),
        )
        for dataflow in dataflows
    ]


def _where(destination: Destination) -> str:
    return f"{destination.type.spec.name} · {destination.target}"


# -- monitoring ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """A dataflow's state as pages say it: the colour's name and the word."""

    variant: str
    word: str | Promise


def status_of(dataflow: Dataflow | None, *, ran: bool) -> Status:
    """The dataflow's status (AEP's words): processing until its first run, error while the destination refuses.

    Args:
        ran: it has a run.
    """
    if dataflow is None or dataflow.state == Dataflow.State.DRAFT:
        return Status("neutral", _("Draft"))
    if dataflow.state == Dataflow.State.DISABLED:
        return Status("neutral", _("Disabled"))
    if dataflow.error_code:
        return Status("negative", _("Error"))
    return Status("positive", _("Enabled")) if ran else Status("processing", _("Processing"))


def find_dataflow(destination: Destination) -> Dataflow | None:
    return Dataflow.objects.filter(destination=destination).first()


def run_page(dataflow: Dataflow | None, number: int | str | None) -> Page[DataflowRun]:
    """Runs, newest first, with ``retries``, ``received`` and all the rest that a row shows."""
    return _page(DataflowRun.objects.filter(dataflow=dataflow).order_by("-started_at"), number)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The failed or excluded profiles of a run that share a code."""

    kind: str
    code: str
    count: int
    last_at: datetime
    samples: list[FailedExport]

    @property
    def kind_label(self) -> str | Promise:
        return FailedExport.Kind(self.kind).label

    @property
    def reason(self) -> str:
        return self.samples[0].reason if self.samples else ""


def failure_groups(run: DataflowRun) -> list[FailureGroup]:
    """Failures of a run by kind and code, most first, each with its newest :data:`SAMPLES`. Two queries."""
    rows = FailedExport.objects.filter(run=run)
    groups = list(
        rows.order_by()
        .values("kind", "code")
        .annotate(n=Count("pk"), last=Max("created_at"))
        .order_by("-n", "code")
    )
    place = Window(
        RowNumber(), partition_by=[F("kind"), F("code")], order_by=[F("created_at").desc(), F("id").desc()]
    )
    samples: dict[tuple[str, str], list[FailedExport]] = {}
    for failure in rows.annotate(place=place).filter(place__lte=SAMPLES).order_by("-created_at", "-id"):
        samples.setdefault((failure.kind, failure.code), []).append(failure)
    return [
        FailureGroup(g["kind"], g["code"], g["n"], g["last"], samples.get((g["kind"], g["code"]), []))
        for g in groups
    ]


# -- dead letters and replays --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment to another, both in it; None: without a beginning, or without an end."""

    since: datetime | None = None
    until: datetime | None = None

    def of(self, column: str) -> Q:
        bounds = {f"{column}__gte": self.since, f"{column}__lte": self.until}
        return Q(**{bound: moment for bound, moment in bounds.items() if moment is not None})


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """Which dead letters of a dataflow.

    Args:
        state: one of FailedExport.State; empty for any.
        run: of this run alone.
        ids: these alone; None for all.
        up_to: none that came after the one with this id: what was counted is what is acted on.
    """

    code: str = ""
    kind: str = ""
    state: str = FailedExport.State.OPEN
    period: Period = Period()
    run: uuid.UUID | None = None
    ids: Collection[int] | None = None
    up_to: int | None = None


def failed_exports(dataflow: Dataflow | None, wanted: FailureFilter) -> QuerySet[FailedExport]:
    """Dead letters. Their ids grow with time."""
    found = FailedExport.objects.filter(wanted.period.of("created_at"), run__dataflow=dataflow)
    for name in ("code", "kind", "state", "run"):
        if value := getattr(wanted, name):
            found = found.filter(**{name: value})
    if wanted.ids is not None:
        found = found.filter(pk__in=wanted.ids)
    if wanted.up_to is not None:
        found = found.filter(pk__lte=wanted.up_to)
    return found


def count_open_failures(dataflow: Dataflow | None) -> int:
    """How many dead letters are open; :data:`MANY` where there are more. An index has the open ones."""
    return failed_exports(dataflow, FailureFilter())[:MANY].count()


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How many dead letters have a code, and the id of the newest."""

    code: str
    count: int
    newest: int


def failures_by_code(failures: QuerySet[FailedExport]) -> list[CodeCount]:
    """Most first. One query."""
    counted = failures.order_by().values_list("code").annotate(n=Count("*"), newest=Max("pk"))
    return [CodeCount(*row) for row in counted.order_by("-n", "code")]


def failure_codes(dataflow: Dataflow | None) -> list[str]:
    """Every code that dead letters of the dataflow have, by name."""
    codes = (
        FailedExport.objects.filter(run__dataflow=dataflow).order_by("code").values_list("code", flat=True)
    )
    return list(codes.distinct())


def to_replay(dataflow: Dataflow, period: Period | None) -> QuerySet[Profile]:
    """The profiles that a replay sends again.

    Args:
        period: in which their last record was delivered; None for all members of the mapped segments.
    """
    if period is None:
        return members(Segment.objects.filter(mappings__dataflow=dataflow))
    exported = Delivery.objects.filter(period.of("delivered_at"), dataflow=dataflow)
    return Profile.objects.filter(pk__in=exported.values("profile"))


# -- what is live --------------------------------------------------------------------------------------------------


def mapped_segment_page(dataflow: Dataflow | None, number: int | str | None) -> Page[MappedSegment]:
    """Mapped segments by name, each with ``members``."""
    rows = MappedSegment.objects.filter(dataflow=dataflow).select_related("segment")
    page = _page(rows.order_by("segment__name", "pk"), number)
    counts = store.member_counts(row.segment_id for row in page)
    for row in page:
        row.members = counts[row.segment_id]
    return page


def mapped_attribute_page(dataflow: Dataflow | None, number: int | str | None) -> Page[MappedAttribute]:
    rows = MappedAttribute.objects.filter(dataflow=dataflow).select_related("field")
    return _page(rows.order_by("position", "pk"), number)


@dataclass(frozen=True, slots=True)
class ProfileExport:
    """What one dataflow did with a profile: its last delivery, and whether it waits for another."""

    destination: Destination
    delivery: Delivery | None
    pending: PendingExport | None


def profile_exports(profile_id: uuid.UUID) -> list[ProfileExport]:
    """Which dataflows exported the profile last: those where its first waits, then the newest. Two queries."""
    deliveries = {
        row.dataflow_id: row
        for row in Delivery.objects.filter(profile=profile_id).select_related(
            "dataflow__destination__account"
        )
    }
    pending = {
        row.dataflow_id: row
        for row in PendingExport.objects.filter(profile=profile_id).select_related(
            "dataflow__destination__account"
        )
    }
    first = [
        ProfileExport(row.dataflow.destination, None, row)
        for key, row in pending.items()
        if key not in deliveries
    ]
    rest = sorted(deliveries.values(), key=lambda row: row.delivered_at, reverse=True)
    return first + [
        ProfileExport(row.dataflow.destination, row, pending.get(row.dataflow_id)) for row in rest
    ]


@dataclass(frozen=True, slots=True)
class Activations:
    """Where a segment is activated: how many destinations, and the name of one."""

    count: int
    name: str


def activations_by_segment(segments: Iterable[Segment]) -> dict[str, Activations]:
    """Of those that are activated at all. One query."""
    rows = MappedSegment.objects.filter(segment__in=[segment.pk for segment in segments]).order_by()
    counted = rows.values_list("segment").annotate(Count("pk"), Min("dataflow__destination__name"))
    return {segment_id: Activations(count, name) for segment_id, count, name in counted}


def segment_activations(segment_id: str) -> list[MappedSegment]:
    """Where a segment is activated, by the destination's name. One query."""
    return list(
        MappedSegment.objects.filter(segment=segment_id)
        .select_related("dataflow__destination__account")
        .order_by("dataflow__destination__name")
    )


def _page(rows: QuerySet[Any], number: int | str | None) -> Page[Any]:
    return Paginator(rows, PAGE).get_page(number)
