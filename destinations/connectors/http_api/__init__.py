"""HTTP API: in the catalog, not available yet."""

from django.utils.translation import gettext_lazy as _

from ..base import Spec

spec = Spec(
    slug="http-api",
    id=None,
    name="HTTP API",
    description=_("Send profile changes as JSON to an HTTP endpoint of your own."),
    category=_("Streaming"),
    connection_type=_("Streaming"),
    export_type=_("Profile-based"),
    icon="webhook",
)
