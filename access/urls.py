from __future__ import annotations

from django.urls import path

from access.views import people, roles, sessions, tokens

app_name = "access"
urlpatterns = [
    path("people/", people.people, name="people"),
    path("people/new/", people.new, name="person_new"),
    path("people/service-accounts/", people.service_accounts, name="service_accounts"),
    path("people/service-accounts/new/", people.new_service_account, name="service_account_new"),
    path("people/roles/", roles.roles, name="roles"),
    path("people/roles/save/", roles.save, name="roles_save"),
    path("people/roles/new/", roles.new, name="role_new"),
    path("people/roles/<int:role_id>/", roles.edit, name="role_edit"),
    path("people/roles/<int:role_id>/delete/", roles.delete, name="role_delete"),
    path("people/<int:person_id>/", people.person, name="person"),
    path("people/<int:person_id>/edit/", people.edit, name="person_edit"),
    path("people/<int:person_id>/switch/", people.switch, name="person_switch"),
    path("people/<int:person_id>/link/", people.link, name="person_link"),
    path("people/<int:person_id>/sign-out/", people.sign_out, name="person_sign_out"),
    path("people/<int:person_id>/second-step/", people.second_step, name="person_second_step"),
    path("people/<int:person_id>/tokens/new/", tokens.new_for, name="token_new_for"),
    # One's own
    path("account/sessions/<int:session_id>/end/", sessions.end, name="session_end"),
    path("account/tokens/", tokens.tokens, name="tokens"),
    path("account/tokens/new/", tokens.new, name="token_new"),
    path("account/tokens/<int:token_id>/revoke/", tokens.revoke, name="token_revoke"),
    # What a program asks to see whether its token works
    path("api/token", tokens.who, name="token_who"),
]
