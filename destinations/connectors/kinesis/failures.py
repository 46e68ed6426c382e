"""What is done about each failure, and what a person can do: the one table of it.

Codes and their meaning: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html and
https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html; ``HTTP…`` and those without ``Exception``
at their end are :mod:`.errors`' own, for what came in place of an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from django.utils.translation import gettext_lazy as _

from ..base import Text


class Answer(StrEnum):
    """What is done about a failure."""

    THROTTLED = "throttled"
    """Nothing was taken for now: later, and slower. What goes to other shards goes on."""
    AGAIN = "again"
    """Later, with the same partition key. It may have been taken all the same: another go may deliver it twice."""
    HOLD = "hold"
    """The destination as a whole can't be written to: nothing is sent but a probe now and then."""
    BISECT = "bisect"
    """A record of the request is not valid: the request is halved until it is found. The others are sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of the table.

    Args:
        code: a regular expression for the whole of the code.
        says: one for a part of the message; its named groups may stand in ``hint``.
        hint: what a person can do.
    """

    code: str
    answer: Answer
    hint: Text = ""
    says: str = ""


_KEYS = _(
    "Check the access key ID and the secret access key: copy both again from AWS. A deleted or inactive "
    "key gives this too."
)
_CLOCK = _(
    "The clock of this server and that of AWS differ too much. Set the server's clock (NTP), then try again."
)
_EXPIRED = _(
    "The session token has expired. Enter new temporary credentials, or an access key without a session token."
)
_SLOW = _("Too many requests at the moment. Wait a minute, then try again.")
_STREAM = _("Check the stream's name, and that it is in the chosen region and account.")
_ALLOW = _("Allow %(action)s in the IAM policy of this access key.")
_ALLOW_KEY = _(
    "The stream is encrypted with a KMS key. Allow %(action)s on that key, in the IAM policy of this access "
    "key and in the policy of the KMS key."
)
_NOT_KINESIS = _("The answer is not one of Kinesis. Check the endpoint URL, and any proxy on the way.")
_NETWORK = _("Try again; check the network if it stays so.")
_CREDENTIALS = _("Enter the access key ID and the secret access key again.")

_SIGNATURE = "InvalidSignatureException|SignatureDoesNotMatch"
_DENIED = "AccessDeniedException|AccessDenied|UnauthorizedOperation"
_INVALID = "ValidationException|InvalidArgumentException|SerializationException"
_HOLD, _AGAIN, _THROTTLED, _BISECT = Answer.HOLD, Answer.AGAIN, Answer.THROTTLED, Answer.BISECT

