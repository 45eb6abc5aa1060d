"""A client's own span inside an LLM call of ours: the real anthropic client, and an instrumented openai one."""

from __future__ import annotations

import anthropic
import openai
import pytest
from instrument.provider_server import (
    MESSAGE_STOP,
    USAGE,
    ProviderServer,
    Step,
    block_delta,
    block_start,
    block_stop,
    message_delta,
    message_start,
)
from instrument.recording import memory_provider
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.trace import SpanKind

from otel_latency import semconv
from otel_latency.ingest.normalise import LABELS, Normaliser, resource
from otel_latency.instrument import inner
from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.stage import stage
from otel_latency.instrument.wrap import wrap

MESSAGE = {"model": "claude-4", "max_tokens": 9, "messages": [{"role": "user", "content": "the prompt"}]}
EVENTS = [
    *(message_start(), block_start(), block_delta("text_delta", "Hi"), block_stop(), message_delta(), MESSAGE_STOP),
]
ANSWER = message_start()["message"] | {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
COMPLETION = {"id": "c", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [], "usage": USAGE}


@pytest.fixture
def server():
    with ProviderServer() as running:
        running.script = [Step(0, event) for event in EVENTS]
        running.answer = ANSWER
        yield running


@pytest.fixture
def traced():
    """A provider that the client and our library share."""
    provider, exporter = memory_provider()
    inner.install(provider)
    inner.install(provider)
    before, runtime.tracer = runtime.tracer, provider.get_tracer(semconv.SCOPE)
    exporter.provider = provider
    yield exporter
    runtime.tracer = before


def counted(spans):
    """The names of the spans that the agent counts as model calls."""
    normaliser = Normaliser()
    found = []
    for span in spans:
        labels = {key: value for key, value in span.attributes.items() if key in LABELS}
        scope = resource({}, span.instrumentation_scope.name, span.instrumentation_scope.version or "")
        kind = span.kind.value + 1
        profile = normaliser.profile(scope, span.name, kind, span.parent is None, span.status.status_code.value, labels)
        found += [span.name] * (profile.llm is not None)
    return found


def new_client(server, traced):
    return anthropic.Anthropic(
        base_url=server.url, api_key="x", max_retries=0, open_telemetry={"tracer_provider": traced.provider}
    )


@pytest.mark.parametrize("is_streamed", [True, False])
def test_wrapped(server, traced, is_streamed):
    """A wrapped client's request is two spans and one call."""
    with wrap(new_client(server, traced)) as client:
        answer = client.messages.create(**MESSAGE, stream=is_streamed)
        if is_streamed:
            list(answer)
    spans = traced.get_finished_spans()
    assert (["anthropic.messages.create", "chat claude-4"], ["chat claude-4"]) == (
        sorted(span.name for span in spans),
        counted(spans),
    )
    own, ours = sorted(spans, key=lambda span: span.name)
    assert own.parent.span_id == ours.context.span_id


def test_within_call(server, traced):
    """So is a request of a bare client inside an LLM call, which learns what the inner span knows."""
    with new_client(server, traced) as client, llm_call("draft", provider="anthropic", model="claude-4"):
        client.messages.create(**MESSAGE)
    spans = traced.get_finished_spans()
    assert ["chat claude-4"] == counted(spans)
    ours = next(span for span in spans if span.instrumentation_scope.name == semconv.SCOPE)
    assert ("m", "claude", 1) == tuple(
        ours.attributes[name] for name in ("gen_ai.response.id", "gen_ai.response.model", "gen_ai.usage.output_tokens")
    )


def test_without_call(server, traced):
    """On its own, the client's span is the call."""
    with new_client(server, traced) as client, stage("outer"):
        client.messages.create(**MESSAGE)
    assert ["anthropic.messages.create"] == counted(traced.get_finished_spans())


def test_other_instrumentation(server, traced):
    """The spans of OpenTelemetry's own instrumentation are told apart as well."""
    server.answer = COMPLETION
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=traced.provider)
    try:
        with (
            wrap(openai.OpenAI(base_url=server.url, api_key="x", max_retries=0)) as client,
            llm_call("x", provider="p"),
        ):
            client.chat.completions.create(model="m", messages=[])
    finally:
        instrumentor.uninstrument()
    spans = traced.get_finished_spans()
    assert (2, ["chat"]) == (len(spans), counted(spans))


def test_own_calls(traced):
    """A call of ours within another is a call."""
    with llm_call("outer", provider="p", model="a"), llm_call("inner", provider="p", model="b"):
        pass
    assert ["chat b", "chat a"] == counted(traced.get_finished_spans())


def test_lost_spans(traced):
    """Inner spans that never end are kept up to a bound."""
    watch = inner.InnerCalls()
    tracer = traced.provider.get_tracer("theirs")
    with llm_call("outer", provider="p"):
        for _ in range(inner.MAX_OPEN + 10):
            span = tracer.start_span("x", kind=SpanKind.CLIENT, attributes={"gen_ai.operation.name": "chat"})
            watch.on_start(span)
    assert len(watch._open) == inner.MAX_OPEN
