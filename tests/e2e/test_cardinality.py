"""Names without end: the agent keeps as many series as it may, and loses no span. A benchmark sends a million."""

from __future__ import annotations

import time

import pytest
from payload import Batch, unique_name
from running import running_agent, total

COUNT = "otel_latency_stage_duration_seconds_count"
REQUESTS, SPANS = 200, 500


def test_many_names():
    """100,000 names make as many series as allowed; what comes after is counted in the overflow series, exactly."""
    with running_agent({"aggregate.max_series": "100"}) as agent:
        for seed in range(REQUESTS):
            body = Batch(seed, SPANS, unique_name).fresh(time.time_ns())
            assert agent.post(body) == (200, b"")
        page = agent.metrics()
    sent = REQUESTS * SPANS
    assert total(page, "otel_latency_agent_series") <= 100
    assert total(page, COUNT) == sent
    assert total(page, COUNT, otel_metric_overflow="true") == pytest.approx(sent, abs=100)
    assert total(page, "otel_latency_stages_total") == sent
