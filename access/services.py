"""Every write about people, roles and tokens, one function a use case.

Two rules hold in all of them: somebody who can sign in and may everything is left, and nobody hands out more than they
may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.password_reset import get_reset_password_from_key_url
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from cryptography.fernet import InvalidToken
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

import audit
from access import roles, selectors
from access.adapters import AccountAdapter
from access.keys import keys
from access.models import ApiToken, Role, ServiceAccount
from access.tokens import digest, new_token


class LastAdministrator(ValidationError):
    """Afterwards nobody could sign in who may everything."""

    def __init__(self) -> None:
        super().__init__(_("This is the last administrator. Make somebody else one first."))


# --- People --------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_person(
    *,
    username: str,
    email: str = "",
    first_name: str = "",
    last_name: str = "",
    given: Iterable[Role] = (),
    by: User,
) -> User:
    """A person who can't sign in yet: a link from :func:`password_link` lets them choose a password.

    Raises:
        PermissionDenied: a role allows more than ``by`` may.
        ValidationError: with the reason.
    """
    _check_given(by, given)
    person = User(username=username, email=email, first_name=first_name, last_name=last_name)
    person.set_unusable_password()
    person.full_clean(exclude=["password"])
    person.save(force_insert=True)
    person.groups.set(given)
    _vouch(person)
    return person


@transaction.atomic
def edit_person(
    person: User,
    *,
    username: str,
    email: str,
    first_name: str,
    last_name: str,
    given: Iterable[Role],
    by: User,
) -> None:
    """Change who a person is and what they may. Roles that ``by`` could not give stay as they are.

    Raises:
        PermissionDenied: a role allows more than ``by`` may, or the person may more than they.
        LastAdministrator: the role was the last one's.
        ValidationError: with the reason.
    """
    lock()
    _check_may_manage(by, person)
    _check_given(by, given)
    addressed = person.email != email
    person.username, person.email = username, email
    person.first_name, person.last_name = first_name, last_name
    person.full_clean(exclude=["password"])
    person.save(update_fields=["username", "email", "first_name", "last_name"])
    if addressed:
        _vouch(person)
    _set_roles(person, given, by)
    keep_an_administrator()


@transaction.atomic
def switch_person(person: User, *, active: bool, by: User) -> None:
    """Let a person in again, or out: their sessions end, and their tokens are refused, with the next request.

    Raises:
        PermissionDenied: the person may more than ``by``.
        LastAdministrator: it is the last one.
    """
    lock()
    _check_may_manage(by, person)
    person.is_active = active
    person.save(update_fields=["is_active"])
    keep_an_administrator()


@transaction.atomic
def delete_person(person: User, *, by: User) -> None:
    """Delete a person, or a service account, with their tokens. What they made stays.

    Raises:
        PermissionDenied: the person may more than ``by``.
        LastAdministrator: it is the last one.
    """
    lock()
    _check_may_manage(by, person)
    person.delete()
    keep_an_administrator()


@transaction.atomic
def remove_second_factors(person: User, *, by: User) -> None:
    """For who has lost their phone: authenticator app, passkeys and recovery codes are gone, and all sessions end.

    Raises:
        PermissionDenied: the person may more than ``by``.
    """
    Authenticator.objects.filter(user=person).delete()
    end_sessions_of(person, by=by)
    audit.record("user.second_step_removed", person)


@transaction.atomic
def end_sessions_of(person: User, *, by: User) -> None:
    """Sign a person out everywhere.

    Raises:
        PermissionDenied: the person may more than ``by``.
    """
    _check_may_manage(by, person)
    for session in UserSession.objects.filter(user=person):
        session.end()
    audit.record("user.signed_out_everywhere", person)


def password_link(request: HttpRequest, person: User, *, by: User) -> str:
    """An address where a person chooses a password, once, within three days (``PASSWORD_RESET_TIMEOUT``).

    Raises:
        PermissionDenied: the person may more than ``by``.
    """
    _check_may_manage(by, person)
    audit.record("user.password_link_made", person)
    key = f"{user_pk_to_url_str(person)}-{default_token_generator.make_token(person)}"
    url: str = get_reset_password_from_key_url(request, key)
    return url


def invite(request: HttpRequest, person: User, *, by: User) -> str:
    """Mail a person the link, if they have an address.

    Returns:
        The link, to hand over by other means.

    Raises:
        PermissionDenied: the person may more than ``by``.
    """
    link = password_link(request, person, by=by)
    if person.email:
        AccountAdapter(request).send_mail(
            "access/email/invitation", person.email, {"person": person, "link": link}
        )
    return link  # fmt: skip


def keep_an_administrator() -> None:
    """
    Raises:
        LastAdministrator: there would be none; the transaction is to be rolled back.
    """
    if not selectors.administrators().exists():
        raise LastAdministrator


def lock() -> None:
    """One at a time: two administrators can't send each other away at the same moment."""
    Group.objects.select_for_update().filter(name=roles.ADMINISTRATOR).first()


def _check_may_manage(actor: User, person: User) -> None:
    if not selectors.may_manage(actor, person):
        raise PermissionDenied("access.manage_people")


