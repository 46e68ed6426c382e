"""What a person can be allowed to do, and the roles that come with the product: one table for each.

A right is a Django permission (``app.codename``), a role a Django group. The rights are those of AEP's access control
for destinations, segments, profiles and governance, and ours for inlets, audit and people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# In the order of the page *Roles*. A right that an app has not (yet) is left out there and everywhere.
RIGHTS: dict[str, Promise] = {
    "destinations.view_destination": _("View Destinations"),
    "destinations.manage_destinations": _("Manage Destinations"),
    "activation.activate_destinations": _("Activate Destinations"),
    "activation.view_monitoring": _("View Monitoring"),
    "profiles.view_profile": _("View Profiles"),
    "profiles.delete_profile": _("Erase Profiles"),
    "profiles.view_segment": _("View Segments"),
    "profiles.manage_segments": _("Manage Segments"),
    "profiles.manage_schema": _("Manage Schema"),
    "profiles.view_identitynamespace": _("View Identity Namespaces"),
    "profiles.manage_namespaces": _("Manage Identity Namespaces"),
    "profiles.view_inlet": _("View Inlets"),
    "profiles.manage_inlets": _("Manage Inlets"),
    "governance.view_policy": _("View Policies"),
    "governance.manage_labels": _("Manage Usage Labels"),
    "governance.manage_policies": _("Manage Policies"),
    "audit.view_entry": _("View Audit"),
    "audit.export_entry": _("Export Audit"),
    "access.view_people": _("View People"),
    "access.manage_people": _("Manage People"),
}

# Who may change something may see it, or the page after *Save* would be a refusal.
IMPLIED: dict[str, str] = {
    "destinations.manage_destinations": "destinations.view_destination",
    "activation.activate_destinations": "destinations.view_destination",
    "profiles.manage_segments": "profiles.view_segment",
    "profiles.delete_profile": "profiles.view_profile",
    "profiles.manage_schema": "profiles.view_segment",  # where the schema is
    "profiles.manage_namespaces": "profiles.view_identitynamespace",
    "profiles.manage_inlets": "profiles.view_inlet",
    "governance.manage_labels": "profiles.view_segment",  # the schema, where labels are
    "governance.manage_policies": "governance.view_policy",
    "audit.export_entry": "audit.view_entry",
    "access.manage_people": "access.view_people",
}

ADMINISTRATOR = "Administrator"


@dataclass(frozen=True, slots=True)
class CoreRole:
    """A role that comes with the product. Nobody changes it: own roles are made beside it."""

    label: Promise
    description: Promise
    rights: frozenset[str]


CORE_ROLES: dict[str, CoreRole] = {
    ADMINISTRATOR: CoreRole(
        _("Administrator"), _("Everything, people and roles included."), frozenset(RIGHTS)
    ),
    "Data engineer": CoreRole(
        _("Data engineer"),
        _("Connects streams, runs the exports and the inlets."),
        frozenset(
            {
                "destinations.manage_destinations",
                "activation.activate_destinations",
                "activation.view_monitoring",
                "profiles.view_profile",
                "profiles.manage_schema",
                "profiles.manage_namespaces",
                "profiles.manage_inlets",
                "governance.view_policy",
            }
        ),
    ),
    "Marketer": CoreRole(
        _("Marketer"),
        _("Writes segments and activates them to destinations."),
        frozenset(
            {
                "destinations.manage_destinations",
                "activation.activate_destinations",
                "activation.view_monitoring",
                "profiles.view_profile",
                "profiles.manage_segments",
                "governance.view_policy",
            }
        ),
    ),
    "Data steward": CoreRole(
        _("Data steward"),
        _("Labels fields and segments, and decides what may be exported for what."),
        frozenset(
            {
                "destinations.view_destination",
                "profiles.delete_profile",
                "profiles.manage_schema",
                "governance.manage_labels",
                "governance.manage_policies",
            }
        ),
    ),
    "Auditor": CoreRole(
        _("Auditor"),
        _("Looks at everything but customers, and changes nothing."),
        frozenset(
            {
                "destinations.view_destination",
                "activation.view_monitoring",
                "profiles.view_segment",
                "profiles.view_identitynamespace",
                "profiles.view_inlet",
                "governance.view_policy",
                "audit.export_entry",
                "access.view_people",
            }
        ),
    ),
}


def with_implied(rights: Iterable[str]) -> set[str]:
    """These rights and those that come along with them (:data:`IMPLIED`)."""
    given = set(rights)
    return given | {IMPLIED[right] for right in given & IMPLIED.keys()}


def named(permission: Permission) -> str:
    """``app.codename``. Its content type must have been fetched."""
    return f"{permission.content_type.app_label}.{permission.codename}"


def permissions_of(rights: Iterable[str]) -> list[Permission]:
    """The permissions with these names, of those that there are. One query."""
    wanted = Q(pk__in=[])
    for right in rights:
        app, codename = right.split(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    return list(Permission.objects.filter(wanted).select_related("content_type"))


def give_core_roles_their_rights(sender: AppConfig, **_kwargs: Any) -> None:
    """After an app's migrations: every core role has exactly those of the app's permissions that the table says.

    So a right that a later version brings is in the roles as soon as it exists.
    """
    apps = {right.partition(".")[0] for right in RIGHTS}
    if sender.label not in apps:
        return
    ours = {
        named(permission): permission
        for permission in Permission.objects.filter(content_type__app_label=sender.label).select_related(
            "content_type"
        )
    }
    through = Group.permissions.through
    # Past Django's signals: this is what the product is, and no act of anybody's for the audit trail.
    with transaction.atomic():
        Group.objects.bulk_create((Group(name=name) for name in CORE_ROLES), ignore_conflicts=True)
        for group in Group.objects.filter(name__in=CORE_ROLES):
            wanted = {
                ours[right].pk for right in with_implied(CORE_ROLES[group.name].rights) if right in ours
            }
            rows = through.objects.filter(group=group, permission__in=[each.pk for each in ours.values()])
            rows.exclude(permission__in=wanted).delete()
            through.objects.bulk_create(
                (through(group=group, permission_id=key) for key in wanted), ignore_conflicts=True
            )
