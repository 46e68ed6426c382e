"""A product in use: an account, a destination and an enabled dataflow, made through the services behind the pages."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tests.product import Product

_MAKE = """
import json, sys, time
from datetime import timedelta
from django.contrib.auth.models import User
from activation import services as activation
from activation.alerts import services as alerts
from activation.alerts.watch import look
from activation.models import Dataflow, FailedExport, PendingExport
from audit.models import Entry
from destinations.connectors.base import Connection
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from django.utils import timezone
from profiles.ingest import Fragment, ingest
from profiles.inlets import intake, services as inlets
from django.core.files.uploadedfile import SimpleUploadedFile
from profiles import services
from profiles.models import Evaluation, IdentityNamespace, Inlet, MemberCount, MergedProfile, Profile, Segment, Upload
from profiles.reasons import Reason
from profiles.uploads import services as uploads, work

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
    alerts.subscribe(
        destination=destination, user=by, wishes=alerts.Wishes(["run_started", "run_failed", "on_hold"])
    )
    activation.finish(
        destination=destination, version=dataflow.version, by=by, segments=len(ids), attributes=4
    )
inlet = Inlet.objects.filter(name="Web shop 서울").first()
if inlet is None:
    inlet, _ = inlets.create_inlet(name="Web shop 서울", protected=True, by=by)
    intake.note_refusal(inlet, Reason("The message has no object body.xdmEntity."), '{"person": "김민준"}'.encode())
def receive(text, **options):
    file = SimpleUploadedFile("여름 할인 고객.csv", text.encode("cp949"))
    return uploads.receive(file, **{"segment": None, "segment_name": "여름 할인 고객", **options}, by=by)

text = "이메일;이름;점수\\n" + "".join(f"s{n}@example.com;김민준;{n}\\n" for n in range(20))
text += "주소 없음;이서연;5\\n" * 30
upload = Upload.objects.filter(state="done", way="append").first()
if upload is None:
    upload = receive(text)
    uploads.start(
        upload, columns=["", "person.name.fullName", "loyalty.points"], identity_column=0, way="append",
        namespace=IdentityNamespace.objects.get(code="Email"), expires_after=30,
    )
    work.proceed(upload.pk)
    upload.refresh_from_db()
draft = Upload.objects.filter(state="draft").first() or receive(text + '"offen;x\\n', segment=upload.segment)
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
look()
namespace, _ = IdentityNamespace.objects.get_or_create(
    code="LoyaltyCard", defaults=dict(name="멤버십 카드 번호", type="CROSS_DEVICE")
)
profile = segment.memberships.exclude(status="exited").first().profile
if name == "Profile exports" and not MergedProfile.objects.exists():
    # A merged profile, a card, a month in which customers came and left, and one who did so twice.
    ingest([Fragment([("Email", "second.address@example.com"), ("LoyaltyCard", "서울-000123")])])
    known = profile.identities.select_related("namespace").first()
    ingest([Fragment([(known.namespace.code, known.value), ("Email", "second.address@example.com")])])
    for status in ("exited", "realized"):
        ingest([Fragment(profile_id=profile.pk, memberships={segment.pk: (status, None)})])
    for ago in range(1, 31):
        came, left = 90 + ago * 37 % 60, 40 + ago * 53 % 70
        for sign, day in ((1, ago), (-1, 60)):
            MemberCount.objects.create(
                segment=segment, day=timezone.now().date() - timedelta(days=day), members=sign * (came - left),
                realized=came, exited=left,
            )
print(json.dumps({
    "waiting": PendingExport.objects.filter(dataflow=dataflow).count(),
    "account": str(account.pk), "destination": str(destination.pk), "run": str(run.pk) if run else "",
    "failure": str(failure.pk) if failure else "",
    "entry": str(Entry.objects.filter(action="dataflow.finished").first().pk),
    "profile": str(profile.pk), "segment": segment.pk, "inlet": inlet.pk, "namespace": str(namespace.pk),
    "upload": str(upload.pk), "draft": str(draft.pk), "uploaded": upload.segment_id,
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
from governance.models import ConsentPolicy, Label, MarketingAction, Policy
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
    consent = governance.create_consent_policy(
        name="제휴사에는 동의한 고객만 — only who agreed to sharing", description="동의", field="consents.share.val",
        actions=[str(action.pk)],
    )
    governance.switch_consent_policy(consent.pk, enabled=True)
    analytics = MarketingAction.objects.get(name="Analytics")
    governance.create_consent_policy(
        name="Analytics with consent", description="", field="consents.marketing.email.val",
        actions=[str(analytics.pk)],
    )
    Destination.objects.get(name="Profile exports").marketing_actions.add(analytics)
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
    "consent": str(ConsentPolicy.objects.get(enabled=True).pk),
    "asking": str(ConsentPolicy.objects.get(enabled=False).pk),
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
    entry: str
    namespace: str
    upload: str
    draft: str
    uploaded: str


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


@dataclass(frozen=True, slots=True)
class Governed:
    """Ids of what there is for data stewards; ``forbidden`` is a destination that may not be finished."""

    forbidden: str
    policy: str
    consent: str
    asking: str
    own_label: str
    action: str


def govern(product: Product) -> Governed:
    """Make it, beside what :func:`activate` made."""
    return Governed(**json.loads(product.manage("shell", "--no-imports", "-c", _GOVERN).splitlines()[-1]))
