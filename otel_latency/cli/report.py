"""Measure an agent and print a report; compare it with an earlier one.

Without --agent it starts agents of its own on free ports and puts them under load: start-up, memory, throughput, a
hundred concurrent sessions, how fast the agent answers. That takes half a minute. With --agent it asks one that
runs, and adds what it knows of external services (checks) and language models; nothing is sent to it.

    otel-latency report --save before.json
    otel-latency report --against before.json

The second call ends with 1 when a figure is worse by more than the tolerance, and beyond what it varies by itself.

    $ otel-latency report --agent http://127.0.0.1:1
    http://127.0.0.1:1: Connection refused: is an agent running there?
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from otel_latency.cli.painting import percent, shown, table
from otel_latency.cli.sources import Stderr
from otel_latency.errors import ConfigError
from otel_latency.insight.events import unreadable
from otel_latency.insight.report import BETTER, TOLERANCE, WORSE, Change, Figure, Report, changes, dump, has_regressed
from otel_latency.insight.report import load as load_report

STYLES = {WORSE: "red", BETTER: "green"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", metavar="URL", help="report on an agent that runs")
    add_load_arguments(parser)
    add_report_arguments(parser)


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    """How agents of our own are put under load."""
    parser.add_argument("--rounds", type=_whole, default=5, metavar="N", help="agents to start; default: %(default)s")
    parser.add_argument(
        "--seconds", type=_positive, default=2.0, metavar="SECONDS", help="of each load; default: %(default)g"
    )
    parser.add_argument("--sessions", type=_whole, default=100, metavar="N", help="at once; default: %(default)s")


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """What becomes of the figures."""
    parser.add_argument("--save", metavar="FILE", help="write the report, for a later --against")
    parser.add_argument("--against", metavar="FILE", help="an earlier report; ends with 1 when this one is worse")
    parser.add_argument(
        "--tolerance",
        type=_percent,
        default=TOLERANCE,
        metavar="PERCENT",
        help="worse by less is the same; default: 25",
    )
    parser.add_argument("--json", action="store_true", help='print {"created", "figures": [...], "changes": [...]}')


def run(arguments: argparse.Namespace) -> int:
    before = None if arguments.against is None else load_report(arguments.against, _read(arguments.against))
    measured, machine, figures = _measured(arguments)
    report = Report(time.time(), measured, machine, tuple(figures))
    found = [] if before is None else changes(before, report, tolerance=arguments.tolerance)
    if arguments.save is not None:
        _write(arguments.save, dump(report))
    if arguments.json:
        document = {**msgspec.to_builtins(report), "changes": found}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    elif before is None:
        print(f"{_origin(report)}\n")
        table(("figure", "value", "lowest", "highest"), [_figure(one) for one in report.figures])
    else:
        print(f"before: {_origin(before)}\nnow:    {_origin(report)}\n")
        units = {one.name: one.unit for one in (*before.figures, *report.figures)}
        rows = [_change(one, units[one.name]) for one in found]
        table(("figure", "before", "now", "change", ""), rows, [STYLES.get(one.verdict, "") for one in found])
    return int(has_regressed(found))


def _measured(arguments: argparse.Namespace) -> tuple[str, str, list[Figure]]:
    """Version, machine or address, and figures."""
    from otel_latency.cli import measuring  # late: it brings protobuf, of which help needs none

    if arguments.agent:
        running, figures = measuring.running_agent(arguments.agent, arguments.seconds)
        return running, arguments.agent, figures
    load = measuring.Load(rounds=arguments.rounds, seconds=arguments.seconds, sessions=arguments.sessions)
    stderr = Stderr()
    figures = asyncio.run(measuring.own_agent(load, stderr.progress))
    stderr.close()
    return version("otel-latency"), _machine(), figures


def _origin(report: Report) -> str:
    created = datetime.fromtimestamp(report.created, UTC)
    return f"otel-latency {shown(report.version)}, {shown(report.machine, 200)}, {created:%Y-%m-%d %H:%M} UTC"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _figure(one: Figure) -> Sequence[str]:
    return shown(one.name), *(_number(value, one.unit) for value in (one.value, min(one.values), max(one.values)))


def _change(one: Change, unit: str) -> Sequence[str]:
    before, now = ("-" if value is None else _number(value, unit) for value in (one.before, one.now))
    return shown(one.name), before, now, "-" if one.ratio is None else percent(one.ratio), one.verdict


def _number(value: float, unit: str) -> str:
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise unreadable(Path(file), error) from None


def _write(file: str, data: bytes) -> None:
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{file}: the file cannot be written ({error.strerror}): check its folder") from None


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 10,000")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number <= 3600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds up to 3600")
    return number


def _percent(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: write 25") from None
