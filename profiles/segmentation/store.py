"""One rule asked of the whole store: when it was saved, and from time to time when it asks what time it is.

What is to be done stands in the database (:class:`profiles.models.Evaluation`): a worker takes page after page of the
profiles, each in a transaction of its own, and the next one goes on where a dead one left. On a page only those are
locked who are to come or go, and asked again then: whoever else changes a profile asks the rule itself. Where many do,
pages are locked whole, and asked once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from operator import attrgetter

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from profiles.locks import INGESTION, advisory_lock, commit_without_waiting
from profiles.models import Evaluation, Profile, Segment, SegmentMembership
from profiles.segmentation.memberships import FEW, REALIZED, confirm, follow_rule, in_segment
from profiles.segmentation.rules import Rules, live_rules
from profiles.signals import MEMBER, ProfileChange, Transition, profiles_changed
from profiles.workers import tell

PAGE = 5_000  # profiles asked in a transaction; those who come or go are locked for as long
MANY = PAGE // 10  # of a page; where so many come or go, the next page is locked whole, and asked once
COUNTED = 100_000  # profiles; of more, about how many there are is enough
AT_A_TIME = 20  # seconds; then the worker does something else first
KEPT = timedelta(days=30)  # exited memberships
NOBODY, EVERYBODY = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)  # before and after all ids


def request(segment_ids: Iterable[str], *, anew: bool = True) -> None:
    """Have rules asked of every profile, from the beginning. In the current transaction; workers are told when it is
    committed.

    Args:
        anew: also a rule that is being asked already.
    """
    rows = [Evaluation(segment_id=segment_id, started_at=timezone.now()) for segment_id in segment_ids]
    if anew:
        Evaluation.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["segment"],
            update_fields=["started_at", "after", "done", "total"],
        )
    else:
        Evaluation.objects.bulk_create(rows, ignore_conflicts=True)
    transaction.on_commit(lambda: wake([row.segment_id for row in rows]), robust=True)


def request_timed() -> None:
    """Have the rules asked that ask what time it is."""
    request(live_rules().index.timed, anew=False)


def wake(segment_ids: Iterable[str] | None = None) -> None:
    """Tell the workers of these evaluations; of all that stand. When Redis is away, the sweep tells them later."""
    if segment_ids is None:
        segment_ids = Evaluation.objects.order_by("started_at").values_list("pk", flat=True)
    tell("profiles.tasks.evaluate", ([segment_id] for segment_id in segment_ids))


def evaluate(segment_id: str, *, seconds: float = AT_A_TIME) -> None:
    """Go on with an evaluation, to its end or for so many seconds."""
    until = time.monotonic() + seconds
    changed = _next_page(segment_id, whole=False)
    while changed is not None:
        if time.monotonic() > until:
            wake([segment_id])
            return
        changed = _next_page(segment_id, whole=changed >= MANY)


def _next_page(segment_id: str, *, whole: bool) -> int | None:
    """Ask the next profiles. Returns how many came or went; None if there are no more for this worker to ask.

    1. Nobody changes a rule meanwhile; whoever did so before has the evaluation begin anew.
    2. One worker at a time: another one passes over a row that is locked.
    3. Who is to come or go is found without locks; those profiles are locked and asked again. Who stays is confirmed
       without: to lock a profile writes to its page, and confirming everybody would write all of the store.

    Args:
        whole: lock all profiles of the page at once, and ask them then.
    """
    with transaction.atomic():
        advisory_lock(INGESTION, shared=True)
        # If the machine fails, the page is as it was, with all that it queued and how far the evaluation is.
        commit_without_waiting()
        evaluation = Evaluation.objects.select_for_update(skip_locked=True).filter(pk=segment_id).first()
        if evaluation is None:
            return None
        rules = live_rules()
        if segment_id not in rules:  # archived meanwhile
            evaluation.delete()
            return None
        if evaluation.total is None:
            evaluation.total = _how_many()
        after = evaluation.after or NOBODY
        rest = Profile.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
        confirmed: list[int] = []
        if whole:
            locked = list(rest.select_for_update(no_key=True)[:PAGE])
            evaluation.after = locked[-1] if len(locked) == PAGE else None
        else:
            evaluation.after = next(iter(rest[PAGE - 1 : PAGE]), None)
            differing, confirmed = _differing(rules, segment_id, after, evaluation.after or EVERYBODY)
            concerned = Profile.objects.filter(pk__among=differing).order_by("pk")
            locked = list(concerned.select_for_update(no_key=True).values_list("pk", flat=True))
        changed = _settle(rules, segment_id, locked)
        confirm(confirmed, timezone.now())
        if evaluation.after is None:
            Segment.objects.filter(pk=segment_id).update(evaluated_at=timezone.now())
            evaluation.delete()
            return None
        evaluation.done += PAGE
        evaluation.total = max(evaluation.total, evaluation.done)
        evaluation.save(update_fields=["after", "done", "total"])
        return changed


def _how_many() -> int:
    """Profiles, to show how far it is. Of a great many, what the database thinks: to count a million takes a second."""
    if connection.vendor == "postgresql":
        [plan] = json.loads(Profile.objects.order_by().explain(format="json"))
        about = int(plan["Plan"]["Plan Rows"])
        if about > COUNTED:
            return about
    return Profile.objects.count()


def _differing(
    rules: Rules, segment_id: str, after: uuid.UUID, last: uuid.UUID
) -> tuple[set[uuid.UUID], list[int]]:
    """The profiles of a page that come or go, and the memberships of those who have just come and stay. Two queries."""
    so = set(rules[segment_id].members(timezone.now(), Profile.objects.filter(pk__gt=after, pk__lte=last)))
    stored = in_segment(segment_id).filter(profile__gt=after, profile__lte=last, status__in=MEMBER)
    rows = {key: (row, status) for row, key, status in stored.values_list("pk", "profile_id", "status")}
    return so ^ rows.keys(), [row for key, (row, status) in rows.items() if status == REALIZED and key in so]


def _settle(rules: Rules, segment_id: str, locked: Sequence[uuid.UUID]) -> int:
    """Make memberships of these profiles what the rule says, and those of the rules that ask about its segment.

    The number of queries depends on the number of those rules only.

    Args:
        locked: in the order of their ids; of one page.

    Returns:
        How many came or went.
    """
    changed: dict[str, set[uuid.UUID]] = {}
    told: dict[uuid.UUID, list[Transition]] = defaultdict(list)
    if not locked:
        return 0
    now = timezone.now()  # whoever held the locks wrote before
    for key in rules.index.concerned(segments=[segment_id]).in_order:
        asked: Sequence[uuid.UUID] = locked
        if key != segment_id:
            about = [changed[other] for other in rules[key].segments if other in changed]
            asked = sorted(set().union(*about), key=attrgetter("int"))
        if not asked:
            continue
        # Many of a page are found faster by reading all of it. Who is not asked is passed over.
        whole = Q(pk__gte=asked[0], pk__lte=asked[-1])
        page = Profile.objects.filter(whole if len(asked) > FEW else Q(pk__among=asked))
        steps = follow_rule(key, asked, set(rules[key].members(now, page)), now)
        changed[key] = set(steps)
        for profile_id, step in steps.items():
            told[profile_id].append(step)
    changes = [ProfileChange(profile_id, transitions=tuple(steps)) for profile_id, steps in told.items()]
    if changes:
        profiles_changed.send(sender=Profile, changes=changes)
    return len(changes)


def forget_exited() -> None:
    """Drop memberships that were left long ago. Nothing is told of it."""
    old = SegmentMembership.objects.filter(
        status=SegmentMembership.Status.EXITED, last_qualification_time__lt=timezone.now() - KEPT
    ).order_by("last_qualification_time")
    more = True
    while more:
        with transaction.atomic():
            # A profile that comes back just now keeps its membership.
            rows = old.select_for_update(skip_locked=True).values_list("pk", flat=True)
            keys = list(rows[:PAGE])
            SegmentMembership.objects.filter(pk__in=keys).delete()
            more = len(keys) == PAGE
