"""Spans that cost a third of the SDK's, for the tracer of our own under a provider that `configure` has installed.

Processors, exporters and whoever asks for the current span find what they know: a recording span with the attributes,
events, links and status of the SDK's, and at its end the SDK's own `ReadableSpan`. Ids, resource and processors are the
provider's. Values that are text, numbers or booleans are kept as they come; all others go through the SDK's cleaning.

The SDK's tracer has its way with whatever is not as usual: another sampler or limits than its defaults, links, a parent
that is not sampled, the SDK's metrics of itself.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from time import time_ns
from typing import Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
)
from opentelemetry.util.types import Attributes, AttributeValue

log = logging.getLogger(__name__)

MAX: Final = 128
"""Attributes of a span or event, and events and links of a span: the SDK's limits unless a variable sets others."""
MEASURES_ITSELF: Final = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_PLAIN: Final = frozenset({str, bool, int, float})
_TEXT: Final = frozenset({str})
_NO_ATTRIBUTES: Final = BoundedAttributes(MAX)
_UNSET: Final = Status()
_RANDOM: Final = 0x02
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_SAMPLED_RANDOM: Final = TraceFlags(TraceFlags.SAMPLED | _RANDOM)


def quick_tracer(
    provider: TracerProvider, name: str, version: str, environment: Mapping[str, str] = os.environ
) -> Tracer:
    """A tracer of *provider*: ours where nothing was asked for that only the SDK's can do."""
    tracer = provider.get_tracer(name, version)
    is_limited = any("_LIMIT" in variable for variable in environment if variable.startswith("OTEL_"))
    if is_limited or is_sdk_measured(environment) or provider.sampler is not DEFAULT_ON:
        return tracer
    enabled = getattr(tracer, "_is_enabled", lambda: True)
    if not isinstance(tracer, SdkTracer) or not enabled():
        return tracer
    return QuickTracer(tracer, InstrumentationScope(name, version))


def is_sdk_measured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the SDK shall tell how many spans it has made and sent."""
    return environment.get(MEASURES_ITSELF, "").strip().lower() == "true"


class QuickTracer(Tracer):
    """Starts quick spans where *tracer* would start a sampled one without links."""

    def __init__(self, tracer: SdkTracer, scope: InstrumentationScope) -> None:
        self._tracer = tracer
        self._scope = scope
        self._processor: Any = tracer.span_processor
        self._on_ending = getattr(self._processor, "_on_ending", lambda _span: None)
        self._new_span_id = tracer.id_generator.generate_span_id
        is_random = getattr(tracer.id_generator, "is_trace_id_random", lambda: False)
        self._root_flags = _SAMPLED_RANDOM if is_random() else _SAMPLED

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        around = get_current_span(context).get_span_context()
        parent = around if around.is_valid else None
        if links or (parent is not None and not parent.trace_flags.sampled):
            return self._tracer.start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
        if parent is None:
            trace_id, flags, state = self._tracer.id_generator.generate_trace_id(), self._root_flags, None
        else:
            trace_id, state = parent.trace_id, parent.trace_state
            flags = _SAMPLED_RANDOM if parent.trace_flags & _RANDOM else _SAMPLED
        own = SpanContext(trace_id, self._new_span_id(), is_remote=False, trace_flags=flags, trace_state=state)
        resource = self._tracer.resource
        span = QuickSpan(self, name, own, parent, resource, kind, self._scope, start_time or time_ns())
        if attributes:
            span.set_attributes(attributes)
        self._processor.on_start(span, parent_context=context)
        return span

    def start_as_current_span(self, *arguments: Any, **options: Any) -> AbstractContextManager[Span]:  # type: ignore[override]
        """As the SDK does it: we do not use it."""
        return self._tracer.start_as_current_span(*arguments, **options)

    def ended(self, span: QuickSpan) -> None:
        """Tell the processors."""
        self._on_ending(span)
        self._processor.on_end(span.ended())


class QuickSpan(ReadableSpan, Span):
    """A span that runs, or has ended and refuses to change."""

    def __init__(
        self,
        tracer: QuickTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        resource: Resource,
        kind: SpanKind,
        scope: InstrumentationScope,
        start_time: int,
    ) -> None:
        self._tracer = tracer
        self._values: dict[str, Any] | BoundedAttributes = {}
        self._happened: list[Event] | BoundedList[Event] = []
        super().__init__(
            name=name,
            context=context,
            parent=parent,
            resource=resource,
            attributes=self._values,
            events=self._happened,
            kind=kind,
            start_time=start_time,
            instrumentation_scope=scope,
        )

    def get_span_context(self) -> SpanContext:
        return cast("SpanContext", self._context)

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if type(key) is str and key:
            self.set_attributes({key: value})
        elif not self._is_over("set_attribute"):
            self._bounded()[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self._is_over("set_attributes"):
            return
        values = self._values
        if type(values) is dict and len(values) + len(attributes) <= MAX and _are_plain(attributes):
            values.update(attributes)
            return
        bounded, cleaned = self._bounded(), BoundedAttributes(MAX, attributes)
        bounded.update(cleaned)
        bounded.dropped += cleaned.dropped

    def _bounded(self) -> BoundedAttributes:
        """The attributes in the SDK's keeping from now on."""
        if not isinstance(self._values, BoundedAttributes):
            self._values = self._attributes = BoundedAttributes(MAX, self._values, immutable=False)
        return self._values

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if self._is_over("add_event"):
            return
        happened = self._happened
        if type(happened) is list and len(happened) == MAX:
            happened = self._happened = self._events = BoundedList.from_seq(MAX, happened)
        happened.append(Event(name, BoundedAttributes(MAX, attributes) if attributes else _NO_ATTRIBUTES, timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if self._is_over("add_link") or not (context.is_valid or attributes or context.trace_state):
            return
        links = self._links if isinstance(self._links, BoundedList) else BoundedList(MAX)
        links.append(Link(context, BoundedAttributes(MAX, attributes)))
        self._links = links

    def update_name(self, name: str) -> None:
        if not self._is_over("update_name"):
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self._is_over("set_status"):
            return
        new = status if isinstance(status, Status) else Status(status, description)
        if self._status.status_code is not StatusCode.OK and not new.is_unset:
            self._status = new

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        kind = type(exception)
        is_builtin = kind.__module__ in {"", "builtins"}
        said: dict[str, Any] = {
            "exception.type": kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}",
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**said, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self._is_over("end"):
            return
        self._end_time = time_ns() if end_time is None else end_time
        self._tracer.ended(self)

    def _is_over(self, what: str) -> bool:
        if self._end_time is None:
            return False
        log.warning("%s was called on a span that has ended", what)
        return True

    def ended(self) -> ReadableSpan:
        """What processors and exporters get."""
        return ReadableSpan(
            name=self._name,
            context=self._context,
            parent=self._parent,
            resource=self._resource,
            attributes=self._values,
            events=self._happened,
            links=self._links,
            kind=self._kind,
            status=self._status,
            start_time=self._start_time,
            end_time=self._end_time,
            instrumentation_scope=self._instrumentation_scope,
        )


def _are_plain(attributes: Mapping[str, object]) -> bool:
    """Whether there is nothing to clean, and no key to refuse."""
    is_plain = _PLAIN.issuperset(map(type, attributes.values())) and _TEXT.issuperset(map(type, attributes))
    return is_plain and "" not in attributes
