"""Who a rule would have as members, before it is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles.models import Profile
from profiles.pql import Rule

EXACT_UP_TO = 20_000  # profiles; of a larger store, some are asked
ASKED = 10_000  # of those, about so many
SHOWN = 10
MOST_SECONDS = 3
QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many of how many profiles a rule describes, and some of them; ``exact``: all were asked."""

    members: int
    total: int
    exact: bool
    profiles: Sequence[Profile]


def estimate(rule: Rule) -> Estimate:
    """Ask a rule of the store, or of a random part of a large one. Four queries.

    Raises:
        ValidationError: that takes longer than some seconds.
    """
    try:
        with transaction.atomic():
            return _estimate(rule)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
            raise
        message = _("Asking some customers took longer than %(seconds)s seconds. Make the rule simpler.")
        raise ValidationError(message % {"seconds": MOST_SECONDS}) from None


def _estimate(rule: Rule) -> Estimate:
    within = Profile.objects.all()
    total = asked = within.count()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{MOST_SECONDS}s"])
            if total > EXACT_UP_TO:
                table = connection.ops.quote_name(Profile._meta.db_table)
                sampled = f"SELECT id FROM {table} TABLESAMPLE SYSTEM (%s)"  # noqa: S608  (a name of ours)
                cursor.execute(sampled, [100 * ASKED / total])
                keys = [key for (key,) in cursor.fetchall()]
                within, asked = Profile.objects.filter(pk__in=keys), len(keys)
    found = list(rule.members(timezone.now(), within))
    return Estimate(
        members=round(len(found) * total / (asked or 1)),
        total=total,
        exact=asked == total,
        profiles=list(Profile.objects.filter(pk__in=sorted(found)[-SHOWN:]).order_by("-pk")),
    )
