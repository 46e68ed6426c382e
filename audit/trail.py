"""Writing the trail: one function for services, and a watch for models that no service writes (people, roles)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save
from django.utils import timezone

from audit.actions import ACTIONS
from audit.keys import key_at
from audit.origin import afterwards, current, name_of

HIDDEN = "changed"  # what is told of a secret: that it is another one
LONGEST_TEXT = 20_000  # characters of a value
LONGEST_LIST = 200  # items of a value
_SECRET = re.compile(r"(password|secret|token|digest|hash|credentials?)$")
_NOTHING: tuple[object, ...] = (None, "", [], {}, ())


class Secret:
    """A value that is compared, and neither stored nor shown."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<Secret>"


def state(obj: models.Model, *names: str) -> dict[str, Any]:
    """What an object says of itself now: for before and after.

    Args:
        names: of its fields; all that can be edited when none is given. A relation of many is read with a query.
    """
    fields = {field.name: field for field in (*obj._meta.concrete_fields, *obj._meta.many_to_many)}
    wanted = names or [f.name for f in obj._meta.concrete_fields if f.editable and not f.primary_key]
    return {name: _value(obj, fields[name]) for name in wanted}


def record(
    action: str,
    obj: models.Model | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    by: models.Model | None = None,
) -> None:
    """Write down an act, in the transaction of what it did. Whoever acts, and from where, is known (audit.origin).

    Args:
        action: one of :data:`audit.actions.ACTIONS`.
        obj: what it was done to; also one that is about to be deleted.
        before, after: fields and their values, see :func:`state`; only those that differ are kept. What an act counts
            or names goes into ``after``. Values of fields that are called like secrets are told as changed only.
        name: what it was done to, where that is no object.
        by: who, where the request can't know it (a sign-in).

    Raises:
        KeyError: no such action.
    """
    assert ACTIONS[action]
    origin = current()
    actor, actor_id = name_of(by) if by is not None else (origin.actor, origin.actor_id)
    now = timezone.now()
    apps.get_model("audit", "Entry").objects.create(
        id=key_at(now),
        at=now,
        action=action,
        actor=actor[:255],
        actor_id=actor_id[:64],
        object_type=obj._meta.label_lower if obj is not None else "",
        object_id=str(obj.pk)[:255] if obj is not None else "",
        object_name=(name or (str(obj) if obj is not None else ""))[:255],
        changes=_changes(before or {}, after or {}),
        ip=origin.ip,
        request_id=origin.request_id[:64],
        place=origin.place[:255],
    )


def refused(action: str, *, name: str, after: Mapping[str, Any]) -> None:
    """Write down that somebody was refused something, once what they did has been taken back: when their request ends.

    Args:
        action, name, after: as :func:`record` has them.
    """
    afterwards(lambda: record(action, name=name, after=after))


def _value(obj: models.Model, field: Any) -> Any:
    if field.many_to_many:
        return sorted(str(each) for each in getattr(obj, field.name).all())
    value = getattr(obj, field.attname)
    if getattr(field, "secret", False):
        return Secret(value)
    if field.is_relation and value is not None and field.is_cached(obj):
        return str(getattr(obj, field.name))
    return value


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for field in dict.fromkeys((*before, *after)):
        old, new = before.get(field), after.get(field)
        if old == new or (_is_nothing(old) and _is_nothing(new)):
            continue
        if isinstance(old, Secret) or isinstance(new, Secret) or _SECRET.search(field):
            changes[field] = HIDDEN
        else:
            changes[field] = [_plain(old), _plain(new)]
    return changes


def _is_nothing(value: object) -> bool:
    return any(value is nothing or value == nothing for nothing in _NOTHING)


def _plain(value: Any) -> Any:
    """The value as JSON has it; what is long is cut, and says so. A name in a mapping may be a secret's, too."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): "…" if _SECRET.search(str(key)) else _plain(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        items = list(value)
        more = [f"… {len(items) - LONGEST_LIST:,}"] if len(items) > LONGEST_LIST else []
        return [_plain(each) for each in items[:LONGEST_LIST]] + more
    text = str(value).replace("\0", "")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


# -- models without services ---------------------------------------------------------------------------------------


def watch(model: type[models.Model], noun: str, *many: str, passing: tuple[str, ...] = ()) -> None:
    """Record whatever is saved or deleted of a model, by whatever code: NOUN.created, NOUN.edited, NOUN.deleted.

    Args:
        many: names of its relations of many, which are recorded when they change.
        passing: fields that say nothing, e.g. when somebody signed in last.
    """
    uid = f"audit.{model._meta.label}"

    def before_save(instance: Any, raw: bool = False, **_: Any) -> None:
        stored = (
            None if raw or instance._state.adding else model._default_manager.filter(pk=instance.pk).first()
        )
        instance._audited = _of(stored) if stored else {}

    def after_save(instance: Any, created: bool, raw: bool = False, **_: Any) -> None:
        before, after = instance.__dict__.pop("_audited", {}), _of(instance)
        if not raw and (created or before != after):
            record(f"{noun}.created" if created else f"{noun}.edited", instance, before, after)

    def before_delete(instance: Any, **_: Any) -> None:
        record(f"{noun}.deleted", instance, _of(instance))

    def _of(instance: models.Model) -> dict[str, Any]:
        return {
            name: Secret(value) if _SECRET.search(name) else value
            for name, value in state(instance).items()
            if name not in passing
        }

    pre_save.connect(before_save, sender=model, weak=False, dispatch_uid=uid)
    post_save.connect(after_save, sender=model, weak=False, dispatch_uid=uid)
    pre_delete.connect(before_delete, sender=model, weak=False, dispatch_uid=uid)
    for name in many:
        through = getattr(model, name).through
        m2m_changed.connect(
            _many(model, noun, name), sender=through, weak=False, dispatch_uid=f"{uid}.{name}"
        )


def _many(model: type[models.Model], noun: str, name: str) -> Any:
    def changed(instance: Any, action: str, **_: Any) -> None:
        if not isinstance(instance, model):  # from the other side: somebody asks for a group's people
            return
        if action.startswith("pre_"):
            instance.__dict__[f"_audited_{name}"] = state(instance, name)
        else:
            record(
                f"{noun}.edited", instance, instance.__dict__.pop(f"_audited_{name}"), state(instance, name)
            )

    return changed
