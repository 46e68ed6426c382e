"""Every write of accounts and destinations.

What asks the other side does so before its transaction: no lock and no connection of the database waits for a network.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_variables

import audit
from destinations import connectors
from destinations.connectors.base import Check, CheckStatus, Connection
from destinations.fields import Encrypted, KeyLost
from destinations.models import Account, Destination
from destinations.signals import actions_changed, alerts_wanted, connection_changed, destination_leaving
from governance import enforcement
from governance.models import MarketingAction

NAMED_IN_REASON = 5  # destinations that a refusal names
ROTATED_AT_ONCE = 200


class Refused(Exception):
    """It can't be done; the text says why, in the reader's language.

    Args:
        field: the field of the form that it is about, or empty.
    """

    def __init__(self, message: str | Promise, field: str = "") -> None:
        super().__init__(message)
        self.message = str(message)
        self.field = field


class EditedByOther(Refused):
    """Somebody else saved since the page was loaded. Nothing was overwritten."""


class NotConnected(Exception):
    """The other side refused the connection. ``checks`` has its words."""

    def __init__(self, checks: Sequence[Check]) -> None:
        super().__init__("not connected")
        self.checks = list(checks)


@dataclass(frozen=True, slots=True)
class Connected:
    """An account that was saved, and what its test found (nothing where it was not tested again)."""

    account: Account
    checks: list[Check]


@dataclass(frozen=True, slots=True)
class Setup:
    """What the *Setup* step says of a destination. ``settings`` are the connector's, e.g. ``{"stream": …}``."""

    name: str
    settings: Mapping[str, Any]
    description: str = ""
    include_segment_names: bool = False
    include_segment_timestamps: bool = False
    include_delivery: bool = False
    partition_key: str = Destination.PARTITION_BY_PROFILE
    marketing_actions: Collection[uuid.UUID] = ()
    alerts: Collection[str] = ()  # AlertKind: what its maker wants to be told; only of a new one

    def actions(self) -> QuerySet[MarketingAction]:
        """Those of the marketing actions that are still there."""
        return MarketingAction.objects.filter(pk__in=self.marketing_actions)

    def columns(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "settings": dict(self.settings),
            "description": self.description,
            "include_segment_names": self.include_segment_names,
            "include_segment_timestamps": self.include_segment_timestamps,
            "include_delivery": self.include_delivery,
            "partition_key": self.partition_key,
        }


@dataclass(slots=True)
class Rotation:
    """What :func:`rotate_keys` did. ``lost`` are names of accounts that no key opens."""

    rotated: int = 0
    lost: list[str] = field(default_factory=list)


# -- accounts ------------------------------------------------------------------------------------------------------


@sensitive_variables("connection")
def test(connector: str, connection: Connection) -> list[Check]:
    """Ask the other side.

    Returns:
        What was found: everything passed, or could not be asked.

    Raises:
        NotConnected: a check failed.
    """
    checks = connectors.get(connector).check(connection)
    if any(check.status == CheckStatus.FAILED for check in checks):
        raise NotConnected(checks)
    return checks


@sensitive_variables("connection")
def connect_account(
    *, id: uuid.UUID, connector: str, name: str, connection: Connection, by: AbstractBaseUser | None
) -> Connected:
    """Test a connection and keep it as a new account.

    Args:
        id: made by the page. Sent twice (a double click, another tab), it still makes one account.

    Raises:
        NotConnected: nothing was saved.
        Refused: the name is taken, or this page has made another account already.
    """
    if Account.objects.exclude(pk=id).filter(name__iexact=name).exists():
        raise _account_name_taken()
    checks = test(connector, connection)
    try:
        with transaction.atomic():
            account, created = Account.objects.get_or_create(
                pk=id,
                defaults={
                    "connector": connector,
                    "created_by_id": by.pk if by else None,
                    **_stored(connector, name, connection),
                },
            )
            if created:
                audit.record("account.connected", account, after=_told(account))
    except IntegrityError:
        raise _account_name_taken() from None
    if not created and not _is(account, connector, name, connection):
        raise Refused(
            _("This page has connected the account “%(name)s” already. Press again to connect another.")
            % {"name": account.name}
        )
    return Connected(account, checks)


def test_account(account: Account) -> list[Check]:
    """Test what is stored.

    Raises:
        NotConnected: in the other side's words.
        KeyLost: the credentials must be entered again.
    """
    checks = test(account.connector, account.connection())
    Account.objects.filter(pk=account.pk).update(connected_at=timezone.now())
    return checks


