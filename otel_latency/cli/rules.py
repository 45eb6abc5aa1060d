"""Test Prometheus rule files, or ask a running agent why a rule fires or does not.

    otel-latency rules test FILE...
    otel-latency rules explain NAME

`test` runs unit tests in promtool's own file format, and with its verdicts; with --semantics 2 the rules are evaluated
as Prometheus 2 did. The exit code is 1 if any test fails.

    $ otel-latency rules test latency.test.yaml
    Unit Testing:  latency.test.yaml
      SUCCESS

`explain` shows what each part of a rule's expression yields now, and the alerts that came of it:

    $ otel-latency rules explain QueueDeep
    QueueDeep  queue.rules.yaml, group queue: firing, for 1s
      depth > 5 and on (queue) rate(jobs_total[1m]) > 0      1 element
        {job="otel-latency", queue="orders"}  9
        depth > 5                                            1 element
          depth{job="otel-latency", queue="orders"}  9
          depth                                              2 elements
            depth{job="otel-latency", queue="orders"}  9
            depth{job="otel-latency", queue="mails"}  2
        rate(jobs_total[1m]) > 0                             1 element
          {job="otel-latency", queue="orders"}  4.5
          rate(jobs_total[1m])                               1 element
            {job="otel-latency", queue="orders"}  4.5
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import cast

from otel_latency.cli import explaining
from otel_latency.cli.client import DEFAULT_AGENT, AgentClient
from otel_latency.cli.inputs import text_of
from otel_latency.errors import ConfigError
from otel_latency.rules import rulefile, testfile, testrun
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.rule import RuleGroup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    test = actions.add_parser("test", help="run unit tests of rules")
    test.add_argument("files", nargs="+", metavar="FILE")
    test.add_argument("--semantics", type=int, choices=(2, 3), default=3, help="Prometheus' major version (default 3)")
    test.add_argument("--json", action="store_true", help='print {"files": [{"file", "ok", "warnings", "failures"}]}')

    explained = actions.add_parser("explain", help="show what each part of a rule yields now")
    explained.add_argument("name", metavar="NAME", help="of an alert, or of what a recording rule makes")
    explained.add_argument("--agent", default=DEFAULT_AGENT, metavar="URL", help="default: %(default)s")
    explained.add_argument("--elements", type=int, default=10, metavar="N", help="shown of each part (default 10)")
    explained.add_argument("--json", action="store_true", help='print {"rules": [{"name", "state", "parts", ...}]}')


def run(arguments: argparse.Namespace) -> int:
    return _run_explain(arguments) if arguments.action == "explain" else _run_test(arguments)


def _run_explain(arguments: argparse.Namespace) -> int:
    client = AgentClient(arguments.agent)
    found = explaining.ask(client, arguments.name)
    if arguments.json:
        print(json.dumps({"rules": [explaining.as_json(one) for one in found]}))
    else:
        print("\n\n".join(explaining.as_text(one, arguments.elements) for one in found))
    return 0


def _run_test(arguments: argparse.Namespace) -> int:
    # A rule that cannot be evaluated fails its test, which says so; once is enough.
    logging.getLogger("otel_latency.rules").addHandler(logging.NullHandler())
    semantics = cast(Semantics, arguments.semantics)
    verdicts = []
    for file in arguments.files:
        warnings, failures = _test(file, semantics)
        verdicts.append({"file": file, "ok": not failures, "warnings": warnings, "failures": failures})
        if not arguments.json:
            print(_as_text(file, warnings, failures))
    if arguments.json:
        print(json.dumps({"files": verdicts}))
    return int(not all(verdict["ok"] for verdict in verdicts))


def _as_text(file: str, warnings: Sequence[str], failures: Sequence[str]) -> str:
    lines = [f"Unit Testing:  {file}", *(f"  WARNING: {warning}" for warning in warnings)]
    lines += ["  FAILED:", *(f"{failure}\n" for failure in failures)] if failures else ["  SUCCESS\n"]
    return "\n".join(lines)


def _test(file: str, semantics: Semantics) -> tuple[list[str], list[str]]:
    """What is odd about a file, and what fails."""
    try:
        tests, faults = testfile.read(file, text_of(file), semantics=semantics)
        if tests is None:
            return [], [str(fault) for fault in faults]
        paths, warnings = _rule_files(file, tests.rule_files)
        groups, faults = _groups(paths, semantics)
    except ConfigError as fault:
        return [], [str(fault)]
    if faults:
        return warnings, [str(fault) for fault in faults]
    return warnings, testrun.run(tests, groups, semantics=semantics)


def _rule_files(file: str, patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """The paths that the patterns stand for, from the directory of *file*; and the patterns that stand for none."""
    paths, warnings = [], []
    for pattern in patterns:
        found = sorted(glob(str(Path(file).parent / pattern)))  # noqa: PTH207 -- a pattern may be absolute
        paths += found
        if not found:
            warnings.append(f"no file match pattern {pattern}")
    return list(dict.fromkeys(paths)), warnings


def _groups(paths: Sequence[str], semantics: Semantics) -> tuple[list[RuleGroup], list[ConfigError]]:
    groups: list[RuleGroup] = []
    faults: list[ConfigError] = []
    for path in paths:
        found, wrong = rulefile.read(path, text_of(path), semantics=semantics)
        groups += found
        faults += wrong
    return groups, faults
