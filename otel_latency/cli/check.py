"""Say of each file whether the agent would take it, or everything that is wrong with it: configurations and rule files.

The environment counts as it does for the agent: a ${env:NAME} that is not set is a fault, and so is a collector of
yours that cannot be loaded, a secret whose file cannot be read, or a rule file that the configuration names and that is
wrong. A pattern in rules.files that matches no file is a warning. No value of a variable or of a secret is printed.

A file that begins with groups: holds rules. They are linted as well: series that no agent exposes, a rate of a gauge, a
window that is too short, no threshold, a label that the result does not have. Warnings do not make a file wrong, unless
--strict is given; a comment `# otel-latency: ignore CHECK` beside a rule silences one check.

The exit code is 1 if any file is wrong.

    $ otel-latency check otel-latency.yaml wrong.yaml slow.rules.yaml
    otel-latency.yaml: ok
    wrong.yaml: web.prot: unknown key: did you mean port?
    wrong.yaml: aggregate.turn_timeout: 'soon' is not a duration: write 250ms, 1s, 5m, 12h or 30d
    slow.rules.yaml:5:15: group "slow", rule "Slow": rate() of otel_latency_host_load1, which is a gauge: take delta(),\
 deriv() or avg_over_time() (error: rate-on-gauge)
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from otel_latency.cli.inputs import duration, text_of
from otel_latency.config.load import MAX_BYTES, faults, load
from otel_latency.config.sections import Collect, Config, Rules
from otel_latency.config.values import Duration
from otel_latency.errors import ConfigError

if TYPE_CHECKING:
    from otel_latency.rules.lint import Finding
    from otel_latency.rules.promql.values import Semantics

_HOLDS_RULES: Final = re.compile(rb"""^(?:\{\s*)?["']?groups["']?\s*:""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What makes a file wrong and what does not, a line each; and of rules everything that the linter found."""

    faults: list[str]
    warnings: list[str]
    findings: list[Finding] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--strict", action="store_true", help="a warning makes a file wrong, too")
    parser.add_argument(
        "--semantics", type=int, choices=(2, 3), default=3, help="Prometheus' major version (default 3)"
    )
    parser.add_argument(
        "--sample-interval", type=duration, default=Duration(1.0), metavar="DURATION", help="of rules (default 1s)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print {"files": [{"file", "ok", "faults", "warnings"}]}; with "findings" for rules',
    )


def run(arguments: argparse.Namespace) -> int:
    verdicts = {file: _verdict(file, arguments) for file in arguments.files}
    print(_as_json(verdicts) if arguments.json else _as_text(verdicts))
    return int(any(verdict.faults for verdict in verdicts.values()))


def _verdict(file: str, arguments: argparse.Namespace) -> Verdict:
    data = _start(file)
    if _HOLDS_RULES.search(data):
        return _of_rules(file, arguments)
    found, warnings = _faults(file)
    lines = list(map(str, found))
    return Verdict([*lines, *warnings], []) if arguments.strict else Verdict(lines, warnings)


def _of_rules(file: str, arguments: argparse.Namespace) -> Verdict:
    from otel_latency.rules.files import RuleFiles  # late: most files hold no rules, and help needs none of it
    from otel_latency.rules.lint import Severity, Surroundings, lint

    semantics = cast("Semantics", arguments.semantics)
    groups, found = RuleFiles([escape(file)], semantics=semantics).load()
    text = text_of(file) if groups else ""
    around = Surroundings(sample_ms=round(arguments.sample_interval * 1000))
    findings = lint(text, groups, around)
    is_wrong = {one: arguments.strict or one.severity is Severity.ERROR for one in findings}
    wrong = [str(one) for one in findings if is_wrong[one]]
    return Verdict([*map(str, found), *wrong], [str(one) for one in findings if not is_wrong[one]], findings)


def _faults(file: str) -> tuple[list[ConfigError], list[str]]:
    """What is wrong with the file itself, or else with what it names; and warnings."""
    found = faults(file, os.environ)
    if found:
        return found, []
    config = load(file, os.environ)
    about_rules, warnings = _of_rule_files(file, config.rules)
    named = [ConfigError(f"{file}: {fault}") for fault in (*_of_collectors(config.collect), *_of_secrets(config))]
    return named + about_rules, warnings


def _of_collectors(section: Collect) -> Iterator[ConfigError]:
    from otel_latency.collect import user  # late: most files name none, and help needs none

    for entry in section.collectors:
        try:
            user.load(entry if isinstance(entry, str) else entry.target)
        except ConfigError as error:
            yield error


def _of_secrets(config: Config) -> list[ConfigError]:
    if not config.notify:
        return []
    from otel_latency.notify.build import faults_of_secrets  # late: it brings aiohttp

    return faults_of_secrets(config.notify)


def _of_rule_files(file: str, section: Rules) -> tuple[list[ConfigError], list[str]]:
    if not section.files:
        return [], []
    from otel_latency.rules.files import RuleFiles

    rules = RuleFiles(section.files, Path(file).parent, section.semantics)
    warnings = [
        f"{file}: rules.files: {pattern}: no file is called so now: check the pattern (warning)"
        for pattern in rules.unmatched()
    ]
    return rules.load()[1], warnings


def _start(file: str) -> bytes:
    """Enough of the file to see what it holds; nothing if it cannot be read, which others say better."""
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES)
    except OSError:
        return b""


def _as_text(verdicts: Mapping[str, Verdict]) -> str:
    lines = []
    for file, verdict in verdicts.items():
        shown = [*verdict.faults, *(verdict.warnings if verdict.findings is None else map(str, verdict.findings))]
        lines += list(dict.fromkeys(shown)) if verdict.faults else [*shown, f"{file}: ok"]
    return "\n".join(lines)


def _as_json(verdicts: Mapping[str, Verdict]) -> str:
    files = [
        {
            "file": file,
            "ok": not verdict.faults,
            "faults": verdict.faults,
            "warnings": verdict.warnings,
            **_findings(verdict),
        }
        for file, verdict in verdicts.items()
    ]
    return json.dumps({"files": files})


def _findings(verdict: Verdict) -> dict[str, object]:
    if verdict.findings is None:
        return {}
    return {
        "findings": [
            {**asdict(one), "check": one.check.value, "severity": one.severity.value} for one in verdict.findings
        ]
    }
