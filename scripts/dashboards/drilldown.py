"""One stage, turn or model at a time: its distribution, its worst traces, and itself a day ago."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.model import (
    NO_THRESHOLD,
    SERVICE,
    Dashboard,
    Panel,
    Query,
    Row,
    Variable,
    between,
    choice,
    graph,
    heatmap,
    stat,
    table,
)
from scripts.dashboards.promql import (
    FAILED,
    buckets,
    count,
    gauge,
    mean,
    quantile,
    rate,
    select,
    share,
    window,
)

UID: Final = "otel-latency-drilldown"
S: Final = 'service=~"$service"'
STAGE: Final = S, 'stage=~"$stage"'
TURN: Final = S, 'turn=~"$turn"'
LLM: Final = S, 'provider=~"$provider"', 'model=~"$model"'
CLIENT: Final = S, 'gen_ai_provider_name=~"$provider"', 'gen_ai_request_model=~"$model"'
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
WINDOWS: Final = ("10s", "1m", "5m")
STAGE_SECONDS: Final = "otel_latency_stage_duration_seconds"
TURN_SECONDS: Final = "otel_latency_turn_duration_seconds"
LLM_SECONDS: Final = "otel_latency_llm_duration_seconds"
CLIENT_SECONDS: Final = "gen_ai_client_operation_duration_seconds"
CLIENT_CHUNK: Final = "gen_ai_client_operation_time_to_first_chunk_seconds"
AGO: Final = " offset $compare"


def link(*labels: str) -> str:
    """The address of this dashboard for the row of a table, with its values of *labels* chosen."""
    chosen = "".join(f"&var-{label}=${{__data.fields.{label}}}" for label in labels)
    kept = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "job", "instance"))
    return f"/d/{UID}?${{__url_time_range}}&{kept}{chosen}"


def dashboard() -> Dashboard:
    return Dashboard(
        UID,
        "otel-latency / Drill-down",
        "One stage, turn or model: its distribution, its worst traces, by service, and against an earlier time.",
        [
            Row("Stage $stage", _stage()),
            Row("Turn $turn", _turn()),
            Row("Model $model of $provider", _llm()),
            Row("By the GenAI conventions: gen_ai_client_operation_*", _client(), is_collapsed=True),
        ],
        [
            SERVICE,
            Variable("stage", "Stage", select("otel_latency_stages_total", S)),
            Variable("turn", "Turn", select("otel_latency_turns_total", S)),
            Variable("provider", "Provider", select("otel_latency_llm_calls_total", S)),
            Variable("model", "Model", select("otel_latency_llm_calls_total", S, 'provider=~"$provider"')),
        ],
        [choice("compare", "Compare with", ["1h", "1d", "7d"], "1d")],
    )


def _stage() -> list[Panel]:
    sliding = "otel_latency_stage_window_seconds"
    return [
        stat(
            "Per second",
            "Stages that ended in a second.",
            rate("otel_latency_stages_total", "", *STAGE),
            "ops",
            width=4,
        ),
        stat(
            "p50", "Over the last minute, in the slowest stage chosen.", window(sliding, 0.5, "", *STAGE), "s", width=4
        ),
        stat(
            "p95", "Over the last minute, in the slowest stage chosen.", window(sliding, 0.95, "", *STAGE), "s", width=4
        ),
        stat(
            "p99", "Over the last minute, in the slowest stage chosen.", window(sliding, 0.99, "", *STAGE), "s", width=4
        ),
        stat(
            "Failed",
            "Share that ended in an error or a timeout; orange as StageFailuresHigh.",
            share("otel_latency_stages_total", "", FAILED, *STAGE),
            "percentunit",
            steps=between("StageFailuresHigh"),
            width=4,
        ),
        stat(
            "Oldest that runs",
            "How long the oldest running operation has run; orange as OperationStuck.",
            gauge("otel_latency_oldest_operation_seconds", "", *STAGE),
            "s",
            steps=between("OperationStuck"),
            width=4,
        ),
        heatmap(
            "Stages by duration",
            "How many took how long; dots are exemplars, which lead to a trace.",
            buckets(STAGE_SECONDS, *STAGE),
        ),
        graph(
            "Percentiles and mean",
            "Of all stages chosen, together.",
            [
                *(
                    Query(quantile(q, STAGE_SECONDS, "", *STAGE), f"p{q * 100:g}", has_exemplars=True)
                    for q in QUANTILES
                ),
                Query(mean(STAGE_SECONDS, "", *STAGE), "mean"),
            ],
            "s",
        ),
        graph(
            "p95 by stage, and $compare ago",
            "Each stage now, and at the same time of an earlier hour, day or week.",
            [
                Query(quantile(0.95, STAGE_SECONDS, "service, stage", *STAGE), "{{service}} {{stage}}"),
                Query(
                    quantile(0.95, STAGE_SECONDS, "service, stage", *STAGE, offset=AGO),
                    "{{service}} {{stage}}, $compare ago",
                ),
            ],
            "s",
        ),
        graph(
            "p95 over 10 s, 1 m and 5 m",
            "The agent's own sliding percentiles, exact within 0.6 %.",
            [Query(window(sliding, 0.95, "stage", *STAGE, over=over), f"{{{{stage}}}} {over}") for over in WINDOWS],
            "s",
        ),
        graph(
            "By how they ended",
            "ok, error, timeout, cancelled, interrupted.",
            [Query(rate("otel_latency_stages_total", "stage, status", *STAGE), "{{stage}} {{status}}")],
            "ops",
            width=8,
            stack="normal",
        ),
        graph(
            "Running",
            "Operations that have started and not ended; QueueBacklog fires above the line.",
            [
                Query(
                    gauge("otel_latency_operations_in_flight", "service, stage", *STAGE, operator="sum"),
                    "{{service}} {{stage}}",
                )
            ],
            "short",
            width=8,
            steps=between("QueueBacklog"),
        ),
        graph(
            "Oldest that runs",
            "A line that only rises is an operation that does not end; OperationStuck fires above the line.",
            [Query(gauge("otel_latency_oldest_operation_seconds", "service, stage", *STAGE), "{{service}} {{stage}}")],
            "s",
            width=8,
            steps=between("OperationStuck"),
        ),
    ]


def _turn() -> list[Panel]:
    by, legend = "service, turn", "{{service}} {{turn}}"
    return [
        heatmap("Turns by duration", "How many took how long.", buckets(TURN_SECONDS, *TURN)),
        graph(
            "Percentiles and mean",
            "Of all turns chosen, together.",
            [
                *(Query(quantile(q, TURN_SECONDS, "", *TURN), f"p{q * 100:g}", has_exemplars=True) for q in QUANTILES),
                Query(mean(TURN_SECONDS, "", *TURN), "mean"),
            ],
            "s",
        ),
        graph(
            "p95 by turn, and $compare ago",
            "Each turn now, and at the same time of an earlier hour, day or week.",
            [
                Query(quantile(0.95, TURN_SECONDS, by, *TURN), legend),
                Query(quantile(0.95, TURN_SECONDS, by, *TURN, offset=AGO), f"{legend}, $compare ago"),
            ],
            "s",
        ),
        graph(
            "Turns per second, and $compare ago",
            "Is it slow because there is more to do?",
            [
                Query(rate("otel_latency_turns_total", by, *TURN), legend),
                Query(rate("otel_latency_turns_total", by, *TURN, offset=AGO), f"{legend}, $compare ago"),
            ],
            "reqps",
        ),
    ]


def _llm() -> list[Panel]:
    by, legend = "provider, model", "{{provider}} {{model}}"
    first, gap = ("otel_latency_llm_time_to_first_token", "otel_latency_llm_time_per_output_token")
    return [
        table(
            "Models",
            "The last minute, by service and model.",
            [
                ("calls/s", "reqps", rate("otel_latency_llm_calls_total", f"service, {by}", *LLM), NO_THRESHOLD),
                (
                    "failed",
                    "percentunit",
                    share("otel_latency_llm_calls_total", f"service, {by}", FAILED, *LLM),
                    between("LLMFailuresHigh"),
                ),
                ("p50", "s", window("otel_latency_llm_window_seconds", 0.5, f"service, {by}", *LLM), NO_THRESHOLD),
                ("p95", "s", window("otel_latency_llm_window_seconds", 0.95, f"service, {by}", *LLM), NO_THRESHOLD),
                ("first token p95", "s", window(f"{first}_window_seconds", 0.95, f"service, {by}", *LLM), NO_THRESHOLD),
                (
                    "per token p50",
                    "s",
                    window(f"{gap}_window_seconds", 0.5, f"service, {by}", *LLM),
                    between("LLMOutputSlow"),
                ),
            ],
            ["service", "provider", "model"],
        ),
        heatmap("Calls by duration", "How many took how long.", buckets(LLM_SECONDS, *LLM)),
        graph(
            "p95 by model, and $compare ago",
            "Providers change without notice.",
            [
                Query(quantile(0.95, LLM_SECONDS, by, *LLM), legend, has_exemplars=True),
                Query(quantile(0.95, LLM_SECONDS, by, *LLM, offset=AGO), f"{legend}, $compare ago"),
            ],
            "s",
        ),
        graph(
            "First token p95 by model",
            "From the request to the first generated token; never the first chunk, which may be empty.",
            [Query(quantile(0.95, f"{first}_seconds", by, *LLM), legend, has_exemplars=True)],
            "s",
        ),
        graph(
            "Time per output token p50 by model",
            "LLMOutputSlow fires above the line: speech would run dry.",
            [Query(quantile(0.5, f"{gap}_seconds", by, *LLM), legend)],
            "s",
            steps=between("LLMOutputSlow"),
        ),
        graph(
            "p95 by task",
            "What the calls are for, as the application calls it.",
            [Query(quantile(0.95, LLM_SECONDS, "service, task", *LLM), "{{service}} {{task}}")],
            "s",
        ),
        graph(
            "Share of failed calls by provider",
            "LLMFailuresHigh fires above the line.",
            [Query(share("otel_latency_llm_calls_total", "provider", FAILED, *LLM), "{{provider}}")],
            "percentunit",
            steps=between("LLMFailuresHigh"),
        ),
    ]


def _client() -> list[Panel]:
    provider, model = "gen_ai_provider_name", "gen_ai_request_model"
    by, legend = f"{provider}, {model}", f"{{{{{provider}}}}} {{{{{model}}}}}"
    return [
        graph(
            "Operation p95",
            "By the names of the OpenTelemetry conventions: for comparison with other exporters.",
            [Query(quantile(0.95, CLIENT_SECONDS, by, *CLIENT), legend, has_exemplars=True)],
            "s",
            width=8,
        ),
        graph(
            "First chunk p95",
            "The first chunk may be empty: the first token is what a user sees.",
            [Query(quantile(0.95, CLIENT_CHUNK, by, *CLIENT), legend, has_exemplars=True)],
            "s",
            width=8,
        ),
        graph(
            "Operations by kind and error",
            "In a second, by operation and error.type.",
            [
                Query(
                    count(CLIENT_SECONDS, "gen_ai_operation_name, error_type", *CLIENT),
                    "{{gen_ai_operation_name}} {{error_type}}",
                )
            ],
            "ops",
            width=8,
        ),
    ]
