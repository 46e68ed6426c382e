"""What people do to inlets, one function a use case.

A token is returned once, when it is made; what is stored is its digest.
"""

from __future__ import annotations

import hashlib
import secrets

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

import audit
from profiles.ingest import Refused, check_text
from profiles.models import IdentityNamespace, Inlet

_TOLD = ("name", "namespace", "identity_path", "normalise")  # what the audit trail tells of an inlet


def digest(token: str) -> str:
    """What is stored of a token. It is 256 random bits: nothing slower than SHA-256 is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_inlet(
    *,
    name: str,
    protected: bool,
    namespace: IdentityNamespace | None = None,
    identity_path: str = "",
    normalise: bool = False,
    by: AbstractBaseUser | None = None,
) -> tuple[Inlet, str]:
    """A new inlet and its token, which nobody will see again; empty where it is open.

    Args:
        namespace, identity_path: of a message without an identityMap, what stands at the path is an identity in the
            namespace.
        normalise: hash plain addresses and numbers that come in namespaces of hashes.

    Raises:
        ValidationError: with the reason.
    """
    inlet = Inlet(
        name=name,
        namespace=namespace,
        identity_path=identity_path,
        normalise=normalise,
        created_by_id=by.pk if by else None,
    )
    token = _new_token(inlet) if protected else ""
    _check(inlet)
    with transaction.atomic():
        inlet.save(force_insert=True)
        audit.record("inlet.created", inlet, after=audit.state(inlet, *_TOLD) | {"protected": protected})
    return inlet, token


def edit_inlet(
    inlet: Inlet, *, name: str, namespace: IdentityNamespace | None, identity_path: str, normalise: bool
) -> Inlet:
    """Change what an inlet does with what comes next.

    Raises:
        ValidationError: with the reason.
    """
    before = audit.state(inlet, *_TOLD)
    inlet.name, inlet.namespace = name, namespace
    inlet.identity_path, inlet.normalise = identity_path, normalise
    _check(inlet)
    with transaction.atomic():
        inlet.save(update_fields=_TOLD)
        audit.record("inlet.edited", inlet, before, audit.state(inlet, *_TOLD))
    return inlet


def new_token(inlet: Inlet) -> str:
    """Give an inlet a token, or another one: from now on the old one is refused."""
    token = _new_token(inlet)
    with transaction.atomic():
        inlet.save(update_fields=["token_digest", "token_at"])
        audit.record("inlet.token_made", inlet)
    return token


def switch_inlet(inlet: Inlet, *, enabled: bool) -> None:
    """Let an inlet take messages, or refuse them."""
    inlet.enabled = enabled
    with transaction.atomic():
        inlet.save(update_fields=["enabled"])
        audit.record("inlet.enabled" if enabled else "inlet.disabled", inlet)


def delete_inlet(inlet: Inlet) -> None:
    """Delete an inlet with its counts and samples. What came in through it stays."""
    with transaction.atomic():
        audit.record("inlet.deleted", inlet, audit.state(inlet, *_TOLD))
        inlet.delete()


def _new_token(inlet: Inlet) -> str:
    token = secrets.token_urlsafe(32)
    inlet.token_digest, inlet.token_at = digest(token), timezone.now()
    return token


def _check(inlet: Inlet) -> None:
    try:
        for text in (inlet.name, inlet.identity_path):
            check_text(text)
    except Refused as refused:
        raise ValidationError(refused.reason) from None  # type: ignore[arg-type]
    inlet.full_clean()
