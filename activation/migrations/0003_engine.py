"""The engine with several lanes a dataflow; receipts, runs and dead letters that say more.

Leases are of the moment: the lanes of before are dropped, and workers take new ones.
"""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import activation.models


class Migration(migrations.Migration):
    dependencies = [
        ("activation", "0002_dataflow_edited_from"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.DeleteModel(name="Lane"),
        migrations.CreateModel(
            name="Lane",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveSmallIntegerField(verbose_name="number")),
                ("of", models.PositiveSmallIntegerField(verbose_name="of")),
                ("token", models.UUIDField(editable=False, null=True)),
                ("leased_until", models.DateTimeField(null=True, verbose_name="leased until")),
                ("pace", models.JSONField(default=dict, verbose_name="pace")),
                ("wake_at", models.DateTimeField(null=True, verbose_name="next wake")),
                (
                    "dataflow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lanes",
                        to="activation.dataflow",
                        verbose_name="dataflow",
                    ),
                ),
            ],
            options={
                "verbose_name": "lane",
                "verbose_name_plural": "lanes",
                "constraints": [models.UniqueConstraint(fields=("dataflow", "number"), name="lane_once")],
            },
        ),
        migrations.RemoveIndex(
            model_name="pendingexport",
            name="pending_next",
        ),
        migrations.RemoveField(
            model_name="dataflowrun",
            name="waited_seconds",
        ),
        migrations.AddField(
            model_name="dataflow",
            name="error_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="error since"),
        ),
        migrations.AddField(
            model_name="dataflow",
            name="error_code",
            field=models.CharField(blank=True, editable=False, max_length=100, verbose_name="error code"),
        ),
        migrations.AddField(
            model_name="dataflow",
            name="error_message",
            field=models.TextField(blank=True, editable=False, verbose_name="error message"),
        ),
        migrations.AddField(
            model_name="dataflow",
            name="held_until",
            field=models.DateTimeField(editable=False, null=True, verbose_name="held until"),
        ),
        migrations.AddField(
            model_name="dataflow",
            name="lane_count",
            field=models.PositiveSmallIntegerField(
                default=4,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(64),
                ],
                verbose_name="lanes",
            ),
        ),
        migrations.AddField(
            model_name="dataflowrun",
            name="attempts",
            field=models.PositiveBigIntegerField(default=0, verbose_name="records sent"),
        ),
        migrations.AddField(
            model_name="dataflowrun",
            name="duplicates",
            field=models.PositiveBigIntegerField(default=0, verbose_name="possible duplicates"),
        ),
        migrations.AddField(
            model_name="dataflowrun",
            name="latencies",
            field=models.JSONField(default=list, verbose_name="latencies"),
        ),
        migrations.AddField(
            model_name="dataflowrun",
            name="throttled",
            field=models.PositiveBigIntegerField(default=0, verbose_name="records throttled"),
        ),
        migrations.AddField(
            model_name="delivery",
            name="reason",
            field=models.CharField(
                choices=[
                    ("backfill", "Backfill"),
                    ("membership", "Segment membership changed"),
                    ("identity", "Identity changed"),
                    ("attribute", "Mapped attribute written"),
                    ("replay", "Replay"),
                ],
                default="",
                max_length=10,
                verbose_name="reason",
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="delivery",
            name="version",
            field=models.PositiveIntegerField(default=1, verbose_name="version"),
        ),
        migrations.AddField(
            model_name="failedexport",
            name="closed_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="closed"),
        ),
        migrations.AddField(
            model_name="failedexport",
            name="closed_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="closed by",
            ),
        ),
        migrations.AddField(
            model_name="failedexport",
            name="note",
            field=models.CharField(blank=True, max_length=500, verbose_name="note"),
        ),
        migrations.AddField(
            model_name="failedexport",
            name="state",
            field=models.CharField(
                choices=[("open", "Open"), ("replayed", "Replayed"), ("discarded", "Discarded")],
                default="open",
                max_length=9,
                verbose_name="state",
            ),
        ),
        migrations.AddField(
            model_name="pendingexport",
            name="bulk",
            field=models.BooleanField(default=False, verbose_name="bulk"),
        ),
        migrations.AlterField(
            model_name="pendingexport",
            name="reason",
            field=models.CharField(
                choices=[
                    ("backfill", "Backfill"),
                    ("membership", "Segment membership changed"),
                    ("identity", "Identity changed"),
                    ("attribute", "Mapped attribute written"),
                    ("replay", "Replay"),
                ],
                max_length=10,
                verbose_name="reason",
            ),
        ),
        migrations.AddField(
            model_name="pendingexport",
            name="slot",
            field=models.GeneratedField(
                db_persist=True,
                expression=activation.models.Slot("profile"),
                output_field=models.SmallIntegerField(verbose_name="slot"),
            ),
        ),
        migrations.AddIndex(
            model_name="pendingexport",
            index=models.Index(
                fields=["dataflow", "bulk", "available_at", "id", "slot"], name="pending_next"
            ),
        ),
        migrations.AddConstraint(
            model_name="dataflow",
            constraint=models.CheckConstraint(
                condition=models.Q(("lane_count__gte", 1), ("lane_count__lte", 64)),
                name="dataflow_lane_count",
            ),
        ),
        migrations.AddConstraint(
            model_name="failedexport",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at", None), ("state", "open")),
                    models.Q(models.Q(("state", "open"), _negated=True), ("closed_at__isnull", False)),
                    _connector="OR",
                ),
                name="failure_closed_at",
            ),
        ),
    ]
