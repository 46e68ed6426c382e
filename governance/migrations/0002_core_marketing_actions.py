"""The ten core marketing actions, as AEP has them."""

from __future__ import annotations

import uuid

from django.db import migrations

# Ids are derived from the names, so that they are the same in every installation.
NAMESPACE = uuid.UUID("5b1d2f0e-5a1b-4d6e-9a55-3f0e6a1d9c11")
CORE = {
    "Analytics": "Using data to analyze how people use the organization's sites and apps.",
    "Combine with Directly Identifiable Data": "Joining data with data that directly identifies a person.",
    "Cross Site Targeting": "Targeting ads on a site with data that was collected on others.",
    "Data Science": "Using data in data science workflows.",
    "Email Targeting": "Using data to target people by email.",
    "Export to Third Party": "Giving data to another company.",
    "Onsite Advertising": "Choosing and showing ads on the organization's own sites and apps.",
    "Onsite Personalization": "Fitting the content of the organization's own sites and apps to a person.",
    "Segment Match": "Sharing segments with partners by common identifiers.",
    "Single Identity Personalization": "Personalizing for one identity without joining it with others.",
}


def add(apps, schema_editor):  # type: ignore[no-untyped-def]
    apps.get_model("governance", "MarketingAction").objects.bulk_create(
        [
            apps.get_model("governance", "MarketingAction")(
                id=uuid.uuid5(NAMESPACE, name), name=name, description=description, core=True
            )
            for name, description in CORE.items()
        ]
    )


class Migration(migrations.Migration):
    dependencies = [("governance", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop, elidable=False)]
