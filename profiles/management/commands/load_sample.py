"""`manage.py load_sample`: fictional customers and eight segments, for trying the product out."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

import audit
from profiles import sample
from profiles.ingest import Result, ingest
from profiles.models import Segment

BATCH = 500


class Command(BaseCommand):
    help = "Load fictional customers with identities and segments. Running it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--profiles", type=int, default=5000, metavar="N", help="how many; default 5000")

    def handle(self, *, profiles: int, **options: Any) -> None:
        if profiles < 0:
            raise CommandError("--profiles is a number from 0.")
        # A segment that somebody renamed stays renamed.
        segments = sample.segments()
        known = set(
            Segment.objects.filter(pk__in=[segment.pk for segment in segments]).values_list("pk", flat=True)
        )
        new = [segment for segment in segments if segment.pk not in known]
        Segment.objects.bulk_create(new, ignore_conflicts=True)

        counts: Counter[Result] = Counter()
        reasons: Counter[str] = Counter()
        customers = sample.customers(profiles)
        while batch := list(islice(customers, BATCH)):
            for outcome in ingest(batch, skip_unchanged=True):
                counts[outcome.result] += 1
                if outcome.result == Result.REJECTED:
                    reasons[str(outcome.reason)] += 1
        if counts[Result.CREATED] or counts[Result.UPDATED]:
            numbers = {str(result): counts[result] for result in (Result.CREATED, Result.UPDATED)}
            audit.record("profiles.imported", after=numbers, name="sample")
        self.stdout.write(
            f"Sample: {counts[Result.CREATED]} profiles created, {counts[Result.UPDATED]} updated,"
            f" {counts[Result.UNCHANGED]} unchanged; {len(new)} segments created."
        )
        for reason, count in reasons.most_common(5):
            self.stderr.write(f"{count} rejected: {reason}")
