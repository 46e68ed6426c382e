"""What people do to their own identity namespaces, one function a use case. The core ones stay as they came."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from profiles.ingest import Refused, check_text
from profiles.locks import INGESTION, advisory_lock
from profiles.models import Identity, IdentityNamespace, Inlet, Segment
from profiles.pql import PQLError, parse
from profiles.pql.reads import walk
from profiles.pql.syntax import Identities
from profiles.pql.values import namespace_key

NAMED = 5  # of what uses a namespace


def create_namespace(*, code: str, name: str, type: str) -> IdentityNamespace:
    """A new namespace. Producers name it by its code, in any case, and records by the code in lower case.

    Raises:
        ValidationError: with the reason.
    """
    namespace = IdentityNamespace(code=code, name=name, type=type)
    _check(namespace)
    namespace.save(force_insert=True)
    return namespace


def edit_namespace(namespace: IdentityNamespace, *, name: str, type: str) -> IdentityNamespace:
    """Change what a namespace is called and what its type is. Its code stays: records and rules name it.

    Raises:
        ValidationError: with the reason.
    """
    _own(namespace)
    namespace.name, namespace.type = name, type
    _check(namespace)
    namespace.save(update_fields=["name", "type"])
    return namespace


def delete_namespace(namespace: IdentityNamespace) -> None:
    """Delete a namespace that nothing needs.

    Raises:
        ValidationError: something needs it; the reason says what.
    """
    _own(namespace)
    with transaction.atomic():
        advisory_lock(INGESTION, shared=False)  # nobody writes identities in it meanwhile
        if reasons := uses(namespace):
            raise ValidationError(reasons)
        try:
            namespace.delete()
        except ProtectedError as error:  # since, or by what only other apps know
            names = sorted(str(each) for each in error.protected_objects)[:NAMED]
            raise ValidationError(_("It is in use by %(users)s.") % {"users": ", ".join(names)}) from error


def uses(namespace: IdentityNamespace) -> list[str]:
    """Why a namespace can't be deleted, in sentences; nothing where it can."""
    reasons = []
    if Identity.objects.filter(namespace=namespace).exists():
        reasons.append(_("Customers have identities in it."))
    if inlets := list(Inlet.objects.filter(namespace=namespace).values_list("name", flat=True)[:NAMED]):
        reasons.append(_("Inlets take it for granted: %(names)s.") % {"names": ", ".join(inlets)})
    if segments := _asking(namespace)[:NAMED]:
        reasons.append(_("Rules of segments ask for it: %(names)s.") % {"names": ", ".join(segments)})
    return reasons


def _asking(namespace: IdentityNamespace) -> list[str]:
    """Names of the segments whose rules ask for identities in a namespace; of drafts and archived ones, too."""
    rules = Segment.objects.filter(rule__icontains=namespace.code).values_list("name", "rule")
    return [name for name, rule in rules if namespace_key(namespace.code) in _asked(rule)]


def _asked(rule: str) -> set[str]:
    try:
        nodes = walk(parse(rule).tree)
    except PQLError:  # a draft
        return set()
    return {
        namespace_key(node.namespace) for node in nodes if isinstance(node, Identities) and node.namespace
    }


def _own(namespace: IdentityNamespace) -> None:
    if not namespace.custom:
        raise ValidationError(_("This namespace came with the product and stays as it is."))


def _check(namespace: IdentityNamespace) -> None:
    try:
        check_text(namespace.name)
    except Refused as refused:
        raise ValidationError({"name": str(refused.reason)}) from None
    namespace.full_clean(exclude=["code"] if namespace.pk else None)
