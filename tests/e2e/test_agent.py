"""The agent as a process: how it starts, stops and refuses to start, and what a real Prometheus makes of it."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from load import load
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from payload import Batch
from running import ANY_PORT, command, environment, running_agent, total

HISTOGRAM = "otel_latency_stage_duration_seconds"
TESTDATA = Path(__file__).parent.parent / "config" / "testdata"
CANARY = "c4n4ry"


def start_and_fail(cwd: Path, settings: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of an agent that should not start."""
    ended = subprocess.run(
        command(*arguments),
        env=environment(settings) | {"CANARY": CANARY},
        cwd=cwd,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.stdout == b""
    return ended.returncode, ended.stderr.decode()


async def test_sigterm_under_load():
    """SIGTERM in the middle of requests ends it with 0 within 5 s, and all that it acknowledged it had taken in."""
    with running_agent() as agent:
        sending = asyncio.create_task(load(agent.http_port, until=lambda: False))
        while total(await asyncio.to_thread(agent.metrics), f"{HISTOGRAM}_count") < 20_000:
            assert not sending.done()
        agent.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(agent.process.wait, 5) == 0
        sent = await sending
        taken_in = int(re.search(r"stopped; (\d+) items were taken in", agent.log())[1])
    answers_lost = 4 * 512
    assert sent.spans <= taken_in <= sent.spans + answers_lost


def test_second_sigterm():
    """While it waits for a request that has begun, a second SIGTERM ends it at once."""
    with running_agent() as agent, socket.create_connection(("127.0.0.1", agent.http_port)) as slow:
        slow.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 100 ")
        agent.process.send_signal(signal.SIGTERM)
        while agent.get("/health/ready")[0] != 503:
            assert agent.process.poll() is None
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(2) == 0  # the request alone would keep it for 3 s
        assert "stopped" not in agent.log()


def test_restart():
    """A new agent gets the ports of the one before, although their connections are hardly closed."""
    with running_agent() as first, socket.create_connection(("127.0.0.1", first.http_port)):
        first.post(Batch(spans=1).fresh(time.time_ns()))
    ports = {"otlp.http.port": first.http_port, "otlp.grpc.port": first.grpc_port, "web.port": first.web_port}
    with running_agent({key: str(port) for key, port in ports.items()}) as second:
        assert (second.http_port, second.grpc_port, second.web_port) == tuple(ports.values())


@pytest.mark.parametrize("listener", ["otlp.http", "otlp.grpc", "web"])
def test_port_taken(listener, tmp_path):
    """A port that another program has ends it with 2 and one line: which, where, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = start_and_fail(tmp_path, ANY_PORT | {f"{listener}.port": str(port)})
    place = f"{listener}: cannot listen on 127.0.0.1:{port}"
    cure = f"end what listens there, or set {listener}.host and {listener}.port"
    assert (code, errors) == (2, f"{place}: Address already in use: {cure}\n")


def test_wrong_configuration():
    """Each fault that a file can have ends the command with 2 and its one line, without a traceback or a secret."""
    faults = sorted(path.stem for path in TESTDATA.glob("*.yaml"))
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda fault: start_and_fail(TESTDATA, {}, "--config", f"{fault}.yaml"), faults))
    assert ended == [(2, (TESTDATA / f"{fault}.txt").read_text().splitlines()[0] + "\n") for fault in faults]
    assert CANARY not in str(ended)


def test_listening_beyond_loopback_is_warned_of():
    """An address that others can reach is taken when it is set, with a warning per listener. (It has no network.)"""
    alone = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    settings = {f"{listener}.host": "0.0.0.0" for listener in ("otlp.http", "otlp.grpc", "web")}
    with running_agent(settings, prefix=alone, is_reachable=False) as agent:
        warnings = [line for line in agent.log().splitlines() if " WARNING " in line]
    assert [("0.0.0.0" in line, "other machines" in line) for line in warnings] == [(True, True)] * 3


@pytest.mark.e2e
async def test_prometheus(require, launch, poll, tmp_path):
    """Spans of a real SDK become native histograms in a real Prometheus, whose quantiles are within 1.1 %."""
    program = require("prometheus", package="prometheus")
    rng = random.Random(4)
    durations = [int(1e9 * rng.lognormvariate(-1, 1)) for _ in range(5000)]
    exact = sorted(durations)[math.ceil(0.99 * len(durations)) - 1] * 1e-9
    with running_agent() as agent:
        config = tmp_path / "prometheus.yml"
        job = {"job_name": "agent", "static_configs": [{"targets": [f"127.0.0.1:{agent.web_port}"]}]}
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
        log = await launch(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=native-histograms",
        )
        await asyncio.to_thread(export, f"http://127.0.0.1:{agent.http_port}/v1/traces", durations)
        port = (await poll(lambda: re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', log.read_text())))[1]
        series = f'{HISTOGRAM}{{service="shop",stage="checkout"}}'
        await poll(lambda: query(port, f"histogram_count({series})") == len(durations))
        assert query(port, "up") == 1
        assert query(port, f"histogram_quantile(0.99, {series})") == pytest.approx(exact, rel=0.011)
        assert query(port, f"histogram_sum({series})") == pytest.approx(sum(durations) * 1e-9)
        assert query(port, 'otel_latency_agent_received_spans_total{transport="http"}') == len(durations)


@pytest.mark.e2e
def test_promtool(require):
    """`promtool check metrics` has nothing to say about the page of an agent at work."""
    promtool = require("promtool", package="prometheus")
    with running_agent() as agent:
        agent.post(Batch().fresh(time.time_ns()))
        _, page = agent.get("/metrics")
    assert f"{HISTOGRAM}_bucket".encode() in page
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=20, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def export(endpoint: str, durations: list[int]) -> None:
    """A span per duration, as a program with a tracer of ours sends them."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    exporter = OTLPSpanExporter(endpoint=endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=len(durations)))
    tracer = provider.get_tracer("otel_latency")
    now = time.time_ns()
    for duration in durations:
        tracer.start_span("checkout", start_time=now - duration).end(end_time=now)
    provider.shutdown()


def query(port: str, expression: str) -> float | None:
    """The one value of an instant query; None while there is none."""
    url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}"
    with urllib.request.urlopen(url, timeout=5) as response:
        found = json.load(response)["data"]["result"]
    assert len(found) <= 1, found
    return float(found[0]["value"][1]) if found else None
