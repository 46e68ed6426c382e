"""What Prometheus is told of the exports.

Everything is read from the database, where all workers write it: one endpoint tells of all of them, and nothing is
lost when one of them ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from activation import status
from activation.export import latency
from activation.models import Dataflow

LABELS = ["dataflow", "destination"]

COUNTERS = {
    "activated": ("kinesis_admin_profiles_activated", "Profiles whose record was acknowledged."),
    "failed": ("kinesis_admin_profiles_failed", "Profiles whose record was refused for good."),
    "excluded": ("kinesis_admin_profiles_excluded", "Profiles that lacked a mandatory attribute."),
    "identities": ("kinesis_admin_identities_activated", "Identities in acknowledged records."),
    "attempts": ("kinesis_admin_records_sent", "Records sent, each attempt counted."),
    "retries": ("kinesis_admin_records_retried", "Records sent again."),
    "throttled": ("kinesis_admin_records_throttled", "Records that the stream had no room for at the time."),
    "duplicates": (
        "kinesis_admin_records_duplicated",
        "Records sent again although they may have been taken.",
    ),
    "bytes": ("kinesis_admin_record_bytes", "Bytes of data in acknowledged records."),
}


def exposition(accept: str) -> tuple[bytes, str]:
    """All metrics, and their content type: what ``accept`` asks for. Five queries."""
    registry = CollectorRegistry()
    registry.register(_Exports(status.statuses(status.finished())))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Exports:
    """The metrics of dataflows that are, or were, live."""

    def __init__(self, statuses: Sequence[status.Status]) -> None:
        self._statuses = [
            ([str(each.dataflow.pk), each.dataflow.destination.name], each) for each in statuses
        ]

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        for column, (name, about) in COUNTERS.items():
            counter = CounterMetricFamily(name, about, labels=LABELS)
            for labels, each in self._statuses:
                counter.add_metric(labels, each.totals[column])
            yield counter

    def _gauges(self) -> Iterator[Metric]:
        def gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"kinesis_admin_{name}", about, labels=[*LABELS, *labels])

        enabled = gauge("dataflow_enabled", "1 while it exports, 0 while it is disabled.")
        held = gauge("dataflow_held", "1 while the destination as a whole refuses: why, the pages tell.")
        backlog = gauge(
            "backlog_rows", "Profiles that wait: changes of the moment, or of a backfill.", "queue"
        )
        lag = gauge("lag_seconds", "How long the oldest of what waits has waited.", "queue")
        lanes = gauge("lanes", "How many workers may deliver at once.")
        leased = gauge("lanes_leased", "How many deliver right now.")
        latencies = gauge(
            "latency_seconds", "From queueing to acknowledgement, of this hour's records.", "quantile"
        )
        for labels, each in self._statuses:
            enabled.add_metric(labels, each.dataflow.state == Dataflow.State.ENABLED)
            held.add_metric(labels, each.held)
            backlog.add_metric([*labels, "fresh"], each.waiting.fresh)
            backlog.add_metric([*labels, "bulk"], each.waiting.bulk)
            for queue, seconds in each.lags.items():
                lag.add_metric([*labels, queue], seconds)
            lanes.add_metric(labels, each.dataflow.lane_count)
            leased.add_metric(labels, each.lanes)
            for percent in latency.PERCENTILES:
                if (within := each.latency(percent)) is not None:
                    latencies.add_metric([*labels, str(percent / 100)], within)
        yield from (enabled, held, backlog, lag, lanes, leased, latencies)
