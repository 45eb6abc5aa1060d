"""Show requests moment by moment: when each event was, how long each step took, which was the slowest, and the total.

    otel-latency timeline [LOG | FILE.json | --agent URL] [--tail N] [--request ID]

LOG is what `log_timing` writes, read together with its archives; by default the file that `log_timing` writes to. An
OTLP/JSON file, or an agent with --agent, shows turns with their critical path: what the first audio waited for, or
the end where nothing is heard. Where a stage took longer than its limit (see `targets` in the configuration, --config;
that of `llm` is meant for every call of a model), it says what to check.

Lines that cannot be read are left out and told on stderr by their number, and so is a clock that went back. --clear
empties the log; its archives stay.

    $ otel-latency timeline latency.jsonl
    Request abc123de   2025-11-27 14:30:05 UTC   8.45 s

        Time | Service    | Event
    ------------------------------------------------------------------------------
         0ms | stt        | stt_transcript_finalized
        15ms | stt        | stt_sending_to_v34
        23ms | v34        | v34_webhook_received
       125ms | v34        | v34_classification_complete
       850ms | v34        | v34_retrieval_complete
       862ms | v34        | v34_prompt_built
       880ms | v34        | v34_ollama_sent
      5200ms | v34        | v34_ollama_received
      5215ms | v34        | v34_sending_to_tts
      5230ms | tts        | tts_request_received
      5235ms | tts        | tts_pause_sent
      5445ms | tts        | tts_synthesis_start
      5890ms | tts        | tts_audio_playback_start
      8450ms | tts        | tts_audio_playback_complete

    DELTAS (time between paired events)
    ------------------------------------------------------------------------------
       102ms | █······························· | v34_webhook_received → v34_classification_complete
       725ms | ███····························· | v34_classification_complete → v34_retrieval_complete
      4320ms | ···█████████████████············ | v34_ollama_sent → v34_ollama_received  ← slowest step
       445ms | ····················██·········· | tts_synthesis_start → tts_audio_playback_start

    TOTAL: 8.45 s
    Sequential: speech starts 0.245 s after the model has ended.
    llm took 4.32 s, more than 3 s:
      - use a smaller or quantized model
      - check that the KV cache is reused: `otel-latency sessions` shows it
      - watch CPU and GPU while it generates
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from otel_latency.aggregate.advice import Advice, advise
from otel_latency.aggregate.path import UNOWNED
from otel_latency.cli import sources
from otel_latency.cli.client import AgentClient
from otel_latency.cli.painting import Line, bar, milliseconds, paint, seconds, shown
from otel_latency.config.load import load
from otel_latency.config.sections import LatencyTarget
from otel_latency.errors import ConfigError, OtelLatencyError
from otel_latency.insight import events
from otel_latency.insight.requests import Request, Step

_RULE = "-" * 78
_EVENTS = f"\n    Time | Service    | Event\n{_RULE}"
_DELTAS = f"\nDELTAS (time between paired events)\n{_RULE}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="?", metavar="LOG", help="an event log, or an OTLP/JSON file")
    parser.add_argument("--agent", metavar="URL", help="show the latest turns of an agent instead, 1,000 at most")
    parser.add_argument("--tail", type=_count, metavar="N", help="only the last N requests")
    parser.add_argument("--request", metavar="ID", help="only this request")
    parser.add_argument("--clear", action="store_true", help="empty the log")
    parser.add_argument("--config", metavar="FILE", help="for targets; default: otel-latency.yaml, if it is there")
    parser.add_argument("--json", action="store_true", help='print {"requests": [{"request_id", "events", ...}]}')


def run(arguments: argparse.Namespace) -> int:
    if arguments.log and arguments.agent:
        raise ConfigError("both a log and --agent are named: keep one")
    if arguments.clear:
        return _clear(arguments)
    targets = load(arguments.config, os.environ).targets
    requests = _requests(arguments)
    if arguments.tail is not None:
        requests = requests[-arguments.tail :]
    if arguments.json:
        sys.stdout.writelines(_as_document(requests, targets))
    elif requests:
        paint(line for request in requests for line in _as_text(request, targets))
    else:
        print("no requests")
    return 0


def _requests(arguments: argparse.Namespace) -> list[Request]:
    stderr = sources.Stderr()
    if arguments.agent:
        client = AgentClient(arguments.agent)
        if arguments.request is not None:
            return [sources.request_at(client, arguments.request)]
        return sources.requests_at(client, stderr, limit=arguments.tail)
    requests = sources.requests_of(sources.log_path(arguments.log, os.environ), stderr)
    return requests if arguments.request is None else _only(requests, arguments.request)


def _only(requests: Sequence[Request], request_id: str) -> list[Request]:
    """The request of an id, or of one that begins so."""
    found = [one for one in requests if one.request_id == request_id]
    found = found or [one for one in requests if one.request_id.startswith(request_id)]
    if not found:
        raise OtelLatencyError(
            f"no request {shown(request_id)!r} among {len(requests):,}: see the ids without --request"
        )
    return found


def _clear(arguments: argparse.Namespace) -> int:
    """Empty the file where it stands: whoever writes to it goes on doing so."""
    if arguments.agent or arguments.request or arguments.tail:
        raise ConfigError("--clear empties a log, all of it: name nothing else with it")
    path = sources.log_path(arguments.log, os.environ)
    size = events.size_of(path) if path.exists() else 0
    if size and not events.is_event_log(path):
        raise ConfigError(f"{path}: this is no event log, and is left as it is")
    if size:
        try:
            os.truncate(path, 0)
        except OSError as error:
            raise ConfigError(f"{path}: the file cannot be written ({error.strerror}): check its rights") from None
    kept = [file for file in events.files(path) if file != path]
    if arguments.json:
        print(msgspec.json.encode({"cleared": str(path), "bytes": size, "archives": len(kept)}).decode())
    else:
        archives = "1 archive stays" if len(kept) == 1 else f"{len(kept):,} archives stay"
        print(f"{path}: cleared, {size:,} bytes" + (f"; its {archives}" if kept else ""))
    return 0


def _advised(request: Request, targets: Mapping[str, LatencyTarget]) -> list[Advice]:
    return advise(
        ((step.stage, step.seconds) for step in request.steps),
        targets,
        llm_stages={step.stage for step in request.steps if step.is_llm},
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of requests: write 1 or more")
    return int(text)


# --- as text --------------------------------------------------------------------------------------------------


def _as_text(request: Request, targets: Mapping[str, LatencyTarget]) -> Iterator[Line]:
    start = datetime.fromtimestamp(request.start, UTC)
    status = "" if request.status == "ok" else f"   {request.status}"
    yield f"Request {shown(request.request_id)}   {start:%Y-%m-%d %H:%M:%S} UTC   {request.total:.2f} s{status}", "bold"
    yield _EVENTS, "dim"
    for moment in request.moments:
        yield f"{milliseconds(moment.offset):>8} | {shown(moment.service, 30):10} | {shown(moment.event)}", ""
    if request.steps:
        yield _DELTAS, "dim"
        yield from _deltas(request)
    if request.path:
        goal = request.path[-1].gate
        yield f"\nCRITICAL PATH (what {'the end' if goal == 'end' else shown(goal)} waited for)\n{_RULE}", "dim"
        yield from _path(request)
    yield f"\nTOTAL: {request.total:.2f} s", "bold"
    if request.verdict:
        yield request.verdict, ""
    for advice in _advised(request, targets):
        yield from _advice(advice)
    yield "", ""


def _deltas(request: Request) -> Iterator[Line]:
    slowest = request.slowest
    for step in request.steps:
        opening, closing = request.moments[step.opening], request.moments[step.closing]
        line = (
            f"{milliseconds(step.seconds):>8} | {bar(opening.offset, closing.offset, request.total)} | "
            f"{shown(opening.event)} → {shown(closing.event)}"
        )
        yield (f"{line}  ← slowest step", "bold red") if step is slowest else (line, "")


def _path(request: Request) -> Iterator[Line]:
    for tile in request.path:
        yield (
            (
                f"{milliseconds(tile.end - tile.start):>8} | {bar(tile.start, tile.end, request.total)} | "
                f"{shown(tile.stage)} → {shown(tile.gate)}"
            ),
            "dim" if tile.stage == UNOWNED else "",
        )


def _advice(advice: Advice) -> Iterator[Line]:
    limit = f"{advice.limit * 1000:.0f} ms" if advice.limit < 1 else f"{advice.limit:g} s"
    taken = f"{shown(advice.stage)} took {seconds(advice.seconds)}, more than {limit}"
    yield f"{taken}:" if advice.checks else f"{taken}.", "yellow"
    for check in advice.checks:
        yield f"  - {check}", ""


# --- as JSON --------------------------------------------------------------------------------------------------


def _as_document(requests: Sequence[Request], targets: Mapping[str, LatencyTarget]) -> Iterator[str]:
    """One document, in pieces: of a million events it need not be in memory as a whole."""
    yield '{"requests": ['
    for number, request in enumerate(requests):
        yield (", " if number else "") + msgspec.json.encode(_as_json(request, targets)).decode()
    yield "]}\n"


def _as_json(request: Request, targets: Mapping[str, LatencyTarget]) -> dict[str, Any]:
    slowest = request.slowest
    document: dict[str, Any] = {
        "request_id": request.request_id,
        "start": request.start,
        "total_seconds": _rounded(request.total),
        "status": request.status,
        "events": [
            {"offset_seconds": _rounded(moment.offset), "service": moment.service, "event": moment.event}
            for moment in request.moments
        ],
        "deltas": [_delta(request, step, is_slowest=step is slowest) for step in request.steps],
        "verdict": request.verdict,
        "advice": [
            {"stage": one.stage, "seconds": _rounded(one.seconds), "limit_seconds": one.limit, "checks": one.checks}
            for one in _advised(request, targets)
        ],
    }
    if request.path:
        document["critical_path"] = [
            {
                "stage": tile.stage,
                "gate": tile.gate,
                "from": _rounded(tile.start),
                "to": _rounded(tile.end),
                "seconds": _rounded(tile.end - tile.start),
            }
            for tile in request.path
        ]
    return document


def _delta(request: Request, step: Step, *, is_slowest: bool) -> dict[str, Any]:
    return {
        "from": request.moments[step.opening].event,
        "to": request.moments[step.closing].event,
        "seconds": _rounded(step.seconds),
        "slowest": is_slowest,
        "stage": step.stage,
    }


def _rounded(seconds: float) -> float:
    """To the microsecond: Unix seconds in floating point know no more."""
    return round(seconds, 6)
