"""What the demo shows: an opening text, then one line of figures under fixed headings. Pure text, 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otel_latency.demo.pipeline import SCENARIOS
from otel_latency.demo.ports import Place
from otel_latency.demo.reading import LastMinute, Quantiles, Reading

MAIN_TURN = SCENARIOS[0].turn
HEADINGS = f"""\
          {MAIN_TURN:16}   first audio
turns/s       p50      p95       p50      p95   errors   running   slow now"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known at the Unix time `time`."""

    time: float
    reading: Reading
    minute: LastMinute
    slow_provider: str


def opening(places: Mapping[str, Place], turns_per_second: float) -> str:
    """Where to look, and what was changed for that."""
    web, http = places["web"], places["otlp.http"]
    addresses = {
        f"{web.url}/": "the live page",
        f"{web.url}/metrics": "for Prometheus: histograms, sliding quantiles",
        f"{web.url}/status": "health, receivers, series, machine, as JSON",
        http.url: "OTLP over HTTP: for your own spans, too",
    }
    if "otlp.grpc" in places:
        addresses[places["otlp.grpc"].url] = "OTLP over gRPC"
    width = max(map(len, addresses))
    notes = [_note(place) for place in places.values() if place.refusal]
    return "\n".join(
        [
            *(notes and [*notes, ""]),
            "An agent is running, and a synthetic voice pipeline sends it real OTLP spans:",
            f"about {turns_per_second:g} turns a second, each stt > retrieval > llm > tts.",
            "",
            *(f"  {address:{width}}  {purpose}" for address, purpose in addresses.items()),
            "",
            "Try this; it says in how many seconds 95 % of the last minute's turns were done:",
            "",
            f"  curl -s {web.url}/metrics | grep 'turn_window.*1m.*0.95'",
            "",
            f'Over the last minute, with "{MAIN_TURN}" as the most frequent turn (Ctrl-C ends all):',
            "",
            HEADINGS,
        ]
    )


def line(figures: Figures) -> str:
    """The figures, below their headings."""
    main = next((turn for turn in figures.reading.turns if turn.turn == MAIN_TURN), None)
    duration, first_audio = (main.duration, main.first_audio) if main else ({}, {})
    cells = (
        f"{figures.minute.turns_per_second:7.1f}",
        f"{_seconds(duration, '0.5')}  {_seconds(duration, '0.95')}",
        f"{_seconds(first_audio, '0.5')}  {_seconds(first_audio, '0.95')}",
        f"{100 * figures.minute.error_ratio:4.1f} %",
        f"{figures.reading.running:7}",
        figures.slow_provider or "-",
    )
    return "   ".join(cells)


def document(figures: Figures, places: Mapping[str, Place]) -> dict[str, object]:
    """The figures as JSON has them; null is what the last minute has no value for."""
    return {
        "timestamp": round(figures.time, 3),
        "url": places["web"].url,
        "otlp": places["otlp.http"].url,
        "turns_per_second": round(figures.minute.turns_per_second, 3),
        "error_ratio": round(figures.minute.error_ratio, 4),
        "operations_running": figures.reading.running,
        "slow_provider": figures.slow_provider or None,
        "turns": [
            {
                "service": turn.service,
                "turn": turn.turn,
                "count": turn.count,
                "p50": turn.duration.get("0.5"),
                "p95": turn.duration.get("0.95"),
                "first_audio_p50": turn.first_audio.get("0.5"),
                "first_audio_p95": turn.first_audio.get("0.95"),
            }
            for turn in figures.reading.turns
        ],
    }


def _note(place: Place) -> str:
    return f"{place.key}: {place.wanted} is {place.refusal}, using {place.port} ({place.variable} sets it)"


def _seconds(quantiles: Quantiles, quantile: str) -> str:
    return f"{quantiles[quantile]:5.2f} s" if quantile in quantiles else "      -"
