from __future__ import annotations

from django.urls import path

from governance.views import actions, consent, labels, policies, wizard

app_name = "governance"
urlpatterns = [
    path("policies/", policies.policies, name="policies"),
    path("policies/new/", wizard.new, name="policy_new"),
    path("policies/<uuid:policy_id>/name/", wizard.name, name="policy_name"),
    path("policies/<uuid:policy_id>/labels/", wizard.labels, name="policy_labels"),
    path("policies/<uuid:policy_id>/marketing-actions/", wizard.actions, name="policy_actions"),
    path("policies/<uuid:policy_id>/review/", wizard.review, name="policy_review"),
    path("policies/<uuid:policy_id>/discard/", wizard.discard, name="policy_discard"),
    path("policies/<uuid:policy_id>/switch/", policies.switch, name="policy_switch"),
    path("policies/<uuid:policy_id>/delete/", policies.delete, name="policy_delete"),
    path("consent-policies/", consent.policies, name="consent_policies"),
    path("consent-policies/new/", consent.new, name="consent_policy_new"),
    path("consent-policies/<uuid:policy_id>/edit/", consent.edit, name="consent_policy_edit"),
    path("consent-policies/<uuid:policy_id>/switch/", consent.switch, name="consent_policy_switch"),
    path("consent-policies/<uuid:policy_id>/delete/", consent.delete, name="consent_policy_delete"),
    path("marketing-actions/", actions.actions, name="actions"),
    path("marketing-actions/new/", actions.new, name="action_new"),
    path("marketing-actions/<uuid:action_id>/edit/", actions.edit, name="action_edit"),
    path("marketing-actions/<uuid:action_id>/delete/", actions.delete, name="action_delete"),
    path("labels/", labels.labels, name="labels"),
    path("labels/new/", labels.new, name="label_new"),
    path("labels/<int:label_id>/edit/", labels.edit, name="label_edit"),
    path("labels/<int:label_id>/delete/", labels.delete, name="label_delete"),
    path("labels/fields/", labels.label_fields, name="label_fields"),
    path("labels/segments/", labels.label_segments, name="label_segments"),
]
