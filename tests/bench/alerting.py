"""How soon an alert is told, and how close the agent and a real Prometheus are on the same traffic.

Told: from the answer to the request whose gauge breaches, to the arrival of the webhook; the rule has a `for` of 1 s,
evaluated every 250 ms or every second. Transitions: one rule file of seven rules, in the agent and in Debian's
Prometheus, which scrapes and evaluates every 250 ms as the agent does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

from bench.report import Figure, run
from live_rules import INTERVAL, Judges, both
from running import running_agent

HOLD = 1.0
RULE = """\
groups:
  - name: g
    rules:
      - alert: Deep
        expr: depth > 5
        for: 1s
"""
CONFIG = """\
rules: {{files: [a.rules.yaml], interval: {interval}, sample_interval: {interval}}}
notify: [{{name: hook, type: webhook, url: "http://127.0.0.1:{port}/", flap_interval: 0s}}]
"""


def webhook(arrivals: Queue[float]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            arrivals.put(time.monotonic())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def delays(interval: str, rounds: int) -> list[float]:
    """Seconds beyond the `for`, of a breach and of its end in turns."""
    arrivals: Queue[float] = Queue()
    server = webhook(arrivals)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    files = {"otel-latency.yaml": CONFIG.format(interval=interval, port=server.server_port), "a.rules.yaml": RULE}
    found = []
    with running_agent(files=files) as agent:
        judges = Judges(agent, 0)
        for number in range(rounds):
            time.sleep(2.2 + 0.137 * (number % 7))  # anywhere between two evaluations
            judges.post(0 if number % 2 else 9, number)
            begun = time.monotonic()
            hold = 0.0 if number % 2 else HOLD
            found.append(arrivals.get(timeout=10) - begun - hold)
    server.shutdown()
    server.server_close()
    return sorted(found)


def differences(program: str) -> list[float]:
    """Seconds between the same transition here and there; raises if they are not the same."""
    with tempfile.TemporaryDirectory() as folder, both(program, Path(folder)) as judges:
        judges.drive()
        judges.settle()
        ours, theirs = judges.transitions("agent"), judges.transitions("prometheus")
    found = []
    for name, changes in theirs.items():
        assert [state for _, state in changes] == [state for _, state in ours[name]], json.dumps([name, ours, theirs])
        found += [abs(mine - their) for (mine, _), (their, _) in zip(ours[name], changes, strict=True)]
    return sorted(found)


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    for interval, seconds in (("250ms", 0.25), ("1s", 1.0)):
        found = delays(interval, arguments.rounds)
        bar = seconds + 0.3
        detail = f"median of {len(found)} {found[len(found) // 2]:.3f} s"
        yield Figure(f"breach or end to webhook, beyond `for`, every {interval}", found[-1], "s", bar, detail)
    program = shutil.which("prometheus")
    if program is None:
        raise SystemExit("prometheus is not there: apt-get install prometheus")
    found = differences(program)
    yield Figure("transitions, farthest from Prometheus", found[-1], "s", 2 * INTERVAL, f"of {len(found)} transitions")


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (20, "breaches and ends to time")})
