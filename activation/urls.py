from __future__ import annotations

from django.urls import path

from activation import views

app_name = "activation"
urlpatterns = [
    # The wizard, and what is live
    path("<uuid:destination_id>/segments/", views.segments, name="segments"),
    path("<uuid:destination_id>/attributes/", views.attributes, name="attributes"),
    path("<uuid:destination_id>/sample/", views.sample, name="sample"),
    path("<uuid:destination_id>/review/", views.review, name="review"),
    path("<uuid:destination_id>/estimate/", views.estimate, name="estimate"),
    path("<uuid:destination_id>/finish/", views.finish, name="finish"),
    path("<uuid:destination_id>/discard/", views.discard, name="discard"),
    path("<uuid:destination_id>/enable/", views.enable, name="enable"),
    path("<uuid:destination_id>/disable/", views.disable, name="disable"),
    # Monitoring: parts for other pages, and pages of their own
    path("<uuid:destination_id>/runs/", views.runs, name="runs"),
    path("<uuid:destination_id>/data/", views.activation_data, name="activation_data"),
    path("runs/<uuid:run_id>/", views.run, name="run"),
    path("profiles/<uuid:profile_id>/exports/", views.profile_exports, name="profile_exports"),
    path("segments/<path:segment_id>/activations/", views.segment_activations, name="segment_activations"),
]
