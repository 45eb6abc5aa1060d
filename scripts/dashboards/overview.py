"""Is it slow, for whom, since when, and why."""

from __future__ import annotations

from typing import Final

from scripts.dashboards import drilldown
from scripts.dashboards.model import (
    GOOD_BELOW_TARGET,
    NO_THRESHOLD,
    SERVICE,
    Dashboard,
    Panel,
    Query,
    Row,
    below,
    between,
    graph,
    heatmap,
    stat,
    states,
    table,
)
from scripts.dashboards.promql import (
    FAILED,
    buckets,
    fold,
    gauge,
    mean,
    quantile,
    rate,
    seconds,
    select,
    share,
    target,
    window,
)

S: Final = 'service=~"$service"'
TURN: Final = "otel_latency_turn_duration_seconds"
STAGE: Final = "otel_latency_stage_duration_seconds"
EXPOSED: Final = "otel_latency_turn_exposed_seconds"
FIRST_AUDIO: Final = "otel_latency_turn_time_to_first_audio"
TTFT: Final = "otel_latency_turn_time_to_first_token"
FAILING: Final = between("TurnFailuresHigh", "TurnFailuresCritical")
ALERT_LABELS: Final = (
    "alertname",
    "severity",
    "alertstate",
    "service",
    "turn",
    "stage",
    "provider",
    "model",
    "milestone",
)


def dashboard() -> Dashboard:
    return Dashboard(
        "otel-latency-overview",
        "otel-latency / Overview",
        "Is it slow, for whom, since when, and why? Turns, stages, errors, alerts and the machine.",
        [
            Row("Now", _now()),
            Row("Is it slow, for whom, since when", _turns()),
            Row("Why", _why()),
            Row("Errors and alerts", _errors()),
            Row("Machine", _machine()),
            Row("Container: where there is a limit", _container(), is_collapsed=True),
            Row("GPU", _gpu(), is_collapsed=True),
            Row("Services that it needs: collect.checks", _checks(), is_collapsed=True),
        ],
        [SERVICE],
    )


def _now() -> list[Panel]:
    first_audio = fold("max", "", select(f"{FIRST_AUDIO}_window_seconds", S, 'quantile="0.95"', 'window="1m"'))
    return [
        stat(
            "Turns",
            "Turns that ended in a second: otel_latency_turns_total.",
            rate("otel_latency_turns_total", "", S),
            "reqps",
        ),
        stat(
            "Failed turns",
            "Share of turns that ended in an error or a timeout; colours as TurnFailuresHigh and TurnFailuresCritical.",
            share("otel_latency_turns_total", "", FAILED, S),
            "percentunit",
            steps=FAILING,
        ),
        stat(
            "Turn p50",
            "Half of the turns of the last minute were faster, in the slowest service.",
            window("otel_latency_turn_window_seconds", 0.5, "", S),
            "s",
        ),
        stat(
            "Turn p99",
            "One turn in a hundred of the last minute was slower, in the slowest service.",
            window("otel_latency_turn_window_seconds", 0.99, "", S),
            "s",
        ),
        stat("First audio p95", "From the turn's start to its first audio, over the last minute.", first_audio, "s"),
        stat(
            "First audio / target",
            "The same over its target (targets.first_audio). MilestoneAboveTarget fires above 100 %.",
            f"{first_audio} / {target('milestone', 'first_audio')}",
            "percentunit",
            steps=GOOD_BELOW_TARGET,
        ),
        stat(
            "Running",
            "Operations that have started and not ended; coloured from what QueueBacklog says of a single stage.",
            gauge("otel_latency_operations_in_flight", "", S, operator="sum"),
            "short",
            steps=between("QueueBacklog"),
        ),
        stat(
            "Active sessions",
            "Sessions with a turn in the last minutes: otel_latency_sessions_active.",
            gauge("otel_latency_sessions_active", "", S, operator="sum"),
            "short",
        ),
    ]


