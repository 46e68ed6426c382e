"""Names with markup are text, on every page that somebody can reach, and so is whatever is asked for in an address."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from access import services as access
from access.models import Role
from activation.alerts.services import Wishes, subscribe
from activation.alerts.watch import look
from activation.export import lanes
from activation.models import FailedExport
from destinations.models import AlertKind
from governance import services as governance
from governance.conditions import Condition
from profiles.inlets import intake
from profiles.inlets.services import create_inlet
from profiles.models import SchemaField, Upload
from profiles.namespaces.services import create_namespace
from profiles.reasons import Reason
from profiles.services import set_membership
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    IdentityFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)
from tests.walking import walk

# Out of an element, out of an attribute in either quotation marks, out of JSON.
MARKUP = 'x"onfocus="alert(1)\' onblur=\'alert(2)\\"}</script></title><script>alert(3)</script><img src=x>'


class Alive(HTMLParser):
    """What of a page a browser would run, or could not read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.found.append("<script>")
        if tag == "img" and given.get("src") == "x":
            self.found.append("<img>")
        for name, value in attrs:
            if name.startswith("on") or str(value).strip().lower().startswith("javascript:"):
                self.found.append(f"{tag} {name}={value}")
            if name in ("hx-vals", "hx-headers"):
                json.loads(value or "")


def everything_has_markup(by: User) -> None:
    """One of everything that has a name, or that others write."""
    account = AccountFactory.create(name=MARKUP, created_by=by)
    destination = DestinationFactory.create(account=account, name=MARKUP, description=MARKUP)
    for name in (MARKUP, f"{MARKUP} 2"):
        segment = SegmentFactory.create(name=name, description=MARKUP)
    flow = DataflowFactory.create(
        destination=destination, segments=[segment], attributes=["person.name.firstName"]
    )
    SchemaField.objects.filter(path="person").update(title=MARKUP)
    profile = ProfileFactory.create(attributes={"person": {"name": {"firstName": MARKUP}}, MARKUP: MARKUP})
    IdentityFactory.create(profile=profile, value=MARKUP)
    IdentityFactory.create(
        profile=profile, namespace=create_namespace(code="Card", name=MARKUP, type="CROSS_DEVICE")
    )
    set_membership(profile.pk, segment_id=segment.pk, status="realized")
    run = flow.runs.create(started_at=timezone.now(), last_at=timezone.now(), failed=1)
    FailedExport.objects.create(run=run, profile=profile, code=MARKUP[:100], kind="failed", reason=MARKUP)

    inlet, _token = create_inlet(name=MARKUP, protected=True, by=by)
    intake.note_refusal(inlet, Reason("Not valid: %(value)s", {"value": MARKUP}), MARKUP.encode())
    for state in ("draft", "done"):
        upload = Upload.objects.create(
            file_name=MARKUP, segment=segment, size=1, state=state, encoding="utf-8-sig", delimiter=",",
            created_by=by, queued_at=timezone.now(), finished_at=timezone.now(),
        )  # fmt: skip
        upload.parts.create(number=0, data=f"{MARKUP},b\n{MARKUP},{MARKUP}\n".encode())
        upload.rejections.create(row=1, value=MARKUP, reason=MARKUP)

    label = governance.create_label(code="MINE", name=MARKUP, description=MARKUP)
    action = governance.create_marketing_action(name=MARKUP[:100], description=MARKUP)
    policy = governance.start_policy(name=MARKUP[:100], description=MARKUP)
    condition = Condition("any", ("MINE",))
    policy = governance.save_draft(policy.pk, 1, condition=condition, actions=(str(action.pk),))
    governance.enable_policy(governance.finish_policy(policy.pk, policy.version).pk)
    forbidden = DataflowFactory.create(
        destination=DestinationFactory.create(name=f"{MARKUP} 3"), state="draft", finished_at=None
    )
    forbidden.destination.marketing_actions.add(action)
    governance.add_labels([segment], [label])

    subscribe(destination=destination, user=by, wishes=Wishes(AlertKind.values))
    lanes.hold(flow.pk, MARKUP[:100], MARKUP)
    look()
    access.save_role(None, name=MARKUP, rights=[], by=by)
    access.create_person(username="kim", first_name=MARKUP[:100], email="kim@example.com", given=[], by=by)
    access.create_service_account(
        name="robot", description=MARKUP, given=Role.objects.filter(name=MARKUP), by=by
    )
    access.create_token(by, name=MARKUP[:100], scopes=["audit.view_entry"], expires_at=timezone.now(), by=by)


@pytest.mark.django_db
def test_markup_is_text_on_every_page_and_in_every_address() -> None:
    administrator = UserFactory.create()
    administrator.groups.add(Group.objects.get(name="Administrator"))
    client = Client()
    client.force_login(administrator)
    everything_has_markup(administrator)
    names = (
        "q",
        "sort",
        "page",
        "next",
        "state",
        "role",
        "action",
        "actor",
        "object",
        "tab",
        "code",
        "since",
    )
    asked = dict.fromkeys(names, MARKUP)
    alive, shown = {}, 0
    for page in walk(client):
        shown += "&lt;script&gt;alert(3)" in page.text
        again = client.get(page.address.partition("?")[0], asked)
        for text in (page.text, again.content.decode() if not again.streaming else ""):
            if found := Alive(text).found:
                alive[page.address] = found

    assert alive == {}
    assert shown > 30


def test_what_a_browser_would_run_is_seen() -> None:
    assert Alive(f"<p>{MARKUP}</p>").found == ["<script>", "<img>"]
    assert len(Alive(f'<input value="{MARKUP}">').found) >= 1
    assert len(Alive(f"<input value='{MARKUP}'>").found) >= 1
