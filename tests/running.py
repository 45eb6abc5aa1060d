"""The agent as users run it: a process of its own on ports that the system chose, ended by its process id.

with running_agent({"otlp.grpc.enabled": "false"}) as agent:
    agent.post(body)
    total(agent.metrics(), "otel_latency_stage_duration_seconds_count")
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ANY_PORT = {"otlp.http.port": "0", "otlp.grpc.port": "0", "web.port": "0"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
START_TIMEOUT = 20.0

Page = Mapping[str, list[tuple[Mapping[str, str], float]]]
"""Sample name -> (labels, value) of each sample."""


@dataclass(frozen=True)
class RunningAgent:
    """A started agent; `started_in` is seconds from fork to the first 200 of /health/ready."""

    process: subprocess.Popen[bytes]
    log_file: Path
    http_port: int
    grpc_port: int
    web_port: int
    started_in: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_file.read_text()

    def get(self, path: str, headers: Mapping[str, str] | None = None, *, timeout: float = 10.0) -> tuple[int, bytes]:
        """Status and body of a page of the web server."""
        return ask("GET", self.web_port, path, None, headers or {}, timeout)

    def post(self, body: bytes, headers: Mapping[str, str] = PROTOBUF, *, timeout: float = 10.0) -> tuple[int, bytes]:
        """Status and body of the answer to a trace request."""
        return ask("POST", self.http_port, "/v1/traces", body, headers, timeout)

    def metrics(self) -> Page:
        """The page of /metrics, parsed by prometheus_client."""
        status, text = self.get("/metrics")
        assert status == 200, text
        page: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                page.setdefault(sample.name, []).append((sample.labels, sample.value))
        return page

    def memory(self, key: str = "VmRSS") -> float:
        """MiB by the name it has in /proc/PID/status: VmRSS is now, VmHWM the most so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024

    def cpu_seconds(self) -> float:
        """User and system time of all threads so far."""
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it, which Python does not offer


def total(page: Page, name: str, **labels: str) -> float:
    """The sum of all samples of *name* that carry *labels*."""
    return sum(value for found, value in page.get(name, ()) if labels.items() <= found.items())


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The process environment with settings given by key path."""
    return os.environ | {f"OTEL_LATENCY_{key.replace('.', '__').upper()}": value for key, value in settings.items()}


def command(*arguments: str) -> list[str]:
    """`otel-latency agent`, run by this interpreter."""
    return [sys.executable, "-m", "otel_latency", "agent", *arguments]


@contextmanager
def running_agent(
    settings: Mapping[str, str] | None = None,
    *,
    prefix: Sequence[str] = (),
    is_reachable: bool = True,
    files: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[RunningAgent]:
    """Start an agent behind the command *prefix* (which has to `exec` it), and end it after the block.

    *files* are written to its directory first: `otel-latency.yaml`, say; that is *directory*, or one of its own. One
    that *prefix* shuts off the network is not reachable: then its log has to do.
    """
    with nullcontext(str(directory)) if directory else tempfile.TemporaryDirectory() as directory:
        log_file = Path(directory, "agent.log")
        for name, text in (files or {}).items():
            Path(directory, name).write_text(text, encoding="utf-8")
        begun = time.perf_counter()
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*prefix, *command()],
                env=environment(ANY_PORT | dict(settings or {})),
                cwd=directory,
                stdout=log,
                stderr=log,
            )
        try:
            ports = _ports(process, log_file)
            assert not is_reachable or ask("GET", ports["web"], "/health/ready", None, {}, 5.0)[0] == 200
            started_in = time.perf_counter() - begun
            yield RunningAgent(process, log_file, ports["http"], ports["grpc"], ports["web"], started_in)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for one that does not listen."""
    process.terminate()
    try:
        process.wait(8)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pin(pid: int, core: int) -> None:
    """Keep a process, threads to come included, on one of the cores we may use; with a single core nothing happens."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[core % len(cores)]})


def _ports(process: subprocess.Popen[bytes], log_file: Path) -> dict[str, int]:
    """The ports as the log tells them, 0 for what is off."""
    deadline = time.monotonic() + START_TIMEOUT
    while "/status" not in (log := log_file.read_text()):
        assert process.poll() is None, f"the agent ended with {process.returncode}: {log}"
        assert time.monotonic() < deadline, f"the agent does not start: {log}"
        time.sleep(0.005)
    patterns = {"http": r"OTLP over HTTP: \S+:(\d+)", "grpc": r"OTLP over gRPC: \S+:(\d+)", "web": r":(\d+)/metrics"}
    found = {name: re.search(pattern, log) for name, pattern in patterns.items()}
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


def ask(
    method: str, port: int, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
