"""Who may see what: every URL there is, tried by everybody there is; and no page offers what its reader may not do."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from profiles.inlets.services import create_inlet
from profiles.services import set_membership
from tests.factories import (
    DataflowFactory,
    IdentityFactory,
    SegmentFactory,
    UserFactory,
)
from tests.walking import walk

# Open to everybody.
OPEN = {"root", "healthz", "readyz", "metrics", "set_language"}
# Signing in, and what leads there.
OPEN |= {
    "sign_in", "sign_out", "account_login", "account_logout", "account_inactive", "account_reset_password",
    "account_reset_password_done", "account_reset_password_from_key", "account_reset_password_from_key_done",
    "mfa_authenticate", "mfa_login_webauthn", "openid_connect_login", "openid_connect_callback",
    "socialaccount_login_cancelled", "socialaccount_login_error",
}  # fmt: skip
OPEN |= {"admin:login", "admin:logout", "admin:jsi18n"}
# Programs don't sign in: tests/profiles/inlets/ and tests/access/test_tokens.py say who may.
OPEN |= {"profiles:collect", "profiles:collect_batch", "access:token_who"}
# One's own account: open to everybody who is signed in.
OWN = {
    "account_change_password", "account_set_password", "account_reauthenticate", "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn", "mfa_index", "mfa_activate_totp", "mfa_deactivate_totp",
    "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_list_webauthn",
    "mfa_add_webauthn", "mfa_edit_webauthn", "mfa_remove_webauthn", "usersessions_list", "socialaccount_connections",
    "access:session_end", "access:tokens", "access:token_new", "access:token_revoke",
}  # fmt: skip

ROLES = {"A": "Administrator", "E": "Data engineer", "M": "Marketer", "S": "Data steward", "U": "Auditor"}
# Who else may: each URL with the letters of the roles, written by hand and on purpose from nothing in the code.
ALLOWED = {
    "destinations:overview": "AEMSU",
    "destinations:catalog": "AEMSU",
    "destinations:browse": "AEMSU",
    "destinations:accounts": "AEMSU",
    "destinations:account_edit": "AEM",
    "destinations:account_delete": "AEM",
    "destinations:connect": "AEM",
    "destinations:setup": "AEM",
    "destinations:targets": "AEM",
    "destinations:marketing_action": "AEM",
    "destinations:destination": "AEMSU",
    "destinations:edit": "AEM",
    "destinations:delete": "AEM",
    "destinations:stream": "AEMS",
    "activation:segments": "AEM",
    "activation:attributes": "AEM",
    "activation:sample": "AEM",
    "activation:review": "AEM",
    "activation:estimate": "AEM",
    "activation:finish": "AEM",
    "activation:discard": "AEM",
    "activation:enable": "AEM",
    "activation:disable": "AEM",
    "activation:drain": "AEM",
    "activation:purge": "AEM",
    "activation:cancel_backfill": "AEM",
    "activation:lanes": "AEM",
    "activation:replay": "AEM",
    "activation:failures": "AEMU",
    "activation:failures_replay": "AEM",
    "activation:failures_discard": "AEM",
    "activation:failures_download": "AEMU",
    "activation:failure": "AEM",
    "activation:runs": "AEMU",
    "activation:capacity": "AEMU",
    "activation:activation_data": "AEMSU",
    "activation:run": "AEMU",
    "activation:profile_exports": "AEMS",
    "activation:segment_activations": "AEMSU",
    "profiles:profiles": "AEMS",
    "profiles:profile": "AEMS",
    "profiles:segments": "AEMSU",
    "profiles:segment": "AEMSU",
    "profiles:segment_new": "AM",
    "profiles:segment_estimate": "AM",
    "profiles:segment_edit": "AM",
    "profiles:segment_publish": "AM",
    "profiles:segment_archive": "AM",
    "profiles:segment_duplicate": "AM",
    "profiles:segment_delete": "AM",
    "profiles:schema": "AEMSU",
    "profiles:inlets": "AEU",
    "profiles:inlet": "AEU",
    "profiles:inlet_new": "AE",
    "profiles:inlet_edit": "AE",
    "profiles:inlet_token": "AE",
    "profiles:inlet_switch": "AE",
    "profiles:inlet_delete": "AE",
    "activation:alerts": "AEMSU",
    "activation:bell": "AEMSU",
    "activation:alerts_read": "AEMSU",
    "activation:subscription": "AEMU",
    "governance:policies": "AEMSU",
    "governance:policy_new": "AS",
    "governance:policy_name": "AS",
    "governance:policy_labels": "AS",
    "governance:policy_actions": "AS",
    "governance:policy_review": "AS",
    "governance:policy_discard": "AS",
    "governance:policy_switch": "AS",
    "governance:policy_delete": "AS",
    "governance:consent_policies": "AEMSU",
    "governance:consent_policy_new": "AS",
    "governance:consent_policy_edit": "AS",
    "governance:consent_policy_switch": "AS",
    "governance:consent_policy_delete": "AS",
    "governance:actions": "AEMSU",
    "governance:action_new": "AS",
    "governance:action_edit": "AS",
    "governance:action_delete": "AS",
    "governance:labels": "AEMSU",
    "governance:label_new": "AS",
    "governance:label_edit": "AS",
    "governance:label_delete": "AS",
    "governance:label_fields": "AS",
    "governance:label_segments": "AS",
    "audit:entries": "AU",
    "audit:entry": "AU",
    "audit:export": "AU",
    "profiles:profile_erase": "AS",
    "profiles:upload_new": "AM",
    "profiles:upload": "AM",
    "profiles:upload_columns": "AM",
    "profiles:upload_read_as": "AM",
    "profiles:upload_rejected": "AM",
    "profiles:upload_stop": "AM",
    "profiles:uploads": "AM",
    "profiles:namespaces": "AEU",
    "profiles:namespace_new": "AE",
    "profiles:namespace_edit": "AE",
    "profiles:namespace_delete": "AE",
    "profiles:schema_unknown": "AEMSU",
    "profiles:schema_add": "AES",
    "access:people": "AU",
    "access:person": "AU",
    "access:person_new": "A",
    "access:person_edit": "A",
    "access:person_switch": "A",
    "access:person_link": "A",
    "access:person_sign_out": "A",
    "access:person_second_step": "A",
    "access:service_accounts": "AU",
    "access:service_account_new": "A",
    "access:token_new_for": "A",
    "access:roles": "AU",
    "access:roles_save": "A",
    "access:role_new": "A",
    "access:role_edit": "A",
    "access:role_delete": "A",
}

MADE_UP = {str(UUID(int=1)), "987654", "x"}
EXAMPLES = {"uuid": str(UUID(int=1)), "slug": "amazon-kinesis", "int": "987654", "str": "x", "path": "x"}


def urls(
    patterns: list[URLPattern | URLResolver], prefix: str = "/", namespace: str = ""
) -> Iterator[tuple[str, str]]:
    """The name and an example of every URL, with made-up ids."""
    for pattern in patterns:
        route = str(pattern.pattern)
        path = prefix + route
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from urls(pattern.url_patterns, path, namespace + inner)
            continue
        for name, converter in pattern.pattern.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower().replace("string", "str")
            for written in (f"<{kind}:{name}>", f"<{name}>"):
                path = path.replace(written, EXAMPLES[kind])
        if "<" in path or "(" in path:
            path = prefix + "x"  # the admin's own regular expressions
        yield namespace + (pattern.name or path), path


EVERY = sorted(set(urls(get_resolver().url_patterns)))
OURS = [(name, path) for name, path in EVERY if name not in OPEN and not path.startswith("/admin/")]
ADMIN = [(name, path) for name, path in EVERY if name not in OPEN and path.startswith("/admin/")]


def signed_in(*, role: str = "") -> Client:
    client = Client()
    person = UserFactory.create()
    if role:
        person.groups.add(Group.objects.get(name=role))
    client.force_login(person)
    return client


def test_every_url_is_in_a_table() -> None:
    assert {name for name, _path in OURS} - OWN == set(ALLOWED), "say who may, in ALLOWED or OWN"


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_who_is_not_signed_in_is_sent_to_sign_in(client: Client, method: str) -> None:
    wrong = {}
    for name, path in OURS + ADMIN:
        response = getattr(client, method)(path)
        where = response.headers.get("Location", "")
        if response.status_code != 405 and not where.startswith(("/sign-in/?next=", "/admin/login/?next=")):
            wrong[name] = f"{response.status_code} {where}"

    assert wrong == {}
    assert client.get("/").headers["Location"] == "/destinations/"


@pytest.mark.django_db
@pytest.mark.parametrize("letter", ["", *ROLES])
def test_a_role_opens_what_the_table_says_and_nothing_else(letter: str) -> None:
    client = signed_in(role=ROLES.get(letter, ""))
    wrong = {}
    for name, path in OURS:
        may = name in OWN or (bool(letter) and letter in ALLOWED[name])
        for method in ("get", "post"):
            status = getattr(client, method)(path).status_code
            # What may be opened has made-up ids and empty forms here: it answers, whatever it is.
            if (status != 403) != may or status >= 500:
                wrong[f"{method} {name}"] = status

    assert wrong == {}


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["", *ROLES.values()])
def test_the_django_admin_is_for_staff(role: str) -> None:
    client = signed_in(role=role)
    places = {path: client.get(path).headers.get("Location", "") for _name, path in ADMIN}
    wrong = {path for path, where in places.items() if not where.startswith("/admin/login/")}

    assert wrong == set()
    assert client.get("/admin/login/").status_code == 403


@pytest.mark.django_db
def test_a_right_that_is_withdrawn_is_gone_with_the_next_request() -> None:
    client = signed_in(role="Auditor")
    assert client.get("/people/").status_code == 200

    Group.objects.get(name="Auditor").permissions.remove(Permission.objects.get(codename="view_people"))

    assert client.get("/people/").status_code == 403


@pytest.mark.django_db
def test_no_form_is_taken_without_its_token(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    # Programs come without a cookie, and so without what could be forged.
    programs = {"profiles:collect", "profiles:collect_batch", "access:token_who"}
    forms = {name: path for name, path in EVERY if name not in programs}
    forms["account_reset_password_from_key"] = "/password/reset/1-x/"
    taken = {name: status for name, path in forms.items() if (status := client.post(path).status_code) != 403}

    assert taken == {}


@pytest.mark.django_db
def test_what_is_not_there_is_not_found() -> None:
    client = signed_in(role="Administrator")
    made_up = [(name, path) for name, path in OURS if set(path.split("/")) & MADE_UP and name not in OWN]
    answers = {name: client.get(path).status_code for name, path in made_up}

    assert {name for name, status in answers.items() if status not in (404, 405)} == set()
    assert list(answers.values()).count(404) > 40


# --- What pages offer ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES.values())
def test_no_page_offers_what_its_reader_may_not_do(role: str) -> None:
    """Addresses that need more than GET are judged by the rights that their view asks for."""
    _something_of_everything()
    client = signed_in(role=role)
    person = User.objects.get(pk=client.session["_auth_user_id"])
    offered = set()
    for page in walk(client):
        for path, match in page.links:
            needed = getattr(match.func, "permissions", ())
            missing = [right for right in needed if not person.has_perm(right)]
            assert missing == [], f"{page.address} offers {path}"
            offered.add(match.view_name)
    assert len(offered) > 15


def _something_of_everything() -> None:
    flow = DataflowFactory.create(segments=[SegmentFactory.create()], attributes=["person.name.firstName"])
    identity = IdentityFactory.create()
    [segment] = flow.segments.all()
    set_membership(identity.profile_id, segment_id=segment.pk, status="realized")
    create_inlet(name="Web shop", protected=True)
