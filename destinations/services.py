"""Every write of accounts and destinations. The other side is asked before a transaction begins, never inside one."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from destinations import connectors
from destinations.connectors.base import Check, CheckStatus, Connection, ConnectorError
from destinations.fields import Encrypted, KeyLost
from destinations.models import Account, Destination
from destinations.signals import connection_changed
from governance.models import MarketingAction


class Refused(Exception):
    """A write that can't be done; the text says why, in the reader's language.

    Args:
        field: the form's field that it is about; empty where it is about the whole.
    """

    def __init__(self, message: str | Promise, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class EditedByOther(Refused):
    """Somebody else saved since the page was loaded. Nothing was overwritten."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "Somebody else changed this destination since you opened this page. Nothing was saved: "
                "load the page again to see what is there now."
            )
        )


@dataclass(frozen=True, slots=True)
class Tested:
    """What *Connect to destination* found.

    Args:
        account: connected; None where a check failed, and then nothing was saved.
    """

    checks: list[Check]
    account: Account | None = None

    @property
    def connected(self) -> bool:
        return not any(check.status == CheckStatus.FAILED for check in self.checks)


# -- accounts ------------------------------------------------------------------------------------------------------


def connect_account(
    *, id: uuid.UUID, connector: str, name: str, connection: Connection, by: AbstractBaseUser | None
) -> Tested:
    """Test a new account, and save it if every check passed.

    Args:
        id: made with the form. The same form sent twice makes one account.
        name: of the account; no other one has it.

    Raises:
        Refused: the name is taken.
    """
    type_ = connectors.get(connector)
    if Account.objects.filter(name__iexact=name).exclude(pk=id).exists():
        raise Refused(_NAME_TAKEN_BY_ACCOUNT, "name")
    tested = Tested(type_.check(connection))
    if not tested.connected:
        return tested
    try:
        with transaction.atomic():
            account, _made = Account.objects.update_or_create(
                pk=id,
                defaults={"name": name, "connected_at": timezone.now()} | _stored(type_, connection),
                create_defaults={
                    "name": name,
                    "connector": connector,
                    "connected_at": timezone.now(),
                    "created_by_id": by.pk if by else None,
                }
                | _stored(type_, connection),
            )
    except IntegrityError:
        raise Refused(_NAME_TAKEN_BY_ACCOUNT, "name") from None
    return Tested(tested.checks, account)


def test_account(account: Account) -> Tested:
    """Test what is stored. The account notes when it was last connected.

    Raises:
        KeyLost: it can't be decrypted any more.
    """
    tested = Tested(account.type.check(account.connection()))
    if not tested.connected:
        return tested
    account.connected_at = timezone.now()
    account.save(update_fields=["connected_at"])
    return Tested(tested.checks, account)


def edit_account(account: Account, *, name: str, connection: Connection) -> Tested:
    """Test new credentials, and save them if every check passed. What its destinations waited for is tried at once.

    Raises:
        Refused: the name is taken.
    """
    if Account.objects.filter(name__iexact=name).exclude(pk=account.pk).exists():
        raise Refused(_NAME_TAKEN_BY_ACCOUNT, "name")
    tested = Tested(account.type.check(connection))
    if not tested.connected:
        return tested
    try:
        with transaction.atomic():
            for attribute, value in _stored(account.type, connection).items():
                setattr(account, attribute, value)
            account.name = name
            account.connected_at = timezone.now()
            account.save()
            _announce(account.destinations.values_list("pk", flat=True))
    except IntegrityError:
        raise Refused(_NAME_TAKEN_BY_ACCOUNT, "name") from None
    return Tested(tested.checks, account)


def delete_account(account: Account) -> None:
    """Forget an account and its credentials.

    Raises:
        Refused: destinations use it; the text names them.
    """
    with transaction.atomic():
        Account.objects.select_for_update().filter(pk=account.pk).first()
        names = list(account.destinations.order_by("name").values_list("name", flat=True)[:4])
        if names:
            shown = ", ".join(f"“{name}”" for name in names[:3]) + (", …" if len(names) > 3 else "")
            raise Refused(
                _("“%(account)s” is in use by %(destinations)s and can't be deleted. Delete those first.")
                % {"account": account.name, "destinations": shown}
            )
        account.delete()


def rotate_credential_keys(batch_size: int = 500) -> tuple[int, list[Account]]:
    """Encrypt every account's credentials with the newest key.

    Returns:
        How many were, and the accounts whose key is lost.
    """
    rotated, lost = 0, []
    last: uuid.UUID | None = None
    while True:
        with transaction.atomic():
            page = Account.objects.select_for_update(no_key=True).order_by("pk")
            batch = list((page.filter(pk__gt=last) if last else page)[:batch_size])
            if not batch:
                return rotated, lost
            readable = []
            for account in batch:
                try:
                    account.credentials = account.credentials.rotated()
                except KeyLost:
                    lost.append(account)
                else:
                    readable.append(account)
            Account.objects.bulk_update(readable, ["credentials"])
            rotated += len(readable)
            last = batch[-1].pk


