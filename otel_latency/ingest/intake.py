"""The door of the agent: a request body in, records out to whoever aggregates them, and the count refused.

Both transports call `Intake.accept`; it decodes and accounts for every item. Where a log keeps requests, the sender is
answered once `Outcome.keep` has returned; the records are handed on at that moment, and so never twice and never before
they are safe. Without one they are handed on at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol

from otel_latency.ingest import otlp_logs, otlp_metrics, otlp_traces
from otel_latency.ingest.wire_json import ignored_keys_warning
from otel_latency.records import MetricPoint, Operation, Signal, SpanRow

ITEM_BYTES: Final = 700
"""About what a decoded item takes in memory while it waits to be safe."""


class Outcome(NamedTuple):
    """What became of one request: `rejected` items of it were not taken, and `message` says why (or warns).

    The others are taken once `keep` has returned, where it is set; it raises Overloaded when that cannot be now. Until
    then they take about `waiting_bytes`.
    """

    rejected: int = 0
    message: str = ""
    keep: Callable[[], Awaitable[object]] | None = None
    waiting_bytes: int = 0


class Keep(Protocol):
    """Whoever keeps requests until they are done with."""

    def __call__(
        self, signal: Signal, body: bytes, *, is_json: bool, items: int, then: Callable[[], None]
    ) -> Awaitable[object]:
        """Keep a request with so many good *items*; *then* is called when it is safe, before the answer."""


class Accept(Protocol):
    """What a transport needs: `Intake.accept`, or a stand-in."""

    def __call__(self, signal: Signal, body: bytes, *, is_json: bool, transport: str) -> Outcome:
        """Take one uncompressed request body. *transport* is `http` or `grpc`.

        Raises DecodeError when nothing of the body can be read (BodyTooLarge when it holds too many items), Overloaded
        when the agent cannot take it now.
        """


class _Decoded(NamedTuple):
    """A request: how many items are good, what hands these on, how many are not, and the keys that mean something."""

    accepted: int
    hand_on: Callable[[], None]
    rejected: Mapping[str, int]
    keys: frozenset[str]


class Intake:
    """Decodes requests and hands on what they held: rows to *spans*, points to *points*, reports to *operations*."""

    def __init__(
        self,
        *,
        spans: Callable[[list[SpanRow]], None],
        points: Callable[[list[MetricPoint]], None],
        operations: Callable[[list[Operation]], None],
        keep: Keep | None = None,
    ) -> None:
        self._spans = spans
        self._points = points
        self._operations = operations
        self._keep = keep
        self._traces = otlp_traces.TraceDecoder()
        self.requests = 0
        self.received: Counter[tuple[Signal, str]] = Counter()
        """Items that came in, refused ones included, by signal and transport."""
        self.rejected: Counter[tuple[Signal, str]] = Counter()
        """Items refused, by signal and reason."""

    def accept(self, signal: Signal, body: bytes, *, is_json: bool, transport: str) -> Outcome:
        """See `Accept`."""
        self.requests += 1
        decoded = self._decode(signal, body, is_json)
        refused = sum(decoded.rejected.values())
        said = [f"{reason}: {count}" for reason, count in sorted(decoded.rejected.items())]
        if is_json and not decoded.accepted:
            said.append(ignored_keys_warning(body, decoded.keys))
        message = "; ".join(filter(None, said))
        take = partial(self._take, signal, transport, decoded, refused)
        if self._keep is None or not decoded.accepted:
            take()
            return Outcome(refused, message)
        keep = partial(self._keep, signal, body, is_json=is_json, items=decoded.accepted, then=take)
        return Outcome(refused, message, keep, ITEM_BYTES * decoded.accepted)

    def recall(self, signal: Signal, body: bytes, *, is_json: bool) -> int:
        """Hand on what a request held that was accepted in a former run; how many items. Raises DecodeError."""
        decoded = self._decode(signal, body, is_json)
        decoded.hand_on()
        return decoded.accepted

    def rows(self, body: bytes, *, is_json: bool) -> list[SpanRow]:
        """The spans of a request that was accepted before; nothing is counted. Raises DecodeError."""
        return self._traces.decode(body, is_json=is_json)[0]

    def _take(self, signal: Signal, transport: str, decoded: _Decoded, refused: int) -> None:
        self.received[signal, transport] += decoded.accepted + refused
        for reason, count in decoded.rejected.items():
            self.rejected[signal, reason] += count
        decoded.hand_on()

    def _decode(self, signal: Signal, body: bytes, is_json: bool) -> _Decoded:
        if signal is Signal.TRACES:
            rows, rejected = self._traces.decode(body, is_json=is_json)
            return _Decoded(len(rows), partial(self._spans, rows), rejected, otlp_traces.JSON_KEYS)
        if signal is Signal.METRICS:
            points, rejected = otlp_metrics.decode_metrics(body, is_json=is_json)
            return _Decoded(len(points), partial(self._points, points), rejected, otlp_metrics.JSON_KEYS)
        operations, accepted, rejected = otlp_logs.decode_logs(body, is_json=is_json)
        return _Decoded(accepted, partial(self._operations, operations), rejected, otlp_logs.JSON_KEYS)


__all__ = ["Accept", "Intake", "Outcome", "Signal"]
