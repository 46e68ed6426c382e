"""Every URL: sign-in and health here, the rest in the apps."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from django.views.generic import RedirectView

from activation.views.metrics import metrics
from kinesis_admin import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="destinations:overview"), name="root"),
    path(
        "sign-in/",
        auth.LoginView.as_view(template_name="registration/sign_in.html", redirect_authenticated_user=True),
        name="sign_in",
    ),
    path("sign-out/", auth.LogoutView.as_view(), name="sign_out"),
    path(
        "account/password/",
        auth.PasswordChangeView.as_view(template_name="registration/password_change_form.html"),
        name="password_change",
    ),
    path(
        "account/password/done/",
        auth.PasswordChangeDoneView.as_view(template_name="registration/password_change_done.html"),
        name="password_change_done",
    ),
    path("i18n/", include("django.conf.urls.i18n")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("destinations/", include("destinations.urls")),
    path("activation/", include("activation.urls")),
    path("audit/", include("audit.urls")),
    path("", include("profiles.urls")),
]