def _turns() -> list[Panel]:
    by = "service, turn"
    return [
        graph(
            "Duration of turns",
            "Percentiles over all turns chosen above; dots are exemplars, which lead to a trace.",
            [Query(quantile(q, TURN, "", S), f"p{q * 100:g}", has_exemplars=True) for q in (0.5, 0.9, 0.99)],
            "s",
        ),
        heatmap("Turns by duration", "How many turns took how long.", buckets(TURN, S)),
        graph(
            "p95 by service and turn",
            "Whose turns are slow.",
            [Query(quantile(0.95, TURN, by, S), "{{service}} {{turn}}")],
            "s",
        ),
        graph(
            "First audio p95 by service and turn",
            "What a caller waits for, with its target.",
            [
                Query(quantile(0.95, f"{FIRST_AUDIO}_seconds", by, S), "{{service}} {{turn}}", has_exemplars=True),
                Query(target("milestone", "first_audio"), "target"),
            ],
            "s",
        ),
        table(
            "Turns",
            "The last minute by service and turn; click a service to look into its stages.",
            [
                ("turns/s", "reqps", rate("otel_latency_turns_total", by, S), NO_THRESHOLD),
                ("failed", "percentunit", share("otel_latency_turns_total", by, FAILED, S), FAILING),
                ("p50", "s", window("otel_latency_turn_window_seconds", 0.5, by, S), NO_THRESHOLD),
                ("p95", "s", window("otel_latency_turn_window_seconds", 0.95, by, S), NO_THRESHOLD),
                ("p99", "s", window("otel_latency_turn_window_seconds", 0.99, by, S), NO_THRESHOLD),
                ("first token p95", "s", window(f"{TTFT}_window_seconds", 0.95, by, S), NO_THRESHOLD),
                ("first audio p95", "s", window(f"{FIRST_AUDIO}_window_seconds", 0.95, by, S), NO_THRESHOLD),
            ],
            ["service", "turn"],
            links=[("Look into its stages", drilldown.link("service"))],
        ),
    ]


def _why() -> list[Panel]:
    worst = window("otel_latency_stage_window_seconds", 0.95, "service, stage", S, over="5m")
    targets = fold("max", "stage", select("otel_latency_stage_target_seconds", 'level="target"'))
    return [
        graph(
            "What turns wait for",
            "Mean share of each stage in the critical path of a turn: making a stage faster helps by as much.",
            [Query(mean(EXPOSED, "stage", S), "{{stage}}")],
            "s",
            stack="normal",
        ),
        graph(
            "p95 of stages over their targets",
            "1 is the target (targets: of the configuration); StageAboveTarget fires above it.",
            [Query(f"{worst} / on (stage) group_left () {targets}", "{{service}} {{stage}}")],
            "percentunit",
            steps=GOOD_BELOW_TARGET,
        ),
        graph(
            "Unlike its own past",
            "Anomaly score of each stage, 0 to 1; LatencyAnomaly fires above the line.",
            [Query(gauge("otel_latency_anomaly_score", "service, stage", S), "{{service}} {{stage}}")],
            "percentunit",
            steps=between("LatencyAnomaly"),
            max=1,
        ),
        graph(
            "Time spent in stages",
            "Seconds of work in a second, so operations at once, by stage.",
            [Query(seconds(STAGE, "stage", S), "{{stage}}")],
            "none",
            stack="normal",
        ),
    ]


def _errors() -> list[Panel]:
    firing = fold("max", ", ".join(ALERT_LABELS), select("ALERTS", 'alertname!="Watchdog"'))
    return [
        graph(
            "Turns by how they ended",
            "ok, error, timeout, cancelled, interrupted: otel_latency_turns_total.",
            [Query(rate("otel_latency_turns_total", "status", S), "{{status}}")],
            "reqps",
            stack="normal",
        ),
        graph(
            "Failed stages",
            "Share of each stage that ended in an error or a timeout; StageFailuresHigh fires above the line.",
            [Query(share("otel_latency_stages_total", "service, stage", FAILED, S), "{{service}} {{stage}}")],
            "percentunit",
            steps=between("StageFailuresHigh"),
        ),
        table(
            "Alerts of the agent",
            "Pending and firing alerts that the agent itself evaluates (rules: of the configuration).",
            [("active", "short", firing, NO_THRESHOLD)],
            ALERT_LABELS,
            width=12,
        ),
        graph(
            "Firing alerts",
            "How many alerts fire, by severity; the watchdog left out.",
            [
                Query(
                    fold("count", "severity", select("ALERTS", 'alertname!="Watchdog"', 'alertstate="firing"')),
                    "{{severity}}",
                )
            ],
            "short",
        ),
    ]


