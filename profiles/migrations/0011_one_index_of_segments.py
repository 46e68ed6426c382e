"""One index of a segment's memberships instead of two: every membership is written into each."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0010_keys_held_by_locks"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="segmentmembership", name="membership_by_age"),
        migrations.RemoveIndex(model_name="segmentmembership", name="membership_by_segment"),
        migrations.AddIndex(
            model_name="segmentmembership",
            index=models.Index(
                fields=["segment", "status", "last_qualification_time"], name="membership_by_segment"
            ),
        ),
    ]
