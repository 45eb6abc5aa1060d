"""Ask an agent how long a call of a language model will take, by what it has learnt from those before.

    otel-latency estimate TASK [--provider NAME] [--model NAME] [--input-tokens N] [--agent URL]

TASK is what `llm_call` was told, or without a provider any stage. The less is said, the more calls are alike: without a
model it is estimated for those in use. Four in five calls lie within the range. Of a task that the agent has never seen
it says so, and what the figures are taken from instead.

    $ otel-latency estimate draft_reply --provider openai --model gpt-4o --input-tokens 500
    draft_reply: typically takes 1.2–3.9 seconds
    half of all calls take less than 2.10 s; 41 % lie within a quarter of that; learnt from 180 calls
"""  # noqa: RUF002 - ranges are written with their own dash

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from otel_latency.cli.client import DEFAULT_AGENT, AgentClient
from otel_latency.cli.painting import seconds, shown
from otel_latency.errors import OtelLatencyError

INSTEAD = {
    "models": "the same task with other models takes",
    "model": "other tasks of that model take",
    "provider": "other calls of that provider take",
    "all": "all calls of language models together take",
}
"""What an estimate is taken from where nothing is known of its task, in the agent's word and ours."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="what the call is for, such as draft_reply")
    parser.add_argument("--provider", metavar="NAME", help="such as openai")
    parser.add_argument("--model", metavar="NAME", help="such as gpt-4o")
    parser.add_argument("--input-tokens", type=_count, metavar="N", help="the size of the prompt")
    parser.add_argument("--agent", metavar="URL", default=DEFAULT_AGENT, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help='print {"task", "seconds", "low", "high", ...}')


def run(arguments: argparse.Namespace) -> int:
    found = AgentClient(arguments.agent).get(
        "/api/v1/estimate",
        task=arguments.task,
        provider=arguments.provider,
        model=arguments.model,
        input_tokens=arguments.input_tokens,
    )
    try:
        lines = _in_words(arguments, found)
    except (KeyError, TypeError):
        raise OtelLatencyError(
            f"{arguments.agent}: /api/v1/estimate: the answer is no estimate: is the agent of our version?"
        ) from None
    print(json.dumps(found) if arguments.json else "\n".join(lines))
    return 0


def _in_words(arguments: argparse.Namespace, found: Mapping[str, Any]) -> list[str]:
    task, count = shown(arguments.task), found["samples"]
    if found["seconds"] is None:
        return [f"{task}: {shown(found['text'], 200)}"]
    if not count:
        of = "/".join(shown(one) for one in (arguments.provider, arguments.model) if one)
        instead = INSTEAD.get(str(found.get("basis")), "other calls take")
        low, median, high = (seconds(found[end]) for end in ("low", "seconds", "high"))
        return [
            f"{task}: nothing is known of this task{f' with {of}' if of else ''}",
            f"{instead} {low} to {high}, half of them less than {median}",
        ]
    return [
        f"{task}: {shown(found['text'], 200)}",
        f"half of all calls take less than {seconds(found['seconds'])}; {found['confidence']:.0%} lie within a quarter"
        f" of that; learnt from {count:,} call{'s' if count > 1 else ''}".replace("%", " %"),
    ]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens: write 0 or more")
    return int(text)