# The first that fits counts.
FAILURES = (
    # --- Too much at once
    Failure(
        "ProvisionedThroughputExceededException",
        _THROTTLED,
        _(
            "The stream takes 1,000 records and 1 MB a second for each shard. Try again, or give it more shards."
        ),
    ),
    Failure(
        "ThrottlingException|Throttling|LimitExceededException|RequestLimitExceeded|TooManyRequestsException"
        "|SlowDown|HTTP429",
        _THROTTLED,
        _SLOW,
    ),
    Failure("KMSThrottlingException", _THROTTLED, _SLOW),
    # --- Failures inside Kinesis and on the way, perhaps after the records were taken
    Failure("InternalFailure(Exception)?|InternalError|InternalServer(Error|Exception)", _AGAIN, _NETWORK),
    Failure("ServiceUnavailable(Exception)?", _AGAIN, _NETWORK),
    Failure(r"HTTP5\d\d", _AGAIN, _NOT_KINESIS),
    Failure(
        "ReadTimeout|RequestTimeout(Exception)?",
        _AGAIN,
        _(
            "The endpoint took the request and did not answer in time. Try again; check the network if it "
            "stays so."
        ),
    ),
    Failure("ConnectionClosed", _AGAIN, _NETWORK),
    # --- A record that is not valid, unless it is the stream's name
    Failure(_INVALID, _HOLD, _STREAM, says=r"'stream(Name|ARN|Id)'"),
    Failure(_INVALID, _BISECT),
    Failure("HTTP413", _BISECT, _("The request was larger than the endpoint takes.")),
    # --- Who we are
    Failure(f"{_SIGNATURE}|RequestExpired", _HOLD, _CLOCK, says="Signature (expired|not yet current)"),
    Failure("RequestExpired|RequestTimeTooSkewed", _HOLD, _CLOCK),
    Failure(
        _SIGNATURE,
        _HOLD,
        _("The endpoint serves another region. Choose that region."),
        says="Credential should be scoped to a valid region",
    ),
    Failure(f"{_SIGNATURE}|IncompleteSignature(Exception)?", _HOLD, _KEYS),
    Failure("UnrecognizedClientException|InvalidClientTokenId|InvalidAccessKeyId", _HOLD, _KEYS),
    Failure("MissingAuthenticationToken(Exception)?", _HOLD, _KEYS),
    Failure("ExpiredToken(Exception)?", _HOLD, _EXPIRED),
    Failure("NoCredentials", _HOLD, _CREDENTIALS),
    # --- What we may do
    Failure(_DENIED, _HOLD, _ALLOW_KEY, says=r"perform: (?P<action>kms:\w+)"),
    Failure(_DENIED, _HOLD, _ALLOW, says=r"perform: (?P<action>[\w-]+:\w+)"),
    Failure(_DENIED, _HOLD, _("The IAM policy of this access key does not allow it.")),
    Failure(
        "OptInRequired",
        _HOLD,
        _("The AWS account has not enabled this region. Enable it in AWS, or choose another region."),
    ),
    Failure("SubscriptionRequiredException", _HOLD, _("The AWS account is not signed up for Kinesis.")),
    # --- The key that the stream is encrypted with
    Failure("KMSAccessDeniedException", _HOLD, _ALLOW_KEY, says=r"perform: (?P<action>kms:\w+)"),
    Failure(
        "KMSAccessDeniedException",
        _HOLD,
        # What a producer needs: https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html
        _(
            "The stream is encrypted with a KMS key. Allow kms:GenerateDataKey on that key, in the IAM policy "
            "of this access key and in the policy of the KMS key."
        ),
    ),
    Failure(
        "KMSDisabledException",
        _HOLD,
        _("The KMS key that the stream is encrypted with is disabled. Enable the key in AWS KMS."),
    ),
    Failure(
        "KMSInvalidStateException",
        _HOLD,
        _(
            "The KMS key that the stream is encrypted with can't be used in its state, e.g. because it is to "
            "be deleted. Look at the key in AWS KMS."
        ),
    ),
    Failure(
        "KMSNotFoundException",
        _HOLD,
        _("The KMS key that the stream is encrypted with is gone. Let the stream use another key."),
    ),
    Failure(
        "KMSOptInRequired",
        _HOLD,
        _("The AWS account is not signed up for KMS, which this stream needs."),
    ),
    # --- The stream
    Failure(
        "ResourceNotFoundException",
        _HOLD,
        _("The stream is being created. The records wait, and are sent once AWS shows it as active."),
        says=r"\(CREATING\)$",
    ),
    Failure(
        "ResourceNotFoundException",
        _HOLD,
        _("The stream is being deleted. Choose another stream, or create it again."),
        says=r"\(DELETING\)$",
    ),
    Failure("ResourceNotFoundException", _HOLD, _STREAM),
    Failure(
        "ResourceInUseException",
        _HOLD,
        _("The stream is being created or changed. Wait until AWS shows it as active, then try again."),
    ),
    # --- The way there: nothing was sent
    Failure(
        "EndpointConnectionError",
        _HOLD,
        _(
            "The endpoint can't be reached: its name is unknown or nothing listens there. Check the region, "
            "the endpoint URL and the network."
        ),
    ),
    Failure(
        "ConnectTimeout",
        _HOLD,
        _(
            "The endpoint did not answer. Check the region, the endpoint URL and the network (firewall, proxy)."
        ),
    ),
    Failure("ProxyConnectionError", _HOLD, _("The proxy of this server could not be reached.")),
    Failure(
        "SSLError",
        _HOLD,
        _("No secure connection: the endpoint's certificate is not trusted, or it does not speak TLS."),
    ),
    Failure(
        "RedirectNotFollowed",
        _HOLD,
        _(
            "The endpoint sent us elsewhere, and redirects are not followed. Check the endpoint URL and the "
            "region."
        ),
    ),
    Failure("InvalidRegion", _HOLD, _("Choose a region of the list.")),
    Failure(r"InvalidResponse|HTTP\d+", _HOLD, _NOT_KINESIS),
)
OTHER = Failure(".*", Answer.HOLD)
OTHER_INSIDE = Failure(".*", Answer.AGAIN, _NETWORK)  # with a status of 500 or above


@lru_cache(1024)
def failure(code: str, message: str, status: int = 0) -> Failure:
    """The row for an error: its code, the words that came with it and, where it is known, the HTTP status."""
    for row in FAILURES:
        if re.fullmatch(row.code, code) and re.search(row.says, message):
            return row
    return OTHER_INSIDE if status >= 500 else OTHER


def about_credentials(code: str, message: str) -> bool:
    """Whether other credentials are what an error asks for."""
    return failure(code, message).hint in (_KEYS, _EXPIRED, _CREDENTIALS)


def hint(code: str, message: str) -> Text:
    """What a person can do about an error; empty when there is nothing to add."""
    row = failure(code, message)
    found = re.search(row.says, message)
    return row.hint % found.groupdict() if found and found.groupdict() else row.hint
