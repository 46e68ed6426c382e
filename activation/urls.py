from __future__ import annotations

from django.urls import path

from activation.alerts import views as alerts
from activation.views import controls, failures, monitoring, wizard

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
    # The operator's controls
    path("<uuid:destination_id>/drain/", controls.drain, name="drain"),
    path("<uuid:destination_id>/purge/", controls.purge, name="purge"),
    path("<uuid:destination_id>/cancel-backfill/", controls.cancel_backfill, name="cancel_backfill"),
    path("<uuid:destination_id>/lanes/", controls.lanes, name="lanes"),
    path("<uuid:destination_id>/replay/", controls.replay, name="replay"),
    # Dead letters
    path("<uuid:destination_id>/failures/", failures.failures, name="failures"),
    path("<uuid:destination_id>/failures/replay/", failures.replay, name="failures_replay"),
    path("<uuid:destination_id>/failures/discard/", failures.discard, name="failures_discard"),
    path("<uuid:destination_id>/failures/download/", failures.download, name="failures_download"),
    path("failures/<int:failure_id>/", failures.failure, name="failure"),
    # Alerts
    path("alerts/", alerts.alerts, name="alerts"),
    path("alerts/bell/", alerts.bell, name="bell"),
    path("alerts/read/", alerts.read, name="alerts_read"),
    path("<uuid:destination_id>/alerts/", alerts.subscription, name="subscription"),
    # Monitoring: parts for other pages, and pages of their own
    path("<uuid:destination_id>/runs/", monitoring.runs, name="runs"),
    path("<uuid:destination_id>/capacity/", monitoring.stream_capacity, name="capacity"),
    path("<uuid:destination_id>/data/", monitoring.activation_data, name="activation_data"),
    path("runs/<uuid:run_id>/", monitoring.run, name="run"),
    path("profiles/<uuid:profile_id>/exports/", monitoring.profile_exports, name="profile_exports"),
    path(
        "segments/<path:segment_id>/activations/", monitoring.segment_activations, name="segment_activations"
    ),
]