def _machine() -> list[Panel]:
    return [
        graph(
            "CPU",
            "Share of the machine's CPU time in use; HostCPUHigh fires above the line.",
            [Query(gauge("otel_latency_host_cpu_utilization_ratio", "instance"), "{{instance}}")],
            "percentunit",
            width=6,
            steps=between("HostCPUHigh"),
        ),
        graph(
            "Load",
            "Processes that run or wait to, averaged over a minute.",
            [Query(gauge("otel_latency_host_load1", "instance"), "{{instance}}")],
            "short",
            width=6,
        ),
        graph(
            "Memory",
            "Share of the machine's memory that cannot be had without swapping; HostMemoryHigh fires above the line.",
            [Query(gauge("otel_latency_host_memory_utilization_ratio", "instance"), "{{instance}}")],
            "percentunit",
            width=6,
            steps=between("HostMemoryHigh"),
        ),
        graph(
            "Memory in bytes",
            "The same in bytes.",
            [Query(gauge("otel_latency_host_memory_used_bytes", "instance"), "{{instance}}")],
            "bytes",
            width=6,
        ),
        graph(
            "Network",
            "Bytes in a second through each interface.",
            [
                Query(
                    rate("otel_latency_host_network_bytes_total", "instance, interface, direction"),
                    "{{instance}} {{interface}} {{direction}}",
                )
            ],
            "Bps",
            width=8,
        ),
        graph(
            "Network over its speed",
            "Where the speed of an interface is known; NetworkSaturated fires above the line.",
            [
                Query(
                    gauge("otel_latency_host_network_utilization_ratio", "instance, interface, direction"),
                    "{{instance}} {{interface}} {{direction}}",
                )
            ],
            "percentunit",
            width=8,
            steps=between("NetworkSaturated"),
        ),
        graph(
            "Disk free",
            "What unprivileged users may still fill; DiskAlmostFull fires below the line.",
            [
                Query(
                    gauge("otel_latency_host_disk_free_ratio", "instance, mountpoint", operator="min"),
                    "{{instance}} {{mountpoint}}",
                )
            ],
            "percentunit",
            width=8,
            steps=below("DiskAlmostFull"),
            max=1,
        ),
    ]


def _container() -> list[Panel]:
    by = "instance"
    return [
        graph(
            "CPU over the limit",
            "CPU time of the cgroup over its limit, or over all CPUs; ContainerCPUHigh fires above the line.",
            [Query(gauge("otel_latency_container_cpu_utilization_ratio", by), "{{instance}}")],
            "percentunit",
            width=6,
            steps=between("ContainerCPUHigh"),
        ),
        graph(
            "CPU throttled",
            "Share of periods in which the quota held the container back; ContainerCPUThrottled fires above the line.",
            [Query(gauge("otel_latency_container_cpu_throttled_ratio", by), "{{instance}}")],
            "percentunit",
            width=6,
            steps=between("ContainerCPUThrottled"),
        ),
        stat(
            "CPU limit",
            "CPUs that the quota allows.",
            gauge("otel_latency_container_cpu_limit_cores", ""),
            "none",
            width=6,
            noValue="no limit",
        ),
        stat(
            "Memory over the limit",
            "Working set over limit; ContainerMemoryHigh fires from orange on.",
            gauge("otel_latency_container_memory_utilization_ratio", ""),
            "percentunit",
            steps=between("ContainerMemoryHigh"),
            width=6,
            noValue="no limit",
        ),
        graph(
            "Memory",
            "Working set, and the limit at which the kernel kills.",
            [
                Query(gauge("otel_latency_container_memory_working_set_bytes", by), "{{instance}}"),
                Query(gauge("otel_latency_container_memory_limit_bytes", by), "critical {{instance}}"),
            ],
            "bytes",
        ),
        graph(
            "Pressure",
            "Share of time in which some or all tasks waited for CPU, memory or disk: PSI.",
            [Query(gauge("otel_latency_container_pressure_ratio", "resource, kind"), "{{resource}} {{kind}}")],
            "percentunit",
        ),
    ]


def _gpu() -> list[Panel]:
    by, legend = "instance, gpu", "{{instance}} {{gpu}}"
    used, total = (gauge(f"otel_latency_gpu_memory_{what}_bytes", by) for what in ("used", "total"))
    return [
        states(
            "GPUs",
            "Whether the driver has figures of each GPU; GPUNotAnswering fires where it has none.",
            [Query(gauge("otel_latency_gpu_up", by, operator="min"), legend)],
            {"1": ("answers", "green"), "0": ("does not answer", "red")},
            width=8,
        ),
        graph(
            "Utilisation",
            "Share of time in which something ran on the GPU.",
            [Query(gauge("otel_latency_gpu_utilization_ratio", by), legend)],
            "percentunit",
            width=8,
        ),
        graph(
            "Memory", "Share of the GPU's memory in use.", [Query(f"{used} / {total}", legend)], "percentunit", width=8
        ),
        graph(
            "Temperature",
            "Of the chip; hot ones slow themselves down.",
            [Query(gauge("otel_latency_gpu_temperature_celsius", by), legend)],
            "celsius",
        ),
        graph("Power", "What each GPU draws.", [Query(gauge("otel_latency_gpu_power_watts", by), legend)], "watt"),
    ]


def _checks() -> list[Panel]:
    return [
        states(
            "Checks",
            "Whether each watched service answers; CheckDown fires where it does not.",
            [Query(gauge("otel_latency_check_up", "check", operator="min"), "{{check}}")],
            {"1": ("up", "green"), "0": ("down", "red")},
        ),
        graph(
            "Duration of checks",
            "How long the last one took, up or down.",
            [Query(gauge("otel_latency_check_duration_seconds", "check"), "{{check}}")],
            "s",
        ),
    ]
