"""What went wrong, in AWS's words and with what one can do about it."""

from __future__ import annotations

import re
from collections.abc import Collection

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from ..base import ConnectorError, Text
from .endpoint import EndpointNotAllowed

MAX_MESSAGE = 1000  # characters of AWS's words that are kept

# A later try of the same request may well succeed: too much at once, or a failure inside Kinesis.
TRANSIENT = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "LimitExceededException",
        "KMSThrottlingException",
        "InternalFailure",
        "InternalFailureException",
        "InternalServerError",
        "InternalServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)

_KEYS = _(
    "Check the access key ID and the secret access key: copy both again from AWS. A deleted or inactive "
    "key gives this too."
)
_CLOCK = _(
    "The clock of this server and that of AWS differ too much. Set the server's clock (NTP), then try again."
)
_KMS = _(
    "The stream is encrypted with a KMS key that can't be used. Ask the owner of the stream to enable the "
    "key and to allow its use."
)
_SLOW = _("Too many requests at the moment. Wait a minute, then try again.")
_STREAM = _("Check the stream's name, and that it is in the chosen region and account.")

_HINTS: dict[str, Text] = {
    "UnrecognizedClientException": _KEYS,
    "InvalidClientTokenId": _KEYS,
    "InvalidSignatureException": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "IncompleteSignatureException": _KEYS,
    "MissingAuthenticationTokenException": _KEYS,
    "InvalidAccessKeyId": _KEYS,
    "ExpiredTokenException": _(
        "The session token has expired. Enter new temporary credentials, or an access key without a "
        "session token."
    ),
    "ExpiredToken": _(
        "The session token has expired. Enter new temporary credentials, or an access key without a "
        "session token."
    ),
    "RequestExpired": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
    "OptInRequired": _(
        "The AWS account has not enabled this region. Enable it in AWS, or choose another region."
    ),
    "SubscriptionRequiredException": _("The AWS account is not signed up for Kinesis."),
    "ResourceNotFoundException": _STREAM,
    "ResourceInUseException": _(
        "The stream is being created or changed. Wait until AWS shows it as active, then try again."
    ),
    "KMSOptInRequired": _("The AWS account is not signed up for KMS, which this stream needs."),
    "ThrottlingException": _SLOW,
    "Throttling": _SLOW,
    "LimitExceededException": _SLOW,
    "ProvisionedThroughputExceededException": _(
        "The stream takes 1,000 records and 1 MB a second for each shard. Try again, or give it more shards."
    ),
    "KMSThrottlingException": _SLOW,
    "413": _("The request was larger than the endpoint takes."),
}


def hint_for(code: str, message: str) -> Text:
    """What a person can do about an error of AWS; empty when there is nothing to add."""
    if "Signature expired" in message or "Signature not yet current" in message:
        return _CLOCK
    if "Credential should be scoped to a valid region" in message:
        return _("The endpoint serves another region. Choose that region.")
    if code in ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation"):
        action = re.search(r"perform: ([\w-]+:\w+)", message)
        if action:
            return _("Allow %(action)s in the IAM policy of this access key.") % {"action": action[1]}
        return _("The IAM policy of this access key does not allow it.")
    if code.startswith("KMS") and code not in _HINTS:
        return _KMS
    return _HINTS.get(code, "")


def _clean(message: str, secrets: Collection[str]) -> str:
    # AWS may quote the canonical request of a wrong signature, and the session token is in it.
    message = message.partition("The Canonical String")[0]
    for secret in secrets:
        if secret:
            message = message.replace(secret, "…")
    message = " ".join(message.split())
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"


def translate(error: Exception, secrets: Collection[str] = ()) -> ConnectorError:
    """An error of botocore as ours.

    Args:
        error: what botocore raised.
        secrets: strings that must not be in the message, whatever the other side says.
    """
    if isinstance(error, ConnectorError):
        return error
    if isinstance(error, boto.ClientError):
        about = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code, message = str(about.get("Code") or status), str(about.get("Message") or "")
        if 300 <= status < 400:
            return ConnectorError(
                "RedirectNotFollowed",
                f"HTTP {status}",
                _(
                    "The endpoint sent us elsewhere, and redirects are not followed. Check the endpoint "
                    "URL and the region."
                ),
            )
        if (
            not code
            or code == str(status)
            or re.search(r"<(!doctype|html|head|body|\?xml)", message, re.IGNORECASE)
        ):
            return ConnectorError(
                f"HTTP{status}" if not code or code == str(status) else code,
                f"HTTP {status}",
                hint_for(str(status), "")
                or _("The answer is not one of Kinesis. Check the endpoint URL, and any proxy on the way."),
            )
        return ConnectorError(code, _clean(message, secrets) or code, hint_for(code, message))
    if isinstance(error, ResponseParserError):
        return ConnectorError(
            "InvalidResponse",
            gettext_noop("The answer could not be read."),
            _("The answer is not one of Kinesis. Check the endpoint URL, and any proxy on the way."),
        )
    if isinstance(error, EndpointNotAllowed):
        return ConnectorError("EndpointNotAllowed", str(error.reason))
    if isinstance(error, boto.HTTPClientError):
        cause = error.kwargs.get("error")
        if isinstance(cause, EndpointNotAllowed):
            return ConnectorError("EndpointNotAllowed", str(cause.reason))
    return _of_the_way(error, secrets)


def _of_the_way(error: Exception, secrets: Collection[str]) -> ConnectorError:
    """No answer came. The order matters: botocore's timeouts are kinds of its connection errors."""
    message = _clean(str(error), secrets)
    if isinstance(error, boto.SSLError):
        return ConnectorError(
            "SSLError",
            message,
            _("No secure connection: the endpoint's certificate is not trusted, or it does not speak TLS."),
        )
    if isinstance(error, boto.ConnectTimeoutError):
        return ConnectorError(
            "ConnectTimeout",
            gettext_noop("No connection within the time limit."),
            _(
                "The endpoint did not answer. Check the region, the endpoint URL and the network "
                "(firewall, proxy)."
            ),
        )
    if isinstance(error, boto.ReadTimeoutError):
        return ConnectorError(
            "ReadTimeout",
            gettext_noop("No answer within the time limit."),
            _(
                "The endpoint took the request and did not answer in time. Try again; check the network if "
                "it stays so."
            ),
        )
    if isinstance(error, boto.ProxyConnectionError):
        return ConnectorError(
            "ProxyConnectionError", message, _("The proxy of this server could not be reached.")
        )
    if isinstance(error, boto.EndpointConnectionError):
        return ConnectorError(
            "EndpointConnectionError",
            message,
            _(
                "The endpoint can't be reached: its name is unknown or nothing listens there. Check the "
                "region, the endpoint URL and the network."
            ),
        )
    if isinstance(error, boto.ConnectionClosedError):
        return ConnectorError(
            "ConnectionClosed",
            gettext_noop("The connection was closed before an answer came."),
            _("Try again; check the network if it stays so."),
        )
    if isinstance(error, boto.ParamValidationError):
        return ConnectorError("ParamValidationError", message)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return ConnectorError(
            "NoCredentials",
            gettext_noop("No credentials."),
            _("Enter the access key ID and the secret access key again."),
        )
    if isinstance(error, boto.InvalidRegionError):
        return ConnectorError("InvalidRegion", message, _("Choose a region of the list."))
    # Of anything else only the kind is said: its text may quote headers, which hold the session token.
    return ConnectorError(type(error).__name__, gettext_noop("The request could not be sent."))
