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
from profiles.pql import Subject, namespace_key
from profiles.segmentation.memberships import Memberships
from profiles.segmentation.rules import Asked, live_rules


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a profile, as :class:`profiles.signals.ProfileChange` tells it.

    Args:
        profile: as it is now.
        identities: of one that was created: codes of namespaces, and values.
    """

    profile: Profile
    paths: Collection[str]
    identities_changed: bool
    created: bool
    identities: Collection[tuple[str, str]] = ()
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

    @cache  # many profiles of a batch have the same written
    def concerned(
        paths: frozenset[str], identities: bool, segments: frozenset[str], created: bool
    ) -> Asked | None:
        return rules.asked(
            rules.index.concerned(paths, identities=identities, segments=segments, created=created)
        )

    found: list[tuple[Written, Asked]] = []
    for written in batch:
        told = memberships[written.profile.pk].changed
        asked = concerned(
            frozenset(written.paths), written.identities_changed, frozenset(told), written.created
        )
        if asked is not None:
            found.append((written, asked))
    if not found:
        return
    read = set().union(*{asked.segments for _written, asked in found})
    stored = [written.profile.pk for written, _asked in found if not written.created]
    if stored:
        memberships.read_statuses(Q(profile__among=stored, segment__in=read))
    identities = _identities(written for written, asked in found if asked.identities)
    for written, asked in found:
        key = written.profile.pk
        of = memberships[key]
        subject = Subject(written.profile.attributes, identities.get(key, {}), of.segments(), now)
        for segment_id, so in asked.decide(subject, of.unsettled()):
            memberships.follow(key, segment_id, so, now, written.merged)


def _identities(asking: Iterable[Written]) -> Mapping[uuid.UUID, Mapping[str, list[str]]]:
    """Identities of these profiles, as rules see them. A query, if some were there before."""
    identities: dict[uuid.UUID, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    keys = []
    for written in asking:
        if not written.created:
            keys.append(written.profile.pk)
            continue
        of = identities[written.profile.pk]
        for code, value in written.identities:
            of[namespace_key(code)].append(value)
    if keys:
        stored = Identity.objects.filter(profile__among=keys).order_by()
        for profile_id, code, value in stored.values_list("profile_id", "namespace__code", "value"):
            identities[profile_id][namespace_key(code)].append(value)
    return identities
