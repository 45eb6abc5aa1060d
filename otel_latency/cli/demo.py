"""Start an agent and a synthetic voice pipeline that sends it real OTLP, say where to look, and show live figures.

The pipeline (speech to text, retrieval, a streaming LLM, speech from its first sentence on) has slow spells, errors,
timeouts and callers who interrupt. It sends through OpenTelemetry's SDK over loopback, and no prompts at all. The agent
takes the configuration that `otel-latency agent` would; where one of its ports is taken it gets a free one. Ctrl-C or
SIGTERM ends both processes, with 0. If the agent ends by itself so does the demo, with 1.

    $ otel-latency demo --duration 60
    An agent is running, and a synthetic voice pipeline sends it real OTLP spans:
    about 4 turns a second, each stt > retrieval > llm > tts.

      http://127.0.0.1:8080/         the live page
      http://127.0.0.1:8080/metrics  for Prometheus: histograms, sliding quantiles
      ...
              answer             first audio
    turns/s       p50      p95       p50      p95   errors   running   slow now
        3.9    1.38 s   2.21 s    0.86 s   1.29 s    1.3 %         6   -
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from tempfile import TemporaryDirectory

from otel_latency.clock import SystemClock
from otel_latency.config.load import load
from otel_latency.config.sections import Config, Store
from otel_latency.demo import screen
from otel_latency.demo.ports import Place, settle
from otel_latency.demo.process import AgentProcess
from otel_latency.demo.reading import LastMinute, read
from otel_latency.demo.screen import Figures

MAX_TURNS_PER_SECOND = 100.0
PAGE_TIMEOUT = 2.0
ERASE_TO_END = "\x1b[K"
PLAIN_INTERVAL = 5
"""Seconds between lines where they are not refreshed in place."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the arguments say, and the agent's addresses."""

    places: Mapping[str, Place]
    turns_per_second: float
    duration: float
    seed: int
    is_json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--turns-per-second", type=_rate, default=4.0, metavar="N", help="up to 100; default: %(default)g"
    )
    parser.add_argument("--duration", type=_positive, default=math.inf, metavar="SECONDS", help="default: endless")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other turns; default: 1")
    parser.add_argument("--config", metavar="FILE", help="of the agent; default: otel-latency.yaml, if it is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object a second, and nothing else")


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, os.environ)
    options = Options(
        places=settle(_wanted(config)),
        turns_per_second=arguments.turns_per_second,
        duration=arguments.duration,
        seed=arguments.seed,
        is_json=arguments.json,
    )
    agent_environ = {**os.environ, **{place.variable: str(place.port) for place in options.places.values()}}
    agent_environ["OTEL_LATENCY_OTLP__HTTP__ENABLED"] = "true"
    _forget_foreign_settings()
    with TemporaryDirectory(prefix="otel-latency-demo-") as directory:
        if config.store == Store():  # nobody wants to keep what is made up, unless they say so
            agent_environ["OTEL_LATENCY_STORE__PATH"] = directory
        asyncio.run(_demo(options, ["--config", arguments.config] if arguments.config else [], agent_environ))
    return 0


def _rate(text: str) -> float:
    rate = _positive(text)
    if rate > MAX_TURNS_PER_SECOND:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_TURNS_PER_SECOND:g} turns a second")
    return rate


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return number


def _wanted(config: Config) -> dict[str, tuple[str, int]]:
    """The listeners that this run has; OTLP over HTTP is what the pipeline sends."""
    listeners = {"web": config.web, "otlp.http": config.otlp.http}
    if config.otlp.grpc.enabled:
        listeners["otlp.grpc"] = config.otlp.grpc
    return {key: (listener.host, listener.port) for key, listener in listeners.items()}


def _forget_foreign_settings() -> None:
    """Drop from the environment what is meant for the user's own programs: telemetry settings and proxies.

    They could turn the SDK off, or send the user's headers along.
    """
    for name in list(os.environ):
        if (name.startswith("OTEL_") and not name.startswith("OTEL_LATENCY_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    # What the exporters say when an agent goes away would run through the figures; its end is told otherwise.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())


async def _demo(options: Options, agent_arguments: list[str], agent_environ: Mapping[str, str]) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, stopped, loop)
    await _first_of(stopped.wait(), _run_both(options, agent_arguments, agent_environ))


def _stop(stopped: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    stopped.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)  # a second one ends us at once, and the agent with us


async def _run_both(options: Options, agent_arguments: list[str], agent_environ: Mapping[str, str]) -> None:
    async with AsyncExitStack() as stack:
        agent = await AgentProcess.start(agent_arguments, agent_environ)
        stack.push_async_callback(agent.stop)
        from otel_latency.demo.traffic import Traffic  # while the agent starts: this takes as long

        receiver = options.places["otlp.http"]
        await agent.listening(receiver.host, receiver.port)
        traffic = Traffic(receiver.url, turns_per_second=options.turns_per_second, seed=options.seed)
        stack.push_async_callback(asyncio.to_thread, traffic.close)
        await _first_of(traffic.run(), agent.ended(), _show(options, lambda: traffic.slow_provider))


async def _first_of(*works: Coroutine[object, object, object]) -> None:
    """Run all, until one ends or raises; that is then the outcome, and the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _show(options: Options, slow_provider: Callable[[], str]) -> None:
    """Say where to look, then every second what the agent knows, until the duration is over."""
    clock = SystemClock()
    minute = LastMinute(clock.monotonic())
    seconds = 0
    if not options.is_json:
        print(screen.opening(options.places, options.turns_per_second), flush=True)
    try:
        async for tick in clock.ticks(1.0):
            seconds += 1 + tick.folded
            if page := await asyncio.to_thread(_metrics, options.places["web"]):
                reading = read(page)
                minute.add(reading, clock.monotonic())
                _print(options, Figures(tick.now, reading, minute, slow_provider()), seconds)
            if seconds >= options.duration:
                return
    finally:
        if _is_refreshed(options):
            print()


def _metrics(web: Place) -> str:
    """The page, or nothing if it does not come this time; whether the agent is alive is not for us to tell."""
    connection = HTTPConnection(web.host, web.port, timeout=PAGE_TIMEOUT)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()


def _print(options: Options, figures: Figures, seconds: int) -> None:
    if options.is_json:
        print(json.dumps(screen.document(figures, options.places)), flush=True)
    elif _is_refreshed(options):
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{screen.line(figures)[:width]}{ERASE_TO_END}", end="", flush=True)
    elif seconds % PLAIN_INTERVAL == 0:
        print(screen.line(figures), flush=True)


def _is_refreshed(options: Options) -> bool:
    return not options.is_json and sys.stdout.isatty()
