"""What went wrong, in AWS's words. What is done about it is in :mod:`.failures`."""

from __future__ import annotations

import re
from collections.abc import Collection

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from django.utils.translation import gettext_noop as _

from ..base import ConnectorError
from .endpoint import EndpointNotAllowed
from .failures import failure, hint

MAX_MESSAGE = 1000  # characters of AWS's words that are kept


class KinesisError(ConnectorError):
    """An error with what is done about it.

    Args:
        status: of the HTTP answer; 0 where none came.
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(code, message, hint(code, message))
        self.answer = failure(code, message, status).answer


# No answer came. The order matters: botocore's timeouts are kinds of its connection errors.
_ON_THE_WAY: tuple[tuple[type[Exception], str, str], ...] = (
    (boto.SSLError, "SSLError", ""),
    (boto.ConnectTimeoutError, "ConnectTimeout", _("No connection within the time limit.")),
    (boto.ReadTimeoutError, "ReadTimeout", _("No answer within the time limit.")),
    (boto.ProxyConnectionError, "ProxyConnectionError", ""),
    (boto.EndpointConnectionError, "EndpointConnectionError", ""),
    (boto.ConnectionClosedError, "ConnectionClosed", _("The connection was closed before an answer came.")),
    (boto.ParamValidationError, "ParamValidationError", ""),
    (boto.NoCredentialsError, "NoCredentials", _("No credentials.")),
    (boto.PartialCredentialsError, "NoCredentials", _("No credentials.")),
    (boto.InvalidRegionError, "InvalidRegion", ""),
    (ResponseParserError, "InvalidResponse", _("The answer could not be read.")),
)


def translate(error: Exception, secrets: Collection[str] = ()) -> KinesisError:
    """An error of botocore as ours.

    Args:
        error: what botocore raised.
        secrets: strings that must not be in the message, whatever the other side says.
    """
    if isinstance(error, KinesisError):
        return error
    if isinstance(error, boto.ClientError):
        return _of_the_answer(error, secrets)
    cause = error.kwargs.get("error") if isinstance(error, boto.HTTPClientError) else error
    if isinstance(cause, EndpointNotAllowed):
        return KinesisError("EndpointNotAllowed", str(cause.reason))
    for kind, code, message in _ON_THE_WAY:
        if isinstance(error, kind):
            return KinesisError(code, message or _clean(str(error), secrets))
    # Of anything else only the kind is said: its text may quote headers, which hold the session token.
    return KinesisError(type(error).__name__, _("The request could not be sent."))


def _of_the_answer(error: boto.ClientError, secrets: Collection[str]) -> KinesisError:
    about = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code, message = str(about.get("Code") or status), str(about.get("Message") or "")
    if 300 <= status < 400:
        return KinesisError("RedirectNotFollowed", f"HTTP {status}", status)
    has_code = code and code != str(status)
    if not has_code or re.search(r"<(!doctype|html|head|body|\?xml)", message, re.IGNORECASE):
        return KinesisError(code if has_code else f"HTTP{status}", f"HTTP {status}", status)
    return KinesisError(code, _clean(message, secrets) or code, status)


def _clean(message: str, secrets: Collection[str]) -> str:
    # AWS may quote the canonical request of a wrong signature, and the session token is in it.
    message = message.partition("The Canonical String")[0]
    for secret in secrets:
        if secret:
            message = message.replace(secret, "…")
    message = " ".join(message.split())
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"
