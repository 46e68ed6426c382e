"""Sessions in the database that open nothing for who has stolen it: the cookie is the session's key and a signature,
and what a session holds (for a while the secret of an authenticator app, a link for a new password) is encrypted.
"""

from __future__ import annotations

from typing import Any

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest, HttpResponse

from access.keys import keys

_SALT = "access.sessions"


def cookie_of(session_key: str) -> str:
    """What the browser keeps of a session: its key, signed with ``SECRET_KEY``."""
    return Signer(salt=_SALT).sign(session_key)


def key_of(cookie: str) -> str | None:
    """The key of the session; None where it is not us who signed it."""
    try:
        return Signer(salt=_SALT).unsign(cookie)
    except BadSignature:
        return None


class SessionStore(DatabaseStore):
    """Django's, encrypted with ``CREDENTIAL_KEYS``. Without the key there was nothing in it."""

    def encode(self, session_dict: dict[str, Any]) -> str:
        return keys().encrypt(super().encode(session_dict).encode()).decode()

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        try:
            return super().decode(keys().decrypt(session_data).decode())
        except InvalidToken:
            return {}


class SignedSessionMiddleware(SessionMiddleware):
    """Django's, with the key signed in the cookie."""

    def process_request(self, request: HttpRequest) -> None:
        cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        request.session = SessionStore(key_of(cookie))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        cookie = response.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie is not None and cookie.value:
            response.cookies[settings.SESSION_COOKIE_NAME] = cookie_of(cookie.value)
        return response
