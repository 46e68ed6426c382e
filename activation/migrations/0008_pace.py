from typing import Any

from django.db import migrations


def forget(apps: Any, schema_editor: Any) -> None:
    """What lanes learned is kept in another form now. They learn it anew."""
    apps.get_model("activation", "Lane").objects.update(pace={})


class Migration(migrations.Migration):
    dependencies = [("activation", "0007_privacy")]
    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
