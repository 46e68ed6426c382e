"""One index of identities' values instead of two."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0011_one_index_of_segments"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="identity", name="identity_by_value"),
        migrations.RemoveConstraint(model_name="identity", name="identity_value"),
        migrations.AddConstraint(
            model_name="identity",
            constraint=models.UniqueConstraint(fields=("value", "namespace"), name="identity_value"),
        ),
    ]
