"""Show sessions: do longer prompts take longer, does the KV cache help, do long conversations get slower.

    otel-latency sessions [LOG | FILE.json | --agent URL]

Sessions come from an event log (`session_id` and `prompt_tokens` in the metadata of any event of a request), from an
OTLP/JSON file, or from the latest 1,000 turns of an agent. Requests without a session belong together until five
minutes pass without one.

The first request of a session is compared with the median of the later ones: a model server that kept the prompt in
its KV cache reads only what is new. The trend is that of the later ones; it takes eight to tell one.

    $ otel-latency sessions latency.jsonl
    session  requests  first LLM  later LLM  KV cache  correlation  ms/token    trend
    kitchen         4     2.00 s     500 ms      4.0x         1.00      1.00  unknown

    All 4 requests: 1.00 ms more for each token of the prompt (correlation 1.00).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from otel_latency.cli import sources
from otel_latency.cli.client import AgentClient
from otel_latency.cli.painting import seconds, shown, table
from otel_latency.errors import ConfigError
from otel_latency.insight.conversations import Conversation, conversations, prompt_line
from otel_latency.significance.statistics import Line

HEADINGS = ("session", "requests", "first LLM", "later LLM", "KV cache", "correlation", "ms/token", "trend")
SHOWN = 1_000
STRONG = 0.5
"""Below it a correlation says little about the next request."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="?", metavar="LOG", help="an event log, or an OTLP/JSON file")
    parser.add_argument("--agent", metavar="URL", help="show the sessions of an agent instead")
    parser.add_argument("--json", action="store_true", help='print {"sessions": [{"session", "requests", ...}]}')


def run(arguments: argparse.Namespace) -> int:
    if arguments.log and arguments.agent:
        raise ConfigError("both a log and --agent are named: keep one")
    stderr = sources.Stderr()
    if arguments.agent:
        client = AgentClient(arguments.agent)
        requests = sources.requests_at(client, stderr)
    else:
        requests = sources.requests_of(sources.log_path(arguments.log, os.environ), stderr)
    found = conversations(requests)
    line = prompt_line(requests)
    if arguments.json:
        print(json.dumps({"sessions": [_as_json(one) for one in found], "all": _line_as_json(line)}))
    elif found:
        if len(found) > SHOWN:
            print(f"The latest {SHOWN:,} of {len(found):,} sessions; --json has all.\n")
        table(HEADINGS, [_row(one) for one in found[-SHOWN:]])
        print(f"\n{_in_words(len(requests), line)}")
    else:
        print("no sessions")
    return 0


def _row(one: Conversation) -> Sequence[str]:
    return (
        shown(one.session, 40),
        f"{len(one.requests):,}",
        seconds(one.first_llm),
        seconds(one.later_llm),
        "-" if one.speedup is None else f"{one.speedup:.1f}x",
        "-" if one.prompts is None else f"{one.prompts.correlation:.2f}",
        "-" if one.prompts is None else f"{one.prompts.slope * 1000:.2f}",
        one.trend,
    )


def _in_words(requests: int, line: Line | None) -> str:
    if line is None:
        return f"All {requests:,} requests: what the prompt's size does to the LLM's time is not known."
    if abs(line.correlation) < STRONG:
        return (
            f"All {requests:,} requests: the prompt's size explains little of the LLM's time "
            f"(correlation {line.correlation:.2f})."
        )
    more = "more" if line.slope >= 0 else "less"
    return (
        f"All {requests:,} requests: {abs(line.slope) * 1000:.2f} ms {more} for each token of the prompt "
        f"(correlation {line.correlation:.2f})."
    )


def _as_json(one: Conversation) -> Mapping[str, Any]:
    return {
        "session": one.session,
        "requests": len(one.requests),
        "first_llm_seconds": _rounded(one.first_llm),
        "later_llm_seconds": _rounded(one.later_llm),
        "kv_cache_speedup": _rounded(one.speedup),
        **_line_as_json(one.prompts),
        "trend": one.trend,
        "trend_ms_per_request": None if one.per_request is None else _rounded(one.per_request * 1000),
    }


def _line_as_json(line: Line | None) -> dict[str, float | None]:
    return {
        "prompt_correlation": None if line is None else _rounded(line.correlation),
        "slope_ms_per_token": None if line is None else _rounded(line.slope * 1000),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
