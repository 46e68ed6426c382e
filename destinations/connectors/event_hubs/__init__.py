"""Azure Event Hubs: in the catalog, not available yet."""

import uuid

from django.utils.translation import gettext_lazy as _

from ..base import Spec

spec = Spec(
    slug="event-hubs",
    id=uuid.UUID("bf9f5905-92b7-48bf-bf20-455bc6b60a4e"),
    name="Azure Event Hubs",
    description=_("Stream profile changes as JSON events to a hub in Azure Event Hubs."),
    category=_("Cloud storage"),
    connection_type=_("Streaming"),
    export_type=_("Profile-based"),
    icon="radio-tower",
    documentation_url="https://learn.microsoft.com/azure/event-hubs/",
)
