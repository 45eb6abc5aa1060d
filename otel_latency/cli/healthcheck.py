"""Ask a running agent whether it is well; for a container's HEALTHCHECK, where there is no curl.

It asks /health/live, because what watches a container restarts it, and a restart helps an agent that hangs. It does
not help one that is not ready since a required outside service is down: ask --url .../health/ready where readiness is
what you want, such as in a start-up order. The variable OTEL_LATENCY_WEB__PORT moves the default port.

    $ otel-latency healthcheck
    http://127.0.0.1:8080/health/live: 200 OK

The exit code is 1 when the answer is another one, or does not come in time:

    $ otel-latency healthcheck --url http://127.0.0.1:1/health/live
    http://127.0.0.1:1/health/live: Connection refused
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import SplitResult, urlunsplit

from otel_latency.cli.client import plain_http
from otel_latency.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8080/health/live"
PORT_VARIABLE = "OTEL_LATENCY_WEB__PORT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help=f"default: {DEFAULT_URL}")
    parser.add_argument("--timeout", type=_seconds, default=2.0, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help='print {"url", "healthy", "reason"}')


def run(arguments: argparse.Namespace) -> int:
    url = arguments.url or _default_url(os.environ)
    healthy, reason = _ask(_http_url(url), arguments.timeout)
    if arguments.json:
        print(json.dumps({"url": url, "healthy": healthy, "reason": reason}))
    else:
        print(f"{url}: {reason}")
    return 0 if healthy else 1


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 3600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds up to 3600")
    return seconds


def _default_url(environ: Mapping[str, str]) -> str:
    port = environ.get(PORT_VARIABLE, "8080")
    if not re.fullmatch("[0-9]{1,5}", port):
        raise ConfigError(f"{PORT_VARIABLE}: web.port: this value is not a port: write 0 to 65535")
    return DEFAULT_URL.replace("8080", port)


def _http_url(url: str) -> SplitResult:
    """Raises ConfigError unless *url* is one that can be asked."""
    parts = plain_http(url)
    if parts is None:
        raise ConfigError(f"--url: this is not a plain http URL: write {DEFAULT_URL}")
    return parts


def _ask(url: SplitResult, timeout: float) -> tuple[bool, str]:
    """Whether *url* answers 200, and how it answers. *timeout* bounds each step: connecting, and every read."""
    connection = HTTPConnection(url.hostname or "", url.port or 80, timeout=timeout)
    try:
        connection.request("GET", urlunsplit(("", "", url.path or "/", url.query, "")))
        response = connection.getresponse()
    except TimeoutError:
        return False, f"no answer within {timeout:g} s"
    except HTTPException:
        return False, "no HTTP answer"
    except OSError as error:
        return False, error.strerror or "no connection"
    finally:
        connection.close()
    return response.status == HTTPStatus.OK, f"{response.status} {response.reason}"
