"""What language models cost, how many tokens they take and give, and how fast; by provider, model and task."""

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
    graph,
    stat,
    states,
    table,
)
from scripts.dashboards.promql import FAILED, gauge, increase, quantile, rate, select, share, target, window

S: Final = 'service=~"$service"'
LLM: Final = S, 'provider=~"$provider"', 'model=~"$model"'
CALLS: Final = "otel_latency_llm_calls_total"
TOKENS: Final = "otel_latency_llm_tokens_total"
COST: Final = "otel_latency_llm_cost_usd_total"
TTFT: Final = "otel_latency_llm_time_to_first_token"
TPOT: Final = "otel_latency_llm_time_per_output_token"
MODEL: Final = "provider, model"
LEGEND: Final = "{{provider}} {{model}}"
INPUT, OUTPUT, CACHED = 'type="input"', 'type="output"', 'type="cache_read"'


def dashboard() -> Dashboard:
    return Dashboard(
        "otel-latency-llm",
        "otel-latency / LLM cost and tokens",
        "What language models cost, how many tokens they take and give, how fast, and how often they fail.",
        [
            Row("Now", _now()),
            Row("Cost: as far as prices are known", _cost()),
            Row("Tokens", _tokens()),
            Row("Speed", _speed()),
            Row("Failures and retries", _failures()),
        ],
        [
            SERVICE,
            Variable("provider", "Provider", select(CALLS, S)),
            Variable("model", "Model", select(CALLS, S, 'provider=~"$provider"')),
        ],
        time_from="now-6h",
    )


def _now() -> list[Panel]:
    first = window(f"{TTFT}_window_seconds", 0.95, "", *LLM)
    return [
        stat("Calls", "LLM calls that ended in a second.", rate(CALLS, "", *LLM), "reqps"),
        stat(
            "Cost an hour",
            "At the present rate; orange as LLMCostHigh, which goes by service.",
            f"{rate(COST, '', *LLM)} * 3600",
            "currencyUSD",
            steps=between("LLMCostHigh"),
            noValue="no prices",
        ),
        stat(
            "Cost in this time",
            "Of what the dashboard shows.",
            increase(COST, "", *LLM),
            "currencyUSD",
            noValue="no prices",
        ),
        stat("Tokens in", "Input tokens in a second, cached ones included.", rate(TOKENS, "", *LLM, INPUT), "ops"),
        stat("Tokens out", "Output tokens in a second.", rate(TOKENS, "", *LLM, OUTPUT), "ops"),
        stat(
            "From the cache",
            "Share of the input tokens that the provider's cache held.",
            f"{rate(TOKENS, '', *LLM, CACHED)} / ({rate(TOKENS, '', *LLM, INPUT)} > 0)",
            "percentunit",
            noValue="not told",
        ),
        stat(
            "Failed calls",
            "Share that ended in an error or a timeout; orange as LLMFailuresHigh, which goes by provider.",
            share(CALLS, "", FAILED, *LLM),
            "percentunit",
            steps=between("LLMFailuresHigh"),
        ),
        stat("First token p95", "Over the last minute, of the slowest model chosen.", first, "s"),
    ]


def _cost() -> list[Panel]:
    by_task = "service, task"
    return [
        graph(
            "By model",
            "US dollars an hour.",
            [Query(f"{rate(COST, MODEL, *LLM)} * 3600", LEGEND)],
            "currencyUSD",
            stack="normal",
        ),
        graph(
            "By service",
            "US dollars an hour; LLMCostHigh fires above the line.",
            [Query(f"{rate(COST, 'service', *LLM)} * 3600", "{{service}}")],
            "currencyUSD",
            steps=between("LLMCostHigh"),
        ),
        graph(
            "By task",
            "US dollars an hour.",
            [Query(f"{rate(COST, by_task, *LLM)} * 3600", "{{service}} {{task}}")],
            "currencyUSD",
            width=8,
            stack="normal",
        ),
        graph(
            "A call",
            "Mean cost of one call by task: LLMCostJumped looks for a sudden rise.",
            [Query(f"{rate(COST, by_task, *LLM)} / ({rate(CALLS, by_task, *LLM)} > 0)", "{{service}} {{task}}")],
            "currencyUSD",
            width=8,
            decimals=5,
        ),
        graph(
            "A turn",
            "Cost of all calls over the number of turns.",
            [
                Query(
                    f"{rate(COST, 'service', *LLM)} / ({rate('otel_latency_turns_total', 'service', S)} > 0)",
                    "{{service}}",
                )
            ],
            "currencyUSD",
            width=8,
            decimals=5,
        ),
        table(
            "Models",
            "Of what the dashboard shows.",
            [
                ("cost", "currencyUSD", increase(COST, MODEL, *LLM), NO_THRESHOLD),
                ("calls", "short", increase(CALLS, MODEL, *LLM), NO_THRESHOLD),
                ("tokens in", "short", increase(TOKENS, MODEL, *LLM, INPUT), NO_THRESHOLD),
                ("tokens out", "short", increase(TOKENS, MODEL, *LLM, OUTPUT), NO_THRESHOLD),
            ],
            ["provider", "model"],
        ),
    ]


