"""Which dataflows a change of a profile concerns, by the rules of behaviour.md ("What starts an export")."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from django.db.models import OuterRef, Subquery

from activation.export import lanes, outbox
from activation.export.records import ALWAYS_THERE
from activation.models import (
    Dataflow,
    Delivery,
    ExportReason,
    FailedExport,
    MappedAttribute,
    MappedSegment,
)
from profiles.merge import ancestors
from profiles.models import MergedProfile, SegmentMembership
from profiles.signals import ProfileChange

# A disabled dataflow queues too: its rows wait.
LIVE = (Dataflow.State.ENABLED, Dataflow.State.DISABLED)

Pair = tuple[uuid.UUID, uuid.UUID]  # (dataflow, profile)


def queue_exports(sender: Any = None, *, changes: Sequence[ProfileChange], **_kwargs: Any) -> None:
    """Queue what ``changes`` start, in their transaction. The receiver of ``profiles_changed``.

    A constant number of queries, however many changes and dataflows there are.
    """
    outbox.hold_mappings()
    live = dict(Dataflow.objects.filter(state__in=LIVE).values_list("pk", "lane_count"))
    if not live:
        return
    # The strongest cause is told last, so that it stays.
    reasons: dict[Pair, str] = {}
    # Where a new customer is a member, it has just joined.
    known = [change for change in changes if not change.created]
    wanted = dict.fromkeys(_written(known), ExportReason.ATTRIBUTE.value)
    wanted |= {
        (dataflow_id, change.profile_id): ExportReason.IDENTITY.value
        for change in known
        if change.identities_changed
        for dataflow_id in live
    }
    if wanted:
        members = _members(wanted)
        reasons |= {pair: reason for pair, reason in wanted.items() if pair in members}
    if any(change.merged for change in changes):
        knew = _knew(changes)
        reasons |= {pair: ExportReason.IDENTITY.value for pair in knew if pair[0] in live}
    reasons |= dict.fromkeys(_joined_or_left(changes), ExportReason.MEMBERSHIP.value)
    if reasons:
        outbox.queue(
            (dataflow_id, profile_id, reason) for (dataflow_id, profile_id), reason in reasons.items()
        )
        outbox.wake_on_commit(
            (dataflow_id, lanes.lane_of(profile_id, live[dataflow_id])) for dataflow_id, profile_id in reasons
        )


def _knew(changes: Sequence[ProfileChange]) -> set[Pair]:
    """Dataflows that exported, or were to export, a profile that was merged or what it was merged into. Six queries
    at most.

    The rows of merged profiles go with them. Their dead letters stay: runs have counted them. So does what says that a
    dataflow knows the customer.
    """
    stayed = {loser: change.profile_id for change in changes for loser in change.merged}
    either = {*stayed, *stayed.values()}
    # All that this transaction queues or lets go, before any of it: delivery locks the same rows, in the same order.
    known = outbox.lock({*stayed, *(change.profile_id for change in changes)})
    receipts = list(Delivery.objects.filter(profile__in=either))
    known |= {(receipt.dataflow_id, receipt.profile_id) for receipt in receipts}
    _keep_receipts(receipts, stayed)
    survivors = MergedProfile.objects.filter(pk=OuterRef("profile_id")).values("survivor_id")
    FailedExport.objects.filter(profile__in=stayed).update(profile=Subquery(survivors))
    return {
        (dataflow_id, stayed.get(profile_id, profile_id))
        for dataflow_id, profile_id in known
        if profile_id in either
    }


def _keep_receipts(receipts: Sequence[Delivery], stayed: Mapping[uuid.UUID, uuid.UUID]) -> None:
    """Have a merged profile be known where what it was made of is: else nobody is told when it does not consent."""
    own = {(receipt.dataflow_id, receipt.profile_id): receipt for receipt in receipts}
    moved: dict[Pair, Delivery] = {}
    known_again = []
    for receipt in receipts:
        if receipt.profile_id not in stayed or receipt.reason == ExportReason.CONSENT:
            continue
        pair = receipt.dataflow_id, stayed[receipt.profile_id]
        if pair not in own:
            moved[pair] = receipt
        elif own[pair].reason == ExportReason.CONSENT:
            known_again.append(own[pair].pk)
    if moved:
        for (_dataflow_id, profile_id), receipt in moved.items():
            receipt.profile_id = profile_id
        Delivery.objects.bulk_update(moved.values(), ["profile"])
    if known_again:
        Delivery.objects.filter(pk__in=known_again).update(reason=ExportReason.IDENTITY)


def _joined_or_left(changes: Sequence[ProfileChange]) -> set[Pair]:
    """Who joined or left a mapped segment. One query."""
    by_segment: dict[str, set[uuid.UUID]] = defaultdict(set)
    for change in changes:
        for transition in change.transitions:
            by_segment[transition.segment_id].add(change.profile_id)
    if not by_segment:
        return set()
    mapped = MappedSegment.objects.filter(segment__in=by_segment, dataflow__state__in=LIVE)
    return {
        (dataflow_id, profile_id)
        for dataflow_id, segment_id in mapped.values_list("dataflow_id", "segment_id")
        for profile_id in by_segment[segment_id]
    }


def _written(changes: Sequence[ProfileChange]) -> set[Pair]:
    """Whose mapped attributes were written, or what they consent to, in which dataflow. One query."""
    if not any(change.written_paths for change in changes):
        return set()
    by_path: dict[str, set[uuid.UUID]] = defaultdict(set)  # mapped path → dataflows
    above: dict[str, set[uuid.UUID]] = defaultdict(set)  # path above a mapped one → dataflows
    mapped = MappedAttribute.objects.filter(dataflow__state__in=LIVE).order_by()
    policies = "destination__marketing_actions__consent_policies"
    asking = Dataflow.objects.filter(**{f"{policies}__enabled": True}, state__in=LIVE)
    rows = mapped.values_list("dataflow_id", "field__path")
    for dataflow_id, path in rows.union(asking.values_list("pk", f"{policies}__field__path"), all=True):
        if path.split(".", 1)[0] in ALWAYS_THERE:
            continue
        by_path[path].add(dataflow_id)
        for ancestor in ancestors(path):
            above[ancestor].add(dataflow_id)

    @cache
    def by_written(path: str) -> set[uuid.UUID]:
        above_it = (by_path.get(ancestor, set()) for ancestor in ancestors(path))
        return set().union(by_path.get(path, ()), above.get(path, ()), *above_it)

    @cache  # many profiles of a batch have the same written
    def concerned(paths: frozenset[str]) -> set[uuid.UUID]:
        return set().union(*map(by_written, paths))

    return {
        (dataflow_id, change.profile_id)
        for change in changes
        for dataflow_id in concerned(change.written_paths)
    }


def _members(pairs: Collection[Pair]) -> set[Pair]:
    """Those of ``pairs`` (and others) where the profile is in a mapped segment of the dataflow. Two queries.

    The second one is by the profiles' index. Joined with what is mapped, PostgreSQL reads all members of the segments.
    """
    dataflows: dict[str, set[uuid.UUID]] = defaultdict(set)
    mapped = MappedSegment.objects.filter(dataflow__in={dataflow_id for dataflow_id, _ in pairs})
    for dataflow_id, segment_id in mapped.values_list("dataflow_id", "segment_id"):
        dataflows[segment_id].add(dataflow_id)
    rows = SegmentMembership.objects.filter(
        profile__among={profile_id for _, profile_id in pairs},
        segment__among=dataflows,
        status__in=SegmentMembership.MEMBER_STATUSES,
    )
    return {
        (dataflow_id, profile_id)
        for profile_id, segment_id in rows.order_by().values_list("profile_id", "segment_id")
        for dataflow_id in dataflows[segment_id]
    }
