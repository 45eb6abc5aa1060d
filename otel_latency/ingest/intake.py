"""The door of the agent: a request body in, records out to whoever aggregates them, and the count refused.

Both transports call `Intake.accept`; it decodes, hands the records on and accounts for every item. It is synchronous:
when it returns, what it did not report as rejected has been taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from otel_latency.ingest import otlp_logs, otlp_metrics, otlp_traces
from otel_latency.ingest.wire_json import ignored_keys_warning
from otel_latency.records import MetricPoint, Operation, Signal, SpanRow


class Outcome(NamedTuple):
    """What became of one request: `rejected` items of it were not taken, and `message` says why (or warns)."""

    rejected: int = 0
    message: str = ""


class Accept(Protocol):
    """What a transport needs: `Intake.accept`, or a stand-in."""

    def __call__(self, signal: Signal, body: bytes, *, is_json: bool, transport: str) -> Outcome:
        """Take one uncompressed request body. *transport* is `http` or `grpc`.

        Raises DecodeError when nothing of the body can be read (BodyTooLarge when it holds too many items), Overloaded
        when the agent cannot take it now.
        """


class Intake:
    """Decodes requests and hands on what they held: rows to *spans*, points to *points*, reports to *operations*."""

    def __init__(
        self,
        *,
        spans: Callable[[list[SpanRow]], None],
        points: Callable[[list[MetricPoint]], None],
        operations: Callable[[list[Operation]], None],
    ) -> None:
        self._spans = spans
        self._points = points
        self._operations = operations
        self._traces = otlp_traces.TraceDecoder()
        self.requests = 0
        self.received: Counter[tuple[Signal, str]] = Counter()
        """Items that came in, refused ones included, by signal and transport."""
        self.rejected: Counter[tuple[Signal, str]] = Counter()
        """Items refused, by signal and reason."""

    def accept(self, signal: Signal, body: bytes, *, is_json: bool, transport: str) -> Outcome:
        """See `Accept`."""
        self.requests += 1
        take = {Signal.TRACES: self._take_traces, Signal.METRICS: self._take_metrics, Signal.LOGS: self._take_logs}
        accepted, rejected, known_keys = take[signal](body, is_json)
        refused = sum(rejected.values())
        self.received[signal, transport] += accepted + refused
        for reason, count in rejected.items():
            self.rejected[signal, reason] += count
        said = [f"{reason}: {count}" for reason, count in sorted(rejected.items())]
        if is_json and not accepted:
            said.append(ignored_keys_warning(body, known_keys))
        return Outcome(refused, "; ".join(filter(None, said)))

    def _take_traces(self, body: bytes, is_json: bool) -> tuple[int, Mapping[str, int], frozenset[str]]:
        rows, rejected = self._traces.decode(body, is_json=is_json)
        self._spans(rows)
        return len(rows), rejected, otlp_traces.JSON_KEYS

    def _take_metrics(self, body: bytes, is_json: bool) -> tuple[int, Mapping[str, int], frozenset[str]]:
        points, rejected = otlp_metrics.decode_metrics(body, is_json=is_json)
        self._points(points)
        return len(points), rejected, otlp_metrics.JSON_KEYS

    def _take_logs(self, body: bytes, is_json: bool) -> tuple[int, Mapping[str, int], frozenset[str]]:
        operations, accepted, rejected = otlp_logs.decode_logs(body, is_json=is_json)
        self._operations(operations)
        return accepted, rejected, otlp_logs.JSON_KEYS


__all__ = ["Accept", "Intake", "Outcome", "Signal"]
