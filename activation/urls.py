from __future__ import annotations

from django.urls import path

from activation.views import controls, monitoring, wizard

app_name = "activation"
urlpatterns = [
    # The wizard, and what is live
    path("<uuid:destination_id>/segments/", wizard.segments, name="segments"),
    path("<uuid:destination_id>/attributes/", wizard.attributes, name="attributes"),
    path("<uuid:destination_id>/sample/", wizard.sample, name="sample"),
    path("<uuid:destination_id>/review/", wizard.review, name="review"),
    path("<uuid:destination_id>/estimate/", wizard.estimate, name="estimate"),
    path("<uuid:destination_id>/finish/", wizard.finish, name="finish"),
    path("<uuid:destination_id>/discard/", wizard.discard, name="discard"),
    path("<uuid:destination_id>/enable/", controls.enable, name="enable"),
    path("<uuid:destination_id>/disable/", controls.disable, name="disable"),
    # Monitoring: parts for other pages, and pages of their own
    path("<uuid:destination_id>/runs/", monitoring.runs, name="runs"),
    path("<uuid:destination_id>/data/", monitoring.activation_data, name="activation_data"),
    path("runs/<uuid:run_id>/", monitoring.run, name="run"),
    path("profiles/<uuid:profile_id>/exports/", monitoring.profile_exports, name="profile_exports"),
    path(
        "segments/<path:segment_id>/activations/", monitoring.segment_activations, name="segment_activations"
    ),
]
