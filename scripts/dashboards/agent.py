"""The agent about itself: whether its figures can be believed, what it costs, and whether its alerts are heard."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.model import Dashboard, Panel, Query, Row, between, graph, named, stat, states
from scripts.dashboards.promql import gauge, increase, quantile_of_classic, rate

A: Final = "otel_latency_agent"
SIGNALS: Final = {"Spans": "spans", "Data points of metrics": "metric_points", "Log records": "log_records"}
REASON: Final = "{{reason}}"


def dashboard() -> Dashboard:
    return Dashboard(
        "otel-latency-agent",
        "otel-latency / Agent self-health",
        "Whether the agent's figures can be believed, what it costs, and whether its alerts are heard.",
        [
            Row("Now", _now()),
            Row("Taken in, refused, dropped", _intake()),
            Row("On time", _time()),
            Row("What it costs", _cost()),
            Row("Turns, forecasts and history", _learning()),
            Row("Rules and notifications", _rules()),
            Row("Collectors", _collectors()),
            Row("Forwarding: forward", _forwarding(), is_collapsed=True),
            Row("Watched processes: collect.process", _processes(), is_collapsed=True),
        ],
    )


def _now() -> list[Panel]:
    lost = " + ".join(f"({increase(f'{A}_{what}_spans_total', '')} or vector(0))" for what in ("rejected", "dropped"))
    return [
        named("Version", "Of the agents chosen.", Query(gauge("otel_latency_build_info", "version"), "{{version}}")),
        stat(
            "Agents",
            "That are scraped: otel_latency_build_info.",
            gauge("otel_latency_build_info", "", operator="count"),
            "short",
            noValue="none",
        ),
        stat("Spans", "Taken in, in a second.", rate(f"{A}_received_spans_total", ""), "ops"),
        stat("Spans lost", "Refused or dropped in the time shown.", lost, "short", steps=(("green", None), ("red", 1))),
        stat(
            "Tick lateness p99",
            "How late the 250 ms ticks are; orange as AgentTicksLate.",
            quantile_of_classic(0.99, f"{A}_tick_lateness_seconds", ""),
            "s",
            steps=between("AgentTicksLate"),
        ),
        stat(
            "Memory",
            "Of the largest agent; orange as AgentMemoryHigh.",
            gauge(f"{A}_resident_memory_bytes", ""),
            "bytes",
            steps=between("AgentMemoryHigh"),
        ),
        stat("Series", "Label sets held by the fullest agent.", gauge(f"{A}_series", ""), "short"),
        stat(
            "Rules that fail",
            "AgentRulesFailing fires from red on.",
            gauge(f"{A}_rules_failing", "", operator="sum"),
            "short",
            steps=(("green", None), ("red", 1)),
            noValue="no rules",
        ),
    ]


def _intake() -> list[Panel]:
    return [
        *(
            graph(
                f"{title} taken in",
                "In a second, by transport.",
                [Query(rate(f"{A}_received_{signal}_total", "transport"), "{{transport}}")],
                "ops",
                width=8,
                stack="normal",
            )
            for title, signal in SIGNALS.items()
        ),
        *(
            graph(
                f"{title} refused",
                "In a second, by reason; the sender was told.",
                [Query(rate(f"{A}_rejected_{signal}_total", "reason"), REASON)],
                "ops",
                width=8,
            )
            for title, signal in SIGNALS.items()
        ),
        graph(
            "Spans dropped",
            "Taken in and not counted: AgentSpansDropped, but for duplicates.",
            [Query(rate(f"{A}_dropped_spans_total", "reason"), REASON)],
            "ops",
            width=6,
        ),
        graph(
            "Spans corrected",
            "Counted with their times corrected.",
            [Query(rate(f"{A}_adjusted_spans_total", "reason"), REASON)],
            "ops",
            width=6,
        ),
        graph(
            "Data points dropped",
            "Taken in and not shown: AgentMetricPointsDropped.",
            [Query(rate(f"{A}_dropped_metric_points_total", "reason"), REASON)],
            "ops",
            width=6,
        ),
        graph(
            "Running operations not watched",
            "Reported as started, and not or no longer in the table.",
            [Query(rate(f"{A}_dropped_operations_total", "reason"), REASON)],
            "ops",
            width=6,
        ),
    ]


def _time() -> list[Panel]:
    lateness = f"{A}_tick_lateness_seconds"
    return [
        graph(
            "Tick lateness",
            "How long after its grid point each 250 ms tick fired; AgentTicksLate fires where p99 is above the line.",
            [Query(quantile_of_classic(q, lateness, ""), f"p{q * 100:g}") for q in (0.5, 0.99)],
            "s",
            width=8,
            steps=between("AgentTicksLate"),
        ),
        graph(
            "Event loop lag",
            "Worst lateness of the event loop since the last poll.",
            [Query(gauge(f"{A}_loop_lag_seconds", "instance"), "{{instance}}")],
            "s",
            width=8,
        ),
        graph(
            "Event loop stood still",
            "Times in 5 minutes that it stood still for more than 250 ms; AgentLoopBlocked fires above the line.",
            [Query(increase(f"{A}_loop_blocked_total", "instance", over="[5m]"), "{{instance}}")],
            "short",
            width=8,
            steps=between("AgentLoopBlocked"),
        ),
    ]


def _cost() -> list[Panel]:
    return [
        graph(
            "Memory",
            "Resident memory of each agent; AgentMemoryHigh fires above the line.",
            [Query(gauge(f"{A}_resident_memory_bytes", "instance"), "{{instance}}")],
            "bytes",
            width=6,
            steps=between("AgentMemoryHigh"),
        ),
        graph(
            "CPU",
            "1 is one core kept busy.",
            [Query(gauge("otel_latency_process_cpu_utilization_ratio", "instance", 'process="agent"'), "{{instance}}")],
            "percentunit",
            width=6,
        ),
        graph(
            "Series",
            "Label sets held (aggregate.max_series is the cap), and received series that /metrics has to leave out.",
            [
                Query(gauge(f"{A}_series", "instance"), "{{instance}}"),
                Query(gauge(f"{A}_hidden_series", "instance"), "{{instance}} hidden"),
            ],
            "short",
            width=6,
        ),
        graph(
            "Without room",
            "New label sets in a second that were counted in an overflow series: AgentSeriesOverflow.",
            [Query(rate(f"{A}_overflowed_series_total", "kind"), "{{kind}}")],
            "ops",
            width=6,
        ),
    ]


def _learning() -> list[Panel]:
    return [
        graph(
            "Part of traces that is looked into",
            "Turns, critical paths and forecasts come from this part of all traces; counts and percentiles from all.",
            [Query(gauge(f"{A}_turn_sampling_ratio", "instance", operator="min"), "{{instance}}")],
            "percentunit",
            width=5,
            max=1,
        ),
        graph(
            "Spans in no turn",
            "Counted in a second, and in no turn.",
            [Query(rate(f"{A}_unassembled_spans_total", "reason"), REASON)],
            "ops",
            width=5,
        ),
        graph(
            "Not learnt from, not priced",
            "Calls and stages in a second that forecasts leave out, and calls whose price was not looked up.",
            [
                Query(rate(f"{A}_unlearnt_operations_total", "reason"), f"not learnt: {REASON}"),
                Query(rate(f"{A}_unpriced_calls_total", "reason"), f"not priced: {REASON}"),
            ],
            "ops",
            width=5,
        ),
        graph(
            "History on disk",
            "store.max_bytes is the cap.",
            [Query(gauge(f"{A}_history_bytes", "instance"), "{{instance}}")],
            "bytes",
            width=5,
        ),
        graph(
            "Not kept",
            "What the history leaves out, or gave up before its time, in a second.",
            [Query(rate(f"{A}_history_dropped_total", "reason"), REASON)],
            "ops",
            width=4,
        ),
    ]


def _rules() -> list[Panel]:
    return [
        graph(
            "Rules",
            "Alerting and recording rules that are evaluated, and those of them that fail.",
            [
                Query(gauge(f"{A}_rules", "instance"), "{{instance}}"),
                Query(gauge(f"{A}_rules_failing", "instance"), "{{instance}} failing"),
            ],
            "short",
            width=6,
        ),
        states(
            "Rule files",
            "Whether they were right when they were last read: AgentRulesNotLoaded.",
            [Query(gauge(f"{A}_rules_reload_successful", "instance", operator="min"), "{{instance}}")],
            {"1": ("right", "green"), "0": ("wrong", "red")},
            width=6,
        ),
        graph(
            "Evaluations left out",
            "In a second, as those before took too long.",
            [Query(rate(f"{A}_rule_missed_evaluations_total", "group"), "{{group}}")],
            "ops",
            width=6,
        ),
        graph(
            "Notifications",
            "In a second by outcome, and how many are on their way. AgentNotificationsFailing: failed or dropped.",
            [
                Query(rate(f"{A}_notifications_total", "notifier, outcome"), "{{notifier}} {{outcome}}"),
                Query(gauge(f"{A}_queued_notifications", "", operator="sum"), "on their way"),
            ],
            "short",
            width=6,
        ),
    ]


def _collectors() -> list[Panel]:
    return [
        graph(
            "Failed polls",
            "In a second, by collector: AgentCollectorFailing.",
            [Query(rate(f"{A}_collector_failures_total", "collector"), "{{collector}}")],
            "ops",
        ),
        graph(
            "Polls left out",
            "In a second, as the one before still ran.",
            [Query(rate(f"{A}_collector_skipped_total", "collector"), "{{collector}}")],
            "ops",
        ),
    ]


def _forwarding() -> list[Panel]:
    return [
        graph(
            "Forwarded spans",
            "In a second, by destination.",
            [Query(rate(f"{A}_forwarded_spans_total", "destination"), "{{destination}}")],
            "ops",
            width=6,
        ),
        graph(
            "Spans that wait",
            "By destination; AgentForwardingBehind fires above the line.",
            [Query(gauge(f"{A}_queued_spans", "destination", operator="sum"), "{{destination}}")],
            "short",
            width=6,
            steps=between("AgentForwardingBehind"),
        ),
        graph(
            "Queue on disk",
            "What waits, in bytes.",
            [Query(gauge(f"{A}_forward_queue_bytes", "instance"), "{{instance}}")],
            "bytes",
            width=6,
        ),
        graph(
            "Accepted, not on disk",
            "Spans in a second that senders were told are taken, and that a crash would lose.",
            [Query(rate(f"{A}_acked_nondurable_spans_total", "instance"), "{{instance}}")],
            "ops",
            width=6,
        ),
        graph(
            "Spans lost on the way",
            "In a second: refused by the destination for good, or let go for want of room.",
            [Query(rate(f"{A}_forward_dropped_spans_total", "destination, reason"), "{{destination}} {{reason}}")],
            "ops",
            width=8,
        ),
        graph(
            "Items lost on the way",
            "The same with metrics and logs.",
            [Query(rate(f"{A}_forward_dropped_items_total", "destination, reason"), "{{destination}} {{reason}}")],
            "ops",
            width=8,
        ),
        graph(
            "From a former run",
            "Items that a restart found and counted, and spans that it found to forward.",
            [
                Query(increase(f"{A}_recovered_items_total", "signal"), "counted: {{signal}}"),
                Query(increase(f"{A}_forward_recovered_spans_total", "destination"), "to {{destination}}"),
            ],
            "short",
            width=8,
        ),
    ]


def _processes() -> list[Panel]:
    by, legend = "instance, process", "{{instance}} {{process}}"
    figures = {
        "CPU": ("cpu_utilization_ratio", "percentunit", "1 is one core kept busy."),
        "Memory": ("resident_memory_bytes", "bytes", "Held in RAM."),
        "Threads": ("threads", "short", "Of all processes of a name."),
        "Processes": ("instances", "short", "Running processes of each name."),
    }
    files = " / ".join(
        gauge(f"otel_latency_process_{which}_fds", "instance", 'process="agent"') for which in ("open", "max")
    )
    return [
        *(
            graph(title, text, [Query(gauge(f"otel_latency_process_{name}", by), legend)], unit, width=6)
            for title, (name, unit, text) in figures.items()
        ),
        graph(
            "Open files",
            "Open file descriptors.",
            [Query(gauge("otel_latency_process_open_fds", by), legend)],
            "short",
        ),
        graph(
            "Open files of the agent over its limit",
            "At 100 % it accepts no connection.",
            [Query(files, "{{instance}}")],
            "percentunit",
        ),
    ]
