"""Labels and policies for tests, made as people make them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from governance import services
from governance.conditions import Condition
from governance.enforcement import Use
from governance.models import ConsentPolicy, Label, MarketingAction, Policy
from profiles.models import SchemaField, Segment
from tests.factories import SchemaFieldFactory

THIRD_PARTY = "Export to Third Party"
SHARE = "consents.share.val"


def action(name: str = THIRD_PARTY) -> MarketingAction:
    return MarketingAction.objects.get(name=name)


def labels(*codes: str) -> list[Label]:
    return list(Label.objects.filter(code__in=codes))


def mark(what: str | Segment, *codes: str) -> None:
    """Label a field, by its path, or a segment."""
    rows: Sequence[Any] = [what] if isinstance(what, Segment) else [SchemaFieldFactory.create(path=what)]
    services.add_labels(rows, labels(*codes))


def codes_of(what: str | Segment) -> set[str]:
    row = what if isinstance(what, Segment) else SchemaField.objects.get(path=what)
    return set(row.labels.values_list("code", flat=True))


def make_policy(condition: dict[str, Any], *actions: str, name: str = "Ours", enabled: bool = True) -> Policy:
    """A finished policy; ``actions`` are names of marketing actions."""
    policy = services.start_policy(name=name, description="")
    chosen = tuple(str(action(each).pk) for each in actions or (THIRD_PARTY,))
    policy = services.save_draft(
        policy.pk, policy.version, condition=Condition.read(condition), actions=chosen
    )
    policy = services.finish_policy(policy.pk, policy.version)
    return services.enable_policy(policy.pk) if enabled else policy


def make_consent_policy(
    field: str = SHARE, *actions: str, name: str = "", enabled: bool = True
) -> ConsentPolicy:
    """``actions`` are names of marketing actions."""
    chosen = [str(action(each).pk) for each in actions or (THIRD_PARTY,)]
    policy = services.create_consent_policy(
        name=name or f"Consent {field}", description="", field=field, actions=chosen
    )
    return services.switch_consent_policy(policy.pk, enabled=True) if enabled else policy


def edit_consent_policy(policy: ConsentPolicy, **changes: Any) -> ConsentPolicy:
    """Change some of what a consent policy says."""
    policy = ConsentPolicy.objects.get(pk=policy.pk)
    says = {
        "name": policy.name,
        "description": policy.description,
        "field": policy.field.path,
        "actions": [str(each.pk) for each in policy.marketing_actions.all()],
    }
    return services.edit_consent_policy(policy.pk, policy.version, **(says | changes))


def use(*paths: str, segments: Sequence[Segment] = (), actions: Sequence[str] = (THIRD_PARTY,)) -> Use:
    """What a dataflow uses data for."""
    wanted: set[uuid.UUID] = {action(name).pk for name in actions}
    return Use("Exports", "Kinesis · stream", paths, [segment.pk for segment in segments], wanted)
