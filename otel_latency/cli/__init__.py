"""The `otel-latency` command: a table of commands, each in the module of its name.

A command's module has `add_arguments(parser)` and `run(arguments) -> int`, and its docstring is its help. It is
imported once it was chosen, so that a quick command stays quick. Only `main` prints errors: one line on stderr.

Exit codes: 0 fine, 1 the thing checked is wrong, 2 usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from otel_latency.errors import OtelLatencyError

COMMANDS = {
    "agent": "receive OTLP and serve percentiles, until stopped",
    "demo": "watch an agent at work: it runs one, and a synthetic voice pipeline beside it",
    "check": "say whether configuration files are right",
    "rules": "run unit tests of alert and recording rules",
    "slo": "turn service level objectives into Prometheus rules",
    "timeline": "show requests moment by moment, with the slowest step",
    "sessions": "show what prompts, the KV cache and long conversations do to the LLM's time",
    "compare": "say which stages became slower or faster, beyond noise",
    "estimate": "ask an agent how long a call will take",
    "top": "watch an agent in the terminal",
    "report": "measure an agent, and compare with an earlier report",
    "bench": "put agents under load on this machine, and compare with an earlier report",
    "inject": "add the agent to Kubernetes manifests",
    "healthcheck": "ask a running agent whether it is well",
}
INTERRUPTED, READER_GONE = 130, 141  # as a shell reports a program that SIGINT or SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the value is the exit code. Wrong usage and help exit as argparse does."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except OtelLatencyError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered goes nowhere, instead of into a second error when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code


def _run(argv: Sequence[str]) -> int:
    chosen = _top_parser().parse_args(argv)
    command = import_module(f"otel_latency.cli.{chosen.command}")
    parser = argparse.ArgumentParser(
        prog=f"otel-latency {chosen.command}", description=command.__doc__, formatter_class=_Verbatim
    )
    command.add_arguments(parser)
    code: int = command.run(parser.parse_args(chosen.arguments))
    return code


_Verbatim = argparse.RawDescriptionHelpFormatter


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="otel-latency",
        description="Latency observability for LLM and voice pipelines.",
        epilog=f"commands:\n{table}\n\n`otel-latency COMMAND --help` tells more.",
        formatter_class=_Verbatim,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="what the command takes")
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: reading package metadata costs more than starting."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"otel-latency {version('otel-latency')}")
        parser.exit()
