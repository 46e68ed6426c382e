"""What pages read of labels, marketing actions and policies. Every function has a fixed number of queries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import Count, QuerySet

from governance.models import ConsentPolicy, Label, MarketingAction, Policy
from profiles.models import RESERVED_KEYS, SchemaField

POLICY_SORTS = ("name", "state", "modified")
CONSENT_SORTS = ("name", "field", "modified")

Named = TypeVar("Named", Label, MarketingAction, Policy, ConsentPolicy)


def _called(model: type[Named], search: str) -> list[Any]:
    """Keys of the rows whose words hold ``search``, also in the reader's language. There are a few dozen rows."""
    wanted = search.casefold()
    return [
        row.pk
        for row in model.objects.all()
        if any(wanted in text.casefold() for text in (str(row), row.name, row.title, row.about))
    ]


def policies(*, search: str = "", state: str = "", sort: str = "") -> QuerySet[Policy]:
    """Policies with their marketing actions; core ones are found by their name in the reader's language, too.

    Args:
        state: one of Policy.State; empty for any.
        sort: one of POLICY_SORTS, with ``-`` in front for the other direction.
    """
    found = Policy.objects.prefetch_related("marketing_actions")
    if state:
        found = found.filter(state=state)
    if search := search.strip():
        found = found.filter(pk__in=_called(Policy, search))
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    if key in POLICY_SORTS:
        column = {"name": "name", "state": "state", "modified": "updated_at"}[key]
        found = found.order_by(f"-{column}" if descending else column, "name")
    return found


def find_policy(policy_id: uuid.UUID) -> Policy | None:
    return Policy.objects.prefetch_related("marketing_actions").filter(pk=policy_id).first()


def consent_policies(
    *, search: str = "", enabled: bool | None = None, sort: str = ""
) -> QuerySet[ConsentPolicy]:
    """Consent policies with their fields and marketing actions.

    Args:
        enabled: None for any.
        sort: one of CONSENT_SORTS, with ``-`` in front for the other direction.
    """
    found = ConsentPolicy.objects.select_related("field").prefetch_related("marketing_actions")
    if enabled is not None:
        found = found.filter(enabled=enabled)
    if search := search.strip():
        found = found.filter(pk__in=_called(ConsentPolicy, search))
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    if key in CONSENT_SORTS:
        column = {"name": "name", "field": "field__path", "modified": "updated_at"}[key]
        found = found.order_by(f"-{column}" if descending else column, "name")
    return found


def find_consent_policy(policy_id: uuid.UUID) -> ConsentPolicy | None:
    return consent_policies().filter(pk=policy_id).first()


def consent_fields() -> list[SchemaField]:
    """What can say yes or no, by path; the choices of XDM's consents first."""
    found = SchemaField.objects.filter(type__in=ConsentPolicy.FIELD_TYPES).order_by("path")
    usable = [field for field in found if field.path.partition(".")[0] not in RESERVED_KEYS]
    return sorted(usable, key=lambda field: not is_choice(field))


def is_choice(field: SchemaField) -> bool:
    """It is meant for consent by XDM, e.g. ``consents.share.val``."""
    return field.path.startswith("consents.") and field.path.endswith(".val")


def marketing_actions(search: str = "") -> QuerySet[MarketingAction]:
    """Marketing actions, each with ``used_by_policies`` and ``used_by_destinations``."""
    found = MarketingAction.objects.annotate(
        used_by_policies=Count("policies", distinct=True) + Count("consent_policies", distinct=True),
        used_by_destinations=Count("destinations", distinct=True),
    )
    if search := search.strip():
        found = found.filter(pk__in=_called(MarketingAction, search))
    return found.order_by("-core", "name")


def labels(search: str = "") -> QuerySet[Label]:
    """Labels, each with ``on_fields`` and ``on_segments``: how many have it."""
    found = Label.objects.annotate(
        on_fields=Count("fields", distinct=True), on_segments=Count("segments", distinct=True)
    )
    if search := search.strip():
        found = found.filter(pk__in=_called(Label, search))
    return found.order_by("position", "code")


def label_kinds(found: Sequence[Label]) -> list[tuple[str, list[Label]]]:
    """Labels under the words of their kinds, in the order of the kinds."""
    return [
        (str(kind.label), [label for label in found if label.kind == kind])
        for kind in Label.Kind
        if any(label.kind == kind for label in found)
    ]
