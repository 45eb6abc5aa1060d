"""Put agents of its own under load, on free ports, and print a report; compare it with an earlier one.

Start-up, memory, throughput, a hundred concurrent sessions, how fast the agent answers. That takes half a minute; it is
what `report` measures where no agent is named.

    otel-latency bench --save before.json
    otel-latency bench --against before.json

The second call ends with 1 when a figure is worse by more than the tolerance, and beyond what it varies by itself.

    $ otel-latency bench --against nowhere.json
    nowhere.json: the file cannot be read (No such file or directory): check the name and its rights
"""

from __future__ import annotations

import argparse

from otel_latency.cli import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    report.add_load_arguments(parser)
    report.add_report_arguments(parser)
    parser.set_defaults(agent=None)


def run(arguments: argparse.Namespace) -> int:
    return report.run(arguments)
