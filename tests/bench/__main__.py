"""Run the benchmarks, each in a process of its own: `python -m tests.bench [--json] [NAME...]`.

Each compares with a named reference, or with a bar, in one run; the exit code is 1 when one of them fails. With
`--json` every figure is a JSON object on a line. All of them take about ten minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
NAMES = (
    "observe",
    "sketch_error",
    "ingest",
    "forward",
    "agent_throughput",
    "freshness",
    "idle",
    "collect_cost",
    "ticks",
    "cardinality",
    "instrument_span",
    "instrument_stream",
    "instrument_nobody",
    "sessions",
    "imports",
    "log_timing",
    "concurrency",
    "predict",
    "forecasts",
    "rules",
    "alerting",
    "history",
    "wal",
    "durability",
    "turns",
    "insight",
    "overview",
    "page",
    "timeline",
    "compare",
    "prices",
)
TABLES = ("collect_cost",)
"""Those that print a table for people, and have no bar."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object per figure")
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES))
    arguments = parser.parse_args()
    options = ["--json"] if arguments.json else []
    names = arguments.names or [name for name in NAMES if not (arguments.json and name in TABLES)]
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{name}", *options], cwd=TESTS, check=False).returncode
        for name in names
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
