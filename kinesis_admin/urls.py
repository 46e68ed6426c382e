"""Every URL: sign-in and health here, the rest in the apps."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from activation.views.metrics import metrics
from kinesis_admin import health
from kinesis_admin.home import home

# The admin has no sign-in of its own: it would know neither second factors nor limits.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", home, name="root"),
    path("", include("access.account_urls")),
    path("", include("access.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("destinations/", include("destinations.urls")),
    path("activation/", include("activation.urls")),
    path("governance/", include("governance.urls")),
    path("audit/", include("audit.urls")),
    path("", include("profiles.urls")),
]
