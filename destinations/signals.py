"""What destinations announce to whoever delivers to them."""

from __future__ import annotations

from django.dispatch import Signal

# The way to some destinations changed (new credentials, another stream, other options): what was held for an error
# may go on. Sent inside the transaction of the change, with ``destination_ids``: a list of UUIDs.
connection_changed = Signal()
