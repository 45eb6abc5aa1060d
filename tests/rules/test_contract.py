"""The list of metrics against what exports them: the code's own names, a running agent, and what the library sends."""

import re
from pathlib import Path

import pytest
from running import running_agent

import otel_latency
from otel_latency.aggregate.naming import metric_name
from otel_latency.instrument.measure import AUDIO, CONNECTION, COUNTED
from otel_latency.records import MetricKind
from otel_latency.rules.contract import METRICS, OWNED, Metric, metric, samples

SOURCES = [
    path for step in ("aggregate", "collect") for path in (Path(otel_latency.__file__).parent / step).rglob("*.py")
]


def test_samples():
    """A histogram is shown as three counters, a summary as quantiles and two counters."""
    assert {
        "h": Metric("histogram", frozenset({"a"})),
        "h_bucket": Metric("counter", frozenset({"a", "le"})),
        "h_count": Metric("counter", frozenset({"a"})),
        "h_sum": Metric("counter", frozenset({"a"})),
        "s": Metric("gauge", frozenset({"a", "quantile"})),
        "s_count": Metric("counter", frozenset({"a"})),
        "s_sum": Metric("counter", frozenset({"a"})),
        "g": Metric("gauge", frozenset()),
    } == samples({"h": metric("histogram", "a"), "s": metric("summary", "a"), "g": metric("gauge")})


def test_names_in_the_code():
    """Every metric's name that is written down in a collector or an aggregator is in the list."""
    written = {
        name
        for path in SOURCES
        for name in re.findall(r'"((?:otel_latency|gen_ai_client)_\w+[a-z0-9])"', path.read_text())
    }
    assert len(written) > 40
    assert set() == written - set(METRICS) - {"otel_latency_circuit_state"}


def test_names_of_the_library():
    """What `record_audio` and `record_connection` send is shown under names of the list."""
    for what, (name, unit, _) in {**AUDIO, **CONNECTION}.items():
        kind = MetricKind.SUM if what in COUNTED else MetricKind.HISTOGRAM
        shown, _ = metric_name(name, unit, kind, is_monotonic=what in COUNTED)
        assert ("counter" if what in COUNTED else "histogram") == METRICS[shown].type


@pytest.fixture(scope="module")
def page():
    """What a running agent shows of itself and its machine: sample name -> label names; family -> type."""
    with running_agent({"collect.host.interval": "100ms"}) as agent:
        status, text = agent.get("/metrics")
    assert 200 == status
    return text.decode()


def test_types_on_the_page(page):
    """Every family that a running agent shows has the type of the list."""
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE))
    assert len(types) > 15
    assert {} == {name: kind for name, kind in types.items() if name not in METRICS or METRICS[name].type != kind}


def test_labels_on_the_page(page):
    """Every series has the labels of the list."""
    known = samples(METRICS)
    rows = re.findall(r"^(\w+?)(?:\{(.*)\})? \S+$", page, re.MULTILINE)
    found = {name: frozenset(re.findall(r'(\w+)="', labels)) for name, labels in rows if name.startswith(OWNED)}
    assert {} == {name: labels for name, labels in found.items() if name not in known or known[name].labels != labels}
