"""Who acts, and from where: known to the middleware of a request, and the system itself everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
from celery import current_task
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

SYSTEM, ANONYMOUS = "system", "anonymous"
NOBODY = {SYSTEM: _("System"), ANONYMOUS: _("Not signed in")}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an act comes from.

    Args:
        actor: the user name, ``system`` or ``anonymous``.
        actor_id: the person's key; empty where it is no person.
        place: the method and path of a request, a command or a task.
    """

    actor: str = SYSTEM
    actor_id: str = ""
    ip: str | None = None
    request_id: str = ""
    place: str = ""


_request: ContextVar[HttpRequest | None] = ContextVar("audit_request", default=None)
_later: ContextVar[list[Callable[[], None]] | None] = ContextVar("audit_later", default=None)


@contextmanager
def acting(request: HttpRequest) -> Iterator[None]:
    """What is recorded inside was done by whoever makes the request: asked then, and not before."""
    tokens = _request.set(request), _later.set([])
    try:
        yield
        for write in _later.get() or ():
            write()
    finally:
        _request.reset(tokens[0])
        _later.reset(tokens[1])


def afterwards(write: Callable[[], None]) -> None:
    """Call ``write`` when the request is answered, outside of any transaction; never, where there is none."""
    waiting = _later.get()
    if waiting is not None:
        waiting.append(write)


def current() -> Origin:
    """The origin of what is done now."""
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    request = _request.get()
    if request is None:
        return Origin(request_id=request_id, place=_program())
    user = getattr(request, "user", None)
    known = user is not None and user.is_authenticated
    return Origin(
        *(name_of(user) if known else (ANONYMOUS, "")),
        ip=client_ip(request),
        request_id=request_id,
        place=f"{request.method} {request.path}",
    )


def name_of(person: Any) -> tuple[str, str]:
    """The user name and the key of a person."""
    return person.get_username(), str(person.pk)


def client_ip(request: HttpRequest) -> str | None:
    """The address that a request comes from: behind our proxy, the one that the proxy wrote last."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    if settings.SECURE_PROXY_SSL_HEADER and forwarded:
        return _address(forwarded.rpartition(",")[2])
    return _address(request.META.get("REMOTE_ADDR", ""))


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.strip()))
    except ValueError:  # a unix socket has none
        return None


def _program() -> str:
    if current_task:
        return str(current_task.name)
    program = Path(sys.argv[0]).name
    # What else stands there may be anything, even a secret; the name of a command is none.
    return f"{program} {sys.argv[1]}" if program == "manage.py" and len(sys.argv) > 1 else program
