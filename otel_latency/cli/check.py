"""Say of each configuration file whether the agent would take it, or everything that is wrong with it.

The environment counts as it does for the agent: a ${env:NAME} that is not set is a fault. No value of a variable or
of a secret is printed. The exit code is 1 if any file is wrong.

    $ otel-latency check otel-latency.yaml wrong.yaml
    otel-latency.yaml: ok
    wrong.yaml: web.prot: unknown key: did you mean port?
    wrong.yaml: aggregate.turn_timeout: 'soon' is not a duration: write 250ms, 1s, 5m, 12h or 30d
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping

from otel_latency.config.load import faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help='print {"files": [{"file", "ok", "faults"}]}')


def run(arguments: argparse.Namespace) -> int:
    found = {file: [str(fault) for fault in faults(file, os.environ)] for file in arguments.files}
    print(_as_json(found) if arguments.json else _as_text(found))
    return int(any(found.values()))


def _as_text(found: Mapping[str, list[str]]) -> str:
    return "\n".join(line for file, lines in found.items() for line in lines or [f"{file}: ok"])


def _as_json(found: Mapping[str, list[str]]) -> str:
    return json.dumps({"files": [{"file": file, "ok": not lines, "faults": lines} for file, lines in found.items()]})
