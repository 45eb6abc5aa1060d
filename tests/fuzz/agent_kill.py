"""Kills a whole agent at random moments while alerts fire and resolve, and its webhook is slow, down, 429 or 500.

`python -m tests.fuzz.agent_kill 200` runs as many fire/resolve cycles, with about as many kills. An application tells
the agent over OTLP how deep its queue is, ten times a second, and is told nothing else. In each cycle the queue of that
cycle is deep until the agent says that its alert fires, and shallow until it says that it is over; SIGKILL may come at
any moment. Asserted: the webhook got every fire and every resolve, a resolve never before its fire, at most one
repetition per kill, and the same group key throughout.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

if __package__ == "tests.fuzz":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from live_rules import gauge_of
from running import command, end

PATIENCE = 60.0
FAULTS = ("", "", "slow", "429", "500", "down")
RULES = """\
groups:
  - name: queues
    interval: 250ms
    rules:
      - alert: Deep
        expr: depth > 5
        for: 250ms
"""
CONFIG = """\
otlp: {{http: {{port: {http}}}, grpc: {{enabled: false}}}}
web: {{port: {web}}}
rules: {{files: [queues.rules.yaml], interval: 250ms, sample_interval: 250ms, resend_delay: 1s}}
notify: [{{name: hook, type: webhook, url: "http://127.0.0.1:{hook}/", group_by: [alertname, queue]}}]
"""

Event = tuple[str, str]
"""A queue, and `firing` or `resolved`."""


class FarSide(ThreadingHTTPServer):
    """Counts what it was sent, and answers badly more often than not, until `is_well`."""

    daemon_threads = True

    def __init__(self, source: random.Random) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.source = source
        self.is_well = False
        self.delivered: list[Event] = []
        self.keys: dict[str, set[str]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: FarSide

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = "" if self.server.is_well else self.server.source.choice(FAULTS)
        if fault == "down":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault in ("429", "500"):
            self.send_response(int(fault))
            self.send_header("Retry-After", "0.1")
            self.end_headers()
            return
        queue = body["groupLabels"]["queue"]
        self.server.delivered.append((queue, body["status"]))
        self.server.keys.setdefault(queue, set()).add(body["groupKey"])
        if fault == "slow":
            time.sleep(0.3)
        try:
            self.send_response(200)
            self.end_headers()
        except OSError:
            pass  # the agent was killed while it waited

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Application:
    """Tells how deep its queues are, ten times a second."""

    def __init__(self, port: int) -> None:
        self.depths: dict[str, int] = {}
        self._port = port
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.1):
            connection = HTTPConnection("127.0.0.1", self._port, timeout=2)
            try:
                connection.request("POST", "/v1/metrics", gauge_of(dict(self.depths)), _JSON)
                connection.getresponse().read()
            except (OSError, HTTPException):
                pass  # the agent is not there at this moment
            finally:
                connection.close()


_JSON = {"Content-Type": "application/json"}


class Victim:
    """The agent in *folder*, which is killed and started again."""

    def __init__(self, folder: Path, hook: int) -> None:
        self.http, self.web = free_port(), free_port()
        self.kills = 0
        self._folder = folder
        (folder / "queues.rules.yaml").write_text(RULES, encoding="utf-8")
        (folder / "otel-latency.yaml").write_text(CONFIG.format(http=self.http, web=self.web, hook=hook), "utf-8")
        self._process = self._start()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._process = self._start()

    def stop(self) -> None:
        end(self._process)

    def states(self) -> dict[str, str]:
        """The state of each queue's alert. Raises OSError while the agent is not there."""
        connection = HTTPConnection("127.0.0.1", self.web, timeout=2)
        try:
            connection.request("GET", "/api/v1/alerts")
            answer = json.loads(connection.getresponse().read())
        except HTTPException as error:
            raise ConnectionError from error
        finally:
            connection.close()
        return {alert["labels"]["queue"]: alert["state"] for alert in answer["data"]["alerts"]}

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "agent.log").open("ab") as log:
            return subprocess.Popen(command(), cwd=self._folder, stdout=log, stderr=log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def house(source: random.Random) -> Iterator[tuple[FarSide, Victim, Application]]:
    with tempfile.TemporaryDirectory() as folder:
        far_side = FarSide(source)
        threading.Thread(target=far_side.serve_forever, daemon=True).start()
        victim = Victim(Path(folder), far_side.server_port)
        application = Application(victim.http)
        try:
            yield far_side, victim, application
        finally:
            application.stop()
            victim.stop()
            far_side.shutdown()
            far_side.server_close()


def run(cycles: int, seed: int) -> str:
    """Do it all and judge; the answer is a line about what happened."""
    source = random.Random(seed)
    with house(random.Random(seed + 1)) as (far_side, victim, application):
        for cycle in range(cycles):
            queue = f"q{cycle}"
            for depth, wanted in ((9, "firing"), (0, "")):
                application.depths = {**{f"q{before}": 0 for before in range(max(cycle - 20, 0), cycle)}, queue: depth}
                _until(queue, wanted, victim, source)
        far_side.is_well = True
        expected = {(f"q{cycle}", status) for cycle in range(cycles) for status in ("firing", "resolved")}
        deadline = time.monotonic() + PATIENCE
        while not expected <= set(far_side.delivered) and time.monotonic() < deadline:
            time.sleep(0.1)
        judge(far_side, expected, victim.kills)
        return f"{cycles} cycles, {victim.kills} kills, {len(far_side.delivered) - len(expected)} repeated"


def _until(queue: str, wanted: str, victim: Victim, source: random.Random) -> None:
    """Wait for the agent to say so, with a kill at some moment, unless it comes sooner."""
    deadline = time.monotonic() + PATIENCE
    kill_at: float | None = time.monotonic() + source.random() * 0.8
    while not _is(queue, wanted, victim):
        assert time.monotonic() < deadline, f"the alert of {queue} does not become {wanted or 'resolved'}"
        if kill_at is not None and time.monotonic() > kill_at:
            kill_at = None
            victim.kill()
        time.sleep(source.random() * 0.05)


def _is(queue: str, wanted: str, victim: Victim) -> bool:
    try:
        return victim.states().get(queue, "") == wanted
    except OSError:
        return False  # nobody there to say so


def judge(far_side: FarSide, expected: set[Event], kills: int) -> None:
    counts = Counter(far_side.delivered)
    assert expected == set(counts), f"lost {expected - set(counts)}, never asked for {set(counts) - expected}"
    assert len(far_side.delivered) - len(expected) <= kills, counts.most_common(5)
    firsts = list(dict.fromkeys(far_side.delivered))
    for queue, keys in far_side.keys.items():
        assert firsts.index((queue, "firing")) < firsts.index((queue, "resolved")), queue
        assert len(keys) == 1, keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cycles", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    print(run(options.cycles, options.seed))


if __name__ == "__main__":
    main()
