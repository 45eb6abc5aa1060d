"""One rule file, two judges: the agent, and a real Prometheus that scrapes it. What each saw, and when.

    with both(prometheus="/usr/bin/prometheus", folder) as judges:
        judges.drive()
        judges.transitions("agent")      # {"Deep": [(12.25, "pending"), (12.75, "firing"), (14.5, "inactive")], ...}

Both sample every 250 ms and evaluate every 250 ms, and both follow Prometheus 2. The agent's alerts are read from the
ALERTS that Prometheus scraped: they have labels `exported_job`, for Prometheus keeps `job` for the target.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from running import RunningAgent, end, running_agent

INTERVAL = 0.25
RULES = """\
groups:
  - name: live
    rules:
      - alert: Deep
        expr: depth > 5
        for: 500ms
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.queue }} holds {{ $value }}"}
      - alert: DeepAtOnce
        expr: depth > 5
      - alert: DeepForLong
        expr: max_over_time(depth[2s]) > 5
        for: 1s
      - alert: Sticky
        expr: depth > 5
        keep_firing_for: 1s
      - record: queue:depth:double
        expr: depth * 2
      - alert: Recorded
        expr: queue:depth:double > 10
        for: 500ms
      - alert: Busy
        expr: rate(jobs_total[2s]) > 8
        for: 500ms
"""
CONFIG = """\
rules:
  files: [live.rules.yaml]
  interval: 250ms
  sample_interval: 250ms
  semantics: 2
  target_labels: {job: agent, instance: agent}
"""
DEPTHS = (0, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 9, 0, 0, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
"""Half a second each: a long breach, one shorter than `for`, another long one, and peace."""

Transitions = dict[str, list[tuple[float, str]]]


@dataclass
class Judges:
    """The agent, and the port of the Prometheus beside it."""

    agent: RunningAgent
    port: int
    begun: float = 0.0

    def drive(self) -> None:
        """Let the queue of an application fill and drain."""
        self.begun = time.time()
        jobs = 0
        for step, depth in enumerate(DEPTHS):
            time.sleep(max(self.begun + step / 2 - time.time(), 0.0))
            jobs += depth * 4
            self.post(depth, jobs)

    def settle(self) -> None:
        """Wait until Prometheus has scraped that all is over."""
        deadline = time.monotonic() + 20
        while self.ask("query", query='ALERTS{alertname!=""}')["result"]:
            assert time.monotonic() < deadline, "an alert does not end"
            time.sleep(0.1)

    def transitions(self, judge: str) -> Transitions:
        """When each alert changed its state, in seconds since the first depth; *judge* is agent or prometheus."""
        origin = 'exported_job="agent"' if judge == "agent" else 'exported_job="",alertname!="",job="agent"'
        arguments = {"query": f"ALERTS{{{origin}}}", "start": self.begun, "end": time.time(), "step": INTERVAL}
        states: dict[str, dict[float, str]] = {}
        for series in self.ask("query_range", **arguments)["result"]:
            labels = series["metric"]
            for at, _ in series["values"]:
                states.setdefault(labels["alertname"], {})[float(at) - self.begun] = labels["alertstate"]
        ticks = [tick * INTERVAL for tick in range(int((time.time() - self.begun) / INTERVAL))]
        return {name: _changes([(at, _near(found, at)) for at in ticks]) for name, found in sorted(states.items())}

    def ask(self, path: str, **arguments: object) -> dict:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", f"/api/v1/{path}?{urlencode(arguments)}")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def post(self, depth: int, jobs: int) -> None:
        """Tell the agent, as an application does over OTLP, how deep the queue is and how many jobs there were."""
        body = metrics_of(_gauge({"orders": depth}), _total({"orders": jobs}))
        connection = HTTPConnection("127.0.0.1", self.agent.http_port, timeout=10)
        connection.request("POST", "/v1/metrics", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()


def gauge_of(depths: dict[str, int]) -> str:
    """A request that tells how deep each queue is."""
    return metrics_of(_gauge(depths))


def metrics_of(*metrics: dict) -> str:
    """An OTLP/JSON request of an application called shop."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]})


def _gauge(depths: dict[str, int]) -> dict:
    return {"name": "depth", "gauge": {"dataPoints": [_point(queue, depth) for queue, depth in depths.items()]}}


def _total(jobs: dict[str, int]) -> dict:
    points = [_point(queue, count) for queue, count in jobs.items()]
    return {"name": "jobs", "sum": {"dataPoints": points, "isMonotonic": True, "aggregationTemporality": 2}}


def _point(queue: str, value: int) -> dict:
    attributes = [{"key": "queue", "value": {"stringValue": queue}}]
    now = str(time.time_ns())
    return {"asInt": str(value), "timeUnixNano": now, "startTimeUnixNano": "1", "attributes": attributes}


def _near(found: dict[float, str], at: float) -> str:
    return next((state for when, state in found.items() if abs(when - at) < INTERVAL / 2), "inactive")


def _changes(states: list[tuple[float, str]]) -> list[tuple[float, str]]:
    changed, before = [], "inactive"
    for at, state in states:
        if state != before:
            changed.append((at, state))
        before = state
    return changed


@contextmanager
def both(prometheus: str, folder: Path) -> Iterator[Judges]:
    """Start the agent and *prometheus*, whose files go into *folder*, and wait until the first has been scraped."""
    (folder / "live.rules.yaml").write_text(RULES, encoding="utf-8")
    files = {"otel-latency.yaml": CONFIG, "live.rules.yaml": RULES}
    with running_agent(files=files) as agent, _prometheus(prometheus, folder, agent.web_port) as port:
        judges = Judges(agent, port)
        deadline = time.monotonic() + 20
        while not judges.ask("query", query="up == 1")["result"]:
            assert time.monotonic() < deadline, "Prometheus does not scrape the agent"
            time.sleep(0.1)
        yield judges


@contextmanager
def _prometheus(program: str, folder: Path, target: int) -> Iterator[int]:
    interval = f"{INTERVAL * 1000:.0f}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["live.rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "agent",
                "static_configs": [{"targets": [f"127.0.0.1:{target}"], "labels": {"instance": "agent"}}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + 20
        while not (found := re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        time.sleep(0.2)
        yield int(found[1])
    finally:
        end(process)
