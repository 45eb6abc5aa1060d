"""Say of each configuration file whether the agent would take it, or everything that is wrong with it.

The environment counts as it does for the agent: a ${env:NAME} that is not set is a fault, and so is a collector of
yours that cannot be loaded. No value of a variable or of a secret is printed. The exit code is 1 if any file is wrong.

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

from otel_latency.config.load import faults, load
from otel_latency.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help='print {"files": [{"file", "ok", "faults"}]}')


def run(arguments: argparse.Namespace) -> int:
    found = {file: [str(fault) for fault in _faults(file)] for file in arguments.files}
    print(_as_json(found) if arguments.json else _as_text(found))
    return int(any(found.values()))


def _faults(file: str) -> list[ConfigError]:
    """What is wrong with the file itself, or else with the collectors that it names."""
    found = faults(file, os.environ)
    if found:
        return found
    from otel_latency.collect import user  # late: most files name none, and help needs none

    for entry in load(file, os.environ).collect.collectors:
        try:
            user.load(entry if isinstance(entry, str) else entry.target)
        except ConfigError as error:
            found.append(ConfigError(f"{file}: {error}"))
    return found


def _as_text(found: Mapping[str, list[str]]) -> str:
    return "\n".join(line for file, lines in found.items() for line in lines or [f"{file}: ok"])


def _as_json(found: Mapping[str, list[str]]) -> str:
    return json.dumps({"files": [{"file": file, "ok": not lines, "faults": lines} for file, lines in found.items()]})
