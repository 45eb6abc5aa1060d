"""What a caller waits for: milestones against their targets, who holds the critical path, and what overlap saves."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.model import (
    GOOD_BELOW_TARGET,
    SERVICE,
    Dashboard,
    Panel,
    Query,
    Row,
    Variable,
    below,
    between,
    graph,
    heatmap,
    stat,
)
from scripts.dashboards.promql import (
    buckets,
    fold,
    gauge,
    mean,
    mean_of_classic,
    quantile,
    quantile_of_classic,
    rate,
    seconds,
    select,
    share,
    target,
    window,
)

S: Final = 'service=~"$service"'
TURN: Final = S, 'turn=~"$turn"'
MILESTONES: Final = {
    "first_token": ("First token", "otel_latency_turn_time_to_first_token"),
    "first_sentence": ("First sentence", "otel_latency_turn_time_to_first_sentence"),
    "tts_start": ("Start of speech synthesis", "otel_latency_turn_time_to_first_tts"),
    "first_audio": ("First audio", "otel_latency_turn_time_to_first_audio"),
}
EXPOSED: Final = "otel_latency_turn_exposed_seconds"
STAGE: Final = "otel_latency_stage_duration_seconds"
DURATION: Final = "otel_latency_turn_duration_seconds"
LEGEND: Final = "{{service}}"


def dashboard() -> Dashboard:
    return Dashboard(
        "otel-latency-voice",
        "otel-latency / Voice turns",
        "What a caller waits for: milestones against their targets, the critical path, and what overlap saves.",
        [
            Row("The last minute", _now()),
            Row("Milestones", _milestones()),
            Row("What is waited for", _path()),
            Row("Sessions", _sessions()),
            Row("Sound: record_audio of the library", _audio(), is_collapsed=True),
            Row("Connections: record_connection of the library", _connection(), is_collapsed=True),
        ],
        [SERVICE, Variable("turn", "Turn", select("otel_latency_turns_total", S))],
    )


def _now() -> list[Panel]:
    return [panel for name, (title, family) in MILESTONES.items() for panel in _tiles(name, title, family)]


def _tiles(name: str, title: str, family: str) -> list[Panel]:
    worst = window(f"{family}_window_seconds", 0.95, "", *TURN)
    return [
        stat(f"{title} p95", f"From the turn's start, over the last minute: {family}_window_seconds.", worst, "s"),
        stat(
            f"{title} / target",
            f"The same over its target (targets.{name}). MilestoneAboveTarget fires above 100 %.",
            f"{worst} / {target('milestone', name)}",
            "percentunit",
            steps=GOOD_BELOW_TARGET,
        ),
    ]


def _milestones() -> list[Panel]:
    first_audio = f"{MILESTONES['first_audio'][1]}_seconds"
    return [
        *(_milestone(name, title, f"{family}_seconds") for name, (title, family) in MILESTONES.items()),
        heatmap("First audio", "How many turns had their first audio after how long.", buckets(first_audio, *TURN)),
        graph(
            "First audio p95 by service and turn",
            "Who waits longest; best and target are those of targets.first_audio.",
            [
                Query(quantile(0.95, first_audio, "service, turn", *TURN), "{{service}} {{turn}}", has_exemplars=True),
                Query(target("milestone", "first_audio"), "target"),
                Query(target("milestone", "first_audio", "best"), "best"),
            ],
            "s",
        ),
    ]


def _milestone(name: str, title: str, family: str) -> Panel:
    quantiles = [Query(quantile(q, family, "", *TURN), f"p{q * 100:g}", has_exemplars=True) for q in (0.5, 0.95, 0.99)]
    levels = [Query(target("milestone", name, level), level) for level in ("target", "critical")]
    return graph(title, f"From the turn's start, with the thresholds of targets.{name}.", [*quantiles, *levels], "s")


def _path() -> list[Panel]:
    exposed, busy = mean(EXPOSED, "stage", *TURN), mean(STAGE, "stage", S)
    return [
        graph(
            "What each stage adds",
            "Mean seconds that a stage holds the critical path of a turn, up to its first audio or its end.",
            [Query(exposed, "{{stage}}")],
            "s",
            stack="normal",
        ),
        graph(
            "Share of the critical path",
            "The same as parts of a whole.",
            [Query(seconds(EXPOSED, "stage", *TURN), "{{stage}}")],
            "percentunit",
            stack="percent",
        ),
        graph(
            "Hidden by overlap",
            "The part of a stage's time that nobody waits for, as other stages ran meanwhile: 0 is all in the open.",
            [Query(f"clamp_min(1 - ({exposed}) / ({busy}), 0)", "{{stage}}")],
            "percentunit",
            width=8,
            max=1,
        ),
        graph(
            "Stages at once",
            "Seconds of stages per second of turns: 1 is one after the other, more is overlap.",
            [Query(f"{seconds(STAGE, 'service', S)} / ({seconds(DURATION, 'service', S)} > 0)", LEGEND)],
            "none",
            width=8,
        ),
        graph(
            "Stages over their targets, p95",
            "StageAboveTarget fires above 1.",
            [
                Query(
                    f"{window('otel_latency_stage_window_seconds', 0.95, 'stage', S, over='5m')} / on (stage) "
                    + fold("max", "stage", select("otel_latency_stage_target_seconds", 'level="target"')),
                    "{{stage}}",
                )
            ],
            "percentunit",
            width=8,
            steps=GOOD_BELOW_TARGET,
        ),
    ]


def _sessions() -> list[Panel]:
    return [
        graph(
            "Active sessions",
            "Sessions with a turn in the last minutes.",
            [Query(gauge("otel_latency_sessions_active", "service", S, operator="sum"), LEGEND)],
            "short",
            width=8,
        ),
        graph(
            "Ended sessions",
            "By how they ended: after some minutes without a turn.",
            [Query(rate("otel_latency_sessions_total", "outcome", S), "{{outcome}}")],
            "ops",
            width=8,
            stack="normal",
        ),
        graph(
            "Failed sessions",
            "SessionFailuresHigh fires above the line.",
            [Query(share("otel_latency_sessions_total", "service", 'outcome=~"error|failed|timeout"', S), LEGEND)],
            "percentunit",
            width=8,
            steps=between("SessionFailuresHigh"),
        ),
    ]


def _audio() -> list[Panel]:
    latency, quality, size = (
        f"otel_latency_audio_{what}" for what in ("latency_seconds", "quality", "chunk_size_bytes")
    )
    return [
        graph(
            "Audio latency",
            "Mean and p95; AudioLatencyHigh fires where the mean is above the line.",
            [
                Query(mean_of_classic(latency, "service", S), f"{LEGEND} mean"),
                Query(quantile_of_classic(0.95, latency, "service", S), f"{LEGEND} p95"),
            ],
            "s",
            width=6,
            steps=between("AudioLatencyHigh"),
        ),
        graph(
            "Audio quality",
            "Mean score, 1 to 5; AudioQualityLow fires below the line.",
            [Query(mean_of_classic(quality, "service", S), LEGEND)],
            "none",
            width=6,
            steps=below("AudioQualityLow"),
        ),
        graph(
            "Glitches",
            "Gaps, clicks and underruns a minute; AudioGlitches fires above the line.",
            [Query(f"{rate('otel_latency_audio_glitches_total', 'service', S)} * 60", LEGEND)],
            "cpm",
            width=6,
            steps=between("AudioGlitches"),
        ),
        graph(
            "Size of chunks",
            "Mean: small chunks cost more, large ones come later.",
            [Query(mean_of_classic(size, "service", S), LEGEND)],
            "bytes",
            width=6,
        ),
    ]


def _connection() -> list[Panel]:
    rtt, loss, bandwidth = (
        f"otel_latency_connection_{what}" for what in ("rtt_seconds", "packet_loss", "bandwidth_bit_per_second")
    )
    reconnections = rate("otel_latency_connection_reconnections_total", "service", S)
    return [
        graph(
            "Round trip",
            "Mean and p95.",
            [
                Query(mean_of_classic(rtt, "service", S), f"{LEGEND} mean"),
                Query(quantile_of_classic(0.95, rtt, "service", S), f"{LEGEND} p95"),
            ],
            "s",
            width=6,
        ),
        graph(
            "Packet loss",
            "Mean share of packets lost; PacketLossHigh fires above the line.",
            [Query(mean_of_classic(loss, "service", S), LEGEND)],
            "percentunit",
            width=6,
            steps=between("PacketLossHigh"),
        ),
        graph(
            "Bandwidth",
            "Mean.",
            [Query(mean_of_classic(bandwidth, "service", S), LEGEND)],
            "bps",
            width=6,
        ),
        graph(
            "Reconnections per turn",
            "ReconnectionsHigh fires above the line.",
            [Query(f"{reconnections} / ({rate('otel_latency_turns_total', 'service', S)} > 0)", LEGEND)],
            "percentunit",
            width=6,
            steps=between("ReconnectionsHigh"),
        ),
    ]
