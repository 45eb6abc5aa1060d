"""Client spans of other instrumentation inside an LLM call of ours: one call, told twice.

The anthropic client emits a `gen_ai` span for each request by itself, and other tools make openai's do so. Such a span
directly inside an LLM call is marked as part of it, so that the agent counts the outer one alone; what it knows and the
outer one does not (the response's id and model, token counts) is copied outwards when it ends.

Cost: 0.3 us for a span of another kind.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind

from otel_latency import semconv
from otel_latency.instrument.context import current
from otel_latency.instrument.guard import guard
from otel_latency.instrument.llm import OPERATION, USAGE, LLMCall
from otel_latency.instrument.usage import Source

MAX_OPEN: Final = 1_000
"""Inner spans that are watched at a time; some tools lose theirs."""

_COPIED: Final = ("gen_ai.response.id", "gen_ai.response.model", "gen_ai.response.finish_reasons")
_MARK: Final = "_otel_latency_inner"


def install(provider: object) -> None:
    """Watch the spans of *provider*, once, where it is one of the SDK's."""
    if isinstance(provider, trace.TracerProvider) and hasattr(provider, "add_span_processor"):
        if getattr(provider, _MARK, False):
            return
        setattr(provider, _MARK, True)
        provider.add_span_processor(InnerCalls())


class InnerCalls(SpanProcessor):
    """Marks inner spans as they start, and reads them as they end."""

    def __init__(self) -> None:
        self._open: dict[int, LLMCall] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.kind is not SpanKind.CLIENT:
            return
        try:
            call = self._around(span, parent_context)
            if call is not None:
                span.set_attribute(semconv.PART_OF, "llm_call")
                if len(self._open) < MAX_OPEN:
                    self._open[span.context.span_id] = call
        except Exception as fault:
            guard.caught("inner span", fault)

    def on_end(self, span: ReadableSpan) -> None:
        if not self._open or span.context is None:
            return
        try:
            call = self._open.pop(span.context.span_id, None)
            if call is not None:
                _copy(span, call)
        except Exception as fault:
            guard.caught("inner span", fault)

    def _around(self, span: Span, context: Context | None) -> LLMCall | None:
        scope = span.instrumentation_scope
        if OPERATION not in (span.attributes or ()) or (scope is not None and scope.name == semconv.SCOPE):
            return None
        timed = current(context)
        return timed if isinstance(timed, LLMCall) else None


def _copy(span: ReadableSpan, call: LLMCall) -> None:
    said = span.attributes or {}
    call.describe({name: said.get(name) for name in _COPIED})
    counts = {name: said.get(attribute) for name, attribute in USAGE.items() if name != "cost_usd"}
    call.count({name: count for name, count in counts.items() if isinstance(count, int)}, Source.INNER_SPAN)
