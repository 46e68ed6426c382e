"""A product in use: an account, a destination and an enabled dataflow, made through the services behind the pages."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tests.product import Product

_MAKE = """
import json, sys, time
from django.contrib.auth.models import User
from activation import services as activation
from activation.models import Dataflow, FailedExport, PendingExport
from destinations.connectors.base import Connection
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from profiles.inlets import intake, services as inlets
from profiles import services
from profiles.models import Evaluation, Inlet, Profile, Segment

name, rule, url, key, secret = sys.argv[1:]
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
    if rule:
        segment = services.create_segment(name=name, rule=rule, origin="segmentation")
        while Evaluation.objects.filter(segment=segment).exists():
            time.sleep(0.1)
        ids = [segment.pk]
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


def activate(product: Product, name: str = "Profile exports", rule: str = "") -> Activated:
    """Make it, and wait until the backfill has gone through the worker.

    Args:
        name: of the destination; one that is there already is taken as it is.
        rule: of a segment that is made for it, with the same name. Some of the sample's customers fulfil it. Without a
            rule three segments of the sample are mapped.
    """
    deadline = time.monotonic() + 60
    arguments = ["", name, rule, product.kinesis_url, product.access_key_id, product.secret_access_key]
    code = f"import sys; sys.argv = {arguments!r}\n"
    while time.monotonic() < deadline:
        ids = json.loads(product.manage("shell", "--no-imports", "-c", code + _MAKE).splitlines()[-1])
        if ids.pop("waiting") == 0 and ids["run"]:
            return Activated(**ids)
    raise AssertionError("The backfill does not end.")