def _check_given(actor: User, given: Iterable[Role]) -> None:
    wanted = {role.pk for role in given}
    known = [role for role in selectors.all_roles() if role.pk in wanted]
    if len(selectors.roles_to_give(actor, known)) < len(wanted):
        raise PermissionDenied("access.manage_people")


def _set_roles(person: User, given: Iterable[Role], by: User) -> None:
    mine = {role.pk for role in selectors.roles_to_give(by, selectors.all_roles())}
    kept = set(person.groups.exclude(pk__in=mine).values_list("pk", flat=True))
    person.groups.set(kept | {role.pk for role in given})


def _vouch(person: User) -> None:
    """allauth's own list of addresses: the one that an administrator entered, and no other."""
    EmailAddress.objects.filter(user=person).delete()
    if person.email:
        EmailAddress.objects.create(user=person, email=person.email, primary=True, verified=True)


# --- Service accounts ----------------------------------------------------------------------------------------------


@transaction.atomic
def create_service_account(*, name: str, description: str, given: Iterable[Role], by: User) -> User:
    """A program's account: roles and tokens, no password and no address, so no way to sign in.

    Raises:
        PermissionDenied: a role allows more than ``by`` may.
        ValidationError: with the reason.
    """
    made = create_person(username=name, given=given, by=by)
    ServiceAccount.objects.create(user=made, description=description, created_by=by)
    return made


# --- Roles ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def save_role(role: Role | None, *, name: str, rights: Sequence[str], by: User) -> Role:
    """Make an own role, or change one. Rights that ``by`` has not are neither given nor taken away.

    Raises:
        PermissionDenied: a right is given that ``by`` has not, or the role is a core one.
        ValidationError: the name is taken.
    """
    lock()
    held = by.get_all_permissions()
    if (role and role.core) or not set(rights) <= held:
        raise PermissionDenied("access.manage_people")
    taken = {known.name.lower() for known in selectors.all_roles() if known.pk != (role and role.pk)}
    taken |= {core.lower() for core in roles.CORE_ROLES} | {
        str(core.label).lower() for core in roles.CORE_ROLES.values()
    }
    if name.lower() in taken:
        raise ValidationError({"name": _("There is a role with this name already.")})
    before = _told(role) if role else None
    role = role or Role()
    role.name = name
    role.save()
    standing = role.permissions.select_related("content_type")
    kept = [
        permission for permission in standing if roles.named(permission) not in held & roles.RIGHTS.keys()
    ]
    role.permissions.set([*kept, *roles.permissions_of(rights)])
    audit.record("group.edited" if before else "group.created", role, before, _told(role))
    return role


def _told(role: Role) -> dict[str, object]:
    """A role as the audit trail tells it."""
    rights = role.permissions.select_related("content_type")
    return {"name": role.name, "rights": sorted(map(roles.named, rights))}


@transaction.atomic
def delete_role(role: Role, *, by: User) -> None:
    """Delete an own role. Who had it loses what it allowed with the next request.

    Raises:
        PermissionDenied: it is a core one, or allows more than ``by`` may.
    """
    if role.core:
        raise PermissionDenied("access.manage_people")
    _check_given(by, [role])
    audit.record("group.deleted", role, _told(role))
    role.delete()


# --- Tokens --------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_token(
    owner: User, *, name: str, scopes: Sequence[str], expires_at: datetime, by: User
) -> tuple[ApiToken, str]:
    """A token and its text, which nobody will see again.

    Args:
        scopes: rights that the owner has; what the owner loses later, the token loses.

    Raises:
        PermissionDenied: a scope is not among the owner's rights, or the owner may more than ``by``.
    """
    if owner != by:
        _check_may_manage(by, owner)
    if not set(scopes) <= owner.get_all_permissions():
        raise PermissionDenied("access.manage_people")
    text = new_token()
    made = ApiToken.objects.create(
        owner=owner,
        name=name,
        scopes=sorted(scopes),
        digest=digest(text),
        tail=text[-4:],
        expires_at=expires_at,
        created_by=by,
    )
    audit.record(
        "api_token.created", owner, after={"name": name, "scopes": made.scopes, "expires_at": expires_at}
    )
    return made, text


@transaction.atomic
def revoke_token(token: ApiToken, *, by: User) -> None:
    """From now on the token is refused.

    Raises:
        PermissionDenied: it is another's, who may more than ``by``.
    """
    if token.owner != by:
        _check_may_manage(by, token.owner)
    audit.record("api_token.revoked", token.owner, {"name": token.name})
    token.delete()


# --- Keys ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def rotate_second_factors() -> int:
    """Encrypt the secrets of second factors with the newest of ``CREDENTIAL_KEYS``. How many there are.

    One that no key opens is left alone: its owner needs :func:`remove_second_factors`.
    """
    rotated = 0
    for factor in Authenticator.objects.select_for_update().exclude(type=Authenticator.Type.WEBAUTHN):
        for name in ("secret", "seed"):
            if name in factor.data:
                try:
                    factor.data[name] = keys().rotate(factor.data[name]).decode()
                except InvalidToken:
                    continue
                factor.save(update_fields=["data"])
                rotated += 1
    return rotated
