from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("activation", "0003_engine"),
        ("profiles", "0002_core_schema"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="dataflow",
            name="bulk_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="last backfill or replay"),
        ),
        migrations.AddField(
            model_name="dataflow",
            name="bulk_total",
            field=models.PositiveBigIntegerField(default=0, editable=False, verbose_name="records of it"),
        ),
        migrations.AddField(
            model_name="dataflow",
            name="draining_since",
            field=models.DateTimeField(editable=False, null=True, verbose_name="draining since"),
        ),
        migrations.AddIndex(
            model_name="failedexport",
            index=models.Index(condition=models.Q(("state", "open")), fields=["run"], name="failure_open"),
        ),
    ]
