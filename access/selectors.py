"""What the pages of people, roles and tokens read."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Permission, User
from django.db.models import Count, Prefetch, Q, QuerySet

from access import roles
from access.models import ApiToken, Role

PERSON_SORTS = {"username": "username", "email": "email", "last_login": "last_login", "joined": "date_joined"}


def people(*, search: str = "", role: str = "", state: str = "", sort: str = "username") -> QuerySet[User]:
    """People whose name or address holds ``search``, with their roles; service accounts are no people.

    Args:
        role: the id of a role that they have; other text finds nobody.
        state: ``active`` or ``inactive``; anything else: both.
        sort: a key of :data:`PERSON_SORTS`, with ``-`` before it for descending.
    """
    found = User.objects.filter(service_account=None)
    if search := search.strip():
        if "\0" in search:
            return found.none()
        found = found.filter(
            Q(username__icontains=search)
            | Q(first_name__icontains=search)
            | Q(last_name__icontains=search)
            | Q(email__icontains=search)
        )
    if role:
        found = found.filter(groups=int(role)) if _is_id(role) else found.none()
    if state in ("active", "inactive"):
        found = found.filter(is_active=state == "active")
    column = PERSON_SORTS.get(sort.removeprefix("-"), "username")
    return found.prefetch_related(_groups()).order_by(f"{'-' if sort.startswith('-') else ''}{column}", "pk")


def service_accounts() -> QuerySet[User]:
    """Service accounts with their roles and the number of their tokens, by name."""
    return (
        User.objects.exclude(service_account=None)
        .select_related("service_account", "service_account__created_by")
        .prefetch_related(_groups())
        .annotate(tokens=Count("api_tokens"))
        .order_by("username")
    )


def all_roles() -> list[Role]:
    """Every role with its rights (``role.rights``) and how many have it: the core ones first, in their order.

    Two queries.
    """
    permissions = Permission.objects.select_related("content_type")
    found = list(
        Role.objects.annotate(members=Count("user")).prefetch_related(
            Prefetch("permissions", permissions, to_attr="permission_list")
        )
    )
    for role in found:
        role.rights = roles.with_implied(roles.named(permission) for permission in role.permission_list)
    order = list(roles.CORE_ROLES)
    return sorted(
        found, key=lambda role: (order.index(role.name) if role.core else len(order), role.name.lower())
    )


def rights() -> list[str]:
    """The rights that there are, in the order of the table. One query."""
    there = {roles.named(permission) for permission in roles.permissions_of(roles.RIGHTS)}
    return [right for right in roles.RIGHTS if right in there]


def rights_of(person: User) -> list[str]:
    """Those of the rights in the table that a person has, in its order."""
    held = person.get_all_permissions()
    return [right for right in rights() if right in held]


def roles_to_give(actor: User, among: Iterable[Role]) -> list[Role]:
    """The roles that allow no more than ``actor`` may: others they can't hand out."""
    held = actor.get_all_permissions()
    return [role for role in among if role.rights <= held]


def may_manage(actor: User, person: User) -> bool:
    """Whether somebody who manages people may change this one: only who may everything that the person may.

    Else a link for a new password would be a way up.
    """
    if person.is_superuser and not actor.is_superuser:
        return False
    return person.get_all_permissions() <= actor.get_all_permissions()


def tokens(owner: User) -> QuerySet[ApiToken]:
    """The tokens of one owner, the newest first."""
    return ApiToken.objects.filter(owner=owner).select_related("created_by")


def administrators() -> QuerySet[User]:
    """Who may everything and can sign in."""
    return User.objects.filter(
        Q(is_superuser=True) | Q(groups__name=roles.ADMINISTRATOR), is_active=True, service_account=None
    ).distinct()


def _groups() -> Prefetch[str, QuerySet[Role], str]:
    return Prefetch("groups", Role.objects.order_by("name"), to_attr="roles")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
