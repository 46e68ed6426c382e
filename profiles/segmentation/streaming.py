"""Live rules asked of the profiles of a batch, in its transaction."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from django.db.models import Q

from profiles.models import Identity, Profile
from profiles.pql import Concerned, Subject, namespace_key
from profiles.segmentation.memberships import Memberships
from profiles.segmentation.rules import Rules, live_rules


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a profile, as :class:`profiles.signals.ProfileChange` tells it.

    Args:
        profile: as it is now.
    """

    profile: Profile
    paths: Collection[str]
    identities_changed: bool
    created: bool
    merged: Collection[uuid.UUID] = ()


def follow_rules(batch: Iterable[Written], memberships: Memberships, now: datetime) -> None:
    """Ask the live rules that what was written concerns, and make the memberships what they say.

    Four queries at most, however many profiles and rules there are; identities are read, so they are written by now.

    Args:
        memberships: with what the batch itself says of them. Those that are needed besides are read.
    """
    rules = live_rules()
    if not rules:
        return
    found: list[tuple[Written, Concerned]] = []
    concerned_by = cache(rules.index.concerned)  # many profiles of a batch have the same written
    for written in batch:
        concerned = concerned_by(
            frozenset(written.paths),
            identities=written.identities_changed,
            segments=frozenset(memberships.changed.get(written.profile.pk, ())),
            created=written.created,
        )
        if concerned.in_order:
            found.append((written, concerned))
    if not found:
        return
    read = rules.read_by({segment_id for _written, concerned in found for segment_id in concerned.in_order})
    stored = [written.profile.pk for written, _concerned in found if not written.created]
    if stored:
        memberships.read_statuses(Q(profile__in=stored, segment__in=read))
    identities = _identities(rules, found)
    for written, concerned in found:
        key = written.profile.pk
        subject = Subject(written.profile.attributes, identities[key], memberships.segments(key), now)
        for segment_id, so in rules.decide(concerned, subject):
            memberships.follow(key, segment_id, so, now, written.merged)


def _identities(
    rules: Rules, found: Iterable[tuple[Written, Concerned]]
) -> Mapping[uuid.UUID, Mapping[str, list[str]]]:
    """Identities of those profiles whose rules ask for them, as rules see them."""
    asking = [
        written.profile.pk
        for written, concerned in found
        if any(rules[segment_id].identities for segment_id in concerned.in_order)
    ]
    identities: dict[uuid.UUID, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    if asking:
        stored = Identity.objects.filter(profile__in=asking).order_by()
        for profile_id, code, value in stored.values_list("profile_id", "namespace__code", "value"):
            identities[profile_id][namespace_key(code)].append(value)
    return identities
