"""The agent's figures about itself."""

import os
from collections import Counter
from pathlib import Path

import pytest

from otel_latency.agent_metrics import AgentMetrics, resident_memory_bytes
from otel_latency.web.exposition import Text, legal
from otel_latency.web.registry import families


def lines(metrics):
    shown = legal(families(metrics.registry))
    assert shown.hidden == 0
    return Text().render(shown.families).decode().splitlines()


def test_page():
    """The names and labels of the contract, read when somebody looks."""
    received, dropped = Counter(), Counter()
    metrics = AgentMetrics(
        version="1.2.3",
        series=lambda: len(received),
        totals={"received_spans": lambda: received, "dropped_spans": lambda: dropped},
    )
    received.update(http=5, grpc=2)
    metrics.ticked(0.003)
    page = lines(metrics)
    assert {
        'otel_latency_build_info{version="1.2.3"} 1.0',
        "otel_latency_agent_series 2.0",
        'otel_latency_agent_received_spans_total{transport="http"} 5',
        'otel_latency_agent_received_spans_total{transport="grpc"} 2',
        "# TYPE otel_latency_agent_dropped_spans_total counter",
        'otel_latency_agent_tick_lateness_seconds_bucket{le="0.0025"} 0',
        'otel_latency_agent_tick_lateness_seconds_bucket{le="0.005"} 1',
        "otel_latency_agent_tick_lateness_seconds_count 1",
    } <= set(page)


def test_an_unknown_total():
    """A total that the contract does not know is a mistake at start-up."""
    with pytest.raises(KeyError):
        AgentMetrics(version="1", series=int, totals={"recieved_spans": dict})


def test_figures():
    """The same as plain values."""
    metrics = AgentMetrics(version="1", series=lambda: 4, totals={"rejected_spans": lambda: Counter(too_large=2)})
    metrics.ticked(0.25)
    metrics.ticked(0.001)
    figures = metrics.figures()
    assert figures.pop("resident_memory_bytes") > 1 << 20
    assert figures == {
        "rejected_spans_total": {"too_large": 2},
        "series": 4,
        "worst_tick_lateness_seconds": 0.25,
    }


def test_resident_memory():
    """What the kernel says in its own words."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    told = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024
    assert abs(resident_memory_bytes() - told) < 8 << 20
