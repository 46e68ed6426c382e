from __future__ import annotations

from django.urls import path

from profiles import views

app_name = "profiles"
urlpatterns = [
    path("profiles/", views.profiles, name="profiles"),
    path("profiles/<uuid:profile_id>/", views.profile, name="profile"),
    path("segments/", views.segments, name="segments"),
    path("segments/<path:segment_id>/", views.segment, name="segment"),  # ids may hold slashes: last
    path("schema/", views.schema, name="schema"),
]
