from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("activation", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="dataflow",
            name="edited_from",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
    ]
