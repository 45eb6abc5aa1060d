"""Reports about work that still runs."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from otel_latency.instrument import span as span_module
from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.running import Watch
from otel_latency.instrument.runtime import MAX_OPEN, runtime
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn

SECOND = 1_000_000_000


class Clock:
    def __init__(self):
        self.now = 1000 * SECOND

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += round(seconds * SECOND)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(span_module, "monotonic_ns", clock)
    return clock


@pytest.fixture
def reports(spans):
    """What is emitted, as (event, attributes, span id); `step` looks once."""
    emitted = []

    def emit(event, context, attributes):
        span_id = trace.get_current_span(context).get_span_context().span_id
        emitted.append((event.rpartition(".")[2], dict(attributes), span_id))

    sent = []
    runtime.is_watching = True
    watch = Watch(emit, lambda: sent.append(len(emitted)), runtime.open)
    emitted_and_step = (emitted, watch.step)
    yield emitted_and_step
    runtime.is_watching = False
    runtime.open.clear()
    assert sent == sorted(set(sent))


def test_a_long_call(clock, reports):
    """A call is reported once it has run for 100 ms, each 5 s, once at half of its timeout, and at its end."""
    emitted, step = reports
    with llm_call("draft", provider="openai", model="gpt-4o", timeout=15.0) as call:
        call.estimate = 4.0
        for _ in range(130):
            step()
            clock.advance(0.1)
        step()
    step()
    step()
    assert ["start", "progress", "warning", "progress", "end"] == [event for event, _, _ in emitted]
    assert pytest.approx([0.1, 5.0, 7.5, 10.0, 13.0]) == [said["otel_latency.elapsed"] for _, said, _ in emitted]
    assert {
        "otel_latency.stage": "llm",
        "otel_latency.task": "draft",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "otel_latency.timeout": 15.0,
        "otel_latency.estimate": 4.0,
    } == {key: value for key, value in emitted[0][1].items() if key != "otel_latency.elapsed"}
    assert {call.span_context.span_id} == {span_id for _, _, span_id in emitted}


def test_short_work_is_not_reported(clock, reports):
    """What ends before it is 100 ms old is told by its span alone."""
    emitted, step = reports
    for _ in range(5):
        with turn("answer"), stage("quick"):
            clock.advance(0.04)
            step()
    step()
    assert [] == emitted


def test_turns_and_stages(clock, reports):
    """A turn is reported under its own name, a stage under its."""
    emitted, step = reports
    with turn("answer"), stage("retrieve"):
        clock.advance(0.2)
        step()
    step()
    assert [("start", "answer"), ("start", "retrieve"), ("end", "answer"), ("end", "retrieve")] == [
        (event, said["otel_latency.stage"]) for event, said, _ in emitted
    ]
    assert "answer" == emitted[0][1]["otel_latency.turn"]


def test_the_table_is_bounded(clock, reports, monkeypatch):
    """A program that never closes its spans fills no memory."""
    monkeypatch.setattr(span_module, "MAX_OPEN", 3)
    kept = [stage("leak").__enter__() for _ in range(5)]
    assert 3 == len(runtime.open)
    assert MAX_OPEN > 3
    for one in reversed(kept):
        one.__exit__(None, None, None)
    assert {} == runtime.open


def test_without_a_provider_nothing_is_reported(clock):
    """Work that has no ids cannot be told apart, and is not reported."""
    emitted = []
    runtime.is_watching = True
    watch = Watch(lambda *report: emitted.append(report), lambda: None, runtime.open)
    with turn("answer"):
        clock.advance(1)
        watch.step()
    runtime.is_watching = False
    runtime.open.clear()
    assert [] == emitted
