"""Writes of governance."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from governance.models import MarketingAction


def create_marketing_action(*, name: str, description: str = "") -> MarketingAction:
    """Make a marketing action of one's own.

    Raises:
        ValidationError: no name, too long a one, or there is an action of this name, in whatever case.
    """
    action = MarketingAction(name=name.strip(), description=description.strip())
    action.full_clean()
    try:
        with transaction.atomic():
            action.save(force_insert=True)
    except IntegrityError:
        raise ValidationError({"name": action.unique_error_message(MarketingAction, ("name",))}) from None
    return action
