"""Latency observability for LLM and voice pipelines: a span library and a sidecar agent.

    import otel_latency as latency
    latency.configure(service="support-bot")

Importing this loads nothing; each name is imported when it is first used. None of them needs more than
opentelemetry-api; `configure` loads the SDK and its exporter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from otel_latency.errors import CircuitOpen as CircuitOpen
    from otel_latency.errors import OtelLatencyError as OtelLatencyError
    from otel_latency.errors import StageTimeout as StageTimeout
    from otel_latency.instrument.breaker import circuits as circuits
    from otel_latency.instrument.carry import carry as carry
    from otel_latency.instrument.concurrency import AdaptiveLimit as AdaptiveLimit
    from otel_latency.instrument.concurrency import Gathered as Gathered
    from otel_latency.instrument.concurrency import gather_bounded as gather_bounded
    from otel_latency.instrument.context import current_turn as current_turn
    from otel_latency.instrument.events import Events as Events
    from otel_latency.instrument.history import Outcome as Outcome
    from otel_latency.instrument.history import Summary as Summary
    from otel_latency.instrument.history import estimate as estimate
    from otel_latency.instrument.history import summary as summary
    from otel_latency.instrument.limiter import RateLimiter as RateLimiter
    from otel_latency.instrument.limiter import set_rate_limit as set_rate_limit
    from otel_latency.instrument.llm import llm_call as llm_call
    from otel_latency.instrument.local_model import LocalModelQueue as LocalModelQueue
    from otel_latency.instrument.measure import record_audio as record_audio
    from otel_latency.instrument.measure import record_connection as record_connection
    from otel_latency.instrument.operation import Operation as Operation
    from otel_latency.instrument.operation import current_operation as current_operation
    from otel_latency.instrument.operation import run as run
    from otel_latency.instrument.operation import run_sync as run_sync
    from otel_latency.instrument.performance import PerformanceConfig as PerformanceConfig
    from otel_latency.instrument.progress import Progress as Progress
    from otel_latency.instrument.progress import job as job
    from otel_latency.instrument.progress import progress_events as progress_events
    from otel_latency.instrument.propagate import extract as extract
    from otel_latency.instrument.propagate import inject as inject
    from otel_latency.instrument.retry import Retry as Retry
    from otel_latency.instrument.retry import retry as retry
    from otel_latency.instrument.rotation import Rotation as Rotation
    from otel_latency.instrument.session import session as session
    from otel_latency.instrument.setup import configure as configure
    from otel_latency.instrument.setup import flush as flush
    from otel_latency.instrument.setup import shutdown as shutdown
    from otel_latency.instrument.stage import stage as stage
    from otel_latency.instrument.subscribe import TelemetryEvent as TelemetryEvent
    from otel_latency.instrument.subscribe import subscribe as subscribe
    from otel_latency.instrument.timeouts import set_timeouts as set_timeouts
    from otel_latency.instrument.timing import TimingLog as TimingLog
    from otel_latency.instrument.timing import generate_request_id as generate_request_id
    from otel_latency.instrument.timing import log_timing as log_timing
    from otel_latency.instrument.tracker import PerformanceTracker as PerformanceTracker
    from otel_latency.instrument.tracker import ProcessingStats as ProcessingStats
    from otel_latency.instrument.tracker import track as track
    from otel_latency.instrument.turn import turn as turn
    from otel_latency.instrument.voice import Reply as Reply
    from otel_latency.instrument.wrap import wrap as wrap
    from otel_latency.predict.estimate import Estimate as Estimate


_HOMES: Final = {
    "errors": ("CircuitOpen", "OtelLatencyError", "StageTimeout"),
    "instrument.breaker": ("circuits",),
    "instrument.carry": ("carry",),
    "instrument.concurrency": ("AdaptiveLimit", "Gathered", "gather_bounded"),
    "instrument.context": ("current_turn",),
    "instrument.events": ("Events",),
    "instrument.history": ("Outcome", "Summary", "estimate", "summary"),
    "instrument.limiter": ("RateLimiter", "set_rate_limit"),
    "instrument.llm": ("llm_call",),
    "instrument.local_model": ("LocalModelQueue",),
    "instrument.measure": ("record_audio", "record_connection"),
    "instrument.operation": ("Operation", "current_operation", "run", "run_sync"),
    "instrument.performance": ("PerformanceConfig",),
    "instrument.progress": ("Progress", "job", "progress_events"),
    "instrument.propagate": ("extract", "inject"),
    "instrument.retry": ("Retry", "retry"),
    "instrument.rotation": ("Rotation",),
    "instrument.session": ("session",),
    "instrument.setup": ("configure", "flush", "shutdown"),
    "instrument.stage": ("stage",),
    "instrument.subscribe": ("TelemetryEvent", "subscribe"),
    "instrument.timeouts": ("set_timeouts",),
    "instrument.timing": ("TimingLog", "generate_request_id", "log_timing"),
    "instrument.tracker": ("PerformanceTracker", "ProcessingStats", "track"),
    "instrument.turn": ("turn",),
    "instrument.voice": ("Reply",),
    "instrument.wrap": ("wrap",),
    "predict.estimate": ("Estimate",),
}
"""Module -> the names that it gives."""
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import *name* from where it lives; once, since it stays in this module."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