def _tokens() -> list[Panel]:
    def per_call(kind: str) -> str:
        return f"{rate(TOKENS, MODEL, *LLM, kind)} / ({rate(CALLS, MODEL, *LLM)} > 0)"

    return [
        graph(
            "By type",
            "Tokens in a second; input includes cached ones, output includes reasoning.",
            [Query(rate(TOKENS, "type", *LLM), "{{type}}")],
            "ops",
        ),
        graph(
            "Output by model",
            "Output tokens in a second.",
            [Query(rate(TOKENS, MODEL, *LLM, OUTPUT), LEGEND)],
            "ops",
            stack="normal",
        ),
        graph(
            "Input per call",
            "Mean length of prompts: the time to the first token follows it.",
            [Query(per_call(INPUT), LEGEND)],
            "short",
        ),
        graph(
            "Output per call",
            "Mean length of answers: the duration follows it.",
            [Query(per_call(OUTPUT), LEGEND)],
            "short",
        ),
    ]


def _speed() -> list[Panel]:
    return [
        graph(
            "First token p95",
            "LLMFirstTokenSlow fires above the target of first_token.",
            [
                Query(quantile(0.95, f"{TTFT}_seconds", MODEL, *LLM), LEGEND, has_exemplars=True),
                Query(target("milestone", "first_token"), "target"),
            ],
            "s",
            width=8,
        ),
        graph(
            "Time per output token p50",
            "LLMOutputSlow fires above the line.",
            [Query(window(f"{TPOT}_window_seconds", 0.5, MODEL, *LLM, over="5m"), LEGEND)],
            "s",
            width=8,
            steps=between("LLMOutputSlow"),
        ),
        graph(
            "Duration p95",
            "Of whole calls, retries included.",
            [Query(quantile(0.95, "otel_latency_llm_duration_seconds", MODEL, *LLM), LEGEND, has_exemplars=True)],
            "s",
            width=8,
        ),
    ]


def _failures() -> list[Panel]:
    retries = rate("otel_latency_llm_retries_total", "provider", *LLM)
    return [
        graph(
            "Failed calls by provider",
            "Share of errors and timeouts; LLMFailuresHigh fires above the line.",
            [Query(share(CALLS, "provider", FAILED, *LLM), "{{provider}}")],
            "percentunit",
            width=8,
            steps=between("LLMFailuresHigh"),
        ),
        graph(
            "Calls that timed out, by model",
            "LLMTimeoutsHigh fires above the line.",
            [Query(share(CALLS, MODEL, 'status="timeout"', *LLM), LEGEND)],
            "percentunit",
            width=8,
            steps=between("LLMTimeoutsHigh"),
        ),
        graph(
            "Calls by how they ended",
            "ok, error, timeout, cancelled, interrupted.",
            [Query(rate(CALLS, "status", *LLM), "{{status}}")],
            "reqps",
            width=8,
            stack="normal",
        ),
        graph(
            "Retries per call",
            "LLMRetriesHigh fires above the line: every retry is latency.",
            [Query(f"{retries} / ({rate(CALLS, 'provider', *LLM)} > 0)", "{{provider}}")],
            "none",
            width=8,
            steps=between("LLMRetriesHigh"),
        ),
        graph(
            "Retries by reason",
            "Attempts after the first, in a second.",
            [Query(rate("otel_latency_llm_retries_total", "provider, reason", *LLM), "{{provider}} {{reason}}")],
            "ops",
            width=8,
            stack="normal",
        ),
        states(
            "Circuit breakers",
            "Open ones refuse calls without sending them: LLMCircuitOpen.",
            [
                Query(
                    gauge("otel_latency_circuit_state", "service, provider", S, 'provider=~"$provider"'),
                    "{{service}} {{provider}}",
                )
            ],
            {"0": ("closed", "green"), "1": ("half-open", "orange"), "2": ("open", "red")},
            width=8,
        ),
    ]
