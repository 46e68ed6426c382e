"""What producers post, as fragments: ``{"header": {…}, "body": {"xdmMeta": {…}, "xdmEntity": {…}}}``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from profiles import xdm
from profiles.ingest import Fragment, Refused, check_text
from profiles.models import Inlet
from profiles.reasons import Reason as _

SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """A message that can be taken.

    Args:
        fragment: what it says.
        id: the entity's ``_id``: a message that comes again has the same. Empty: it has none.
    """

    fragment: Fragment
    id: str = ""


def read(value: object, inlet: Inlet) -> Message:
    """A message from parsed JSON. The header is not looked at: it says what a schema registry would want to know.

    Args:
        inlet: with its namespace.

    Raises:
        Refused: it does not have the shape; what is wrong inside the attributes, ingestion says.
    """
    if not isinstance(value, dict):
        raise Refused(_("The message is not a JSON object."))
    body = value.get("body")
    if not isinstance(body, dict) or not isinstance(entity := body.get("xdmEntity"), dict):
        raise Refused(_("The message has no object body.xdmEntity."))
    message_id = entity.get("_id", "")
    if not isinstance(message_id, str):
        raise Refused(_("The entity's _id is not a text."))
    check_text(message_id)
    fragment = xdm.fragment(entity)
    if not fragment.identities and inlet.namespace is not None:
        identity = (inlet.namespace.code, _default_identity(entity, inlet.identity_path))
        fragment = replace(fragment, identities=[identity])
    if inlet.normalise:
        hashed = [(code, normalised(code, identity)) for code, identity in fragment.identities]
        fragment = replace(fragment, identities=hashed)
    return Message(fragment, message_id)


def _default_identity(entity: Mapping[str, Any], path: str) -> str:
    value: Any = entity
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # customer numbers are often numbers
    if not isinstance(value, str) or not value.strip():
        raise Refused(
            _("There is no identity: neither an identityMap nor a text at %(path)s.") % {"path": path}
        )
    return value


# --- Hashed namespaces ---------------------------------------------------------------------------------------------


def _email(value: str) -> str:
    address = value.strip().lower()
    if "@" not in address.strip("@"):
        raise Refused(
            _("An identity in a namespace of hashed addresses is neither a hash nor an email address.")
        )
    return address


def _phone(value: str) -> str:
    digits = re.sub(r"[\s().\-/]", "", value)
    if not re.fullmatch(r"\+?[0-9]{4,20}", digits, re.ASCII):
        raise Refused(
            _("An identity in a namespace of hashed phone numbers is neither a hash nor a phone number.")
        )
    return digits


def _e164(value: str) -> str:
    number = re.sub(r"^00", "+", _phone(value))
    if not re.fullmatch(r"\+[1-9][0-9]{3,14}", number, re.ASCII):
        raise Refused(
            _("An identity in Phone_SHA256_E.164 is neither a hash nor a phone number with its country code.")
        )
    return number


HASHED: Mapping[str, Callable[[str], str]] = {
    "email_lc_sha256": _email,
    "phone_sha256": _phone,
    "phone_sha256_e.164": _e164,
}


def normalised(code: str, value: str) -> str:
    """An identity for a namespace of hashes: a hash in lower case, or the hash of an address or number.

    Args:
        code: of the namespace, in any case. Identities of other namespaces come back as they are.

    Raises:
        Refused: it is neither.
    """
    form = HASHED.get(code.lower())
    if form is None:
        return value
    check_text(value)
    if SHA256.fullmatch(value.strip()):
        return value.strip().lower()
    return hashlib.sha256(form(value).encode()).hexdigest()
