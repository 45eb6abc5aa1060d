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
from otel_latency.insight.requests import Request
from otel_latency.significance.statistics import Line

HEADINGS = ("session", "requests", "first LLM", "later LLM", "KV cache", "correlation", "ms/token", "trend")
SHOWN = 1_000
STRONG = 0.5
"""Below it a correlation says little about the next request."""
MIN_FOR_WORDS = 3
"""Requests; through any two there is a line."""


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
        print(f"\n{_in_words(requests, line)}")
    else:
        print("no sessions")
    return 0


def _row(one: Conversation) -> Sequence[str]:
    course = one.course
    return (
        shown(one.session, 40),
        f"{len(one.requests):,}",
        seconds(course.first_llm),
        seconds(course.later_llm),
        "-" if course.speedup is None else f"{course.speedup:.1f}x",
        "-" if course.prompts is None else f"{course.prompts.correlation:.2f}",
        "-" if course.prompts is None else _milliseconds(course.prompts.slope),
        course.trend,
    )


def _in_words(requests: Sequence[Request], line: Line | None) -> str:
    whose = "The only request" if len(requests) == 1 else f"All {len(requests):,} requests"
    known = sum(one.prompt_tokens is not None and one.llm_seconds is not None for one in requests)
    if line is None or known < MIN_FOR_WORDS:
        return f"{whose}: what the prompt's size does to the LLM's time is not known."
    if abs(line.correlation) < STRONG:
        return f"{whose}: the prompt's size explains little of the LLM's time (correlation {line.correlation:.2f})."
    more = "more" if line.slope >= 0 else "less"
    return (
        f"{whose}: {_milliseconds(abs(line.slope))} ms {more} for each token of the prompt "
        f"(correlation {line.correlation:.2f})."
    )


def _milliseconds(slope: float) -> str:
    """Of seconds a token; a cached prompt's are few enough to need more digits."""
    return f"{slope * 1000:.2f}" if abs(slope) >= 1e-4 else f"{slope * 1000:.2g}"


def _as_json(one: Conversation) -> Mapping[str, Any]:
    course = one.course
    return {
        "session": one.session,
        "requests": len(one.requests),
        "first_llm_seconds": _rounded(course.first_llm),
        "later_llm_seconds": _rounded(course.later_llm),
        "kv_cache_speedup": _rounded(course.speedup),
        **_line_as_json(course.prompts),
        "trend": course.trend,
        "trend_ms_per_request": None if course.per_request is None else _rounded(course.per_request * 1000),
    }


def _line_as_json(line: Line | None) -> dict[str, float | None]:
    return {
        "prompt_correlation": None if line is None else _rounded(line.correlation),
        "slope_ms_per_token": None if line is None else _rounded(line.slope * 1000),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
