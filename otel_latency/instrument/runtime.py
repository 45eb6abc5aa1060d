"""What `configure` decides and every span reads: the tracer, and whether running operations are watched."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv

if TYPE_CHECKING:
    from otel_latency.instrument.span import Timed


def own_version() -> str:
    try:
        return version("otel-latency")
    except PackageNotFoundError:  # run from a checkout
        return ""


Emit = Callable[[str, Context, Mapping[str, AttributeValue]], None]
"""Takes an event name, the context of the span it belongs to, and attributes."""


class Runtime:
    """Read on every span, hence plain attributes. `forks` counts the forks between the first process and this one."""

    __slots__ = ("emit", "forks", "is_watching", "open", "tracer")

    def __init__(self) -> None:
        self.tracer: trace.Tracer = self.users_tracer()
        self.is_watching = False
        self.open: dict[int, Timed] = {}
        """Open spans by `id`, while somebody watches them."""
        self.forks = 0
        self.emit: Emit | None = None
        """Sends a log record to the agent, while there is somebody to send it."""

    def users_tracer(self) -> trace.Tracer:
        """Of the global provider, also of one that is set later."""
        return trace.get_tracer(semconv.SCOPE, own_version())

    def after_fork(self) -> None:
        """Spans that are open now are the parent's to end."""
        self.forks += 1
        self.open.clear()


runtime: Final = Runtime()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=runtime.after_fork)
MAX_OPEN: Final = 10_000
"""Open spans watched at a time: a program that never closes its spans must not fill the memory."""
