"""What people do to labels, marketing actions and policies. A refusal is Django's ``ValidationError``; nothing is
written then. What policies may forbid is done under :func:`governance.enforcement.enforced`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

import audit
from governance import consent
from governance.conditions import Condition
from governance.enforcement import enforced, lock
from governance.models import ConsentPolicy, Label, MarketingAction, Policy
from profiles.models import RESERVED_KEYS, SchemaField, Segment

Named = TypeVar("Named", MarketingAction, Policy, ConsentPolicy, Label)

_ALREADY: dict[type[Any], Promise] = {
    MarketingAction: gettext_lazy("There is a marketing action with this name already."),
    Policy: gettext_lazy("There is a policy with this name already."),
    ConsentPolicy: gettext_lazy("There is a consent policy with this name already."),
    Label: gettext_lazy("There is a label with this name or code already."),
}
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,19}")
NAMED_IN_REASON = 5
_TOLD = ("name", "description", "state", "condition", "marketing_actions")  # of a policy, in the audit trail
_TOLD_OF_CONSENT = ("name", "description", "field", "marketing_actions", "enabled")
NO_CONDITION = Condition()


# -- names ---------------------------------------------------------------------------------------------------------


def checked_name(model: type[Named], name: str, own: Named | None = None) -> str:
    """The name of a marketing action, policy or label as it is kept.

    Args:
        own: whose name it is to be.

    Raises:
        ValidationError: of the field ``name``: there is none, it is too long, or it is taken. What came with the
            product has its name in every language: the English one, and the one in the reader's. Labels have their
            codes, too.
    """
    name = " ".join(name.split())
    if not name:
        raise ValidationError({"name": _("Give it a name.")})
    most = model._meta.get_field("name").max_length or 0
    if len(name) > most:
        raise ValidationError({"name": _("A name has up to %(most)s characters.") % {"most": most}})
    _refuse_taken(model, "name", name, own)
    return name


def _refuse_taken(model: type[Named], field: str, text: str, own: Named | None) -> None:
    # There are a few dozen; the database's LOWER knows capitals of ASCII only, on SQLite.
    for other in model.objects.all():
        taken = [each.casefold() for each in (str(other), other.name, other.title)]
        if other != own and text.casefold() in taken:
            raise ValidationError({field: _ALREADY[model]})


@contextmanager
def _naming(model: type[Named]) -> Iterator[None]:
    """A transaction in which a name can turn out to be taken."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        raise ValidationError({"name": _ALREADY[model]}) from None


# -- marketing actions ---------------------------------------------------------------------------------------------


def create_marketing_action(*, name: str, description: str = "") -> MarketingAction:
    """An own marketing action. Raises ValidationError, see :func:`checked_name`."""
    action = MarketingAction(name=checked_name(MarketingAction, name), description=description.strip())
    with _naming(MarketingAction):
        action.save()
        audit.record("marketing_action.created", action, after=audit.state(action))
    return action


def edit_marketing_action(action: MarketingAction, *, name: str, description: str) -> MarketingAction:
    """Another name or description. Raises ValidationError: core ones do not change."""
    if action.core:
        raise _core_action()
    before = audit.state(action)
    action.name = checked_name(MarketingAction, name, action)
    action.description = description.strip()
    with _naming(MarketingAction):
        action.save()
        audit.record("marketing_action.edited", action, before, audit.state(action))
    return action


def delete_marketing_action(action: MarketingAction) -> None:
    """Destinations that have it go without.

    Raises:
        ValidationError: for a core one, and while a policy uses it.
    """
    if action.core:
        raise _core_action()
    with transaction.atomic():
        lock()
        _refuse_used(action)
        audit.record("marketing_action.deleted", action, audit.state(action))
        action.delete()


def _core_action() -> ValidationError:
    return ValidationError(_("Core marketing actions can't be changed or deleted."))


def users_of(what: Label | MarketingAction) -> list[Policy | ConsentPolicy]:
    """The policies that speak of a label or an action, also where that is not finished yet. Three queries at most."""
    found: list[Policy | ConsentPolicy] = []
    for policy in Policy.objects.prefetch_related("marketing_actions"):
        drafts = [Draft.live(policy), Draft.of(policy)]
        if isinstance(what, Label):
            used = any(what.code in draft.condition.codes() for draft in drafts)
        else:
            used = any(str(what.pk) in draft.actions for draft in drafts)
        if used:
            found.append(policy)
    if isinstance(what, MarketingAction):
        found += what.consent_policies.all()
    return found


