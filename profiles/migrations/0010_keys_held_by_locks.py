"""Identities and memberships without foreign keys that the database checks row by row: locks hold what they did."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0009_fewer_indexes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="identity",
            name="namespace",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="profiles.identitynamespace",
                verbose_name="identity namespace",
            ),
        ),
        migrations.AlterField(
            model_name="identity",
            name="profile",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="identities",
                to="profiles.profile",
                verbose_name="profile",
            ),
        ),
        migrations.AlterField(
            model_name="segmentmembership",
            name="profile",
            field=models.ForeignKey(
                db_constraint=False,
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
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="memberships",
                to="profiles.segment",
                verbose_name="segment",
            ),
        ),
    ]
