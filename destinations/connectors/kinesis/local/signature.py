"""Checks that a request was signed with the right secret, recently, for this service and region (AWS
Signature Version 4).

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html; the signature is
computed again with botocore's own signer.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .errors import ApiError

MAX_SKEW = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;_-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Keys:
    """What callers must sign with."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def verify(
    *, keys: Keys, region: str, method: str, url: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> None:
    """
    Args:
        keys: what the request must be signed with.
        region: the only region of the credential's scope that is taken.
        url: as the caller sees it, with the host of the Host header.
        headers: by lower-case name.
        now: the server's time, UTC.

    Raises:
        ApiError: the request is not signed so, in AWS's words.
    """
    authorization = headers.get("authorization")
    if not authorization:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = _AUTHORIZATION.fullmatch(authorization.strip())
    if not parts:
        raise ApiError(
            "IncompleteSignatureException", "Authorization header is not that of AWS Signature Version 4."
        )
    given_token = headers.get("x-amz-security-token")
    if parts["key"] != keys.access_key_id or given_token != keys.session_token:
        raise ApiError(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    if parts["service"] != "kinesis":
        raise _invalid("Credential should be scoped to correct service: 'kinesis'. ")
    if parts["region"] != region:
        raise _invalid(f"Credential should be scoped to a valid region, not '{parts['region']}'. ")

    stamp = headers.get("x-amz-date", "")
    try:
        signed_at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise ApiError("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.") from None
    if parts["day"] != stamp[:8]:
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
        )
    at = now.strftime(_STAMP)
    if signed_at < now - MAX_SKEW:
        limit = (now - MAX_SKEW).strftime(_STAMP)
        raise _invalid(f"Signature expired: {stamp} is now earlier than {limit} ({at} - 15 min.)")
    if signed_at > now + MAX_SKEW:
        limit = (now + MAX_SKEW).strftime(_STAMP)
        raise _invalid(f"Signature not yet current: {stamp} is still later than {limit} ({at} + 15 min.)")

    signed = set(parts["headers"].split(";"))
    must = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    if must - signed or signed - headers.keys():
        raise _invalid("'Host' and every 'x-amz-' header must be a 'SignedHeader' in the AWS Authorization.")
    request = AWSRequest(method=method, url=url, data=body, headers={name: headers[name] for name in signed})
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "kinesis", region)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected, parts["signature"]):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", message)
