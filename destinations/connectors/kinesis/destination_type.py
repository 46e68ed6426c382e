"""Amazon Kinesis as a destination type: its catalog card, its checks, its streams."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..base import (
    AccountForm,
    Check,
    CheckStatus,
    Connection,
    ConnectorError,
    DestinationForm,
    ReadRecord,
    Sender,
    Spec,
    Target,
    Text,
)
from . import failures, forms
from .aggregating import AggregatingSender
from .client import CONNECT_TIMEOUT, READ_TIMEOUT, call, make_client
from .reader import read_newest
from .regions import partition_of
from .sender import KinesisSender
from .stream import describe

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

# A request that starts by then has its answer, or its time-out, within 10 s of the whole.
LAST_START = 10.0 - READ_TIMEOUT  # seconds
LAST_CONNECT = LAST_START - CONNECT_TIMEOUT  # the same when it needs a connection of its own
DESCRIBED = (
    20  # streams of a list that are asked for shards and retention; Kinesis answers 20 such calls a second
)
DRY_RUNS = 5  # streams that are tried for writing
_THROTTLED = ("LimitExceededException", "ThrottlingException")
_DENIED = ("AccessDeniedException", "AccessDenied")

spec = Spec(
    slug="kinesis",
    id=uuid.UUID("86043421-563b-46ec-8e6c-e23184711bf6"),
    name="Amazon Kinesis",
    description=_(
        "Stream the attributes and segments of profiles, as JSON, to a data stream in Amazon Kinesis Data "
        "Streams."
    ),
    category=_("Cloud storage"),
    connection_type=_("Streaming"),
    export_type=_("Profile-based"),
    icon="waves-horizontal",
    documentation_url="https://docs.aws.amazon.com/streams/latest/dev/introduction.html",
)


class KinesisConnector:
    """See :class:`destinations.connectors.base.Connector`."""

    spec: Spec = spec
    account_form: type[AccountForm] = forms.KinesisAccountForm
    destination_form: type[DestinationForm] = forms.KinesisDestinationForm
    permissions_name: Text = _("IAM policy")

    def hint(self, code: str, message: str) -> Text:
        return failures.hint(code, message)

    def about_credentials(self, code: str, message: str) -> bool:
        return failures.about_credentials(code, message)

    def masked(self, credentials: Mapping[str, str]) -> str:
        return forms.masked(credentials.get("access_key_id", ""))

    def permissions_needed(self, settings: Mapping[str, Any], target: str = "") -> str:
        """An IAM policy: what is needed, and in a statement of its own what only the stream viewer and the
        picker use.
        """
        region = settings.get("region") or "REGION"
        arn = f"arn:{partition_of(region)}:kinesis:{region}:*:stream/{target or 'STREAM_NAME'}"
        statements = [
            {"Sid": "ListStreams", "Effect": "Allow", "Action": "kinesis:ListStreams", "Resource": "*"},
            {
                "Sid": "Export",
                "Effect": "Allow",
                "Action": ["kinesis:PutRecord", "kinesis:PutRecords"],
                "Resource": arn,
            },
            {
                "Sid": "OptionalStreamViewer",
                "Effect": "Allow",
                "Action": [
                    "kinesis:DescribeStreamSummary",
                    "kinesis:ListShards",
                    "kinesis:GetShardIterator",
                    "kinesis:GetRecords",
                ],
                "Resource": arn,
            },
        ]
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)

    def check(self, connection: Connection) -> list[Check]:
        """Three rows: the credentials, listing and writing. Writing is asked by ``DryRun``, of AWS alone: a
        stand-in would write.

        https://docs.aws.amazon.com/streams/latest/dev/kds-dryrun-validation.html
        """
        started = time.monotonic()
        names: tuple[str, str, str] = (gettext("Credentials"), "kinesis:ListStreams", "kinesis:PutRecord(s)")
        not_asked = gettext("not asked")
        try:
            client = make_client(connection)
            streams = _list(connection, client, started)
        except ConnectorError as error:
            said = _in_words(error)
            if error.code not in _DENIED:  # then nothing is known of the rest
                return [
                    Check(names[0], CheckStatus.FAILED, said),
                    *(Check(name, CheckStatus.UNKNOWN, not_asked) for name in names[1:]),
                ]
            # Who is denied an action has been recognized.
            rows = [Check(names[0], CheckStatus.PASSED, self.masked(connection.credentials))]
            return [
                *rows,
                Check(names[1], CheckStatus.FAILED, said),
                Check(names[2], CheckStatus.UNKNOWN, not_asked),
            ]
        found = ngettext("%(count)s stream", "%(count)s streams", len(streams)) % {"count": len(streams)}
        return [
            Check(names[0], CheckStatus.PASSED, self.masked(connection.credentials)),
            Check(names[1], CheckStatus.PASSED, found),
            _check_writing(connection, client, names[2], streams, started),
        ]

    def list_targets(self, connection: Connection) -> list[Target]:
        """Every stream with status and mode; shards and retention of the first ones, where the account may
        ask for them.

        Raises:
            ConnectorError: in AWS's words, or there are more streams than can be listed in time.
        """
        started = time.monotonic()
        client = make_client(connection)
        targets = _list(connection, client, started)
        described: dict[str, Target] = {}

        def ask(target: Target) -> bool:
            if time.monotonic() - started > LAST_CONNECT:
                return False
            try:
                described[target.name] = describe(connection, client, target.name)
            except ConnectorError:
                return False
            return True

        # The first tells whether the account may ask at all.
        if targets and ask(targets[0]):
            with ThreadPoolExecutor(max_workers=8, thread_name_prefix="kinesis-describe") as pool:
                list(pool.map(ask, targets[1:DESCRIBED]))
        return [described.get(target.name, target) for target in targets]

    def describe_target(self, connection: Connection, settings: Mapping[str, Any]) -> Target:
        """The stream, and of AWS itself whether the account may write to it.

        Raises:
            ConnectorError: it does not exist, is being deleted, or may not be written to; or records are to be
                aggregated, and the account may not ask for the shards.
        """
        stream = self.target_name(settings)
        started = time.monotonic()
        client = make_client(connection)
        target = Target(stream)
        try:
            target = describe(connection, client, stream)
        except ConnectorError as error:
            if error.code not in _DENIED:
                raise
        if target.status == "DELETING":
            raise ConnectorError(
                "ResourceInUseException",
                "DELETING",
                gettext("The stream “%(stream)s” is being deleted.") % {"stream": stream},
            )
        if not connection.settings.get("endpoint_url"):
            refused = _dry_run(connection, client, stream, started)
            if refused:
                raise refused
        if settings.get("aggregate") and time.monotonic() - started <= LAST_START:
            call(connection, client.list_shards, "Shards", StreamName=stream, MaxResults=1)
        return target

    def target_name(self, settings: Mapping[str, Any]) -> str:
        return str(settings.get("stream", ""))

    def open_sender(self, connection: Connection, settings: Mapping[str, Any]) -> Sender:
        sender = KinesisSender(connection, self.target_name(settings))
        return AggregatingSender(sender) if settings.get("aggregate") else sender

    def read_newest(
        self, connection: Connection, settings: Mapping[str, Any], limit: int
    ) -> list[ReadRecord]:
        return read_newest(connection, self.target_name(settings), limit)


def _in_words(error: ConnectorError) -> str:
    return f"{error.code}: {gettext(error.message)} {error.hint}".strip()


def _list(connection: Connection, client: KinesisClient, started: float) -> list[Target]:
    targets: list[Target] = []
    page: dict[str, Any] = {}
    while not targets or page.get("HasMoreStreams"):
        if page and time.monotonic() - started > LAST_START:
            raise ConnectorError(
                "ReadTimeout",
                gettext("%(count)s streams, and more of them than could be listed in time.")
                % {"count": len(targets)},
                gettext("Type the stream's name instead."),
            )
        # NextToken where there is one; older stand-ins know only the name.
        after: dict[str, Any] = {}
        if page.get("NextToken"):
            after = {"NextToken": page["NextToken"]}
        elif targets:
            after = {"ExclusiveStartStreamName": targets[-1].name}
        try:
            page = call(connection, client.list_streams, "StreamNames", **after)
        except ConnectorError as error:
            if error.code not in _THROTTLED or time.monotonic() - started > LAST_START:
                raise
            time.sleep(0.25)  # Kinesis lists five pages a second for a whole account
            continue
        summaries = {row["StreamName"]: row for row in page.get("StreamSummaries", [])}
        names = page["StreamNames"]
        for name in names:
            row = summaries.get(name, {})
            targets.append(
                Target(
                    name,
                    status=row.get("StreamStatus", ""),
                    mode=row.get("StreamModeDetails", {}).get("StreamMode", ""),
                )
            )
        if not names:
            break
    return targets


def _check_writing(
    connection: Connection, client: KinesisClient, name: str, streams: list[Target], started: float
) -> Check:
    if connection.settings.get("endpoint_url"):
        return Check(name, CheckStatus.UNKNOWN, gettext("seen at the first export"))
    active = [stream.name for stream in streams if stream.status in ("ACTIVE", "UPDATING", "")]
    if not active:
        return Check(name, CheckStatus.UNKNOWN, gettext("There is no active stream to ask about."))
    refused: ConnectorError | None = None
    for asked, stream in enumerate(active):
        if asked == DRY_RUNS:
            break
        error = _dry_run(connection, client, stream, started)
        if error is None:
            return Check(name, CheckStatus.PASSED, gettext("allowed on %(stream)s") % {"stream": stream})
        refused = error
        if error.code not in _DENIED:
            break
    else:  # every stream was asked: there is none that can be written to
        return Check(name, CheckStatus.FAILED, _in_words(refused) if refused else "")
    # The policy may well allow one of those that were not asked. It is asked again once the stream is chosen.
    return Check(name, CheckStatus.UNKNOWN, _in_words(refused) if refused else gettext("not asked"))


def _dry_run(
    connection: Connection, client: KinesisClient, stream: str, started: float
) -> ConnectorError | None:
    """Why PutRecord or PutRecords on ``stream`` would be refused; None when they would be taken. Nothing is
    written.
    """
    record: dict[str, Any] = {"Data": b"{}", "PartitionKey": "dry run"}
    for method, params in ((client.put_records, {"Records": [record]}), (client.put_record, record)):
        if time.monotonic() - started > LAST_START:
            return ConnectorError(
                "ReadTimeout",
                gettext("Kinesis answered too slowly to ask whether the stream may be written to."),
                gettext("Try again; check the network if it stays so."),
            )
        try:
            call(connection, method, "ResponseMetadata", StreamName=stream, DryRun=True, **params)
        except ConnectorError as error:
            if error.code != "DryRunOperationException":
                return error
    return None