def _stored(type_: connectors.Connector, connection: Connection) -> dict[str, Any]:
    return {
        "credentials": Encrypted.of(connection.credentials),
        "masked": type_.masked(connection.credentials),
        "settings": dict(connection.settings),
    }


# -- destinations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setup:
    """What the *Setup* step asks."""

    name: str
    settings: Mapping[str, Any]
    description: str = ""
    include_segment_names: bool = False
    include_segment_timestamps: bool = False
    partition_key: str = Destination.PARTITION_BY_PROFILE
    marketing_actions: Collection[MarketingAction] = field(default_factory=list)


def check_target(account: Account, settings: Mapping[str, Any]) -> None:
    """See that the destination can be written to. Asks the other side: up to 10 s.

    Raises:
        Refused: it can't, in the other side's words; about the field of the target.
    """
    try:
        account.type.describe_target(account.connection(), settings)
    except ConnectorError as error:
        target_field = account.type.destination_form.target_field
        raise Refused(f"{error.code}: {error.message} {error.hint}".strip(), target_field) from None
    except KeyLost:
        raise Refused(_CREDENTIALS_LOST) from None


def create_destination(
    *, id: uuid.UUID, account: Account, setup: Setup, by: AbstractBaseUser | None
) -> Destination:
    """Make a destination.

    Args:
        id: made with the form. The same form sent twice makes one destination.

    Raises:
        Refused: the name is taken, or the other side does not let it be written to.
    """
    if made := Destination.objects.filter(pk=id).first():
        return made
    if Destination.objects.filter(name__iexact=setup.name).exists():
        raise Refused(_NAME_TAKEN_BY_DESTINATION, "name")
    check_target(account, setup.settings)
    try:
        with transaction.atomic():
            destination = Destination(pk=id, account=account, created_by_id=by.pk if by else None)
            _fill(destination, setup)
            destination.save(force_insert=True)
            destination.marketing_actions.set(setup.marketing_actions)
    except IntegrityError:
        # The other click of a double click was first, or somebody took the name.
        if made := Destination.objects.filter(pk=id).first():
            return made
        raise Refused(_NAME_TAKEN_BY_DESTINATION, "name") from None
    return destination


def edit_destination(destination: Destination, *, version: int, setup: Setup) -> Destination:
    """Change a destination. What it waited for is tried at once.

    Args:
        version: the one that was edited.

    Raises:
        EditedByOther: it is not the present one. Nothing is overwritten.
        Refused: the name is taken, or the other side does not let the new target be written to.
    """
    if dict(setup.settings) != destination.settings:
        check_target(destination.account, setup.settings)
    try:
        with transaction.atomic():
            current = Destination.objects.select_for_update(no_key=True).get(pk=destination.pk)
            if current.version != version:
                raise EditedByOther
            if Destination.objects.filter(name__iexact=setup.name).exclude(pk=current.pk).exists():
                raise Refused(_NAME_TAKEN_BY_DESTINATION, "name")
            _fill(current, setup)
            current.version += 1
            current.save()
            current.marketing_actions.set(setup.marketing_actions)
            _announce([current.pk])
    except IntegrityError:
        raise Refused(_NAME_TAKEN_BY_DESTINATION, "name") from None
    return current


def delete_destination(destination: Destination) -> None:
    """Forget a destination with its dataflow, what waits for it, and its runs. What is in the stream stays there."""
    with transaction.atomic():
        destination.delete()


def _fill(destination: Destination, setup: Setup) -> None:
    destination.name = setup.name
    destination.description = setup.description
    destination.settings = dict(setup.settings)
    destination.include_segment_names = setup.include_segment_names
    destination.include_segment_timestamps = setup.include_segment_timestamps
    destination.partition_key = setup.partition_key
    try:
        destination.clean_fields(exclude=["account", "created_by"])
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise Refused(" ".join(messages), name) from None


def _announce(destination_ids: Any) -> None:
    connection_changed.send(sender=Destination, destination_ids=list(destination_ids))


_NAME_TAKEN_BY_ACCOUNT = _("There is an account with this name already.")
_NAME_TAKEN_BY_DESTINATION = _("There is a destination with this name already.")
_CREDENTIALS_LOST = _("The account's credentials can't be read any more. Enter them again under Accounts.")
