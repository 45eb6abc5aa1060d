"""Add the agent to Kubernetes manifests: a sidecar in each pod, and where to send in each container's environment.

Deployments, StatefulSets, DaemonSets, Jobs, CronJobs, Pods and Lists of them, in YAML or JSON, get a native sidecar,
which needs Kubernetes 1.29. The manifest goes to standard output, with every comment where it was; what has the agent
already is not changed, and other objects pass, with a note. When one pod cannot have the sidecar, nothing is printed
but the reason.

    otel-latency inject -f shop.yaml | kubectl apply -f -

What would be done, without doing it:

    $ otel-latency inject --json -f shop.yaml
    {"objects": [{"kind": "Deployment", "name": "shop", "line": 1, "outcome": "injected", "notes": []}]}

The image is to be one that your cluster can pull, so push yours and name it with --image. A ConfigMap that --config
names holds the file otel-latency.yaml. With --ordinary a pod starts even when the agent's image is missing, but its
application may start before the agent, and end after it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from otel_latency.errors import ConfigError

if TYPE_CHECKING:
    from otel_latency.inject.manifest import Injection

STDIN = "-"
_NAME = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="the manifest; - reads standard input")
    parser.add_argument("--image", type=_image, help="default: otel-latency with the version of this command")
    parser.add_argument("--config", type=_config, metavar="CONFIGMAP", help="default: none is needed")
    parser.add_argument("--port", type=_port, default=14318, help="for probes and /metrics; default: %(default)s")
    parser.add_argument("--ordinary", action="store_true", help="an ordinary container, for Kubernetes before 1.29")
    parser.add_argument(
        "--env", action=argparse.BooleanOptionalAction, default=True, help="tell containers where to send"
    )
    parser.add_argument("--json", action="store_true", help='print {"objects": [...]} in place of the manifest')


def run(arguments: argparse.Namespace) -> int:
    from otel_latency.inject import manifest  # late: help needs none of it
    from otel_latency.inject.sidecar import Options

    options = Options(
        image=arguments.image or _default_image(),
        config=arguments.config or "",
        is_native=not arguments.ordinary,
        sets_env=arguments.env,
        web_port=arguments.port,
    )
    place = "standard input" if arguments.file == STDIN else arguments.file
    injected = manifest.inject(_text(arguments.file, place), place, options)
    if arguments.json:
        print(json.dumps({"objects": [asdict(one) for one in injected.objects]}))
        return 0
    print(injected.text, end="")
    for one in injected.objects:
        _tell(place, one)
    return 0


def _text(file: str, place: str) -> str:
    """What is in *file*, line ends and all. Raises ConfigError."""
    try:
        data = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return data.decode()
    except OSError as error:
        raise ConfigError(f"{place}: it cannot be read ({error.strerror}): check the name and its rights") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: byte {error.start} is not UTF-8: save the file as UTF-8") from None


def _tell(place: str, one: Injection) -> None:
    what = " ".join(filter(None, (one.kind or "an object without kind", one.name)))
    outcomes = {
        "injected": "",
        "unchanged": "it has the agent: unchanged",
        "passed": "this kind gets no sidecar: unchanged",
    }
    for note in filter(None, (outcomes[one.outcome], *one.notes)):
        print(f"{place}:{one.line}: {what}: {note}", file=sys.stderr)


def _default_image() -> str:
    from importlib.metadata import version

    return f"otel-latency:{version('otel-latency')}"


def _image(text: str) -> str:
    if not re.fullmatch(r"[\w.:/@-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not an image: write one such as example.com/otel-latency:1.2.3")
    return text


def _config(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a ConfigMap: write one such as otel-latency")
    return text


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1024 <= int(text) <= 65535 or int(text) in {4317, 4318}:
        raise argparse.ArgumentTypeError(f"{text!r} is not a free port from 1024 to 65535")
    return int(text)
