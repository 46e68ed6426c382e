"""The HTTP API that producers post profiles to: ``/collection/{inlet}`` and ``/collection/batch/{inlet}``.

As AEP's streaming ingestion answers, so that its producers only need another host. Answers are JSON in English, errors
``{"type", "status", "title", "detail", "report"}``. No session, no cookie: who may is said by the inlet's id and token.
"""

from __future__ import annotations

import gzip
import io
import re
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.crypto import constant_time_compare
from django.utils.translation import override
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from profiles import xdm
from profiles.ingest import Refused
from profiles.inlets import intake, limit, messages, services
from profiles.inlets.intake import Fate, Receipt, Sent
from profiles.models import Inlet
from profiles.reasons import Reason
from profiles.reasons import Reason as _

log = structlog.get_logger(__name__)

MAX_BODY = 1024 * 1024  # bytes, as sent and unzipped: AEP's limit
MAX_MESSAGES = 1000  # of a batch: they are one transaction
DRAINED = 8 * MAX_BODY  # of a body that is too large: a client that still sends does not hear the answer

PROBLEM_TYPE = "about:blank"  # RFC 9457: the title says it


class Problem(Exception):
    """An answer that says why not. ``title`` is the same for every problem of a kind, ``detail`` is about this one."""

    def __init__(
        self, status: int, title: str, detail: object = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(title)
        self.status, self.title, self.detail, self.headers = status, title, str(detail), headers or {}

    def response(self, inlet_id: str) -> HttpResponse:
        told = {
            "type": PROBLEM_TYPE,
            "status": self.status,
            "title": self.title,
            "detail": self.detail or self.title,
            "report": {"inletId": inlet_id, "message": self.detail or self.title},
        }
        return JsonResponse(
            told, status=self.status, headers=dict(self.headers), content_type="application/problem+json"
        )


@csrf_exempt
@never_cache
def message(request: HttpRequest, inlet_id: str) -> HttpResponse:
    """Take in one message."""
    return _answered(request, inlet_id, _message)


@csrf_exempt
@never_cache
def batch(request: HttpRequest, inlet_id: str) -> HttpResponse:
    """Take in ``{"messages": […]}``: the good ones, whatever the others are. One answer a message, in their order."""
    return _answered(request, inlet_id, _batch)


def _answered(
    request: HttpRequest, inlet_id: str, take_in: Callable[[HttpRequest, Inlet, bytes], HttpResponse]
) -> HttpResponse:
    """1. Who may. 2. How often. 3. The body. 4. What it says; the answer comes after the commit."""
    with override("en"):
        try:
            if request.method != "POST":
                raise Problem(405, "Method not allowed", "Messages are posted.", {"Allow": "POST"})
            inlet = _inlet(request, inlet_id)
            if seconds := limit.seconds_to_wait(inlet.pk):
                raise Problem(
                    429,
                    "Too many requests",
                    "This inlet is posted to more often than it may be. Send batches.",
                    {"Retry-After": str(seconds)},
                )
            try:
                body = _body(request, inlet)
            except UnreadablePostError:
                raise Problem(400, "Invalid message", "The body ended before its end.") from None
            try:
                return take_in(request, inlet, body)
            except Refused as refused:
                intake.note_refusal(inlet, refused.reason, body)
                raise Problem(400, "Invalid message", refused.reason) from None
        except Problem as problem:
            return problem.response(inlet_id)
        except DatabaseError as error:
            log.exception("inlet_failed", error=type(error).__name__)
            again = Problem(503, "Not stored", "Nothing was taken in. Try again.", {"Retry-After": "1"})
            return again.response(inlet_id)


def _message(request: HttpRequest, inlet: Inlet, body: bytes) -> HttpResponse:
    received = _now()
    sent = Sent(messages.read(xdm.parse_json(body), inlet), body)
    xaction = uuid.uuid4()
    [receipt] = intake.receive(inlet, xaction, [sent], len(body))
    if receipt.fate == Fate.REJECTED:
        raise Problem(400, "Invalid message", receipt.reason)
    told = {"inletId": inlet.pk, "xactionId": str(xaction), "receivedTimeMs": received}
    return JsonResponse(told | _validation(request, receipt))


def _batch(request: HttpRequest, inlet: Inlet, body: bytes) -> HttpResponse:
    received = _now()
    envelope, flawed = xdm.parse_parts(body)
    if not isinstance(envelope, dict):
        # Not an object, or one that says something twice.
        xdm.check_part(envelope)
    if not isinstance(envelope, dict) or not isinstance(parts := envelope.get("messages"), list):
        raise Refused(_("The body is not an object with a list of “messages”."))
    if len(parts) > MAX_MESSAGES:
        raise Refused(
            _("The batch has %(count)s messages; %(limit)s are the limit.")
            % {"count": len(parts), "limit": MAX_MESSAGES}
        )
    sent = [Sent(_read(part, inlet, flawed), part) for part in parts]
    batch_id = uuid.uuid4()
    receipts = intake.receive(inlet, batch_id, sent, len(body))
    told = {
        "inletId": inlet.pk,
        "batchId": str(batch_id),
        "receivedTimeMs": received,
        "responses": [
            _rejected(receipt.reason)
            if receipt.fate == Fate.REJECTED
            else {"xactionId": f"{batch_id}:{place}"} | _validation(request, receipt)
            for place, receipt in enumerate(receipts)
        ],
    }
    return JsonResponse(told, status=207)


def _read(part: object, inlet: Inlet, flawed: bool) -> messages.Message | Refused:
    try:
        if flawed:
            xdm.check_part(part)
        return messages.read(part, inlet)
    except Refused as refused:
        return refused


def _rejected(reason: Reason) -> dict[str, Any]:
    return {"status": 400, "message": str(reason)}


def _validation(request: HttpRequest, receipt: Receipt) -> dict[str, Any]:
    """What is added where the producer asks for ``syncValidation``. What was taken in has passed."""
    if request.GET.get("syncValidation", "").lower() != "true":
        return {}
    told: dict[str, Any] = {"status": "pass"}
    if receipt.fate == Fate.REPEATED:
        told["message"] = "A message with this _id came before: nothing was changed."
    elif receipt.reason:
        told["message"] = str(receipt.reason)
    return {"syncValidation": told}


def _now() -> int:
    return int(time.time() * 1000)


# --- Who may -------------------------------------------------------------------------------------------------------


def _inlet(request: HttpRequest, inlet_id: str) -> Inlet:
    found = None
    if re.fullmatch(r"[0-9a-f]{64}", inlet_id):
        found = Inlet.objects.select_related("namespace").filter(pk=inlet_id).first()
    if found is None:
        raise Problem(404, "Unknown inlet", "There is no inlet with this id.")
    if found.protected:
        _check_token(request, found)
    if not found.enabled:
        raise Problem(403, "Inlet disabled", "The inlet is disabled: it takes no messages.")
    return found


def _check_token(request: HttpRequest, inlet: Inlet) -> None:
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(
            401,
            "Token missing",
            "This inlet wants its token: Authorization: Bearer …",
            {"WWW-Authenticate": "Bearer"},
        )
    if not constant_time_compare(services.digest(token.strip()), inlet.token_digest):
        raise Problem(
            403,
            "Token refused",
            "This is not the inlet's token.",
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )


# --- The body ------------------------------------------------------------------------------------------------------


def _body(request: HttpRequest, inlet: Inlet) -> bytes:
    """The body, unzipped. Never more than a little over :data:`MAX_BODY` of it is in memory."""
    stream, length = _stream(request)
    data = b"" if length > MAX_BODY else stream.read(MAX_BODY + 1)
    if length > MAX_BODY or len(data) > MAX_BODY:
        left = DRAINED
        while left > 0 and (chunk := stream.read(1 << 16)):
            left -= len(chunk)
        raise _too_large(inlet)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "gzip":
        return _unzipped(data, inlet)
    if encoding not in ("", "identity"):
        raise Problem(
            415, "Unknown encoding", "A body is sent as it is, or as gzip.", {"Accept-Encoding": "gzip"}
        )
    return data


def _stream(request: HttpRequest) -> tuple[BinaryIO, int]:
    """Where the body is read from, and how long it says it is."""
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        # It has no length: Django would take it for empty. The server knows where it ends, if it says so.
        if not request.META.get("wsgi.input_terminated"):
            raise Problem(411, "Length required", "Send the body with its Content-Length.")
        return cast(BinaryIO, request.META["wsgi.input"]), 0
    try:
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        raise Problem(400, "Invalid message", "The Content-Length is no number.") from None
    return cast(BinaryIO, request), length


def _unzipped(data: bytes, inlet: Inlet) -> bytes:
    """What is in a gzip file, up to the limit: what a bomb would become is never there."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(MAX_BODY + 1)
    except (OSError, EOFError, zlib.error):
        detail = _("The body is not gzip, or not whole.")
        intake.note_refusal(inlet, detail, data)
        raise Problem(400, "Invalid message", detail) from None
    if len(found) > MAX_BODY:
        raise _too_large(inlet)
    return found


def _too_large(inlet: Inlet) -> Problem:
    detail = _("The body has more than %(limit)s bytes.") % {"limit": MAX_BODY}
    intake.note_refusal(inlet, detail, b"")
    return Problem(413, "Too large", detail)
