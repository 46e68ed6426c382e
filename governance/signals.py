"""What governance asks of whoever uses data: it does not know who that is."""

from __future__ import annotations

from django.dispatch import Signal

# Every receiver answers with a list of governance.enforcement.Use: what it uses data for now. Sent inside the
# transaction of a change that policies may forbid.
asking_uses = Signal()

# Consent policies ask for other fields. Sent inside the transaction of the change, with ``before`` and ``after``
# (governance.consent.Asked).
consent_changed = Signal()

# What that would mean, with the same arguments. Every receiver answers with a list of governance.consent.Effect.
asking_consent_effects = Signal()