@sensitive_variables("connection", "stored")
def edit_account(*, account: Account, seen: datetime, name: str, connection: Connection) -> Connected:
    """Save other credentials, settings or another name. What is held for an error then goes on.

    Args:
        account: as it was when ``connection`` was made from it.
        seen: its ``updated_at`` when the page was loaded.
        connection: whole, with the stored secrets where none were entered. Tested before it is saved; a change of
            the name alone is not.

    Raises:
        NotConnected: nothing was saved.
        Refused: the name is taken.
        EditedByOther: nothing was overwritten.
    """
    if account.updated_at != seen:
        if _is(account, account.connector, name, connection):  # a second click
            return Connected(account, [])
        raise _account_edited()
    if Account.objects.exclude(pk=account.pk).filter(name__iexact=name).exists():
        raise _account_name_taken()
    same = _is(account, account.connector, account.name, connection)
    checks = [] if same else test(account.connector, connection)
    try:
        with transaction.atomic():
            locked = Account.objects.select_for_update(no_key=True).filter(pk=account.pk).first()
            if locked is None:
                raise Refused(_("The account was deleted meanwhile."))
            if locked.updated_at != seen:
                raise _account_edited()
            if same:
                changed = {"name": name}
            else:
                changed = _stored(account.connector, name, connection)
            before = _told(locked)
            for attribute, value in changed.items():
                setattr(locked, attribute, value)
            locked.save(update_fields=[*changed, "updated_at"])
            audit.record("account.edited", locked, before, _told(locked))
            if not same:
                _announce(Destination.objects.filter(account=locked).values_list("pk", flat=True))
    except IntegrityError:
        raise _account_name_taken() from None
    return Connected(locked, checks)


def delete_account(account_id: uuid.UUID) -> None:
    """Delete an account that no destination uses. Does nothing when it is gone already.

    Raises:
        Refused: naming the destinations.
    """
    try:
        with transaction.atomic():
            account = Account.objects.select_for_update().filter(pk=account_id).first()
            if account is not None:
                audit.record("account.deleted", account, _told(account))
                account.delete()
    except (ProtectedError, IntegrityError):
        names = list(Destination.objects.filter(account=account_id).values_list("name", flat=True))
        raise Refused(in_use(names)) from None


def in_use(names: Sequence[str]) -> str:
    """Why an account with these destinations can't be deleted."""
    listed = ", ".join(f"“{name}”" for name in names[:NAMED_IN_REASON])
    if len(names) > NAMED_IN_REASON:
        listed += ", …"
    return ngettext(
        "%(count)s destination uses this account: %(names)s. Delete it first.",
        "%(count)s destinations use this account: %(names)s. Delete them first.",
        len(names),
    ) % {"count": len(names), "names": listed}


def rotate_keys() -> Rotation:
    """Encrypt the credentials of every account with the newest key, a batch at a time.

    An account that is edited meanwhile has the newest key already and is left alone.
    """
    done = Rotation()
    last: uuid.UUID | None = None
    while True:
        accounts = Account.objects.order_by("pk").only("name", "credentials")
        if last is not None:
            accounts = accounts.filter(pk__gt=last)
        batch = list(accounts[:ROTATED_AT_ONCE])
        if not batch:
            audit.record("account.keys_rotated", after={"count": done.rotated, "lost": done.lost})
            return done
        last = batch[-1].pk
        with transaction.atomic():
            for account in batch:
                try:
                    rotated = account.credentials.rotated()
                except KeyLost:
                    done.lost.append(account.name)
                    continue
                unchanged = Account.objects.filter(pk=account.pk, credentials=account.credentials)
                done.rotated += unchanged.update(credentials=rotated)


@sensitive_variables("connection")
def _stored(connector: str, name: str, connection: Connection) -> dict[str, Any]:
    return {
        "name": name,
        "credentials": Encrypted.of(connection.credentials),
        "masked": connectors.get(connector).masked(connection.credentials),
        "settings": dict(connection.settings),
        "connected_at": timezone.now(),
    }


@sensitive_variables("connection", "stored")
def _is(account: Account, connector: str, name: str, connection: Connection) -> bool:
    try:
        stored = account.connection()
    except KeyLost:
        return False
    return (account.connector, account.name, dict(stored.credentials), dict(stored.settings)) == (
        connector,
        name,
        dict(connection.credentials),
        dict(connection.settings),
    )


def _told(account: Account) -> dict[str, Any]:
    """What the audit trail tells of an account."""
    return audit.state(account, "name", "connector", "masked", "settings", "credentials")


def _account_name_taken() -> Refused:
    return Refused(_("There is an account with this name already."), "name")


def _account_edited() -> EditedByOther:
    return EditedByOther(
        _("Somebody else changed this account meanwhile. What you entered here was not saved.")
    )


# -- destinations --------------------------------------------------------------------------------------------------

_TOLD = (  # what the audit trail tells
    "account", "name", "description", "settings", "include_segment_names", "include_segment_timestamps",
    "include_delivery", "partition_key", "marketing_actions",
)  # fmt: skip


