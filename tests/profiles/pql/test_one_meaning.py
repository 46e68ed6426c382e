"""A rule has the same members in Python and in SQL, whatever it is and whoever the customers are.

Some 2,000 random rules, the same ones every time. ``PQL_EXAMPLES=1000 pytest tests/profiles/pql``
looks at ten times as many other ones, makes those small that failed, and prints how to see them again.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profiles.models import Identity, IdentityNamespace, Profile, Segment, SegmentMembership
from profiles.pql import Rule, Subject, namespace_key
from profiles.pql.syntax import Condition
from tests.profiles.pql.strategies import NOW, SEGMENTS, Customer, conditions, customers

EXAMPLES = int(os.environ.get("PQL_EXAMPLES", "0"))

# No rule may take longer, whatever it is: then it is a defect of the rule's evaluation.
MOST_SECONDS = 20

searching = settings(
    max_examples=EXAMPLES or 100,
    # Twenty rules over a dozen customers take a long time to become small; the message names the rule.
    phases=[Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.django_db
@searching
@given(st.lists(customers, min_size=6, max_size=12), st.lists(conditions(), min_size=20, max_size=20))
def test_members_are_the_same(known: list[Customer], trees: list[Condition]) -> None:
    with transaction.atomic():
        stored = store(known)
        for tree in trees:
            rule = Rule(tree, "")
            with at_most(MOST_SECONDS, str(rule)):
                compare(rule, stored)
        transaction.set_rollback(True)


def compare(rule: Rule, stored: dict[uuid.UUID, Subject]) -> None:
    predicate = rule.compile()
    expected = {key for key, subject in stored.items() if predicate(subject)}
    found = rule.query(NOW)
    keys = set(found.profiles.values_list("pk", flat=True))
    if found.exact:
        assert keys == expected, str(rule)
    else:
        assert keys >= expected, str(rule)
        assert set(rule.members(NOW)) == expected, str(rule)


@contextmanager
def at_most(seconds: int, what: str) -> Iterator[None]:
    """Fail after so many seconds, also within a query: a test that never ends says nothing."""

    def fail(*_signal: object) -> None:
        raise TimeoutError(f"longer than {seconds} s: {what}")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def store(known: Iterable[Customer]) -> dict[uuid.UUID, Subject]:
    """Write customers into the database. As predicates see them, by the ids of their profiles."""
    namespaces = {namespace.code: namespace for namespace in IdentityNamespace.objects.all()}
    Segment.objects.bulk_create(Segment(pk=segment_id, name=segment_id) for segment_id in SEGMENTS)
    subjects: dict[uuid.UUID, Subject] = {}
    profiles, identities, memberships = [], [], []
    for customer in known:
        profile = Profile(attributes=customer.attributes)
        profiles.append(profile)
        # An identity names one profile: the same value is in namespaces of their own for each.
        of_namespace = {
            code: [value if not subjects else f"{value}{len(subjects)}" for value in values]
            for code, values in customer.identities.items()
        }
        identities += [
            Identity(profile=profile, namespace=namespaces[code], value=value)
            for code, values in of_namespace.items()
            for value in values
        ]
        memberships += [
            SegmentMembership(
                profile=profile, segment_id=segment_id, status=status, last_qualification_time=NOW
            )
            for segment_id, status in customer.memberships.items()
        ]
        subjects[profile.pk] = Subject(
            customer.attributes,
            {namespace_key(code): values for code, values in of_namespace.items()},
            {segment_id for segment_id, status in customer.memberships.items() if status != "exited"},
            NOW,
        )
    Profile.objects.bulk_create(profiles)
    Identity.objects.bulk_create(identities)
    SegmentMembership.objects.bulk_create(memberships)
    return subjects
