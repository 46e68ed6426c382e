"""Review: what policies say of a dataflow, and the page that tells it, without customers and with so many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import Count
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from access.sessions import cookie_of
from activation import services as activation
from activation.selectors import Selection
from bench import report, store
from bench.report import Figure
from destinations.models import Destination
from governance import services as governance
from governance.conditions import Condition
from governance.models import Label, MarketingAction
from profiles import sample
from profiles.models import MemberCount, SchemaField, Segment, SegmentMembership

EVALUATION = 200  # milliseconds
LOOKS = 20
LABELLED = ("personalEmail.address", "homeAddress", "loyalty.points")


def measure(records: int, rounds: int) -> None:
    """A dataflow of all attributes of the export and all segments, which violates a policy."""
    call_command("collectstatic", interactive=False, verbosity=0)
    looks = LOOKS * rounds
    person = User.objects.create_superuser("bench")
    destination = store.dataflow("Review", [], store.to("http://127.0.0.1:9")).destination
    destination.marketing_actions.add(_forbid())
    segments = [*sample.segments(), *(Segment(id=name, name=name) for name in ("even", "odd"))]
    Segment.objects.bulk_create(segments)
    _choose(destination, segments, person)
    empty = _look(destination, person, looks)
    # As store.fill writes them itself, with their members.
    Segment.objects.all().delete()
    store.fill(records)
    _count()
    _choose(destination, segments, person)
    full = _look(destination, person, looks)
    report.show(
        f"Review with {records:,} customers, median of {looks}; {report.machine()}",
        [
            Figure(
                "ms that policies take",
                f"{full.evaluation:.1f} (without customers {empty.evaluation:.1f})",
                f"{EVALUATION}",
                full.evaluation < EVALUATION,
            ),
            Figure("ms of the page", f"{full.page:.0f} (without customers {empty.page:.0f})"),
            Figure(
                "queries of the page",
                f"{full.queries}",
                f"{empty.queries} or less, as without customers",
                full.queries <= empty.queries,
            ),
        ],
    )


def _count() -> None:
    """The members, as ingestion does it."""
    members = SegmentMembership.objects.filter(status__in=SegmentMembership.MEMBER_STATUSES).order_by()
    MemberCount.objects.bulk_create(
        MemberCount(segment_id=segment, day=timezone.now().date(), members=count)
        for segment, count in members.values_list("segment").annotate(n=Count("*"))
    )


class _Look:
    """Medians in milliseconds, and how many queries the page takes."""

    def __init__(self, evaluation: float, page: float, queries: int) -> None:
        self.evaluation, self.page, self.queries = evaluation, page, queries


def _forbid() -> MarketingAction:
    """An action for which labels of the sample's fields are forbidden."""
    labels = Label.objects.filter(code__in=["I1", "C2"])
    governance.add_labels(list(SchemaField.objects.filter(path__in=LABELLED)), list(labels))
    action = MarketingAction.objects.get(name="Export to Third Party")
    policy = governance.start_policy(name="Review", description="")
    policy = governance.save_draft(
        policy.pk,
        policy.version,
        condition=Condition.read({"any": ["I1", "C2"]}),
        actions=(str(action.pk),),
    )
    policy = governance.finish_policy(policy.pk, policy.version)
    governance.enable_policy(policy.pk)
    return action


def _choose(destination: Destination, segments: Sequence[Segment], by: User) -> None:
    ids = [segment.pk for segment in segments]
    version = Selection.of(destination).version
    activation.save_segments(destination=destination, version=version, by=by, shown=ids, ticked=ids)


def _look(destination: Destination, person: User, looks: int) -> _Look:
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(person)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    client.cookies[settings.SESSION_COOKIE_NAME] = cookie_of(cookie.value)
    address = reverse("activation:review", args=[destination.pk])

    def evaluate() -> None:
        assert Selection.of(destination).violations()

    def page() -> None:
        assert client.get(address).status_code == 200

    evaluate()  # rules are parsed once a process
    page()
    with CaptureQueriesContext(connection) as captured:
        page()
    queries = len(captured)  # forgotten with the next request
    return _Look(_milliseconds(evaluate, looks), _milliseconds(page, looks), queries)


def _milliseconds(act: Callable[[], None], looks: int) -> float:
    took = []
    for _ in range(looks):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return 1000 * median(took)
