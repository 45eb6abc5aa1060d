"""Run the agent: take OTLP in, serve /metrics, /health and /status, until SIGTERM or Ctrl-C.

Without --config it reads ./otel-latency.yaml where there is one, and else runs with the defaults: OTLP on
127.0.0.1:4318 (HTTP) and 127.0.0.1:4317 (gRPC), everything else on 127.0.0.1:8080. A variable such as
OTEL_LATENCY_WEB__PORT=9090 overrides the key web.port. A configuration that is wrong ends it at once, with 2:

    $ otel-latency agent --config wrong.yaml
    wrong.yaml: aggregate.turn_timeout: 'soon' is not a duration: write 250ms, 1s, 5m, 12h or 30d
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from otel_latency.config.load import DEFAULT_FILE, load
from otel_latency.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="default: otel-latency.yaml, if it is there")


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, os.environ)
    place = arguments.config or DEFAULT_FILE
    from otel_latency import agent  # after the file was found right: it brings aiohttp and grpc

    try:
        return agent.run(config, Path(place).parent)
    except ConfigError as error:
        if not Path(place).exists():
            raise
        raise ConfigError(f"{place}: {error}") from error
