"""Receipts cost less: no references that the database checks, no index twice, room for new versions in their pages."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def leave_room(apps: Any, schema_editor: Any) -> None:
    """A receipt is written again with the next record of its profile: then its indexes stay as they are."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE activation_delivery SET (fillfactor = 70)")


class Migration(migrations.Migration):
    dependencies = [
        ("activation", "0004_controls"),
        ("profiles", "0005_segments_by_rule"),
    ]

    operations = [
        migrations.AlterField(
            model_name="delivery",
            name="dataflow",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="activation.dataflow",
                verbose_name="dataflow",
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="profile",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="profiles.profile",
                verbose_name="profile",
            ),
        ),
        migrations.AlterField(
            model_name="pendingexport",
            name="dataflow",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="pending",
                to="activation.dataflow",
                verbose_name="dataflow",
            ),
        ),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
    ]
