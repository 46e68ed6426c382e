"""What operators do with a dataflow."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from activation import services
from activation.views.common import find_destination, to_destination
from profiles.access import requires


@requires("activation.activate_destinations")
@require_POST
def enable(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    try:
        awake = services.enable(destination=destination)
    except services.Refused as error:
        messages.error(request, error.message)
        return to_destination(request, destination)
    if awake is None:
        messages.info(request, _("It is enabled already."))
    elif awake:
        messages.success(request, _("Enabled: the export goes on."))
    else:
        messages.warning(request, _("Enabled: the export goes on when the workers are back."))
    return to_destination(request, destination)


@requires("activation.activate_destinations")
@require_POST
def disable(request: HttpRequest, destination_id: uuid.UUID) -> HttpResponse:
    destination = find_destination(destination_id)
    try:
        stopped = services.disable(destination=destination)
    except services.Refused as error:
        messages.error(request, error.message)
        return to_destination(request, destination)
    if stopped:
        messages.success(request, _("Disabled: what changes from now on waits until it is enabled again."))
    else:
        messages.info(request, _("It is disabled already."))
    return to_destination(request, destination)
