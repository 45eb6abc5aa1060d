"""Compare two runs or periods: of each stage how far it moved, how sure that is, and whether it is more than noise.

    otel-latency compare A B
    otel-latency compare --agent URL 2h..1h 1h..now

A and B are event logs or OTLP/JSON files; with --agent they are periods of its history: each end an age (90m), `now`,
a time (2026-11-21T14:00) in UTC, or Unix seconds. Only requests that ended well count. `total` is the whole request.

Some things an agent has only windows of: milestones, what ended longer ago than `store.detail`, what there is more of
than 5,000 a stage, or a sample. They are marked: compared are then the medians of the minutes (later, of quarters of an
hour) that lie within a period as a whole, and requests that failed are in them.

A stage is called slower or faster when chance would make such a difference in any stage less than once in 28
comparisons. Without enough samples to tell, it is the same. Intervals hold the true shift 19 times in 20.

    $ otel-latency compare before.jsonl after.jsonl
    stage  samples    p50 A    p50 B  shift            95 %   p95 A   p95 B  shift       p  verdict
    llm    60 / 60   514 ms   719 ms  +40 %  +33 % .. +47 %  593 ms  831 ms  +40 %  < 1e-6   slower
    tts    60 / 60  96.4 ms  96.4 ms   +0 %   -9 % .. +10 %  136 ms  136 ms   +0 %   1.000     same
    total  60 / 60   610 ms   810 ms  +33 %  +28 % .. +38 %  699 ms  937 ms  +34 %  < 1e-6   slower

The exit code is 0 whatever is found; with --fail-if-slower it is 1 when a stage is slower.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otel_latency.cli import periods, sources
from otel_latency.cli.painting import listed, percent, seconds, shown, table
from otel_latency.cli.periods import Period
from otel_latency.errors import OtelLatencyError
from otel_latency.insight.requests import Request
from otel_latency.insight.samples import samples_of
from otel_latency.significance.comparison import FASTER, SLOWER, StageShift, compare
from otel_latency.significance.statistics import Interval

HEADINGS = ("stage", "samples", "p50 A", "p50 B", "shift", "95 %", "p95 A", "p95 B", "shift", "p", "verdict")
STYLES = {SLOWER: "red", FASTER: "green"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a file, or with --agent a period, such as 2h..1h")
    parser.add_argument("b", metavar="B", help="what it is compared with")
    parser.add_argument("--agent", metavar="URL", help="compare periods of this agent's history")
    parser.add_argument("--fail-if-slower", action="store_true", help="end with 1 when a stage is slower")
    parser.add_argument("--json", action="store_true", help='print {"stages": [{"stage", "a", "b", "shift", ...}]}')


def run(arguments: argparse.Namespace) -> int:
    if arguments.agent:
        found, by_window, windows = periods.compare(arguments.agent, arguments.a, arguments.b)
    else:
        found, by_window, windows = _files(Path(arguments.a), Path(arguments.b)), frozenset(), None
    if arguments.json:
        print(json.dumps({"stages": [_as_json(one, by_window) for one in found]}))
    else:
        table(HEADINGS, [_row(one, by_window) for one in found], [STYLES.get(one.verdict, "") for one in found])
    if windows and not arguments.json:
        print(f"\n* by the medians of windows, failures included: {' against '.join(map(_told, windows))}")
    is_slower = any(one.verdict == SLOWER for one in found)
    return int(arguments.fail_if_slower and is_slower)


def _files(a: Path, b: Path) -> list[StageShift]:
    before, after = (samples_of(_well_ended(path)) for path in (a, b))
    found = compare(before, after)
    if not found:
        told = (f"{path} has {listed(has)}" for path, has in ((a, before), (b, after)))
        raise OtelLatencyError(f"no stage is in both: {'; '.join(told)}")
    return found


def _well_ended(path: Path) -> list[Request]:
    return [request for request in sources.requests_of(path, sources.Stderr()) if request.status == "ok"]


def _told(period: Period) -> str:
    start, end = (datetime.fromtimestamp(at, UTC) for at in (period.start, period.end))
    return f"{start:%Y-%m-%d %H:%M}..{end:{'%H:%M' if start.date() == end.date() else '%Y-%m-%d %H:%M'}} UTC"


def _row(one: StageShift, by_window: Collection[str]) -> Sequence[str]:
    return (
        shown(one.stage, 40) + (" *" if one.stage in by_window else ""),
        f"{one.count_a:,} / {one.count_b:,}",
        seconds(one.p50.a),
        seconds(one.p50.b),
        percent(one.p50.ratio),
        _between(one.p50.interval),
        seconds(one.p95.a),
        seconds(one.p95.b),
        percent(one.p95.ratio),
        "< 1e-6" if one.p_value < 1e-6 else f"{one.p_value:.3f}" if one.p_value > 0.001 else f"{one.p_value:.0e}",
        one.verdict,
    )


def _between(interval: Interval | None) -> str:
    return "-" if interval is None else f"{percent(interval.low)} .. {percent(interval.high)}"


def _as_json(one: StageShift, by_window: Collection[str]) -> Mapping[str, Any]:
    return {
        "stage": one.stage,
        "evidence": "windows" if one.stage in by_window else "durations",
        "a": one.p50.a,
        "b": one.p50.b,
        "shift": one.p50.ratio,
        "shift_interval": one.p50.interval,
        "p95": {"a": one.p95.a, "b": one.p95.b, "shift": one.p95.ratio, "shift_interval": one.p95.interval},
        "samples": {"a": one.count_a, "b": one.count_b},
        "p_value": one.p_value,
        "verdict": one.verdict,
    }
