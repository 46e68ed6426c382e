"""What is known of a person, and where: shown before it is erased."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.db.models.lookups import IContains

from profiles.models import Identity, InletSample, Profile, UploadRejection
from profiles.services import hanging_on


@dataclass(frozen=True, slots=True)
class Known:
    """What would be gone.

    Args:
        identities: by which the person is found.
        counts: rows that hang on the profile, by what they are called.
        samples: messages kept by inlets that hold one of the identities.
        rejections: rejected rows of uploads that do.
    """

    identities: list[Identity]
    counts: dict[str, int]
    samples: int
    rejections: int


def known(profile: Profile) -> Known:
    """As many queries as there are kinds of rows."""
    identities = list(profile.identities.select_related("namespace").order_by("namespace__code", "pk"))
    values = [identity.value for identity in identities]
    return Known(
        identities,
        hanging_on([profile]),
        samples=samples(values).count(),
        rejections=rejections(values).count(),
    )


def samples(values: Iterable[str]) -> QuerySet[InletSample]:
    """The messages kept by inlets that hold one of these identities."""
    return InletSample.objects.filter(holding(values, "text", "reason", "params"))


def rejections(values: Iterable[str]) -> QuerySet[UploadRejection]:
    """The rejected rows of uploads that do."""
    return UploadRejection.objects.filter(holding(values, "value", "reason"))


def holding(values: Iterable[str], *fields: str) -> Q:
    """Rows with a text that holds one of ``values``, as it is or as JSON may write it.

    Args:
        fields: where to look; JSON is looked at as a text.
    """
    spellings = {spelling for value in values for spelling in _spellings(value)}
    parts = [
        Q(IContains(Cast(field, TextField()), spelling)) for field in fields for spelling in sorted(spellings)
    ]
    return reduce(or_, parts, Q(pk__in=()))


def _spellings(value: str) -> set[str]:
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]} - {""}
