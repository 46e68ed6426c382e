"""Writing customers costs less: no index that nobody asks, and none that another one begins with."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0008_ingested_paths"),
    ]

    operations = [
        migrations.AlterField(
            model_name="profile",
            name="created_at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="created"),
        ),
        migrations.AlterField(
            model_name="profile",
            name="updated_at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="updated"),
        ),
        migrations.AlterField(
            model_name="identity",
            name="namespace",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="profiles.identitynamespace",
                verbose_name="identity namespace",
            ),
        ),
        migrations.AlterField(
            model_name="segmentmembership",
            name="profile",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="memberships",
                to="profiles.profile",
                verbose_name="profile",
            ),
        ),
        migrations.AlterField(
            model_name="segmentmembership",
            name="segment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="memberships",
                to="profiles.segment",
                verbose_name="segment",
            ),
        ),
    ]
