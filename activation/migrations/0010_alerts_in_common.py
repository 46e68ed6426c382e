import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("activation", "0009_consent_reason"),
    ]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="part_of",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="activation.alert",
                verbose_name="part of",
            ),
        ),
    ]