def _refuse_used(what: Label | MarketingAction) -> None:
    if policies := users_of(what):
        names = [f"“{policy}”" for policy in policies[:NAMED_IN_REASON]]
        if len(policies) > NAMED_IN_REASON:
            names.append("…")
        raise ValidationError(
            _("“%(name)s” is used by policies: %(policies)s. Change or delete those first.")
            % {"name": what, "policies": ", ".join(names)}
        )


# -- labels --------------------------------------------------------------------------------------------------------


def create_label(*, code: str, name: str, description: str = "") -> Label:
    """An own label.

    Raises:
        ValidationError: see :func:`checked_name`; or the code is taken or is none.
    """
    label = Label(code=checked_code(code), name=checked_name(Label, name), description=description.strip())
    with _naming(Label):
        label.save()
        audit.record("label.created", label, after=audit.state(label))
    return label


def edit_label(label: Label, *, name: str, description: str) -> Label:
    """Another name or description; the code stays. Raises ValidationError: core ones do not change."""
    if label.core:
        raise _core_label()
    before = audit.state(label)
    label.name, label.description = checked_name(Label, name, label), description.strip()
    with _naming(Label):
        label.save(update_fields=["name", "description"])
        audit.record("label.edited", label, before, audit.state(label))
    return label


def delete_label(label: Label) -> None:
    """Take an own label from all data, and delete it.

    Raises:
        ValidationError: for a core one, and while a policy speaks of it.
    """
    if label.core:
        raise _core_label()
    with transaction.atomic():
        lock()
        _refuse_used(label)
        audit.record("label.deleted", label, audit.state(label))
        label.delete()


def _core_label() -> ValidationError:
    return ValidationError(_("Core labels can't be changed or deleted."))


def checked_code(code: str) -> str:
    """The code of a new label as it is kept. Raises ValidationError of the field ``code``."""
    code = code.strip()
    if not CODE.fullmatch(code):
        raise ValidationError(
            {"code": _("A code is up to 20 letters, digits, dashes and underscores, e.g. PARTNER-1.")}
        )
    _refuse_taken(Label, "code", code, None)
    return code


def add_labels(rows: Sequence[SchemaField] | Sequence[Segment], labels: Collection[Label]) -> None:
    """Label fields, or segments. What is labelled already stays so.

    Raises:
        ValidationError: one of them was deleted meanwhile.
        Violated: a live dataflow would violate a policy then.
    """
    try:
        with enforced():
            for label in labels:
                _labelled(label, rows).add(*rows)
                audit.record("label.added", label, after={"to": [str(row) for row in rows]})
    except IntegrityError:
        raise ValidationError(_("Something was deleted meanwhile. Look again.")) from None


def remove_labels(rows: Sequence[SchemaField] | Sequence[Segment], labels: Collection[Label]) -> None:
    """Take labels from fields, or segments. That can't make anything violate a policy."""
    with transaction.atomic():
        lock()
        for label in labels:
            _labelled(label, rows).remove(*rows)
            audit.record("label.removed", label, {"from": [str(row) for row in rows]})


def _labelled(label: Label, rows: Sequence[SchemaField] | Sequence[Segment]) -> Any:
    return label.segments if rows and isinstance(rows[0], Segment) else label.fields


