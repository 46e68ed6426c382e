from __future__ import annotations

from django.urls import path

from destinations.views import accounts, connect, destination, workspace

app_name = "destinations"
urlpatterns = [
    path("", workspace.overview, name="overview"),
    path("catalog/", workspace.catalog, name="catalog"),
    path("browse/", workspace.browse, name="browse"),
    path("accounts/", accounts.accounts, name="accounts"),
    path("accounts/<uuid:account_id>/edit/", accounts.edit, name="account_edit"),
    path("accounts/<uuid:account_id>/delete/", accounts.delete, name="account_delete"),
    path("connect/<slug:connector>/", connect.authentication, name="connect"),
    path("connect/<slug:connector>/setup/<uuid:account_id>/", connect.setup, name="setup"),
    path("connect/<slug:connector>/setup/<uuid:account_id>/targets/", connect.targets, name="targets"),
    path("marketing-actions/", connect.marketing_action, name="marketing_action"),
    path("<uuid:destination_id>/", destination.destination, name="destination"),
    path("<uuid:destination_id>/edit/", destination.edit, name="edit"),
    path("<uuid:destination_id>/delete/", destination.delete, name="delete"),
    path("<uuid:destination_id>/stream/", destination.stream, name="stream"),
]
