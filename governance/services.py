"""What people do to marketing actions. A refusal is Django's ``ValidationError``; nothing is written then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

import audit
from governance.models import MarketingAction


def create_marketing_action(*, name: str, description: str = "") -> MarketingAction:
    """An own marketing action.

    Raises:
        ValidationError: there is none without a name, and none twice. Core ones count with both their names: the
            English one, and the one in the reader's language.
    """
    name = checked_name(name)
    return _save(MarketingAction(name=name, description=description.strip()), "created")


def edit_marketing_action(action: MarketingAction, *, name: str, description: str) -> MarketingAction:
    """Another name or description. Raises ValidationError: core ones do not change."""
    if action.core:
        raise _core()
    before = audit.state(action)
    action.name, action.description = checked_name(name, action), description.strip()
    return _save(action, "edited", before)


def delete_marketing_action(action: MarketingAction) -> None:
    """Raises ValidationError for a core one."""
    if action.core:
        raise _core()
    with transaction.atomic():
        audit.record("marketing_action.deleted", action, audit.state(action))
        action.delete()


def _save(action: MarketingAction, done: str, before: Mapping[str, Any] | None = None) -> MarketingAction:
    try:
        with transaction.atomic():
            action.save()
            audit.record(f"marketing_action.{done}", action, before, audit.state(action))
    except IntegrityError:
        raise _taken() from None
    return action


def checked_name(name: str, own: MarketingAction | None = None) -> str:
    """The name as it is kept. Raises ValidationError, see :func:`create_marketing_action`.

    Args:
        own: whose name it is to be.
    """
    name = " ".join(name.split())
    if not name:
        raise ValidationError({"name": _("Give it a name.")})
    most = MarketingAction._meta.get_field("name").max_length or 0
    if len(name) > most:
        raise ValidationError({"name": _("A name has up to %(most)s characters.") % {"most": most}})
    # There are a few dozen; the database's LOWER knows capitals of ASCII only, on SQLite.
    for other in MarketingAction.objects.all():
        if other != own and name.casefold() in (other.name.casefold(), str(other).casefold()):
            raise _taken()
    return name


def _taken() -> ValidationError:
    return ValidationError({"name": _("There is a marketing action with this name already.")})


def _core() -> ValidationError:
    return ValidationError(_("Core marketing actions can't be changed or deleted."))
