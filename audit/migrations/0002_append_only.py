"""From here on the database refuses to change the trail."""

from django.db import migrations

from audit.append_only import backwards, forwards


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(forwards, backwards)]
