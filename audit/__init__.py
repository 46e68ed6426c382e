"""Who did what, when and from where: the bottom of the house. What records an act imports nothing of ours.

``audit.record("destination.edited", destination, before, audit.state(destination))`` in a service is all that it takes.
"""

from __future__ import annotations

from audit.origin import acting
from audit.trail import record, refused, state, watch

__all__ = ["acting", "record", "refused", "state", "watch"]