# -- policies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy as the wizard has it.

    Args:
        actions: ids of marketing actions.
    """

    name: str
    description: str = ""
    condition: Condition = NO_CONDITION
    actions: tuple[str, ...] = ()

    @classmethod
    def of(cls, policy: Policy) -> Draft:
        """What is being written, else what holds."""
        draft = policy.draft
        if draft is None:
            return cls.live(policy)
        condition = Condition.read(draft["condition"])
        return cls(draft["name"], draft["description"], condition, tuple(draft["marketing_actions"]))

    @classmethod
    def live(cls, policy: Policy) -> Draft:
        """What holds."""
        actions = tuple(str(action.pk) for action in policy.marketing_actions.all())
        return cls(policy.name, policy.description, policy.rule, actions)

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "condition": self.condition.tree(),
            "marketing_actions": list(self.actions),
        }


def start_policy(*, name: str, description: str) -> Policy:
    """A new policy, to be finished. Raises ValidationError, see :func:`checked_name`."""
    name = checked_name(Policy, name)
    draft = Draft(name, description.strip())
    with _naming(Policy):
        return Policy.objects.create(name=name, description=draft.description, draft=draft.stored())


def save_draft(policy_id: uuid.UUID, version: int, **changes: Any) -> Policy:
    """Save some of what the wizard was told: ``name`` and ``description``, ``condition``, or ``actions``.

    It may be unfinished; what is enabled holds unchanged until :func:`finish_policy`.

    Args:
        version: of the policy that the page showed.

    Raises:
        ValidationError: it is a core policy, the name is taken, or somebody else changed it meanwhile.
    """
    with _naming(Policy), _editing(policy_id, version) as policy:
        draft = Draft.of(policy)
        if "name" in changes:
            changes["name"] = checked_name(Policy, changes["name"], policy)
        after = replace(draft, **changes)
        if after == draft and policy.draft is not None:
            return policy
        policy.draft = after.stored()
        policy.version += 1
        if policy.state == Policy.State.DRAFT:  # nobody goes by it, so lists may show its name
            policy.name, policy.description = after.name, after.description
        policy.save()
    return policy


def finish_policy(policy_id: uuid.UUID, version: int) -> Policy:
    """Let a policy be what the wizard was told. A new one is disabled until somebody enables it.

    Raises:
        ValidationError: something is missing, or somebody else changed it meanwhile.
        Violated: it is enabled, and a live dataflow would violate what it says now.
    """
    with _naming(Policy), enforced(), _editing(policy_id, version) as policy:
        if policy.draft is None:
            raise ValidationError(_("This policy is finished already: there are no changes left."))
        draft, before = Draft.of(policy), audit.state(policy, *_TOLD)
        check_draft(draft)
        policy.name, policy.description = checked_name(Policy, draft.name, policy), draft.description
        policy.condition, policy.draft = draft.condition.tree(), None
        if policy.state == Policy.State.DRAFT:
            policy.state = Policy.State.DISABLED
        policy.version += 1
        policy.save()
        policy.marketing_actions.set(MarketingAction.objects.filter(pk__in=draft.actions))
        audit.record("policy.finished", policy, before, audit.state(policy, *_TOLD))
    return policy


def check_draft(draft: Draft) -> None:
    """Raise ValidationError, of the field ``condition`` or ``actions``, where a policy can't be finished so."""
    try:
        draft.condition.check(Label.objects.values_list("code", flat=True))
    except ValidationError as error:
        raise ValidationError({"condition": error.messages}) from None
    check_actions(draft.actions)


def check_actions(actions: Collection[str]) -> None:
    """Raise ValidationError, of the field ``actions``, for none, or where one is gone."""
    if not actions:
        raise ValidationError({"actions": _("Choose at least one marketing action.")})
    if MarketingAction.objects.filter(pk__in=actions).count() != len(set(actions)):
        raise ValidationError({"actions": _("A marketing action was deleted meanwhile. Choose again.")})


def discard_draft(policy_id: uuid.UUID, version: int) -> Policy:
    """Drop changes that were not finished. Raises ValidationError: never finished, or changed meanwhile."""
    with transaction.atomic(), _editing(policy_id, version) as policy:
        if policy.state == Policy.State.DRAFT:
            raise ValidationError(_("This policy was never finished: delete it instead."))
        policy.draft = None
        policy.version += 1
        policy.save()
    return policy


def enable_policy(policy_id: uuid.UUID) -> Policy:
    """Let a policy hold.

    Raises:
        ValidationError: it was never finished, or deleted.
        Violated: a live dataflow would violate it.
    """
    with enforced():
        policy = _found(policy_id)
        if policy.state == Policy.State.DRAFT:
            raise ValidationError(
                _("This policy was never finished: choose labels and marketing actions first.")
            )
        policy.state = Policy.State.ENABLED
        policy.save(update_fields=["state", "updated_at"])
        audit.record("policy.enabled", policy)
    return policy


def disable_policy(policy_id: uuid.UUID) -> Policy:
    """Let a policy not hold any more. Raises ValidationError: it was deleted."""
    with transaction.atomic():
        lock()
        policy = _found(policy_id)
        if policy.enabled:
            policy.state = Policy.State.DISABLED
            policy.save(update_fields=["state", "updated_at"])
            audit.record("policy.disabled", policy)
    return policy


def delete_policy(policy_id: uuid.UUID) -> None:
    """Delete an own policy; does nothing when it is gone already. Raises ValidationError for a core one."""
    with transaction.atomic():
        lock()
        policy = Policy.objects.filter(pk=policy_id).first()
        if policy is not None and policy.core:
            raise _core_policy()
        if policy is not None:
            audit.record("policy.deleted", policy, audit.state(policy, *_TOLD))
            policy.delete()


