"""What consent policies mean for dataflows: which fields must say yes, and to whom a change of that matters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from activation import selectors
from activation.models import Dataflow, Delivery, ExportReason, PendingExport
from governance.consent import Asked, Effect, concerned
from profiles.models import Profile, Segment, SegmentMembership

_PATHS = """
    SELECT f.path
    FROM governance_consentpolicy p
    JOIN governance_consentpolicy_marketing_actions a ON a.consentpolicy_id = p.id
    JOIN destinations_destination_marketing_actions d ON d.marketingaction_id = a.marketingaction_id
    JOIN profiles_schemafield f ON f.id = p.field_id
    WHERE p.enabled AND d.destination_id = %s"""


def paths(dataflow: Dataflow) -> tuple[str, ...]:
    """The fields that must say yes for a dataflow now, in a fixed order. One query, quick as it is asked with every
    batch.
    """
    key = dataflow.destination_id
    with connection.cursor() as cursor:
        cursor.execute(_PATHS, [key if connection.vendor == "postgresql" else key.hex])
        return tuple(sorted({path for (path,) in cursor}))


def denying(asked: Iterable[str]) -> QuerySet[Profile]:
    """The profiles of which some field, of one or more, does not say yes."""
    return concerned(Profile.objects.all(), frozenset(), frozenset(asked))


def known() -> Exists:
    """Of a row with a profile and a dataflow: the destination was told of that one, and not that it left."""
    receipts = Delivery.objects.filter(profile=OuterRef("profile"), dataflow=OuterRef("dataflow"))
    return Exists(receipts.exclude(reason=ExportReason.CONSENT))


def last_records(dataflow: Dataflow) -> QuerySet[PendingExport]:
    """What waits of those who do not consent any more, and are known: their last records. One query, before it."""
    rows = PendingExport.objects.filter(dataflow=dataflow)
    asked = paths(dataflow)
    return rows.filter(known(), profile__in=denying(asked)) if asked else rows.none()


@dataclass(frozen=True, slots=True)
class Change:
    """That other fields must say yes for a dataflow than before."""

    dataflow: Dataflow
    before: frozenset[str]
    after: frozenset[str]

    def profiles(self) -> QuerySet[Profile]:
        """The members to whom it matters. Of who left, the dataflow was told, or that waits."""
        members = selectors.members(Segment.objects.filter(mappings__dataflow=self.dataflow))
        return concerned(members, self.before, self.after)


def changes(before: Asked, after: Asked) -> list[Change]:
    """What another asking means for the live dataflows that it concerns, in a fixed order. Two queries."""
    live = Dataflow.objects.exclude(state=Dataflow.State.DRAFT).select_related("destination")
    found = []
    for dataflow in live.prefetch_related("destination__marketing_actions").order_by("pk"):
        actions = [action.pk for action in dataflow.destination.marketing_actions.all()]
        change = Change(dataflow, before.of(actions), after.of(actions))
        if change.before != change.after:
            found.append(change)
    return found


def effects(found: list[Change]) -> list[Effect]:
    """How many profiles changes matter to. One query for all that change in the same way."""
    alike: dict[tuple[frozenset[str], frozenset[str]], list[Dataflow]] = defaultdict(list)
    for change in found:
        alike[change.before, change.after].append(change.dataflow)
    ordinary = Delivery.objects.filter(
        profile=OuterRef("profile"), dataflow=OuterRef("segment__mappings__dataflow")
    ).exclude(reason=ExportReason.CONSENT)
    answers = []
    for (before, after), dataflows in alike.items():
        rows = SegmentMembership.objects.filter(
            status__in=SegmentMembership.MEMBER_STATUSES,
            segment__mappings__dataflow__in=dataflows,
            profile__in=concerned(Profile.objects.all(), before, after),
        )
        each = Count("profile", distinct=True)
        known = Count("profile", distinct=True, filter=Q(Exists(ordinary)))
        counted = rows.order_by().values_list("segment__mappings__dataflow").annotate(all=each, known=known)
        counts = {key: (profiles, told) for key, profiles, told in counted}
        for dataflow in dataflows:
            destination = dataflow.destination
            profiles, told = counts.get(dataflow.pk, (0, 0))
            answers.append(Effect(destination.name, profiles, told, destination.get_absolute_url()))
    return answers
