"""The metrics that an agent exposes, by name: what the linter knows of the series that rules ask for.

The names are a contract with dashboards and rules. Those of spans are taken from where they are exported; the others
are listed, and a test holds them against a running agent. Series that applications send under names of their own are
not here, and nothing can be said about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from otel_latency.aggregate import aggregator

OWNED: Final = ("otel_latency_", "gen_ai_client_operation_")
"""What the names begin with that only an agent exports: one that is not in `METRICS` does not exist."""

TARGET_LABELS: Final = frozenset({"job", "instance", "pod", "namespace", "container", "node", "cluster", "endpoint"})
"""Labels that a series may get on its way: from `rules.target_labels`, or from Prometheus' service discovery."""

_SUFFIXES: Final = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
_ADDED: Final = {"_bucket": ("le",), "": ("quantile",)}


@dataclass(frozen=True, slots=True)
class Metric:
    """A family: its type in the words of the exposition, and the labels that tell its series apart."""

    type: str
    labels: frozenset[str]


RECORDED: Final = Metric("recorded", frozenset())
"""Stands for what rules record: the series is there, and nothing else is known of it, its labels neither."""


def metric(type_: str, *labels: str) -> Metric:
    return Metric(type_, frozenset(labels))


def samples(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The series that *metrics* become, by the names that expressions use. What only grows is a counter.

    A histogram's own name is there, too, though no series has it: it says so by its type.
    """
    return dict(pair for name, one in metrics.items() for pair in _samples(name, one))


def _samples(name: str, family: Metric) -> Iterator[tuple[str, Metric]]:
    yield name, family if family.type != "summary" else Metric("gauge", family.labels | {"quantile"})
    for suffix in _SUFFIXES.get(family.type, ()):
        yield name + suffix, Metric("counter", family.labels | set(_ADDED.get(suffix, ())))


_TURN: Final = ("service", "turn")
_STAGE: Final = ("service", "stage")
_LLM: Final = ("service", "provider", "model", "task")
_CLIENT: Final = (
    "service",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "error_type",
)
_RECEIVED: Final = ("service", "service_instance_id")


def _of_spans() -> Iterator[tuple[str, Metric]]:
    latencies = (
        *((_TURN, one) for one in (aggregator.TURN_DURATION, *aggregator.TURN_MEASURES.values())),
        (_STAGE, aggregator.STAGE_DURATION),
        *((_LLM, one) for one in (aggregator.LLM_DURATION, *aggregator.LLM_MEASURES.values())),
        *((_CLIENT, one) for one in (aggregator.CLIENT_DURATION, *aggregator.CLIENT_MEASURES.values())),
    )
    for labels, latency in latencies:
        yield latency.name, metric("histogram", *labels)
        if latency.window:
            yield latency.window, metric("summary", *labels, "window")
    totals = (
        (_TURN, aggregator.TURNS),
        (_STAGE, aggregator.STAGES),
        *(
            (_LLM, one)
            for one in (aggregator.LLM_CALLS, aggregator.LLM_RETRIES, aggregator.LLM_TOKENS, aggregator.LLM_COST)
        ),
    )
    for labels, total in totals:
        yield total.name, metric("counter", *labels, *filter(None, (total.label,)))


_MACHINE: Final = {
    "otel_latency_host_cpu_utilization_ratio": metric("gauge"),
    "otel_latency_host_memory_utilization_ratio": metric("gauge"),
    "otel_latency_host_memory_used_bytes": metric("gauge"),
    "otel_latency_host_disk_free_ratio": metric("gauge", "mountpoint"),
    "otel_latency_host_network_bytes_total": metric("counter", "interface", "direction"),
    "otel_latency_host_network_utilization_ratio": metric("gauge", "interface", "direction"),
    "otel_latency_host_load1": metric("gauge"),
    "otel_latency_container_cpu_limit_cores": metric("gauge"),
    "otel_latency_container_cpu_utilization_ratio": metric("gauge"),
    "otel_latency_container_cpu_throttled_ratio": metric("gauge"),
    "otel_latency_container_memory_working_set_bytes": metric("gauge"),
    "otel_latency_container_memory_limit_bytes": metric("gauge"),
    "otel_latency_container_memory_utilization_ratio": metric("gauge"),
    "otel_latency_container_pressure_ratio": metric("gauge", "resource", "kind"),
    "otel_latency_process_cpu_utilization_ratio": metric("gauge", "process"),
    "otel_latency_process_resident_memory_bytes": metric("gauge", "process"),
    "otel_latency_process_instances": metric("gauge", "process"),
    "otel_latency_process_threads": metric("gauge", "process"),
    "otel_latency_process_open_fds": metric("gauge", "process"),
    "otel_latency_process_max_fds": metric("gauge", "process"),
    "otel_latency_gpu_up": metric("gauge", "gpu"),
    "otel_latency_gpu_utilization_ratio": metric("gauge", "gpu"),
    "otel_latency_gpu_memory_used_bytes": metric("gauge", "gpu"),
    "otel_latency_gpu_memory_total_bytes": metric("gauge", "gpu"),
    "otel_latency_gpu_temperature_celsius": metric("gauge", "gpu"),
    "otel_latency_gpu_power_watts": metric("gauge", "gpu"),
    "otel_latency_check_up": metric("gauge", "check"),
    "otel_latency_check_duration_seconds": metric("gauge", "check"),
}
_AGENT: Final = {
    "otel_latency_build_info": metric("gauge", "version"),
    "otel_latency_agent_series": metric("gauge"),
    "otel_latency_agent_hidden_series": metric("gauge"),
    "otel_latency_agent_resident_memory_bytes": metric("gauge"),
    "otel_latency_agent_tick_lateness_seconds": metric("histogram"),
    "otel_latency_agent_loop_lag_seconds": metric("gauge"),
    "otel_latency_agent_loop_blocked_total": metric("counter"),
    "otel_latency_agent_received_spans_total": metric("counter", "transport"),
    "otel_latency_agent_received_metric_points_total": metric("counter", "transport"),
    "otel_latency_agent_received_log_records_total": metric("counter", "transport"),
    "otel_latency_agent_rejected_spans_total": metric("counter", "reason"),
    "otel_latency_agent_rejected_metric_points_total": metric("counter", "reason"),
    "otel_latency_agent_rejected_log_records_total": metric("counter", "reason"),
    "otel_latency_agent_dropped_spans_total": metric("counter", "reason"),
    "otel_latency_agent_dropped_metric_points_total": metric("counter", "reason"),
    "otel_latency_agent_dropped_operations_total": metric("counter", "reason"),
    "otel_latency_agent_adjusted_spans_total": metric("counter", "reason"),
    "otel_latency_agent_overflowed_series_total": metric("counter", "kind"),
    "otel_latency_agent_unassembled_spans_total": metric("counter", "reason"),
    "otel_latency_agent_unpriced_calls_total": metric("counter", "reason"),
    "otel_latency_agent_unlearnt_operations_total": metric("counter", "reason"),
    "otel_latency_agent_turn_sampling_ratio": metric("gauge"),
    "otel_latency_agent_history_bytes": metric("gauge"),
    "otel_latency_agent_forward_dropped_items_total": metric("counter", "destination", "reason"),
    "otel_latency_agent_forward_dropped_spans_total": metric("counter", "destination", "reason"),
    "otel_latency_agent_forward_recovered_spans_total": metric("counter", "destination"),
    "otel_latency_agent_recovered_items_total": metric("counter", "signal"),
    "otel_latency_agent_history_dropped_total": metric("counter", "reason"),
    "otel_latency_agent_collector_failures_total": metric("counter", "collector"),
    "otel_latency_agent_collector_skipped_total": metric("counter", "collector"),
    "otel_latency_agent_rules": metric("gauge"),
    "otel_latency_agent_rules_failing": metric("gauge"),
    "otel_latency_agent_rules_reload_successful": metric("gauge"),
    "otel_latency_agent_rule_missed_evaluations_total": metric("counter", "group"),
    "otel_latency_agent_queued_notifications": metric("gauge"),
    "otel_latency_agent_notifications_total": metric("counter", "notifier", "outcome"),
    "otel_latency_agent_forwarded_spans_total": metric("counter", "destination"),
    "otel_latency_agent_queued_spans": metric("gauge", "destination"),
    "otel_latency_agent_forward_queue_bytes": metric("gauge"),
    "otel_latency_agent_acked_nondurable_spans_total": metric("counter"),
}
_WORK: Final = {
    "otel_latency_operations_in_flight": metric("gauge", *_STAGE),
    "otel_latency_oldest_operation_seconds": metric("gauge", *_STAGE),
    "otel_latency_stage_target_seconds": metric("gauge", "stage", "level"),
    "otel_latency_milestone_target_seconds": metric("gauge", "milestone", "level"),
    "otel_latency_turn_exposed_seconds": metric("histogram", *_TURN, "stage"),
    "otel_latency_anomaly_score": metric("gauge", *_STAGE),
    "otel_latency_sessions_active": metric("gauge", "service"),
    "otel_latency_sessions_total": metric("counter", "service", "outcome"),
}
_OF_THE_LIBRARY: Final = {
    "otel_latency_circuit_state": metric("gauge", *_RECEIVED, "provider"),
    "otel_latency_audio_latency_seconds": metric("histogram", *_RECEIVED),
    "otel_latency_audio_quality": metric("histogram", *_RECEIVED),
    "otel_latency_audio_chunk_size_bytes": metric("histogram", *_RECEIVED),
    "otel_latency_audio_glitches_total": metric("counter", *_RECEIVED),
    "otel_latency_connection_rtt_seconds": metric("histogram", *_RECEIVED),
    "otel_latency_connection_packet_loss": metric("histogram", *_RECEIVED),
    "otel_latency_connection_bandwidth_bit_per_second": metric("histogram", *_RECEIVED),
    "otel_latency_connection_reconnections_total": metric("counter", *_RECEIVED),
}
METRICS: Final[Mapping[str, Metric]] = {**dict(_of_spans()), **_MACHINE, **_AGENT, **_WORK, **_OF_THE_LIBRARY}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known about where rules will run. `series` are by the names that expressions use.

    A name that begins with one of `owned` and is not in `series` does not exist; of others nothing is known.
    """

    series: Mapping[str, Metric] = field(default_factory=lambda: samples(METRICS))
    owned: tuple[str, ...] = OWNED
    sample_ms: int = 1000
    interval_ms: int = 1000
