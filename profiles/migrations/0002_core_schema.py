"""The core identity namespaces and the core XDM Individual Profile tree, from profiles/data/.

What a later version adds to the files comes by a migration of its own.
"""

from __future__ import annotations

import csv
from pathlib import Path

from django.db import migrations

DATA = Path(__file__).resolve().parent.parent / "data"


def rows(name):  # type: ignore[no-untyped-def]
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(apps, schema_editor):  # type: ignore[no-untyped-def]
    for model, name in (("IdentityNamespace", "core_namespaces.csv"), ("SchemaField", "core_schema.csv")):
        model = apps.get_model("profiles", model)
        model.objects.bulk_create([model(custom=False, **row) for row in rows(name)])


class Migration(migrations.Migration):
    dependencies = [("profiles", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop, elidable=False)]