@contextmanager
def _editing(policy_id: uuid.UUID, version: int) -> Iterator[Policy]:
    lock()
    policy = _found(policy_id)
    if policy.core:
        raise _core_policy()
    if policy.version != version:
        raise _edited_meanwhile()
    yield policy


def _edited_meanwhile() -> ValidationError:
    return ValidationError(
        _("Somebody else changed this policy meanwhile. What you chose was not saved: load the page again.")
    )


def _found(policy_id: uuid.UUID) -> Policy:
    policy = Policy.objects.filter(pk=policy_id).first()
    if policy is None:
        raise ValidationError(_("This policy was deleted meanwhile."))
    return policy


def _core_policy() -> ValidationError:
    return ValidationError(_("Core policies can be enabled and disabled, but not changed or deleted."))


# -- consent policies ----------------------------------------------------------------------------------------------


def create_consent_policy(
    *, name: str, description: str, field: str, actions: Collection[str]
) -> ConsentPolicy:
    """A new consent policy, disabled until somebody enables it.

    Args:
        field: the path of the field that must say yes (:func:`governance.consent.says_yes`).
        actions: ids of marketing actions.

    Raises:
        ValidationError: of ``name``, ``field`` or ``actions``: it can't be.
    """
    policy = ConsentPolicy(
        name=checked_name(ConsentPolicy, name), description=description.strip(), field=_consent_field(field)
    )
    with _naming(ConsentPolicy):
        lock()
        check_actions(actions)
        policy.save()
        policy.marketing_actions.set(MarketingAction.objects.filter(pk__in=actions))
        audit.record("consent_policy.created", policy, after=audit.state(policy, *_TOLD_OF_CONSENT))
    return policy


def edit_consent_policy(
    policy_id: uuid.UUID,
    version: int,
    *,
    name: str,
    description: str,
    field: str,
    actions: Collection[str],
) -> ConsentPolicy:
    """Change a consent policy. Of an enabled one, that holds at once.

    Args:
        version: of the policy that the page showed.

    Raises:
        ValidationError: as :func:`create_consent_policy`; or somebody else changed or deleted it meanwhile.
    """
    with _naming(ConsentPolicy), consent.changing():
        policy = _found_consent_policy(policy_id)
        if policy.version != version:
            raise _edited_meanwhile()
        before = audit.state(policy, *_TOLD_OF_CONSENT)
        policy.name, policy.description = checked_name(ConsentPolicy, name, policy), description.strip()
        policy.field = _consent_field(field)
        check_actions(actions)
        policy.version += 1
        policy.save()
        policy.marketing_actions.set(MarketingAction.objects.filter(pk__in=actions))
        audit.record("consent_policy.edited", policy, before, audit.state(policy, *_TOLD_OF_CONSENT))
    return policy


def switch_consent_policy(policy_id: uuid.UUID, *, enabled: bool) -> ConsentPolicy:
    """Let a consent policy hold, or not any more. Members to whom it matters are exported anew: those who do not
    consent and were exported before get one last record. Raises ValidationError: it was deleted.
    """
    with consent.changing():
        policy = _found_consent_policy(policy_id)
        if policy.enabled != enabled:
            policy.enabled = enabled
            policy.save(update_fields=["enabled", "updated_at"])
            audit.record("consent_policy.enabled" if enabled else "consent_policy.disabled", policy)
    return policy


def delete_consent_policy(policy_id: uuid.UUID) -> None:
    """Delete a consent policy, as if it was disabled first; does nothing when it is gone already."""
    with consent.changing():
        policy = ConsentPolicy.objects.select_related("field").filter(pk=policy_id).first()
        if policy is not None:
            audit.record("consent_policy.deleted", policy, audit.state(policy, *_TOLD_OF_CONSENT))
            policy.delete()


def _found_consent_policy(policy_id: uuid.UUID) -> ConsentPolicy:
    policy = ConsentPolicy.objects.select_related("field").filter(pk=policy_id).first()
    if policy is None:
        raise ValidationError(_("This policy was deleted meanwhile."))
    return policy


def _consent_field(path: str) -> SchemaField:
    field = SchemaField.objects.filter(path=path, type__in=ConsentPolicy.FIELD_TYPES).first()
    if field is None or path.partition(".")[0] in RESERVED_KEYS:
        raise ValidationError({"field": _("Choose a field of the schema that is a text, or true or false.")})
    return field
