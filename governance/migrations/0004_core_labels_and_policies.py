"""The core labels, and the core policies: disabled until somebody enables them."""

from __future__ import annotations

import uuid

from django.db import migrations

from governance.core_names import CORE_LABELS, CORE_POLICIES

# Ids are derived from the names, so that they are the same in every installation.
NAMESPACE = uuid.UUID("c2f4b8a0-1f0c-4c39-8a8e-6d7a3d2b9e54")


def add(apps, schema_editor):  # type: ignore[no-untyped-def]
    label, policy, action = (
        apps.get_model("governance", name) for name in ("Label", "Policy", "MarketingAction")
    )
    label.objects.bulk_create(
        label(code=code, kind=kind, name=name, description=description, position=position)
        for position, (code, kind, name, description) in enumerate(CORE_LABELS)
    )
    actions = {row.name: row for row in action.objects.filter(core=True)}
    for name, description, condition, names in CORE_POLICIES:
        made = policy.objects.create(
            id=uuid.uuid5(NAMESPACE, name),
            name=name,
            description=description,
            condition=condition,
            state="disabled",
            core=True,
        )
        made.marketing_actions.set([actions[each] for each in names])


class Migration(migrations.Migration):
    dependencies = [("governance", "0003_labels_and_policies")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop, elidable=False)]
