"""A failing provider is left alone, looked at carefully, and used again."""

import logging
import time

import pytest
from opentelemetry.metrics import _internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_latency.errors import CircuitOpen
from otel_latency.instrument.breaker import Breaker, Breakers

ERROR = ConnectionError("down")


@pytest.fixture
def wall_clock(monkeypatch):
    """The clock that purgatory reads: `wall_clock[0]` seconds."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def failing(breaker, times):
    for _ in range(times):
        breaker.enter()
        breaker.failed(ERROR)


def test_opens(wall_clock):
    """Five failures in a row open it; then calls are refused, and the error says for how long."""
    breaker = Breaker("openai", threshold=5, rest=30.0)
    failing(breaker, 4)
    assert "closed" == breaker.state
    failing(breaker, 1)
    wall_clock[0] += 10
    with pytest.raises(CircuitOpen) as refused:
        breaker.enter()
    assert ("open", "openai", 20.0) == (breaker.state, refused.value.provider, refused.value.retry_after)


def test_success_forgives():
    """A success between failures starts the count anew."""
    breaker = Breaker("openai", threshold=3)
    for _ in range(4):
        failing(breaker, 2)
        breaker.enter()
        breaker.succeeded()
    assert "closed" == breaker.state


def test_abandoned_says_nothing():
    """Attempts that were cancelled neither count as failures nor forgive them."""
    breaker = Breaker("openai", threshold=3)
    failing(breaker, 2)
    for _ in range(5):
        breaker.enter()
        breaker.abandoned()
    assert "closed" == breaker.state
    failing(breaker, 1)
    assert "open" == breaker.state


@pytest.mark.parametrize("succeeds", [True, False])
def test_probe(succeeds, wall_clock):
    """After its rest one call alone is let through, and its end decides."""
    breaker = Breaker("openai", threshold=1, rest=30.0)
    failing(breaker, 1)
    wall_clock[0] += 31
    breaker.enter()
    assert "half_open" == breaker.state
    with pytest.raises(CircuitOpen):
        breaker.enter()
    breaker.succeeded() if succeeds else breaker.failed(ERROR)
    assert "closed" if succeeds else "open" == breaker.state


def test_abandoned_probe(wall_clock):
    """A probe that was cancelled lets the next one through."""
    breaker = Breaker("openai", threshold=1, rest=30.0)
    failing(breaker, 1)
    wall_clock[0] += 31
    breaker.enter()
    breaker.abandoned()
    breaker.enter()
    breaker.succeeded()
    assert "closed" == breaker.state


def test_told(caplog, wall_clock):
    """Each change of state is one log line."""
    breaker = Breaker("openai", threshold=1, rest=30.0)
    with caplog.at_level(logging.WARNING, logger="otel_latency"):
        failing(breaker, 1)
        wall_clock[0] += 31
        breaker.enter()
        breaker.succeeded()
    assert [
        "circuit of openai is open, next try in 30 s",
        "circuit of openai is half-open",
        "circuit of openai is closed",
    ] == caplog.messages


def test_metric():
    """The gauge has one series per provider: 0 closed, 2 open."""
    breakers = Breakers(threshold=1)
    failing(breakers.of("openai"), 1)
    breakers.of("anthropic").enter()
    reader = InMemoryMetricReader()
    meter = MeterProvider(metric_readers=[reader]).get_meter("otel_latency")
    meter.create_observable_gauge("otel_latency.circuit_state", [breakers.observations])
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert {"openai": 2, "anthropic": 0} == {
        point.attributes["provider"]: point.value for point in metric.data.data_points
    }


def test_metric_is_registered():
    """The gauge of this process's breakers waits for whichever MeterProvider the application sets."""
    names = [name for _, name in _registered()]
    assert "otel_latency.circuit_state" in names


def _registered():
    meters = _internal._PROXY_METER_PROVIDER._meters
    return [(meter, instrument._name) for meter in meters for instrument in meter._instruments]
