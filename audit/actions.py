"""Every act that is recorded, in words. A new one is a line here and a call of ``audit.record`` in its service."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Kind(StrEnum):
    """What sort of act it is, as pages colour it."""

    NEUTRAL = "neutral"
    ADDED = "positive"
    REMOVED = "notice"
    REFUSED = "negative"


class Action(NamedTuple):
    label: str | Promise
    kind: Kind = Kind.NEUTRAL


ACTIONS: dict[str, Action] = {
    "access.refused": Action(_("Was refused"), Kind.REFUSED),
    "session.signed_in": Action(_("Signed in")),
    "session.signed_out": Action(_("Signed out")),
    "session.refused": Action(_("Did not get in"), Kind.REFUSED),
    "user.created": Action(_("Created a user"), Kind.ADDED),
    "user.edited": Action(_("Changed a user")),
    "user.deleted": Action(_("Deleted a user"), Kind.REMOVED),
    "group.created": Action(_("Created a group"), Kind.ADDED),
    "group.edited": Action(_("Changed a group")),
    "group.deleted": Action(_("Deleted a group"), Kind.REMOVED),
    "user.second_step_added": Action(_("Added a second step"), Kind.ADDED),
    "user.second_step_removed": Action(_("Removed a second step"), Kind.REMOVED),
    "user.recovery_codes_made": Action(_("Made new recovery codes")),
    "user.signed_out_everywhere": Action(_("Signed somebody out everywhere"), Kind.REMOVED),
    "user.password_link_made": Action(_("Made a link to choose a password")),
    "api_token.created": Action(_("Created an API token"), Kind.ADDED),
    "api_token.revoked": Action(_("Revoked an API token"), Kind.REMOVED),
    "account.connected": Action(_("Connected an account"), Kind.ADDED),
    "account.edited": Action(_("Changed an account")),
    "account.deleted": Action(_("Deleted an account"), Kind.REMOVED),
    "account.keys_rotated": Action(_("Encrypted credentials anew")),
    "destination.created": Action(_("Created a destination"), Kind.ADDED),
    "destination.edited": Action(_("Changed a destination")),
    "destination.deleted": Action(_("Deleted a destination"), Kind.REMOVED),
    "dataflow.finished": Action(_("Activated segments"), Kind.ADDED),
    "dataflow.draft_discarded": Action(_("Discarded a draft"), Kind.REMOVED),
    "dataflow.enabled": Action(_("Enabled a dataflow"), Kind.ADDED),
    "dataflow.disabled": Action(_("Disabled a dataflow"), Kind.REMOVED),
    "dataflow.draining": Action(_("Drained a dataflow")),
    "dataflow.lanes_changed": Action(_("Changed the lanes")),
    "dataflow.backlog_purged": Action(_("Purged a backlog"), Kind.REMOVED),
    "dataflow.backfill_cancelled": Action(_("Cancelled a backfill"), Kind.REMOVED),
    "dataflow.replayed": Action(_("Replayed profiles")),
    "dataflow.failures_replayed": Action(_("Replayed failed exports")),
    "dataflow.failures_discarded": Action(_("Discarded failed exports"), Kind.REMOVED),
    "failures.downloaded": Action(_("Downloaded failed exports")),
    "alerts.subscribed": Action(_("Changed what alerts tell")),
    "marketing_action.created": Action(_("Created a marketing action"), Kind.ADDED),
    "marketing_action.edited": Action(_("Changed a marketing action")),
    "marketing_action.deleted": Action(_("Deleted a marketing action"), Kind.REMOVED),
    "label.created": Action(_("Created a label"), Kind.ADDED),
    "label.edited": Action(_("Changed a label")),
    "label.deleted": Action(_("Deleted a label"), Kind.REMOVED),
    "label.added": Action(_("Labelled data"), Kind.ADDED),
    "label.removed": Action(_("Took a label from data"), Kind.REMOVED),
    "policy.finished": Action(_("Wrote a policy"), Kind.ADDED),
    "policy.enabled": Action(_("Enabled a policy"), Kind.ADDED),
    "policy.disabled": Action(_("Disabled a policy"), Kind.REMOVED),
    "policy.deleted": Action(_("Deleted a policy"), Kind.REMOVED),
    "policy.refused": Action(_("Was refused by a policy"), Kind.REFUSED),
    "consent_policy.created": Action(_("Created a consent policy"), Kind.ADDED),
    "consent_policy.edited": Action(_("Changed a consent policy")),
    "consent_policy.enabled": Action(_("Enabled a consent policy"), Kind.ADDED),
    "consent_policy.disabled": Action(_("Disabled a consent policy"), Kind.REMOVED),
    "consent_policy.deleted": Action(_("Deleted a consent policy"), Kind.REMOVED),
    "segment.created": Action(_("Created a segment"), Kind.ADDED),
    "segment.edited": Action(_("Changed a segment")),
    "segment.published": Action(_("Made a segment live"), Kind.ADDED),
    "segment.archived": Action(_("Archived a segment"), Kind.REMOVED),
    "segment.deleted": Action(_("Deleted a segment"), Kind.REMOVED),
    "upload.started": Action(_("Started an upload"), Kind.ADDED),
    "upload.stopped": Action(_("Stopped an upload"), Kind.REMOVED),
    "profile.created": Action(_("Created a profile"), Kind.ADDED),
    "profile.edited": Action(_("Changed a profile")),
    "profile.identity_added": Action(_("Added an identity"), Kind.ADDED),
    "profile.identity_removed": Action(_("Removed an identity"), Kind.REMOVED),
    "profile.membership_set": Action(_("Set a membership")),
    "profile.erased": Action(_("Erased a customer"), Kind.REMOVED),
    "profiles.imported": Action(_("Imported profiles"), Kind.ADDED),
    "schema_field.created": Action(_("Created a schema field"), Kind.ADDED),
    "schema_field.edited": Action(_("Changed a schema field")),
    "schema_field.deleted": Action(_("Deleted a schema field"), Kind.REMOVED),
    "namespace.created": Action(_("Created an identity namespace"), Kind.ADDED),
    "namespace.edited": Action(_("Changed an identity namespace")),
    "namespace.deleted": Action(_("Deleted an identity namespace"), Kind.REMOVED),
    "inlet.created": Action(_("Created an inlet"), Kind.ADDED),
    "inlet.edited": Action(_("Changed an inlet")),
    "inlet.token_made": Action(_("Made a token for an inlet")),
    "inlet.enabled": Action(_("Enabled an inlet"), Kind.ADDED),
    "inlet.disabled": Action(_("Disabled an inlet"), Kind.REMOVED),
    "inlet.deleted": Action(_("Deleted an inlet"), Kind.REMOVED),
    "audit.exported": Action(_("Exported the audit trail")),
    "audit.forgotten": Action(_("Deleted old audit entries"), Kind.REMOVED),
}
