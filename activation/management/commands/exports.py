"""`manage.py exports …`: what the dataflows do, and the operator's controls, for the terminal.

Exit code 0 if it is done, or was so already; 1 if it can't be done; 2 if what was waited for did not come; 130 if the
waiting was interrupted (the export goes on).
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from argparse import ArgumentTypeError
from dataclasses import replace
from datetime import datetime
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from activation import selectors, services, status
from activation.backlog import backlog
from activation.models import MAX_LANES, Dataflow
from activation.selectors import FailureFilter, Period
from activation.templatetags.activation import duration
from destinations.models import Destination

LOOK_EVERY = 0.5  # seconds


class Command(BaseCommand):
    help = "Show what the exports do, and control them. DESTINATION is a name or an id."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, about: str, *, destination: bool = True) -> CommandParser:
            made: CommandParser = actions.add_parser(name, help=about, description=about)
            made.add_argument("destination", metavar="DESTINATION", nargs=None if destination else "?")
            return made

        shown = action(
            "status", "What waits, what was exported, what is wrong; of all, or of one.", destination=False
        )
        shown.add_argument("--json", action="store_true", help="for programs")
        action("pause", "Stop exporting within a batch. What changes waits.")
        resumed = action("resume", "Go on exporting, first with what waits.")
        drained = action("drain", "Deliver what waits, then pause.")
        purged = action("purge", "Drop what waits: it will not be sent.")
        purged.add_argument("--backfill", action="store_true", help="only what a backfill or replay queued")
        replayed = action("replay", "Send the newest state of profiles again.")
        which = replayed.add_mutually_exclusive_group(required=True)
        which.add_argument("--members", action="store_true", help="all members of the activated segments")
        which.add_argument(
            "--exported", action="store_true", help="whose last record is of --since to --until"
        )
        which.add_argument(
            "--failed", action="store_true", help="those of the open failed exports, of --code alone"
        )
        replayed.add_argument(
            "--since", type=_moment, metavar="TIME", help="ISO 8601, UTC where it does not say"
        )
        replayed.add_argument("--until", type=_moment, metavar="TIME")
        replayed.add_argument("--code", help="with --failed: those of this code alone")
        lanes = action("lanes", f"Change how many workers may deliver at once: 1 to {MAX_LANES}.")
        lanes.add_argument("count", type=int, metavar="N")
        for each in (purged, replayed):
            each.add_argument("--yes", action="store_true", help="do not ask")
        for each in (resumed, drained, replayed):
            each.add_argument("--wait", action="store_true", help="until nothing waits, with a progress bar")
            each.add_argument(
                "--timeout",
                type=float,
                metavar="SECONDS",
                help="with --wait: give up after this (exit code 2)",
            )

    def handle(self, *, action: str, destination: str | None, **options: Any) -> None:
        if action == "status":
            self._status(_find(destination) if destination else None, as_json=options["json"])
            return
        assert destination is not None
        found = _find(destination)
        try:
            getattr(self, f"_{action}")(found, options)
        except services.Refused as error:
            raise CommandError(error.message) from error
        if options.get("wait"):
            self._wait(found, options["timeout"])

    # -- one action each ------------------------------------------------------------------------------------------

    def _status(self, destination: Destination | None, *, as_json: bool) -> None:
        dataflows = status.finished()
        if destination is not None:
            dataflows = dataflows.filter(destination=destination)
        found = status.statuses(dataflows)
        if as_json:
            told = {"at": timezone.now().isoformat(), "dataflows": [status.as_json(each) for each in found]}
            self.stdout.write(json.dumps(told, ensure_ascii=False, indent=2))
        elif found:
            # A file has no width, and a table that is folded into 80 columns can't be read.
            console = Console(file=cast(IO[str], self.stdout), width=None if self.stdout.isatty() else 160)
            console.print(_table(found))
            for each in found:
                if each.held:
                    console.print(
                        Text(f"{each.dataflow.destination.name}: {_error(each.dataflow)}", style="red")
                    )
        else:
            self.stdout.write(
                "Nothing is activated yet." if destination is None else "Nothing is activated to it yet."
            )

    def _pause(self, destination: Destination, options: dict[str, Any]) -> None:
        stopped = services.disable(destination=destination)
        self.stdout.write("Paused: what changes waits." if stopped else "It is paused already.")

    def _resume(self, destination: Destination, options: dict[str, Any]) -> None:
        awake = services.enable(destination=destination)
        if awake is None:
            self.stdout.write("It runs already.")
        else:
            self.stdout.write(
                "Resumed." if awake else "Resumed: it goes on when Redis and the workers are back."
            )

    def _drain(self, destination: Destination, options: dict[str, Any]) -> None:
        draining = services.drain(destination=destination)
        if draining is None:
            self.stdout.write("It is being drained already.")
        elif draining:
            self.stdout.write("Draining: it is paused once what waits is delivered.")
        else:
            self.stdout.write("Nothing was waiting: it is paused.")

    def _purge(self, destination: Destination, options: dict[str, Any]) -> None:
        waiting = backlog(selectors.find_dataflow(destination))
        count = waiting.bulk if options["backfill"] else waiting.count
        if count:
            self._confirm(
                f"Drop {count:,} records that wait for “{destination.name}”? They will not be sent.", options
            )
        drop = services.cancel_backfill if options["backfill"] else services.purge
        dropped = drop(destination=destination, by=None)
        self.stdout.write(f"Dropped: {dropped.count:,}.")
        if dropped.kept:
            self.stdout.write(f"Last records of people who withdrew consent stay: {dropped.kept:,}.")

    def _replay(self, destination: Destination, options: dict[str, Any]) -> None:
        dataflow = selectors.find_dataflow(destination)
        if dataflow is None or dataflow.state == Dataflow.State.DRAFT:
            raise CommandError("The activation was never finished.")
        if (options["since"] or options["until"]) and not options["exported"]:
            raise CommandError("--since and --until go with --exported.")
        if options["code"] and not options["failed"]:
            raise CommandError("--code goes with --failed.")
        if options["failed"]:
            wanted = FailureFilter(code=options["code"] or "")
            groups = selectors.failures_by_code(selectors.failed_exports(dataflow, wanted))
            # None that came after they were counted.
            wanted = replace(wanted, up_to=max((group.newest for group in groups), default=0))
            count = sum(group.count for group in groups)
            self._confirm(f"Send {count:,} failed exports again to “{destination.name}”?", options)
            failures = selectors.failed_exports(dataflow, wanted)
            done = services.replay_failures(destination=destination, failures=failures, by=None)
        else:
            period = Period(options["since"], options["until"]) if options["exported"] else None
            count = selectors.to_replay(dataflow, period).count()
            self._confirm(f"Send {count:,} records again to “{destination.name}”?", options)
            done = services.replay(destination=destination, period=period, seen=dataflow.bulk_at, by=None)
        self.stdout.write(
            f"Queued: {done.queued:,}." + ("" if done.enabled else " It is paused, so they wait.")
        )

    def _lanes(self, destination: Destination, options: dict[str, Any]) -> None:
        changed = services.set_lanes(destination=destination, count=options["count"], by=None)
        self.stdout.write(f"It has {options['count']} lanes{' now' if changed else ' already'}.")

    # -- what several need ----------------------------------------------------------------------------------------

    def _confirm(self, question: str, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Say --yes: there is nobody to ask.")
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.")

    def _wait(self, destination: Destination, timeout: float | None) -> None:
        """Until nothing waits, or what is drained is paused."""
        ends = time.monotonic() + timeout if timeout is not None else None
        total = 0
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        ) as progress:
            task = progress.add_task("Exporting", total=None)
            try:
                while True:
                    dataflow = Dataflow.objects.get(destination=destination)
                    waiting = backlog(dataflow).count
                    total = max(total, waiting)
                    wrong = _error(dataflow)
                    progress.update(
                        task, total=total, completed=total - waiting, description=wrong or "Exporting"
                    )
                    if dataflow.state == Dataflow.State.DISABLED and waiting:
                        raise CommandError(f"It is paused; {waiting:,} records wait.", returncode=2)
                    if not waiting and dataflow.draining_since is None:
                        break
                    if ends is not None and time.monotonic() >= ends:
                        raise CommandError(f"{waiting:,} records still wait. {wrong}".strip(), returncode=2)
                    time.sleep(LOOK_EVERY)
            except KeyboardInterrupt:
                raise CommandError("Not waiting any more: the export goes on.", returncode=130) from None
        self.stdout.write(f"Nothing waits any more: {total:,} went out.")


def _find(text: str) -> Destination:
    """A destination by its name or id."""
    try:
        found = Destination.objects.filter(pk=uuid.UUID(text)).first()
    except ValueError:
        found = None
    found = found or Destination.objects.filter(name__iexact=text).first()
    if found is None:
        names = (
            Destination.objects.filter(name__icontains=text).order_by("name").values_list("name", flat=True)
        )
        like = ", ".join(f"“{name}”" for name in names[:5])
        raise CommandError(f"There is no destination “{text}”." + (f" There is {like}." if like else ""))
    return found


def _error(dataflow: Dataflow) -> str:
    """Why the destination refuses; empty where it does not."""
    return f"{dataflow.error_code}: {dataflow.error_message}" if dataflow.error_code else ""


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ArgumentTypeError(f"“{text}” is not a time like 2026-11-24T12:00.")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


_STATE_STYLES = {"error": "red", "draining": "yellow", "enabled": "green", "disabled": "dim"}


def _table(found: list[status.Status]) -> Table:
    table = Table(caption="activated to throttled: in this hour", caption_justify="left")
    table.add_column("destination", overflow="fold")
    table.add_column("state")
    for name in (
        "waiting",
        "of it bulk",
        "oldest",
        "lanes",
        "activated",
        "failed",
        "excluded",
        "throttled",
        "p95",
    ):
        table.add_column(name, justify="right")
    for each in found:
        dataflow, run = each.dataflow, each.run
        state = "draining" if dataflow.draining_since else str(dataflow.state)
        if each.held and state != "disabled":
            state = "error"
        table.add_row(
            Text(dataflow.destination.name),
            Text(state, style=_STATE_STYLES[state]),
            f"{each.waiting.count:,}",
            f"{each.waiting.bulk:,}",
            duration(each.lag // 1) if each.waiting.count else "",
            f"{each.lanes}/{dataflow.lane_count}",
            *(
                f"{getattr(run, name) if run else 0:,}"
                for name in ("activated", "failed", "excluded", "throttled")
            ),
            duration(each.latency(95)) if run else "",
        )
    return table
