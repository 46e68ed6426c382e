from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class DestinationsConfig(AppConfig):
    name = "destinations"
    verbose_name = _("Destinations")

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from profiles.models import IdentityNamespace

        pre_delete.connect(_keep, sender=IdentityNamespace, dispatch_uid="destinations")


def _keep(sender: Any, instance: Any, **_kwargs: Any) -> None:
    """A namespace that is the partition key of a destination's records is not deleted."""
    from django.db.models import ProtectedError

    from destinations.models import Destination

    using = Destination.objects.filter(partition_key=f"identity:{instance.code}")
    if using:
        raise ProtectedError(gettext("It is the partition key of a destination."), set(using))
