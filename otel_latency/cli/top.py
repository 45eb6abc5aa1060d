"""Watch an agent in the terminal: what is slow, turns, stages, what runs, alerts and errors of the last minute.

The figures are those of the live page and of /api/v1/overview, read anew every second. Where the output is no terminal,
or with --once, they are printed once; with --json as /api/v1/overview tells them, an object a line, with the rows of
what runs as `running`. When the agent goes away the last figures stay, with a note since when, until it is back.
Ctrl-C ends it.

    $ otel-latency top --once
    http://127.0.0.1:8080  17:04:12  3.94 turns/s  errors 2.0 %  running 7  alerts 0

    turn             service      count  p50      p90      p95      p99      errors
    answer           support-bot    143  1.34 s   1.81 s   2.01 s   2.31 s   1.4 %
    ...
    stage      service      count  p50     p95     target  is
    tts        support-bot    178  441 ms  1.06 s  200 ms  critical: check that synthesis runs on the GPU
    ...
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from otel_latency.cli.client import DEFAULT_AGENT, AgentClient
from otel_latency.cli.painting import BAR, PLAIN_WIDTH, seconds, shown
from otel_latency.errors import OtelLatencyError

EVERY: Final = 1.0
MAX_ROWS: Final = 12
MAX_NOTES: Final = 5
VERDICTS: Final = {"critical": "bold red", "slow": "yellow", "ok": "green", "unknown": "dim"}
ORDER: Final = tuple(VERDICTS)

Document = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", default=DEFAULT_AGENT, metavar="URL", help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="print the figures once, and end")
    parser.add_argument("--json", action="store_true", help="print what the API answers, a line each second")


def run(arguments: argparse.Namespace) -> int:
    client = AgentClient(arguments.agent)
    first = _read(client)
    if arguments.json:
        _print_json(client, first, once=arguments.once)
    elif arguments.once or not sys.stdout.isatty():
        Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False).print(
            screen(first, arguments.agent)
        )
    else:
        _watch(client, first, arguments.agent)
    return 0


def _read(client: AgentClient) -> dict[str, Any]:
    """The overview, and beside it the rows of what runs."""
    overview: dict[str, Any] = client.get("/api/v1/overview")
    return {**overview, "running": client.rows("/api/v1/operations/running", "operations")}


def _print_json(client: AgentClient, first: Document, *, once: bool) -> None:
    print(json.dumps(first), flush=True)
    while not once:
        time.sleep(EVERY)
        print(json.dumps(_read(client)), flush=True)


def _watch(client: AgentClient, known: Document, agent: str) -> None:
    """Show the figures until interrupted; without an answer the last ones stay."""
    with Live(screen(known, agent), screen=True, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            time.sleep(EVERY)
            note = ""
            try:
                known = _read(client)
            except OtelLatencyError as error:
                note = f"no answer since {_clock(known['timestamp'])}: {error}"
            live.update(screen(known, agent, note), refresh=True)


def screen(overview: Document, agent: str, note: str = "") -> Group:
    """Everything, from the heading down to what matters least."""
    parts: list[RenderableType] = [_heading(overview, agent)]
    if note:
        parts.append(Text(shown(note, 200), style="bold red"))
    parts += [Text(), _turns(overview["turns"]), Text(), _stages(overview["stages"])]
    if overview["running"]:
        parts += [Text(), _running(overview["running"])]
    notes = [*_alerts(overview["alerts"]), *_checks(overview["checks"]), *_errors(overview["top_errors"])]
    return Group(*parts, *([Text(), *notes] if notes else []))


def _heading(overview: Document, agent: str) -> Text:
    rate, alerts = overview["turns_per_second"], len(overview["alerts"])
    text = Text()
    text.append(f"{agent}  {_clock(overview['timestamp'])}  ", "dim")
    text.append(f"{'-' if rate is None else f'{rate:.2f}'} turns/s", "bold")
    text.append(f"  errors {_percent(overview['error_ratio'])}  running {overview['operations']['running']}")
    text.append(f"  alerts {alerts}", "bold red" if alerts else "")
    return text


def _turns(rows: Sequence[Document]) -> RenderableType:
    if not rows:
        return Text("no turn has ended in the last minute", "dim")
    table = _table("turn", "service", "count", "p50", "p90", "p95", "p99", "errors")
    for row in rows[:MAX_ROWS]:
        figures = [seconds(row[name]) for name in ("p50", "p90", "p95", "p99")]
        names = shown(row["turn"], 30), shown(row["service"], 24)
        _add(table, *names, str(row["count"]), *figures, _percent(row["error_ratio"]))
    return table


def _stages(rows: Sequence[Document]) -> RenderableType:
    if not rows:
        return Text("no stage has ended in the last minute", "dim")
    table = _table("stage", "service", "count", "p50", "p95", "target", left=("is",))
    for row in sorted(rows, key=lambda row: (ORDER.index(row["verdict"]), -row["count"]))[:MAX_ROWS]:
        advice = f": {row['advice'][0]}" if row["advice"] else ""
        _add(
            table,
            shown(row["stage"], 30),
            shown(row["service"], 24),
            str(row["count"]),
            *(seconds(row[name]) for name in ("p50", "p95", "target")),
            Text(f"{row['verdict']}{advice}", VERDICTS[row["verdict"]]),
        )
    return table


def _running(rows: Sequence[Document]) -> RenderableType:
    table = _table("running", "task", left=("elapsed / expected", ""))
    for row in rows[:MAX_ROWS]:
        elapsed, expected = row["elapsed_seconds"], row["estimate_seconds"]
        is_late = row["is_warning"] or (expected is not None and elapsed > expected)
        figures = f"{seconds(elapsed)} of {seconds(expected)}{', late' if is_late else ''}"
        style = "yellow" if is_late else "cyan"
        _add(table, shown(row["stage"], 30), shown(row["task"], 24), Text(_bar(elapsed, expected), style), figures)
    return table


def _bar(elapsed: float, expected: float | None) -> str:
    """Full when as much has passed as was expected."""
    filled = min(round(BAR * elapsed / expected), BAR) if expected else 0
    return "█" * filled + "·" * (BAR - filled)


def _alerts(rows: Sequence[Document]) -> Iterable[Text]:
    for row in rows[:MAX_NOTES]:
        about = row["annotations"].get("summary") or row["labels"].get("severity", "")
        yield Text(f"firing   {shown(row['labels']['alertname'], 40)}  {shown(about, 100)}", "bold red")


def _checks(rows: Sequence[Document]) -> Iterable[Text]:
    for row in rows:
        if not row["up"]:
            yield Text(f"down     {shown(row['check'], 40)}  {shown(row['error'], 100)}", "red")


def _errors(rows: Sequence[Document]) -> Iterable[Text]:
    for row in rows[:MAX_NOTES]:
        what = row.get("turn") or row.get("stage") or f"{row.get('provider', '')} {row.get('model', '')}"
        types = ", ".join(f"{shown(one, 40)} {count}" for one, count in row["error_types"].items())
        yield Text(f"{row['count']:5} x  {shown(what, 40)} of {shown(row['service'], 24)}  {row['status']}  {types}")


def _table(*headings: str, left: Sequence[str] = ()) -> Table:
    """The first two columns and those of *left* are text, the others figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < 2 else "right", no_wrap=True)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """A row; what rich would take for markup is text."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f} %"


def _clock(timestamp: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(timestamp))
