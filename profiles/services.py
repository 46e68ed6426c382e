"""What people do to profiles and segments, one function a use case.

Whatever concerns a profile goes through :func:`profiles.ingest.ingest`, so that it is announced. A function that can't
do it says why with Django's ``ValidationError``; nothing is written then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import CASCADE, PROTECT, Count, ForeignObjectRel, Model, ProtectedError, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

import audit
from profiles import signals
from profiles.ingest import (
    Fragment,
    Outcome,
    Refused,
    Result,
    check_segment_id,
    check_text,
    ingest,
)
from profiles.locks import INGESTION, advisory_lock
from profiles.merge import ancestors, difference
from profiles.models import (
    RESERVED_KEYS,
    Identity,
    Profile,
    SchemaField,
    Segment,
    SegmentMembership,
    Upload,
    new_version,
)
from profiles.pql import PQLError, Rule, Schema, parse
from profiles.segmentation import store
from profiles.segmentation.counts import Change, add_counts
from profiles.segmentation.rules import live_rules

NAME_MAX_LENGTH = 255  # of a segment
_TOLD = ("name", "description", "origin", "rule", "state")  # what the audit trail tells of a segment
NAMED_IN_REASON = 5  # of what stands in the way of a deletion


def write(fragment: Fragment) -> Outcome:
    """Ingest one fragment; a rejection is raised.

    Raises:
        ValidationError: with the reason.
    """
    [outcome] = ingest([fragment])
    if outcome.result == Result.REJECTED:
        raise ValidationError(outcome.reason)  # type: ignore[arg-type]  # lazy texts are fine
    return outcome


def create_profile(
    *, identities: Sequence[tuple[str, str]], attributes: Mapping[str, Any] | None = None
) -> Profile:
    """A new profile. Unlike ingestion, an identity that names a profile already is an error."""
    with transaction.atomic():
        outcome = write(Fragment(identities=identities, attributes=attributes or {}))
        if outcome.result != Result.CREATED:
            raise ValidationError(_("There is a profile with this identity already."))
        made = Profile.objects.get(pk=outcome.profile_id)  # type: ignore[misc]
        audit.record("profile.created", made)
        return made


def edit_attributes(profile_id: uuid.UUID, *, shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> Outcome:
    """Write what a person changed in the attributes, and nothing that they did not.

    Args:
        profile_id: whose.
        shown: the attributes as the person saw them. What another wrote meanwhile stays.
        wanted: the attributes as the person left them.
    """
    changed = difference(shown, wanted)
    with transaction.atomic():
        outcome = write(Fragment(profile_id=profile_id, attributes=changed))
        # Which ones, and not what is in them: what is known of a customer can be erased, the trail can't.
        audit.record("profile.edited", Profile(pk=profile_id), after={"attributes": sorted(changed)})
    return outcome


def add_identity(profile_id: uuid.UUID, *, namespace: str, value: str) -> Outcome:
    with transaction.atomic():
        outcome = write(Fragment(profile_id=profile_id, identities=[(namespace, value)]))
        audit.record("profile.identity_added", Profile(pk=profile_id), after={"namespace": namespace})
    return outcome


def delete_profiles(profiles: QuerySet[Profile]) -> None:
    """Delete profiles and what is known of them; nothing is announced. Segments have so many members less."""
    with transaction.atomic():
        advisory_lock(INGESTION, shared=True)
        keys = list(profiles.order_by("pk").select_for_update().values_list("pk", flat=True))
        members = SegmentMembership.objects.filter(
            profile__in=keys, status__in=SegmentMembership.MEMBER_STATUSES
        )
        counted = members.order_by().values_list("segment").annotate(Count("pk"))
        add_counts({segment_id: Change(members=-number) for segment_id, number in counted})
        Profile.objects.filter(pk__in=keys).delete()


def remove_identity(identity: Identity) -> None:
    remove_identities([identity])


def remove_identities(identities: Sequence[Identity]) -> None:
    """Take identities from their profiles. The profiles stay, even without any.

    Args:
        identities: with their namespaces.
    """
    with transaction.atomic():
        ingest(
            [
                Fragment(profile_id=row.profile_id, identities_removed=[(row.namespace.code, row.value)])
                for row in identities
            ]
        )
        for row in identities:
            removed = {"namespace": row.namespace.code}
            audit.record("profile.identity_removed", Profile(pk=row.profile_id), removed)


def set_membership(
    profile_id: uuid.UUID, *, segment_id: str, status: str, moment: datetime | None = None
) -> Outcome:
    """Put a profile into a segment, or out of it (``exited``).

    Args:
        moment: when it qualified; now by default. One before the stored one changes nothing.

    Raises:
        ValidationError: the segment's rule says who is in it.
    """
    if segment_id in live_rules():
        raise ValidationError(_("The rule of this segment says who is in it."))
    with transaction.atomic():
        outcome = write(Fragment(profile_id=profile_id, memberships={segment_id: (status, moment)}))
        told = {"segment": segment_id, "status": status}
        audit.record("profile.membership_set", Profile(pk=profile_id), after=told)
    return outcome


# --- Segments ------------------------------------------------------------------------------------------------------


def create_segment(
    *,
    name: str,
    id: str = "",
    description: str = "",
    origin: str = Segment.Origin.UPLOAD,
    rule: str = "",
    state: str = Segment.State.LIVE,
    evaluated_at: datetime | None = None,
) -> Segment:
    """A new segment; without ``id`` it gets a UUID.

    A live one of the segmentation service has the members that its rule says; a draft's rule may be unfinished.
    """
    segment = Segment(
        name=name, description=description, origin=origin, rule=rule, state=state, evaluated_at=evaluated_at
    )
    if id:
        segment.id = id
    with _changing(segment):
        _check(segment)
        segment.save(force_insert=True)
        audit.record("segment.created", segment, after=audit.state(segment, *_TOLD))
        _rule_changed(segment)
    return segment


def edit_segment(
    segment: Segment,
    *,
    name: str,
    description: str,
    rule: str,
    version: int | None = None,
    publish: bool = False,
) -> Segment:
    """Change a segment. ``updated_at`` moves only with the definition: exported records tell it.

    The members of a live segment follow a changed rule soon: everybody is asked anew.

    Args:
        version: of the rule that was shown to whoever changes it.
        publish: also make it live.

    Raises:
        ValidationError: the rule can't be, a policy forbids it, or somebody else changed it meanwhile. Nothing was
            written.
    """
    with _changing(segment):
        _reload(segment)
        before = audit.state(segment, *_TOLD)
        rule_changed = segment.rule != rule
        if version not in (None, segment.rule_version) and rule_changed:
            raise ValidationError(
                _("Somebody else changed this rule meanwhile. What you wrote was not saved.")
            )
        publish = publish and segment.state != Segment.State.LIVE
        if publish:
            segment.state = Segment.State.LIVE
        if rule_changed or segment.name != name:
            segment.updated_at = timezone.now()
        if rule_changed:
            segment.rule_version = new_version()
        segment.name, segment.description, segment.rule = name, description, rule
        _check(segment)
        segment.save(update_fields=["name", "description", "rule", "rule_version", "state", "updated_at"])
        audit.record("segment.edited", segment, before, audit.state(segment, *_TOLD))
        if rule_changed or publish:
            _rule_changed(segment)
        if rule_changed:
            signals.rule_changed.send(sender=Segment, segment_id=segment.pk)
    return segment


def publish_segment(segment: Segment) -> None:
    """Make a draft live, or an archived segment again."""
    with _changing(segment):
        _reload(segment)
        if segment.state != Segment.State.LIVE:
            audit.record(
                "segment.published", segment, {"state": segment.state}, {"state": Segment.State.LIVE}
            )
            _set_state(segment, Segment.State.LIVE)
            _rule_changed(segment)


def duplicate_segment(segment: Segment, *, name: str) -> Segment:
    """A draft with the same rule."""
    return create_segment(
        name=name,
        description=segment.description,
        origin=Segment.Origin.SEGMENTATION,
        rule=segment.rule,
        state=Segment.State.DRAFT,
    )


def archive_segment(segment: Segment) -> None:
    """Stop asking a segment's rule; its members stay as they are.

    Raises:
        ValidationError: something needs the segment; the reason names what.
    """
    with _changing(segment):
        _reload(segment)
        if users := protecting([segment]):
            message = _("“%(name)s” is in use by %(users)s and can't be archived.")
            raise ValidationError(message % {"name": segment, "users": _named(users)})
        audit.record("segment.archived", segment, {"state": segment.state}, {"state": Segment.State.ARCHIVED})
        _set_state(segment, Segment.State.ARCHIVED)


def delete_segment(segment: Segment) -> None:
    """Delete a segment and its memberships.

    Raises:
        ValidationError: something needs the segment; the reason names what.
    """
    with transaction.atomic():
        advisory_lock(INGESTION, shared=False)  # nobody writes memberships of it meanwhile
        if users := protecting([segment]):
            raise ValidationError(in_use(str(segment), users))
        audit.record("segment.deleted", segment, audit.state(segment, *_TOLD))
        try:
            segment.delete()
        except ProtectedError as error:  # since
            raise ValidationError(in_use(str(segment), list(error.protected_objects))) from error


def check_rule(rule: str, segment_id: str = "") -> Rule:
    """Read a rule, and see whether it fits the schema. Three queries.

    Args:
        segment_id: whose rule it is, or will be; empty for a new segment.

    Raises:
        ValidationError: of the field ``rule``; its parameters ``position``, ``line`` and ``column`` say where.
    """
    try:
        read = parse(rule)
        read.check(Schema.stored(), segment_id=segment_id)
    except PQLError as error:
        raise ValidationError({"rule": rule_error(error)}) from None
    return read


def rule_error(error: PQLError) -> ValidationError:
    """What is wrong with a rule, for a form."""
    where = {"position": error.position, "line": error.line, "column": error.column}
    place = _("Line %(line)s, character %(column)s") if error.line > 1 else _("Character %(column)s")
    message = f"{place % where}: {error.message}"
    return ValidationError(message.replace("%", "%%"), code="rule", params=where)


@contextmanager
def _changing(segment: Segment) -> Iterator[None]:
    """A transaction. Of a segment that has a rule, or may have one: in which nobody goes by it.

    The lock is the first one of the transaction, or two could wait for each other.
    """
    with transaction.atomic():
        if segment.origin == Segment.Origin.SEGMENTATION:
            advisory_lock(INGESTION, shared=False)
        yield


def _reload(segment: Segment) -> None:
    try:
        segment.refresh_from_db(from_queryset=Segment.objects.select_for_update(no_key=True))
    except Segment.DoesNotExist:
        raise ValidationError(_("This segment was deleted meanwhile.")) from None


def _set_state(segment: Segment, state: Segment.State) -> None:
    segment.state = state
    segment.save(update_fields=["state"])


def _rule_changed(segment: Segment) -> None:
    """Of a live segment: check the rule, and have everybody asked."""
    if segment.origin != Segment.Origin.SEGMENTATION or segment.state != Segment.State.LIVE:
        return
    if segment.rule:
        check_rule(segment.rule, segment.pk)
        store.request([segment.pk])
    elif segment.memberships.exists():
        raise ValidationError({"rule": _("Without a rule the segment would keep these members for ever.")})


def _check(segment: Segment) -> None:
    try:
        check_segment_id(segment.id)
        for text in (segment.name, segment.description, segment.rule):
            check_text(text)
    except Refused as refused:
        raise ValidationError(refused.reason) from None  # type: ignore[arg-type]
    segment.full_clean()


# --- Schema --------------------------------------------------------------------------------------------------------


def add_field(*, path: str, title: str, type: str) -> SchemaField:
    """An own field of the union schema.

    Raises:
        ValidationError: of the field ``path``: it is no path, is there already, or does not fit the fields above or
            below it; or of another field.
    """
    try:
        added = SchemaField(path=checked_path(path, type), title=" ".join(title.split()), type=type)
    except ValidationError as error:
        raise ValidationError({"path": error.messages}) from None
    added.full_clean()
    added.save(force_insert=True)
    return added


def checked_path(path: str, type: str = "") -> str:
    """The path of a new field as it is kept.

    Args:
        type: of the field; empty where that is not known yet.

    Raises:
        ValidationError: it can't be one.
    """
    path = path.strip()
    keys = path.split(".")
    if not all(keys) or any(char.isspace() or char == "\0" for char in path):
        raise ValidationError(_("A path is keys with dots between, e.g. _ours.shoeSize, without spaces."))
    if keys[0] in RESERVED_KEYS:
        raise ValidationError(_("%(key)s is not an attribute.") % {"key": keys[0]})
    leaf = (
        SchemaField.objects.filter(path__in=list(ancestors(path)))
        .exclude(type=SchemaField.Type.OBJECT)
        .first()
    )
    if leaf:
        raise ValidationError(
            _("%(path)s is of type %(type)s: it has no fields below it.")
            % {"path": leaf.path, "type": leaf.get_type_display()}
        )
    below = SchemaField.objects.filter(path__startswith=f"{path}.").first()
    if below and type not in ("", SchemaField.Type.OBJECT):
        raise ValidationError(
            _("There are fields below it, e.g. %(path)s: it can only be an object.") % {"path": below}
        )
    return path


# --- What uses what ------------------------------------------------------------------------------------------------


def _referring(rows: Sequence[Model], on_delete: Callable[..., Any]) -> Iterator[QuerySet[Model]]:
    """What refers to these rows of one model, by tables; those that the model does not know by name, too."""
    if not rows:
        return
    for relation in rows[0]._meta.get_fields(include_hidden=True):
        if isinstance(relation, ForeignObjectRel) and relation.on_delete is on_delete:
            model: type[Model] = relation.related_model
            yield model._default_manager.filter(**{f"{relation.field.name}__in": rows})


def protecting(rows: Sequence[Model]) -> list[Model]:
    """Some of what refers to these rows, all of one model, and does not let them be deleted."""
    found: list[Model] = []
    for users in _referring(rows, PROTECT):
        found += users[: NAMED_IN_REASON + 1]
    if rows and isinstance(rows[0], Segment):
        going = {str(row.pk) for row in rows}
        asking = [key for key, rule in live_rules().items() if key not in going and rule.segments & going]
        found += Segment.objects.filter(pk__in=asking)[: NAMED_IN_REASON + 1]
        found += Upload.objects.filter(segment__in=going, state__in=Upload.ACTIVE)[: NAMED_IN_REASON + 1]
    return found


def hanging_on(rows: Sequence[Model]) -> dict[str, int]:
    """What would be deleted with these rows, all of one model: how many by name."""
    counts: dict[str, int] = {}
    for users in _referring(rows, CASCADE):
        if number := users.count():
            counts[str(users.model._meta.verbose_name_plural)] = number
    return counts


def in_use(name: str, rows: Sequence[Model]) -> str:
    """Why ``name`` can't be deleted, in words that name what uses it: ``rows``."""
    return _("“%(name)s” is in use by %(users)s and can't be deleted.") % {
        "name": name,
        "users": _named(rows),
    }


def _named(rows: Sequence[Model]) -> str:
    """Names of what refers to something.

    Profiles do not know who uses them: rows of a table in between are told by what else they refer to, e.g. a mapped
    segment by its dataflow.
    """
    names: list[str] = []
    for row in rows[: NAMED_IN_REASON + 1]:
        others = [
            getattr(row, relation.name)
            for relation in row._meta.concrete_fields
            if relation.many_to_one
            and not relation.null
            and relation.related_model not in (Segment, SchemaField)
        ]
        names += [str(other) for other in others] or [str(row)]
    names = sorted(set(names))
    if len(names) > NAMED_IN_REASON:
        names = [*names[:NAMED_IN_REASON], "…"]
    return ", ".join(names)
