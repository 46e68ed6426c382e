"""/metrics, and the dashboard and alert rules that read it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from activation.export import latency
from activation.models import Dataflow, DataflowRun, Lane, PendingExport
from tests.factories import DataflowFactory, ProfileFactory
from tests.services import ROOT

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-the-tests"
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
ALERTS = ROOT / "docs" / "alerts.yml"


@pytest.fixture
def client() -> Client:
    """Prometheus does not sign in."""
    return Client()


def samples(client: Client, **extra: Any) -> dict[tuple[str, ...], float]:
    """All samples: (name, destination, further label) → value."""
    response = client.get("/metrics", **extra)
    assert response.status_code == 200
    found = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            further = [sample.labels[label] for label in ("queue", "quantile") if label in sample.labels]
            found[sample.name.removeprefix("kinesis_admin_"), sample.labels["destination"], *further] = (
                sample.value
            )
    return found


def busy(name: str, **values: Any) -> Dataflow:
    """A dataflow with something of everything."""
    dataflow = DataflowFactory.create(destination__name=name, **values)
    now = timezone.now()
    for bulk, minutes in ((False, 1), (False, 2), (True, 60)):
        PendingExport.objects.create(
            dataflow=dataflow,
            profile=ProfileFactory.create(),
            reason="backfill",
            bulk=bulk,
            created_at=now - timedelta(minutes=minutes),
        )
    hour = now.replace(minute=0, second=0, microsecond=0)
    for started_at in (hour, hour - timedelta(hours=1)):
        DataflowRun.objects.create(
            dataflow=dataflow, started_at=started_at, last_at=now, activated=10, failed=2, excluded=3, identities=20,
            attempts=17, retries=5, throttled=4, duplicates=1, bytes=10_000,
            latencies=latency.add([], [0.1] * 99 + [9]),
        )  # fmt: skip
    Lane.objects.create(dataflow=dataflow, number=0, of=4, leased_until=now + timedelta(minutes=1))
    Lane.objects.create(dataflow=dataflow, number=1, of=4, leased_until=now - timedelta(minutes=1))
    return dataflow


# -- who may ask ---------------------------------------------------------------------------------------------------


def test_without_a_token_only_this_machine_may_ask(client: Client) -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1"):
        assert client.get("/metrics", REMOTE_ADDR=address).status_code == 200
    for address in ("10.0.0.1", "203.0.113.7", "::ffff:203.0.113.7", "", "unix"):
        response = client.get("/metrics", REMOTE_ADDR=address)
        assert response.status_code == 403
        assert b"METRICS_TOKEN" in response.content


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "Via", "X-Real-IP"])
def test_who_comes_through_a_proxy_on_this_machine_is_not_this_machine(client: Client, header: str) -> None:
    assert client.get("/metrics", headers={header: "x"}).status_code == 403


def test_with_a_token_whoever_has_it_may_ask(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN
    given = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.7"}
    assert client.get("/metrics", headers=given, REMOTE_ADDR="203.0.113.7").status_code == 200
    for wrong in ("", TOKEN, f"bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ", "Bearer 토큰"):
        response = client.get("/metrics", headers={"Authorization": wrong}, REMOTE_ADDR="127.0.0.1")
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in response.content.decode()
    assert client.get("/metrics").status_code == 401


def test_it_is_only_asked_and_over_plain_http(client: Client, settings: Settings) -> None:
    assert client.post("/metrics").status_code == 405
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/metrics").status_code == 200


# -- what it tells -------------------------------------------------------------------------------------------------


def test_each_dataflow_is_told_with_lag_counts_and_lanes(client: Client) -> None:
    busy("Spring “campaign”\\")
    busy("Winter", state="disabled", error_code="AccessDeniedException")
    DataflowFactory.create(destination__name="Draft", state="draft", finished_at=None)
    found = samples(client)
    spring = {name: value for (name, destination, *name_more), value in found.items() if not name_more
              and destination == "Spring “campaign”\\"}  # fmt: skip
    assert spring == {
        "dataflow_enabled": 1, "dataflow_held": 0, "lanes": 4, "lanes_leased": 1,
        "profiles_activated_total": 20, "profiles_failed_total": 4, "profiles_excluded_total": 6,
        "identities_activated_total": 40, "records_sent_total": 34, "records_retried_total": 10,
        "records_throttled_total": 8, "records_duplicated_total": 2, "record_bytes_total": 20_000,
    }  # fmt: skip
    assert (found["dataflow_enabled", "Winter"], found["dataflow_held", "Winter"]) == (0, 1)
    assert found["backlog_rows", "Winter", "fresh"] == 2
    assert found["backlog_rows", "Winter", "bulk"] == 1
    assert 120 <= found["lag_seconds", "Winter", "fresh"] < 180
    assert 3600 <= found["lag_seconds", "Winter", "bulk"] < 3660
    assert 0.1 <= found["latency_seconds", "Winter", "0.95"] < 0.13
    assert "Draft" not in {destination for _name, destination, *_further in found}


def test_a_dataflow_at_rest_is_told_with_zeros(client: Client) -> None:
    DataflowFactory.create(destination__name="Quiet")
    found = samples(client)
    assert found["lag_seconds", "Quiet", "fresh"] == found["backlog_rows", "Quiet", "bulk"] == 0
    assert found["profiles_activated_total", "Quiet"] == 0
    assert ("latency_seconds", "Quiet", "0.5") not in found


def test_nothing_but_the_names_of_destinations_is_told_of_customers(client: Client) -> None:
    busy("Spring")
    text = client.get("/metrics").content.decode()
    for row in PendingExport.objects.all():
        assert str(row.profile_id) not in text


@pytest.mark.parametrize("count", [0, 1, 30])
def test_it_takes_the_same_queries_however_many_dataflows(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    for number in range(count):
        busy(f"Destination {number}")
    with django_assert_num_queries(5 if count else 1):
        client.get("/metrics")


def test_openmetrics_is_spoken_to_who_asks_for_it(client: Client) -> None:
    DataflowFactory.create()
    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.content.endswith(b"# EOF\n")


# -- who reads it --------------------------------------------------------------------------------------------------


def told(client: Client) -> set[str]:
    busy("Spring")
    return {f"kinesis_admin_{name}" for name, *_labels in samples(client)}


def asked(expression: str) -> set[str]:
    return set(re.findall(r"kinesis_admin_[a-z_]+", expression))


def test_the_dashboard_asks_for_what_is_told(client: Client) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) >= 10
    assert set().union(*map(asked, expressions)) <= told(client)
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_alert_rules_ask_for_what_is_told_and_say_what_to_do(client: Client) -> None:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    names = told(client)
    for rule in group["rules"]:
        assert asked(rule["expr"]) <= names
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("warning", "critical")
