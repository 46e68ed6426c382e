"""What the workspace reads: destinations and accounts, and what the rows of their tables show.

Dataflows and their runs belong to ``activation``, which this app does not import: they are reached by the
relations that point here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.apps import apps
from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    Exists,
    F,
    IntegerField,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextChoices,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest, Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from destinations.models import Account, Destination

if TYPE_CHECKING:
    from activation.models import Dataflow, DataflowRun

M = TypeVar("M", bound=Model)

DESTINATION_SORTS = ("name", "run", "platform", "account", "segments", "created", "modified")
ACCOUNT_SORTS = ("name", "platform", "destinations", "connected", "created")

RECENT = timedelta(hours=24)
"""What the overview sums up; a failed export is something to look at for as long."""

SHOWN = 5
"""Rows of a list of the overview."""


class Status(TextChoices):
    """What destinations can be searched by: the statuses of a dataflow, as ``activation`` tells and words them."""

    ENABLED = "enabled", _("Enabled")
    PROCESSING = "processing", _("Processing")
    ERROR = "error", _("Error")
    DISABLED = "disabled", _("Disabled")
    DRAFT = "draft", _("Draft")


class Concern(IntEnum):
    """Why a destination needs attention, the gravest first."""

    ERROR = 1  # it takes no records
    FAILED = 2  # it did not take some
    DRAFT = 3  # its activation was never finished


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A destination in a table."""

    destination: Destination
    segments: int
    last_run: DataflowRun | None

    @property
    def modified_at(self) -> datetime:
        """When it, or what is activated to it, was edited last."""
        dataflow = _dataflow(self.destination)
        changed = self.destination.updated_at
        return max(changed, dataflow.updated_at) if dataflow else changed


@dataclass(frozen=True, slots=True)
class Attention:
    """A destination that needs attention. ``failed`` profiles were not exported lately."""

    destination: Destination
    concern: Concern
    failed: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers of the overview; the last three are of the RECENT past."""

    accounts: int
    destinations: int
    live: int  # finished once
    enabled: int
    segments: int  # mapped to any of them
    activated: int
    excluded: int
    failed: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account in a table. Where it is not ``readable``, its credentials must be entered again."""

    account: Account
    destinations: int
    readable: bool


@dataclass(frozen=True, slots=True)
class Connections:
    """How much there is of a destination type."""

    accounts: int = 0
    destinations: int = 0


# -- destinations --------------------------------------------------------------------------------------------------


def destinations(
    *,
    search: str = "",
    status: str = "",
    platform: str = "",
    account: Account | None = None,
    sort: str = "name",
) -> QuerySet[Destination]:
    """Destinations with their account and dataflow.

    Args:
        search: a part of the name.
        status: one of Status; empty for any.
        platform: the slug of a destination type; empty for any.
        sort: one of DESTINATION_SORTS, with ``-`` in front for the other direction.
    """
    found = _with_dataflow()
    if search := search.strip():
        if "\0" in search:
            return found.none()
        found = found.filter(name__icontains=search)
    if status:
        found = found.annotate(status=_status()).filter(status=status)
    if platform:
        found = found.filter(account__connector=platform)
    if account:
        found = found.filter(account=account)
    columns = {
        "run": _of_last_run("started_at"),
        "platform": F("account__connector"),
        "account": Lower("account__name"),
        "segments": _mapped_segments(),
        "created": F("created_at"),
        "modified": Greatest("updated_at", Coalesce("dataflow__updated_at", "updated_at")),
    }
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    return _sorted(found, columns.get(key, Lower("name")), descending)


def destination_rows(destinations: Sequence[Destination]) -> list[DestinationRow]:
    """What a table shows of these destinations, which have their dataflows; in two queries."""
    these = Destination.objects.filter(pk__in=[destination.pk for destination in destinations])
    segments = dict(these.values_list("pk", _mapped_segments()))
    latest = these.annotate(run=_of_last_run("pk")).filter(run__isnull=False).values("run")
    runs = {run.dataflow_id: run for run in _runs().filter(pk__in=latest)}
    return [
        DestinationRow(
            destination,
            segments.get(destination.pk, 0),
            runs.get(dataflow.pk) if (dataflow := _dataflow(destination)) else None,
        )
        for destination in destinations
    ]


def latest_runs() -> list[DestinationRow]:
    """The destinations that exported last, by their last run; in three queries."""
    ran = _with_dataflow().annotate(ran_at=_of_last_run("started_at")).filter(ran_at__isnull=False)
    return destination_rows(list(ran.order_by("-ran_at", "name")[:SHOWN]))


def in_need_of_attention(*, runs: bool) -> list[Attention]:
    """Destinations that somebody should look at, the gravest first; one more than SHOWN where there are more.

    Args:
        runs: tell what the runs counted, too.
    """
    concerned = (
        _with_dataflow()
        .annotate(status=_status(), failed=_sum_of_recent_runs("failed") if runs else Value(0))
        .annotate(
            concern=Case(
                When(status=Status.ERROR, then=Value(Concern.ERROR.value)),
                When(failed__gt=0, then=Value(Concern.FAILED.value)),
                When(status=Status.DRAFT, then=Value(Concern.DRAFT.value)),
                output_field=IntegerField(null=True),
            )
        )
        .filter(concern__isnull=False)
        .order_by("concern", Lower("name"), "pk")
    )
    return [Attention(row, Concern(row.concern), row.failed) for row in concerned[: SHOWN + 1]]


