from __future__ import annotations

from django.urls import path

from profiles import views
from profiles.erasure import views as erasure
from profiles.inlets import collection
from profiles.inlets import views as inlets
from profiles.namespaces import views as namespaces
from profiles.segmentation import views as rules
from profiles.uploads import views as uploads

app_name = "profiles"
urlpatterns = [
    path("profiles/", views.profiles, name="profiles"),
    path("profiles/<uuid:profile_id>/", views.profile, name="profile"),
    path("profiles/<uuid:profile_id>/erase/", erasure.erase, name="profile_erase"),
    path("segments/", views.segments, name="segments"),
    path("segments/<path:segment_id>/", views.segment, name="segment"),  # ids may hold slashes: last
    path("segment/new/", rules.new, name="segment_new"),
    path("segment/estimate/", rules.show_estimate, name="segment_estimate"),
    path("segment/edit/<path:segment_id>/", rules.edit, name="segment_edit"),
    path("segment/publish/<path:segment_id>/", rules.publish, name="segment_publish"),
    path("segment/archive/<path:segment_id>/", rules.archive, name="segment_archive"),
    path("segment/duplicate/<path:segment_id>/", rules.duplicate, name="segment_duplicate"),
    path("segment/delete/<path:segment_id>/", rules.delete, name="segment_delete"),
    path("segment/upload/", uploads.new, name="upload_new"),
    path("segment/upload/<uuid:upload_id>/", uploads.upload, name="upload"),
    path("segment/upload/<uuid:upload_id>/columns/", uploads.columns, name="upload_columns"),
    path("segment/upload/<uuid:upload_id>/read-as/", uploads.read_as, name="upload_read_as"),
    path("segment/upload/<uuid:upload_id>/rejected.csv", uploads.rejected, name="upload_rejected"),
    path("segment/upload/<uuid:upload_id>/stop/", uploads.stop, name="upload_stop"),
    path("segment/uploads/<path:segment_id>/", uploads.uploads, name="uploads"),
    path("schema/", views.schema, name="schema"),
    path("namespaces/", namespaces.namespaces, name="namespaces"),
    path("namespaces/new/", namespaces.new, name="namespace_new"),
    path("namespaces/<int:namespace_id>/edit/", namespaces.edit, name="namespace_edit"),
    path("namespaces/<int:namespace_id>/delete/", namespaces.delete, name="namespace_delete"),
    path("schema/unknown/", views.schema_unknown, name="schema_unknown"),
    path("schema/add/", views.schema_add, name="schema_add"),
    path("inlets/", inlets.inlets, name="inlets"),
    path("inlets/new/", inlets.new, name="inlet_new"),
    path("inlets/<slug:inlet_id>/", inlets.inlet, name="inlet"),
    path("inlets/<slug:inlet_id>/edit/", inlets.edit, name="inlet_edit"),
    path("inlets/<slug:inlet_id>/token/", inlets.token, name="inlet_token"),
    path("inlets/<slug:inlet_id>/switch/", inlets.switch, name="inlet_switch"),
    path("inlets/<slug:inlet_id>/delete/", inlets.delete, name="inlet_delete"),
    # What producers post to: as AEP's, without a slash at the end.
    path("collection/<str:inlet_id>", collection.message, name="collect"),
    path("collection/batch/<str:inlet_id>", collection.batch, name="collect_batch"),
]
