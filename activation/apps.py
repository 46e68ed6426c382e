from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ActivationConfig(AppConfig):
    name = "activation"
    verbose_name = _("Activation")

    def ready(self) -> None:
        from activation.export import triggers
        from destinations.signals import connection_changed
        from profiles.signals import profiles_changed

        profiles_changed.connect(triggers.queue_exports, dispatch_uid="activation.export")
        connection_changed.connect(_try_again, dispatch_uid="activation.export")


def _try_again(sender: Any = None, *, destination_ids: list[Any], **_kwargs: Any) -> None:
    from activation.export import lanes, outbox
    from activation.models import Dataflow

    dataflow_ids = list(Dataflow.objects.filter(destination__in=destination_ids).values_list("pk", flat=True))
    lanes.release(dataflow_ids)
    outbox.wake_on_commit(lanes.every_lane(dataflow_ids))
