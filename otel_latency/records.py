"""What crosses the seams: the values that one step hands to the next, and nothing that does anything.

ingest    --SpanRow, MetricPoint, Operation-->  aggregate
collect   --Sample, CheckResult-->              aggregate, web
aggregate --Family-->                           web, rules
rules     --Alert-->                            notify, web
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol


class Signal(Enum):
    """The three OTLP signals; the value is the path segment and the metric label."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Resource:
    """Where telemetry comes from: the attributes of an OTLP resource and its instrumentation scope, made clean."""

    service: str
    scope_name: str = ""
    scope_version: str = ""
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What a kind of span means, apart from its times and numbers. Interned: compare with `is`.

    `turn` is set on root spans, `llm` on LLM calls; `stage` is the (templated) name of the step, empty for a span
    that is a turn and nothing else.
    """

    service: str
    stage: str = ""
    turn: str = ""
    status: str = "ok"
    llm: LLMProfile | None = None


@dataclass(frozen=True, slots=True)
class LLMProfile:
    """The constant part of an LLM call. `origin` says whose clock measured it: the caller's or the model host's."""

    provider: str = ""
    model: str = ""
    task: str = ""
    operation: str = ""
    error_type: str = ""
    origin: str = "client"


SpanRow = tuple[Profile, bytes, bytes, bytes, int, int, dict[str, float | str] | None]
"""One finished span: profile, trace id, span id, parent id, start, end, measures.

Ids are 16, 8 and 8 bytes (an empty parent id: a root); times are Unix nanoseconds, as sent. Measures map field names
(`ttft`, `input_tokens`, `session`, ...: see `ingest.normalise.FIELDS`) to seconds, counts or text; None when the span
carried none. A plain tuple, since hundreds of thousands of them pass by each second.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """A report about an operation that is still running (or has just ended): one of our OTLP log records.

    `event` is start, progress, warning or end; `time` is Unix seconds, the rest are seconds or None when unknown.
    """

    event: str
    time: float
    trace_id: bytes
    span_id: bytes
    service: str
    stage: str
    task: str = ""
    provider: str = ""
    model: str = ""
    elapsed: float | None = None
    estimate: float | None = None
    timeout: float | None = None


class MetricKind(Enum):
    GAUGE = "gauge"
    SUM = "sum"
    HISTOGRAM = "histogram"
    EXPONENTIAL_HISTOGRAM = "exponential_histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One data point of a metric received over OTLP, as it was sent.

    `value` serves gauges and sums. Histograms carry `count`, `sum` and either `bounds` with `bucket_counts` (one more
    than bounds, not cumulated) or `scale`, `zero_count` and `buckets` (OTLP exponential index -> count, positive
    range only; negative observations are counted in `zero_count`). `no_recorded_value` says that the series has ended.
    """

    name: str
    unit: str
    description: str
    kind: MetricKind
    resource: Resource
    attributes: Mapping[str, object]
    start_ns: int
    time_ns: int
    is_monotonic: bool = False
    is_delta: bool = False
    no_recorded_value: bool = False
    value: float = 0.0
    count: int = 0
    sum: float = 0.0
    bounds: Sequence[float] = ()
    bucket_counts: Sequence[int] = ()
    scale: int = 0
    zero_count: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)
    quantiles: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value from a collector. A counter only grows; its name ends in `_total`."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    is_counter: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The last outcome of watching one external service; `error` is empty when it is up."""

    name: str
    up: bool
    seconds: float
    time: float
    required: bool
    error: str = ""


Labels = tuple[tuple[str, str], ...]
"""A series' labels in the order they are shown: hashable, so that a renderer can keep what it made of them."""


class Exemplar(NamedTuple):
    """One observation with the trace it came from; `time` is Unix seconds."""

    value: float
    trace_id: str
    span_id: str
    time: float


@dataclass(frozen=True, slots=True)
class HistogramSeries:
    """A histogram as it stands: classic buckets (cumulated, without +Inf) and, where known, native ones.

    `native` maps bucket index to count at `schema`; `created` is Unix seconds.
    """

    labels: Labels
    count: int
    sum: float
    buckets: Sequence[tuple[float, int]]
    native: Mapping[int, int] | None = None
    schema: int = 6
    zero_count: int = 0
    exemplar: Exemplar | None = None
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class SummarySeries:
    """Quantiles with the cumulative count and sum behind them."""

    labels: Labels
    count: int
    sum: float
    quantiles: Sequence[tuple[float, float]]
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class ValueSeries:
    """One number: a gauge, or a counter's running total."""

    labels: Labels
    value: float
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family of the exposition: all series of one name. `name` of a counter ends in `_total`."""

    name: str
    type: str  # counter, gauge, histogram, summary, untyped
    help: str
    series: Sequence[HistogramSeries | SummarySeries | ValueSeries]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert to be sent: firing, or resolved. Times are Unix seconds.

    `labels` are its identity and hold `alertname`. `ends_at` of a firing alert is the time from which it may be taken
    for resolved should nothing more be heard of it; of a resolved one, when it resolved. `value` is the last one
    that breached. `valid_for` says the same as `ends_at` without a clock: seconds from being handed over. `active_at`
    is when the breach began, which is `for` before `starts_at`; 0 when that is not known.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float
    is_firing: bool
    value: float
    generator_url: str = ""
    valid_for: float = 240.0
    active_at: float = 0.0


class Collector(Protocol):
    """Anything that can be polled: our collectors and the user's own."""

    def collect(self) -> Iterable[Sample]:
        """Measure now. May take up to a second (it runs on a thread); an exception costs only this poll."""
