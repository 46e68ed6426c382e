"""What destinations announce to whoever delivers to them."""

from __future__ import annotations

from django.dispatch import Signal

# The way to some destinations changed (new credentials, another stream, other options): what was held for an error
# may go on. Sent inside the transaction of the change, with ``destination_ids``: a list of UUIDs.
connection_changed = Signal()

# A destination is meant for other marketing actions: ``destination_id``, and the ids ``before`` and ``after`` (sets).
# Sent inside the transaction of the change.
actions_changed = Signal()

# Who made a destination wants to be told of it: ``destination``, ``user`` and ``kinds`` (AlertKind). Sent inside the
# transaction that makes it.
alerts_wanted = Signal()

# A destination is about to be deleted: whoever delivers to it lets go. Sent inside the transaction of the deletion,
# with ``destination_id``.
destination_leaving = Signal()
