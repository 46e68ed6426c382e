from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ActivationConfig(AppConfig):
    name = "activation"
    verbose_name = _("Activation")

    def ready(self) -> None:
        from activation.export import triggers
        from destinations.signals import (
            actions_changed,
            alerts_wanted,
            connection_changed,
            destination_leaving,
        )
        from governance.signals import asking_consent_effects, asking_uses, consent_changed
        from profiles.signals import profile_erasing, profiles_changed

        profiles_changed.connect(triggers.queue_exports, dispatch_uid="activation.export")
        connection_changed.connect(_try_again, dispatch_uid="activation.export")
        destination_leaving.connect(_let_go, dispatch_uid="activation.export")
        asking_uses.connect(_live_uses, dispatch_uid="activation")
        actions_changed.connect(_follow_actions, dispatch_uid="activation")
        consent_changed.connect(_follow_consent, dispatch_uid="activation")
        asking_consent_effects.connect(_effects, dispatch_uid="activation")
        profile_erasing.connect(_say_farewell, dispatch_uid="activation.export")
        alerts_wanted.connect(_subscribe, dispatch_uid="activation.alerts")


def _try_again(sender: Any = None, *, destination_ids: list[Any], **_kwargs: Any) -> None:
    from activation.export import lanes, outbox
    from activation.models import Dataflow

    dataflow_ids = list(Dataflow.objects.filter(destination__in=destination_ids).values_list("pk", flat=True))
    lanes.release(dataflow_ids)
    outbox.wake_on_commit(lanes.every_lane(dataflow_ids), again=True)


def _let_go(sender: Any = None, *, destination_id: Any, **_kwargs: Any) -> None:
    """Wait for what is being queued and settled, and let nothing more begin: then all that there is can be deleted."""
    from activation.export import lanes, outbox
    from activation.models import Dataflow

    outbox.lock_many()
    dataflow = Dataflow.objects.select_for_update(no_key=True).filter(destination=destination_id).first()
    if dataflow is not None:
        outbox.lock_mapping(dataflow)
        lanes.lock(dataflow.pk)


def _live_uses(sender: Any = None, **_kwargs: Any) -> list[Any]:
    from activation.models import Dataflow
    from activation.selectors import uses

    return list(uses(Dataflow.objects.filter(state=Dataflow.State.ENABLED)))


def _follow_actions(
    sender: Any = None, *, destination_id: Any, before: Any, after: Any, **_kwargs: Any
) -> None:
    """Other marketing actions of a destination: perhaps others must consent."""
    from activation import consent, services
    from activation.models import Dataflow
    from governance.consent import Asked

    asked = Asked.stored()
    live = Dataflow.objects.exclude(state=Dataflow.State.DRAFT)
    dataflow = live.filter(destination=destination_id).first()
    if dataflow is not None and asked.of(before) != asked.of(after):
        services.follow_consent([consent.Change(dataflow, asked.of(before), asked.of(after))])


def _follow_consent(sender: Any = None, *, before: Any, after: Any, **_kwargs: Any) -> None:
    from activation import consent, services

    services.follow_consent(consent.changes(before, after))


def _effects(sender: Any = None, *, before: Any, after: Any, **_kwargs: Any) -> list[Any]:
    from activation import consent

    return consent.effects(consent.changes(before, after))


def _subscribe(sender: Any = None, *, destination: Any, user: Any, kinds: Any, **_kwargs: Any) -> None:
    from activation.alerts import services

    services.subscribe(destination=destination, user=user, wishes=services.Wishes(kinds))


def _say_farewell(sender: Any = None, *, profile_id: Any, last_record: bool, **_kwargs: Any) -> None:
    """Lock what waits of the person in the order in which delivery does; write the last records."""
    from activation.export import farewell, outbox

    outbox.lock([profile_id])
    if last_record:
        farewell.queue(profile_id)