def totals() -> Totals:
    """In four queries."""
    counts = Destination.objects.annotate(status=_status()).aggregate(
        destinations=Count("pk"),
        live=Count("pk", filter=~Q(status=Status.DRAFT)),
        enabled=Count("pk", filter=~Q(status__in=[Status.DRAFT, Status.DISABLED])),
    )
    recent = Destination.objects.annotate(
        of_activated=_sum_of_recent_runs("activated"),
        of_excluded=_sum_of_recent_runs("excluded"),
        of_failed=_sum_of_recent_runs("failed"),
    ).aggregate(
        activated=Coalesce(Sum("of_activated"), 0),
        excluded=Coalesce(Sum("of_excluded"), 0),
        failed=Coalesce(Sum("of_failed"), 0),
    )
    segments = Destination.objects.aggregate(
        segments=Count("dataflow__mapped_segments__segment", distinct=True)
    )
    return Totals(accounts=Account.objects.count(), **counts, **recent, **segments)


def _with_dataflow() -> QuerySet[Destination]:
    return Destination.objects.select_related("account", "dataflow")


def _dataflow(destination: Destination) -> Dataflow | None:
    return getattr(destination, "dataflow", None)


def _runs() -> QuerySet[DataflowRun]:
    runs: QuerySet[DataflowRun] = apps.get_model("activation", "DataflowRun").objects.order_by()
    return runs


def _status() -> Case:
    """The Status of a destination; by the rule of ``activation.selectors.status_of``."""
    return Case(
        When(Q(dataflow__isnull=True) | Q(dataflow__state="draft"), then=Value(Status.DRAFT)),
        When(dataflow__state="disabled", then=Value(Status.DISABLED)),
        When(dataflow__error_code__gt="", then=Value(Status.ERROR)),
        When(Exists(_runs().filter(dataflow=OuterRef("dataflow"))), then=Value(Status.ENABLED)),
        default=Value(Status.PROCESSING),
    )


def _of_last_run(column: str) -> Subquery:
    newest_first = _runs().filter(dataflow=OuterRef("dataflow")).order_by("-started_at")
    return Subquery(newest_first.values(column)[:1])


def _sum_of_recent_runs(column: str) -> Coalesce:
    recent = _runs().filter(dataflow=OuterRef("dataflow"), started_at__gt=timezone.now() - RECENT)
    summed = recent.values("dataflow").annotate(n=Sum(column)).values("n")
    return Coalesce(Subquery(summed, output_field=BigIntegerField()), 0)


def _mapped_segments() -> Subquery:
    counted = Destination.objects.filter(pk=OuterRef("pk")).order_by()
    return Subquery(counted.annotate(n=Count("dataflow__mapped_segments")).values("n"))


# -- accounts ------------------------------------------------------------------------------------------------------


def accounts(*, search: str = "", platform: str = "", sort: str = "name") -> QuerySet[Account]:
    """Accounts.

    Args:
        search: a part of the name, or of what is shown of the key.
        platform: the slug of a destination type; empty for any.
        sort: one of ACCOUNT_SORTS, with ``-`` in front for the other direction.
    """
    found = Account.objects.all()
    if search := search.strip():
        if "\0" in search:
            return found.none()
        found = found.filter(Q(name__icontains=search) | Q(masked__icontains=search))
    if platform:
        found = found.filter(connector=platform)
    columns = {
        "platform": F("connector"),
        "destinations": Count("destinations"),
        "connected": F("connected_at"),
        "created": F("created_at"),
    }
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    return _sorted(found, columns.get(key, Lower("name")), descending)


def account_rows(accounts: Sequence[Account]) -> list[AccountRow]:
    """What the table shows of these accounts, in one query."""
    used = dict(
        Destination.objects.filter(account__in=accounts)
        .order_by()
        .values_list("account")
        .annotate(Count("pk"))
    )
    return [
        AccountRow(account, used.get(account.pk, 0), account.credentials.readable) for account in accounts
    ]


def destinations_of(account: Account) -> QuerySet[Destination]:
    """What uses an account, by name."""
    return account.destinations.order_by("name")


def connections() -> dict[str, Connections]:
    """What there is of each destination type, by its slug; in two queries."""
    accounts = dict(Account.objects.order_by().values_list("connector").annotate(Count("pk")))
    destinations = dict(
        Destination.objects.order_by().values_list("account__connector").annotate(Count("pk"))
    )
    return {slug: Connections(count, destinations.get(slug, 0)) for slug, count in accounts.items()}


def _sorted(found: QuerySet[M], column: Any, descending: bool) -> QuerySet[M]:
    """Sorted by a column; what never happened is older than everything."""
    key = F("sorted_by")
    first = key.desc(nulls_last=True) if descending else key.asc(nulls_first=True)
    return cast("QuerySet[M]", found.annotate(sorted_by=column).order_by(first, Lower("name"), "pk"))