def create_destination(
    *, id: uuid.UUID, account: Account, setup: Setup, by: AbstractBaseUser | None
) -> Destination:
    """Keep where to write, once the other side has said that it is there.

    Args:
        id: made by the page. Sent again (a double click, the back button) it makes no second destination: what is
            new in ``setup`` is saved in the one that it made.

    Raises:
        ConnectorError: the stream can't be written to.
        KeyLost: the account's credentials must be entered again.
        Refused: the name is taken, or the account was deleted.
        EditedByOther: it is there already, and was edited since.
    """
    if Destination.objects.filter(pk=id, account=account).exists():
        return edit_destination(destination_id=id, version=1, setup=setup)
    _refuse_taken(id, setup.name)
    account.type.describe_target(account.connection(), setup.settings)
    with _naming():
        if not Account.objects.select_for_update(no_key=True).filter(pk=account.pk).exists():
            raise Refused(_("The account was deleted meanwhile."))
        destination, created = Destination.objects.get_or_create(
            pk=id,
            defaults={"account": account, "created_by_id": by.pk if by else None, **setup.columns()},
        )
        if created:
            destination.marketing_actions.set(setup.actions())
            if setup.alerts and by is not None:
                alerts_wanted.send(sender=Destination, destination=destination, user=by, kinds=setup.alerts)
            audit.record("destination.created", destination, after=audit.state(destination, *_TOLD))
    return destination


def edit_destination(*, destination_id: uuid.UUID, version: int, setup: Setup) -> Destination:
    """Save what was changed. What is held for an error then goes on.

    Args:
        version: of the destination that the page showed.

    Raises:
        ConnectorError: another stream, and it can't be written to.
        KeyLost: another stream, and the account's credentials must be entered again.
        Refused: the name is taken, the destination was deleted, or a policy forbids a marketing action for what is
            exported to it.
        EditedByOther: nothing was overwritten.
    """
    shown = Destination.objects.select_related("account").filter(pk=destination_id).first()
    if shown is None:
        raise _destination_deleted()
    if _has(shown, setup):  # a second click
        return shown
    if shown.version != version:
        raise _destination_edited()
    _refuse_taken(destination_id, setup.name)
    if shown.settings != dict(setup.settings):
        shown.type.describe_target(shown.account.connection(), setup.settings)
    with _naming():
        enforcement.lock()
        destination = Destination.objects.select_for_update(no_key=True).filter(pk=destination_id).first()
        if destination is None:
            raise _destination_deleted()
        if destination.version != version:
            if _has(destination, setup):
                return destination
            raise _destination_edited()
        columns = setup.columns()
        before = audit.state(destination, *_TOLD)
        for attribute, value in columns.items():
            setattr(destination, attribute, value)
        destination.version += 1
        destination.save(update_fields=[*columns, "version", "updated_at"])
        actions_before = _actions(destination)
        destination.marketing_actions.set(setup.actions())
        _refuse_forbidden()
        audit.record("destination.edited", destination, before, audit.state(destination, *_TOLD))
        _announce([destination.pk])
        if (actions := _actions(destination)) != actions_before:
            actions_changed.send(
                sender=Destination, destination_id=destination.pk, before=actions_before, after=actions
            )
    return destination


def delete_destination(destination_id: uuid.UUID) -> None:
    """Delete a destination with its activation, what is queued, and its runs. The account stays.

    What is in the stream stays there, too. Does nothing when it is gone already.
    """
    with transaction.atomic():
        destination = Destination.objects.select_for_update().filter(pk=destination_id).first()
        if destination is not None:
            audit.record("destination.deleted", destination, audit.state(destination, *_TOLD))
            destination_leaving.send(sender=Destination, destination_id=destination.pk)
            destination.delete()


def _refuse_forbidden() -> None:
    try:
        enforcement.refuse_violations()
    except enforcement.Violated as violated:
        raise Refused("\n".join(violated.messages), "marketing_actions") from None


@contextmanager
def _naming() -> Iterator[None]:
    """A transaction in which a name can turn out to be taken."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        raise _destination_name_taken() from None


def _refuse_taken(id: uuid.UUID, name: str) -> None:
    if Destination.objects.exclude(pk=id).filter(name__iexact=name).exists():
        raise _destination_name_taken()


def _has(destination: Destination, setup: Setup) -> bool:
    return all(getattr(destination, name) == value for name, value in setup.columns().items()) and (
        _actions(destination) == set(setup.marketing_actions)
    )


def _actions(destination: Destination) -> set[uuid.UUID]:
    return set(destination.marketing_actions.values_list("pk", flat=True))


def _announce(destination_ids: Collection[uuid.UUID]) -> None:
    ids = list(destination_ids)
    if ids:
        connection_changed.send(sender=Destination, destination_ids=ids)


def _destination_name_taken() -> Refused:
    return Refused(_("There is a destination with this name already."), "name")


def _destination_deleted() -> Refused:
    return Refused(_("The destination was deleted meanwhile."))


def _destination_edited() -> EditedByOther:
    return EditedByOther(
        _("Somebody else changed this destination meanwhile. What you entered here was not saved.")
    )
