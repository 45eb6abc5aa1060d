"""The trace, the session and the request id across a process boundary, over HTTP or inside a message.

`traceparent`, `tracestate` and `baggage` as the W3C writes them (or whatever OTEL_PROPAGATORS says), of which baggage
carries our two ids alone.

    inject(headers)                              # an HTTP client's headers
    inject(message, field="_trace")              # a job's payload: one more field, JSON-ready
    with extract(request.headers): ...           # the server's turn joins the caller's trace
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self, TypeVar

from opentelemetry import baggage, propagate
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagators.textmap import Getter

from otel_latency.instrument.guard import guard
from otel_latency.instrument.span import CARRIED

Carrier = TypeVar("Carrier", bound=MutableMapping[str, Any])


def inject(carrier: Carrier, *, field: str | None = None) -> Carrier:
    """Add what identifies the current span to *carrier*, or to a mapping in its *field*; returns *carrier*."""
    try:
        headers: dict[str, str] = {}
        propagate.inject(headers, context=_ours_alone(get_current()))
        if field is None:
            carrier.update(headers)
        elif headers:
            carrier[field] = headers
    except Exception as fault:
        guard.caught("inject", fault)
    return carrier


def extract(carrier: Mapping[str, Any], *, field: str | None = None) -> Extracted:
    """What `inject` put into *carrier*, to be used in `with` or `async with`: spans within join the sender's trace.

    Header names count in any case. A carrier without, or with nonsense, changes nothing.
    """
    outer = get_current()
    try:
        found = carrier if field is None else carrier.get(field)
        if isinstance(found, Mapping):
            return Extracted(_ours_alone(propagate.extract(found, outer, _getter), outer))
    except Exception as fault:
        guard.caught("extract", fault)
    return Extracted(outer)


class Extracted:
    """`context` is OpenTelemetry's, for those who would rather hand it on."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __enter__(self) -> Self:
        self._outer = get_current()
        attach(self.context)
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: object) -> None:
        if get_current() is self.context:
            attach(self._outer)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, failure, trace)


class _AnyCase(Getter[Mapping[str, Any]]):
    """Reads text headers whatever their case; ASGI's and WSGI's oddities are their frameworks' to resolve."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        wanted = key.lower()
        values = [value for name, value in carrier.items() if isinstance(name, str) and name.lower() == wanted]
        return [value for value in values if isinstance(value, str)] or None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [name for name in carrier if isinstance(name, str)]


_getter = _AnyCase()


def _ours_alone(context: Context, outer: Context | None = None) -> Context:
    """*context* with no more baggage than our ids, and what *outer* had already."""
    known = baggage.get_all(outer) if outer is not None else {}
    for name in list(baggage.get_all(context)):
        if name not in CARRIED and name not in known:
            context = baggage.remove_baggage(name, context)
    return context
