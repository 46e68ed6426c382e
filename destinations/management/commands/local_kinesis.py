"""Runs the local Kinesis until it is stopped."""

from __future__ import annotations

import os
import re
import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations.connectors.kinesis.local import LocalKinesis, LocalKinesisServer
from destinations.connectors.kinesis.local.errors import ApiError
from destinations.connectors.kinesis.local.server import NotLoopback, new_keys
from destinations.connectors.kinesis.local.signature import Keys

MIB = 1024 * 1024


class Command(BaseCommand):
    help = (
        "Run a small Kinesis on this machine, for trying and testing. Records are kept in memory. "
        "Credentials come from "
        "LOCAL_KINESIS_ACCESS_KEY_ID and LOCAL_KINESIS_SECRET_ACCESS_KEY, or are made and printed."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        env = os.environ.get
        parser.add_argument("--host", default="127.0.0.1", help="a loopback address (127.0.0.1)")
        parser.add_argument(
            "--port", type=int, default=int(env("LOCAL_KINESIS_PORT", "4567")), help="0: a free one"
        )
        parser.add_argument("--region", default=env("LOCAL_KINESIS_REGION", "us-east-1"))
        parser.add_argument(
            "--stream",
            action="append",
            metavar="NAME:SHARDS",
            help="a data stream; may be given several times (profile-exports:2)",
        )
        parser.add_argument(
            "--max-memory", type=int, default=256, metavar="MIB", help="for records; the oldest go (256 MiB)"
        )
        parser.add_argument("--seed", type=int, help="of faults at random that are ordered (a new one)")

    def handle(self, *args: Any, **options: Any) -> None:
        kinesis = LocalKinesis(region=options["region"], max_memory=options["max_memory"] * MIB)
        for wanted in options["stream"] or ["profile-exports:2"]:
            name, _, shards = wanted.partition(":")
            if not re.fullmatch(r"[1-9]\d{0,3}", shards or "1"):
                raise CommandError(f"--stream {wanted}: the number of shards is not one.")
            try:
                kinesis.create_stream(name, int(shards or 1))
            except ApiError as error:
                raise CommandError(f"--stream {wanted}: {error.message}") from None

        key, secret = (
            os.environ.get("LOCAL_KINESIS_ACCESS_KEY_ID"),
            os.environ.get("LOCAL_KINESIS_SECRET_ACCESS_KEY"),
        )
        if bool(key) != bool(secret):
            raise CommandError(
                "Set both LOCAL_KINESIS_ACCESS_KEY_ID and LOCAL_KINESIS_SECRET_ACCESS_KEY, or neither."
            )
        keys = Keys(key, secret) if key and secret else new_keys()
        try:
            server = LocalKinesisServer(
                kinesis, host=options["host"], port=options["port"], keys=keys, seed=options["seed"]
            )
        except NotLoopback as error:
            raise CommandError(str(error)) from None
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(
                f"Port {options['port']} of {options['host']} can't be used ({reason}). Choose another with "
                "--port."
            ) from None

        self.stdout.write(f"Local Kinesis is ready at {server.url} (region {kinesis.region})")
        self.stdout.write(
            f"Streams: {', '.join(f'{s.name} ({len(s.shards)} shards)' for s in kinesis.streams.values())}"
        )
        self.stdout.write(f"Access key ID: {keys.access_key_id}")
        if not secret:  # who set it knows it
            self.stdout.write(f"Secret access key: {keys.secret_access_key}")
        self.stdout.flush()

        def stop(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            server.server_close()
