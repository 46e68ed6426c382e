"""A product in use: an account, a destination and an enabled dataflow, made through the services behind the pages."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tests.product import Product

_MAKE = """
import json, sys
from django.contrib.auth.models import User
from activation import services as activation
from activation.models import Dataflow, FailedExport, PendingExport
from destinations.connectors.base import Connection
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from profiles.inlets import intake, services as inlets
from profiles.models import Inlet, Profile, Segment

name, url, key, secret = sys.argv[1:]
by = User.objects.get(username="admin")
account, _ = Account.objects.get_or_create(
    name="Local stream of the marketing team",
    defaults=dict(
        connector="kinesis",
        credentials=Encrypted.of({"access_key_id": key, "secret_access_key": secret}),
        masked=key[:4] + "…" + key[-4:],
        settings={"region": "us-east-1", "endpoint_url": url},
        created_by=by,
    ),
)
destination, made = Destination.objects.get_or_create(
    name=name,
    defaults=dict(
        account=account, description="프로필 변경 사항", settings={"stream": "profile-exports"}, created_by=by,
        include_segment_names=True,
    ),
)
if made:
    ids = list(Segment.objects.order_by("name").values_list("pk", flat=True)[:3])
    activation.save_segments(destination=destination, version=0, by=by, shown=ids, ticked=ids)
    dataflow = Dataflow.objects.get(destination=destination)
    activation.finish(
        destination=destination, version=dataflow.version, by=by, segments=len(ids), attributes=4
    )
inlet = Inlet.objects.filter(name="Web shop 서울").first()
if inlet is None:
    inlet, _ = inlets.create_inlet(name="Web shop 서울", protected=True, by=by)
    intake.note_refusal(inlet, "The message has no object body.xdmEntity.", '{"person": "김민준"}'.encode())
dataflow = Dataflow.objects.get(destination=destination)
run = dataflow.runs.first()
segment = dataflow.segments.first()
failure = FailedExport.objects.filter(run__dataflow=dataflow).first()
if run and not failure:
    for number, membership in enumerate(segment.memberships.order_by("pk")[:30]):
        failure = FailedExport.objects.create(
            run=run, profile_id=membership.profile_id, kind="excluded" if number % 3 else "failed",
            code="MandatoryAttributeMissing" if number % 3 else "RecordTooLarge",
            reason="Mandatory but not there: personalEmail.address" if number % 3 else "1,234,567 bytes",
        )
print(json.dumps({
    "waiting": PendingExport.objects.filter(dataflow=dataflow).count(),
    "account": str(account.pk), "destination": str(destination.pk), "run": str(run.pk) if run else "",
    "failure": str(failure.pk) if failure else "",
    "profile": str(segment.memberships.exclude(status="exited").first().profile_id), "segment": segment.pk,
    "inlet": inlet.pk,
}))
"""

# Labels, actions and policies of its own: no other test's activation is stopped by them.
_GOVERN = """
import json
from django.contrib.auth.models import User
from activation import services as activation
from activation.services import Choice
from destinations.models import Destination
from governance import services as governance
from governance.conditions import Condition
from governance.models import Label, MarketingAction, Policy
from profiles.ingest import Fragment, ingest
from profiles.models import SchemaField, Segment

by = User.objects.get(username="admin")
label = Label.objects.filter(code="PARTNER-1").first()
if label is None:
    label = governance.create_label(code="PARTNER-1", name="제휴사 계약", description="For us alone.")
    action = governance.create_marketing_action(name="Partner exchange 제휴사 교환", description="For partners.")
    governance.add_labels(list(SchemaField.objects.filter(path="loyalty")), [label])
    policy = governance.start_policy(name="제휴 데이터는 제휴사에 다시 보내지 않음", description="계약")
    condition = Condition("all", ("PARTNER-1",), (Condition("any", ("PARTNER-1", "I1")),))
    policy = governance.save_draft(policy.pk, 1, condition=condition, actions=(str(action.pk),))
    governance.enable_policy(governance.finish_policy(policy.pk, policy.version).pk)
    governance.start_policy(name="Not finished", description="")
    destination = Destination.objects.create(
        account=Destination.objects.get(name="Profile exports").account, name="Exchange with partners 제휴사",
        settings={"stream": "profile-exports"}, created_by=by,
    )
    destination.marketing_actions.add(action)
    rule = 'loyalty.points > 100 and homeAddress.countryCode = "KR"'
    segment = Segment.objects.create(
        name="포인트를 많이 모은, 한국에 사는 고객 — a segment with a rather long name", rule=rule,
        origin="segmentation",
    )
    activation.save_segments(destination=destination, version=0, by=by, shown=[segment.pk], ticked=[segment.pk])
    paths = ["person.name.firstName", "loyalty.tier", "loyalty.points"]
    version = destination.dataflow.version
    activation.save_attributes(destination=destination, version=version, by=by, choices=[Choice(p) for p in paths])
    unknown = {"_ours": {"shoeSize": 270, "가입일": "2026-01-02"}}
    ingest([Fragment(identities=[("Email", "a@example.com")], attributes=unknown)])
print(json.dumps({
    "forbidden": str(Destination.objects.get(name="Exchange with partners 제휴사").pk),
    "policy": str(Policy.objects.get(name__startswith="제휴").pk),
    "own_label": str(label.pk),
    "action": str(MarketingAction.objects.get(name__startswith="Partner").pk),
}))
"""


@dataclass(frozen=True, slots=True)
class Activated:
    """Ids of what there is."""

    account: str
    destination: str
    run: str
    failure: str
    profile: str
    segment: str
    inlet: str


def activate(product: Product, name: str = "Profile exports") -> Activated:
    """Make it, and wait until the backfill has gone through the worker.

    Args:
        name: of the destination; one that is there already is taken as it is.
    """
    deadline = time.monotonic() + 60
    arguments = ["", name, product.kinesis_url, product.access_key_id, product.secret_access_key]
    code = f"import sys; sys.argv = {arguments!r}\n"
    while time.monotonic() < deadline:
        ids = json.loads(product.manage("shell", "--no-imports", "-c", code + _MAKE).splitlines()[-1])
        if ids.pop("waiting") == 0 and ids["run"]:
            return Activated(**ids)
    raise AssertionError("The backfill does not end.")


@dataclass(frozen=True, slots=True)
class Governed:
    """Ids of what there is for data stewards; ``forbidden`` is a destination that may not be finished."""

    forbidden: str
    policy: str
    own_label: str
    action: str


def govern(product: Product) -> Governed:
    """Make it, beside what :func:`activate` made."""
    return Governed(**json.loads(product.manage("shell", "--no-imports", "-c", _GOVERN).splitlines()[-1]))
