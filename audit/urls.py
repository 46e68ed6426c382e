from __future__ import annotations

from django.urls import path

from audit import views

app_name = "audit"
urlpatterns = [
    path("", views.entries, name="entries"),
    path("<uuid:entry_id>/", views.entry, name="entry"),
    path("export/<slug:format>/", views.export, name="export"),
]
