"""Random alert rules over random timelines, by promtool 2.42 and by us.

    python -m tests.fuzz.alert_states 2000 [SEED]

A timeline is a rule with its `for` and `keep_firing_for`, and two series that rise, dip, vanish, end and turn into NaN.
Both runners read the same files, which expect nothing to fire, so that their complaints hold ALERTS and
ALERTS_FOR_STATE of every tick. These complaints have to be the same, byte for byte.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from otel_latency.rules import rulefile, testfile, testrun

BATCH = 100
TICKS = 48
HOLDS_MS = (0, 1, 250, 300, 500, 750, 1000, 2000, 5000)
KEEPS_MS = (0, 0, 0, 100, 250, 500, 1000, 2500)
EXPRESSIONS = (
    'x{t="T"} > 1',
    'x{t="T"} > 1',
    'max_over_time(x{t="T"}[1s]) > 1',
    'x{t="T"} == bool 2',
    'sum by (t) (x{t="T"}) > 2',
    'x{t="T"} > 1 or (x{t="T"} > 0.5 and on (t, k) ALERTS{alertname="AT",alertstate="firing"})',
    'x{t="T"} > 1 unless on (t) ALERTS{t="T",alertname!="AT",alertstate="firing"}',
    'x{t="T"}',
    'absent(x{t="T",k="0"})',
    'vector(time() % 3) > 1 and on () x{t="T",k="1"} > 1',
)
VALUES = ("0", "0.7", "2", "2", "3", "NaN", "_", "stale")


class Case(NamedTuple):
    """What both runners read: a rule file and a file of tests."""

    rules: str
    tests: str


def timeline(source: random.Random) -> str:
    """Values that stay for a while, so that alerts get a chance to fire."""
    values: list[str] = []
    while len(values) < TICKS:
        values += [source.choice(VALUES)] * source.choice((1, 1, 2, 3, 5, 8))
    return " ".join(values[:TICKS])


def case(source: random.Random, count: int) -> Case:
    """*count* timelines at one pace."""
    step_ms = source.choice((250, 1000))
    tick_ms = step_ms * source.choice((1, 1, 2))
    rules = [rule(source, str(number)) for number in range(count)]
    series = [
        {"series": f'x{{t="{number}",k="{k}"}}', "values": timeline(source)} for number in range(count) for k in "01"
    ]
    asked = [
        {"expr": name, "eval_time": f"{at_ms}ms"}
        for at_ms in range(0, TICKS * step_ms, tick_ms)
        for name in ("ALERTS", "ALERTS_FOR_STATE")
    ]
    test = {"interval": f"{step_ms}ms", "input_series": series, "promql_expr_test": asked}
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{tick_ms}ms", "tests": [test]}
    return Case(json.dumps({"groups": [{"name": "g", "rules": rules}]}), json.dumps(tests))


def rule(source: random.Random, number: str) -> dict[str, object]:
    made: dict[str, object] = {
        "alert": f"A{number}",
        "expr": source.choice(EXPRESSIONS).replace("AT", f"A{number}").replace('"T"', f'"{number}"'),
        "for": f"{source.choice(HOLDS_MS)}ms",
        "keep_firing_for": f"{source.choice(KEEPS_MS)}ms",
    }
    if not source.randrange(4):
        made["labels"] = {"severity": source.choice(("page", '{{ if eq $labels.k "0" }}a{{ end }}', "{{ $value }}"))}
    return made


def by_promtool(promtool: str, made: Case, directory: Path) -> str:
    """What promtool complains about."""
    (directory / "rules.yaml").write_text(made.rules)
    (directory / "tests.yaml").write_text(made.tests)
    command = [promtool, "test", "rules", "tests.yaml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.stderr.removeprefix("  FAILED:\n")


def by_us(made: Case) -> str:
    """What our runner complains about, as promtool prints it."""
    tests, faults = testfile.read("tests.yaml", made.tests, semantics=2)
    assert tests is not None, faults
    groups = rulefile.load("rules.yaml", made.rules, semantics=2)
    return "".join(f"{fault}\n" for fault in testrun.run(tests, groups, semantics=2))


def difference(promtool: str, made: Case) -> str:
    """The first complaint that is not the same; empty when all are."""
    with tempfile.TemporaryDirectory() as directory:
        theirs = by_promtool(promtool, made, Path(directory)).splitlines()
    ours = by_us(made).splitlines()
    for number, (their, our) in enumerate(zip(theirs, ours, strict=False)):
        if their != our:
            question = theirs[max(0, number - 2)].strip()
            return f"{question}\n  promtool: {_unlike(their, our)}\n  we:       {_unlike(our, their)}"
    return "" if len(theirs) == len(ours) else f"promtool has {len(theirs)} lines, we have {len(ours)}"


def _unlike(text: str, other: str) -> str:
    """The series of *text* that are not in *other*."""
    known = set(other.split(", {"))
    return ", {".join(part for part in text.split(", {") if part not in known)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    source = random.Random(seed)
    print(f"{count} timelines, seed {seed}")
    for done in range(0, count, BATCH):
        made = case(source, min(BATCH, count - done))
        found = difference("promtool", made)
        if found:
            Path("alert-states.rules.json").write_text(made.rules)
            Path("alert-states.tests.json").write_text(made.tests)
            print(f"different within timelines {done} to {done + BATCH}, kept in alert-states.*.json:\n{found}")
            return 1
    print("all equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
