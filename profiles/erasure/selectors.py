"""What is known of a person, and where: shown before it is erased."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.db.models.lookups import IContains

from profiles.models import Identity, InletSample, Profile
from profiles.services import hanging_on


@dataclass(frozen=True, slots=True)
class Known:
    """What would be gone.

    Args:
        identities: by which the person is found.
        counts: rows that hang on the profile, by what they are called.
        samples: messages kept by inlets that hold one of the identities.
    """

    identities: list[Identity]
    counts: dict[str, int]
    samples: int


def known(profile: Profile) -> Known:
    """As many queries as there are kinds of rows."""
    identities = list(profile.identities.select_related("namespace").order_by("namespace__code", "pk"))
    held = holding(identity.value for identity in identities)
    return Known(identities, hanging_on([profile]), InletSample.objects.filter(held).count())


def holding(values: Iterable[str], *fields: str) -> Q:
    """Rows with a text that holds one of ``values``, as it is or as JSON may write it.

    Args:
        fields: those of an InletSample when none is given; JSON is looked at as a text.
    """
    spellings = {spelling for value in values for spelling in _spellings(value)}
    parts = [
        Q(IContains(Cast(field, TextField()), spelling))
        for field in fields or ("text", "reason", "params")
        for spelling in sorted(spellings)
    ]
    return reduce(or_, parts, Q(pk__in=()))


def _spellings(value: str) -> set[str]:
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]} - {""}
