"""Audio and connection measurements: OpenTelemetry metrics where a MeterProvider is set, else events of the span.

`configure` sets one, unless OTEL_METRICS_EXPORTER=none says that nobody wants metrics.

Cost: about 5 us per value as a metric, 2 us as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.instrument.attributes import carried
from otel_latency.instrument.guard import guard
from otel_latency.instrument.runtime import own_version

AUDIO: Final = {
    "latency": ("otel_latency.audio.latency", "s", "From the sound to its sample, or back."),
    "quality": ("otel_latency.audio.quality", "1", "Quality score, as the application rates it."),
    "chunk_bytes": ("otel_latency.audio.chunk.size", "By", "Size of a chunk of audio."),
    "glitches": ("otel_latency.audio.glitches", "{glitch}", "Gaps, clicks and underruns."),
}
CONNECTION: Final = {
    "rtt": ("otel_latency.connection.rtt", "s", "Round trip of the connection to the user."),
    "packet_loss": ("otel_latency.connection.packet_loss", "1", "Share of the packets that were lost."),
    "bandwidth": ("otel_latency.connection.bandwidth", "bit/s", "Estimated bandwidth."),
    "reconnections": ("otel_latency.connection.reconnections", "{reconnection}", "Connections made anew."),
}
BOUNDS: Final = {
    "s": [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10],
    "1": [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 10, 100],
    "By": [float(4**power) for power in range(3, 13)],
    "bit/s": [1000.0 * 4**power for power in range(2, 12)],
}
"""Of the histograms' buckets, by unit: OpenTelemetry's own begin at 5, seconds or not."""
COUNTED: Final = frozenset({"glitches", "reconnections"})


def record_audio(
    *,
    latency: float | None = None,
    quality: float | None = None,
    chunk_bytes: int | None = None,
    glitches: int | None = None,
    **attributes: AttributeValue,
) -> None:
    """Seconds, a score, bytes, and how many glitches since the last call; None is not recorded."""
    values = {"latency": latency, "quality": quality, "chunk_bytes": chunk_bytes, "glitches": glitches}
    _record("audio", AUDIO, values, attributes)


def record_connection(
    *,
    rtt: float | None = None,
    packet_loss: float | None = None,
    bandwidth: float | None = None,
    reconnections: int | None = None,
    **attributes: AttributeValue,
) -> None:
    """Seconds, a ratio from 0 to 1, bits per second, and how many reconnections; None is not recorded."""
    values = {"rtt": rtt, "packet_loss": packet_loss, "bandwidth": bandwidth, "reconnections": reconnections}
    _record("connection", CONNECTION, values, attributes)


def _record(
    what: str,
    names: Mapping[str, tuple[str, str, str]],
    values: Mapping[str, float | None],
    attributes: Mapping[str, AttributeValue],
) -> None:
    try:
        said = carried(attributes)
        known = {name: value for name, value in values.items() if isinstance(value, int | float)}
        provider = metrics.get_meter_provider()
        if type(provider).__module__.startswith("opentelemetry.metrics"):  # the API's stand-in: nobody has set one
            event = {names[name][0]: value for name, value in known.items()}
            trace.get_current_span().add_event(what, {**said, **event})
            return
        for name, value in known.items():
            instrument = _instrument(provider, *names[name], is_counter=name in COUNTED)
            if isinstance(instrument, Counter):
                instrument.add(value, said)
            else:
                instrument.record(value, said)
    except Exception as fault:
        guard.caught("measure", fault)


@cache
def _instrument(
    provider: metrics.MeterProvider, name: str, unit: str, description: str, *, is_counter: bool
) -> Counter | Histogram:
    meter = provider.get_meter(semconv.SCOPE, own_version())
    if is_counter:
        return meter.create_counter(name, unit=unit, description=description)
    return meter.create_histogram(
        name, unit=unit, description=description, explicit_bucket_boundaries_advisory=BOUNDS[unit]
    )
