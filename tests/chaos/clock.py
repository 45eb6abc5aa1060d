"""The wall clock steps while the whole agent works: by ten seconds, an hour and a day, to and fro.

    python -m tests.chaos.clock [ROUNDS] [--hold SECONDS] [--fake-monotonic | --forgetful]

Needs libfaketime, of Debian's package `faketime`. Producers send while the agent's clock jumps away and back. Rules
look for what would be false: far too many spans, a stop of the stream, a stream that is not there. None of them may
leave `inactive`; counters count each span once, and the minutes of the history hold each once; and after each step an
acknowledgement, an evaluation of the rules and the next write of the history may take no more than twice their time.

Controls: with `--fake-monotonic` the clock that waits are made by jumps as well, and they must be too long; with
`--forgetful` the history has no more than the windows hold (see `forgetful`), and minutes must lack spans.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.delivery_kill import SERIES, STAGES, Producers
from running import RunningAgent, running_agent, total

STEPS = (10, -10, 3600, -3600, 86400, -86400)
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
FORGETFUL = (sys.executable, "-P", str(Path(__file__).with_name("forgetful.py")))
SPANS_PER_SECOND = 1_000.0
WARM_UP = 3.0
INTERVAL = 0.25
WAITS = {"acknowledgement": 0.25, "evaluation": INTERVAL, "write": 2.0}
"""What each may take; writes rest twenty times as long as they took, and a second at least."""
HOLD = 5.0
CACHED = 1
"""Seconds for which libfaketime keeps an offset. Without that every wait for the interpreter's lock reads the file."""
NEAR = 3.0
"""Seconds; the shortest step is longer."""
SLACK = 0.25
"""For a busy machine, and for how often we look."""
RULES = """\
groups:
  - name: clock
    rules:
      - alert: Many
        expr: sum(rate(otel_latency_stages_total[10s])) > 100000
      - alert: Stopped
        expr: sum(rate(otel_latency_stages_total[10s])) < 1
      - alert: Gone
        expr: absent(otel_latency_stages_total)
"""
CONFIG = "rules: {files: [clock.rules.yaml], interval: 250ms, sample_interval: 250ms}\n"


class NoFakeTimeError(Exception):
    """libfaketime is not installed."""


@dataclass
class Found:
    """What was seen in all steps: alerts that were not inactive, and the longest waits, in seconds."""

    steps: int = 0
    alerts: set[str] = field(default_factory=set)
    waits: dict[str, float] = field(default_factory=dict)
    acknowledged: int = 0
    counted: int = 0
    minutes: int = 0

    @property
    def long_waits(self) -> dict[str, float]:
        """Those of more than twice their time."""
        return {name: seconds for name, seconds in self.waits.items() if seconds > 2 * WAITS[name] + SLACK}

    @property
    def is_well(self) -> bool:
        is_whole = 0 < self.acknowledged == self.counted == self.minutes
        return is_whole and not self.alerts and not self.long_waits


class FakeClock:
    """The offset of a process' wall clock, in a file that libfaketime reads."""

    def __init__(self, folder: Path, *, is_monotonic_too: bool = False) -> None:
        """Raises NoFakeTimeError."""
        self._file = folder / "offset"
        found = next((path for root in LIBRARIES for path in Path(root).rglob("libfaketimeMT.so.1")), None)
        if found is None:
            raise NoFakeTimeError("a clock that steps needs libfaketime")
        self.set(0)
        variables = {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(CACHED),
            "FAKETIME_DONT_FAKE_MONOTONIC": str(int(not is_monotonic_too)),
        }
        self.prefix = ["env", *(f"{name}={value}" for name, value in variables.items())]

    def set(self, seconds: int) -> None:
        """Step to so many seconds beside the real time."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}")
        draft.rename(self._file)


def run(
    rounds: int = 1,
    steps: tuple[int, ...] = STEPS,
    hold: float = HOLD,
    *,
    fake_monotonic: bool = False,
    is_forgetful: bool = False,
) -> Found:
    """Raises NoFakeTimeError."""
    found = Found()
    producers = Producers(SPANS_PER_SECOND, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock = FakeClock(folder, is_monotonic_too=fake_monotonic)
        files = {"clock.rules.yaml": RULES, "otel-latency.yaml": CONFIG}
        prefix = [*clock.prefix, *FORGETFUL] if is_forgetful else clock.prefix
        with running_agent(prefix=prefix, directory=folder, files=files) as agent:
            producers.agent = agent
            producers.start()
            try:
                time.sleep(WARM_UP)
                for offset in [offset for _ in range(rounds) for step in steps for offset in (step, 0)]:
                    clock.set(offset)
                    is_seen = steps_by(agent, offset)
                    assert is_seen or fake_monotonic, f"its clock is not {offset:+} s off"
                    observe(agent, producers, hold, found)
                    if fake_monotonic and found.long_waits:
                        agent.process.kill()
                        return found
            finally:
                producers.agent = None if fake_monotonic else producers.agent
                clock.set(0)
                producers.stop(is_patient=not fake_monotonic)
            found.acknowledged = producers.acknowledged
            found.counted = int(total(agent.metrics(), STAGES))
            found.minutes = in_minutes(agent)
    return found


def steps_by(agent: RunningAgent, offset: int) -> bool:
    """Wait until the agent's clock is so many seconds off; whether it is."""
    until = time.monotonic() + 3 * CACHED
    while time.monotonic() < until:
        if is_true(lambda: abs(clock_of(agent) - time.time() - offset) < NEAR):
            return True
        time.sleep(0.01)
    return False


def clock_of(agent: RunningAgent) -> float:
    """Its Unix time, well or not."""
    told = json.loads(agent.get("/health", timeout=1.0)[1])
    return datetime.fromisoformat(told["timestamp"]).timestamp()


def observe(agent: RunningAgent, producers: Producers, hold: float, found: Found) -> None:
    """Look at the agent for so long after a step."""
    found.steps += 1
    began = time.monotonic()
    start = {"acknowledgement": producers.acknowledged, "evaluation": evaluated(agent), "write": position(agent)}
    seen: dict[str, Callable[[], bool]] = {
        "acknowledgement": lambda: producers.acknowledged > start["acknowledgement"],
        "evaluation": lambda: evaluated(agent) != start["evaluation"],
        "write": lambda: committed(agent) >= start["write"],
    }
    waiting = set(seen)
    while (passed := time.monotonic() - began) < hold:
        for name in [name for name in waiting if is_true(seen[name])]:
            waiting.discard(name)
            found.waits[name] = max(found.waits.get(name, 0.0), time.monotonic() - began)
        found.alerts |= alerts(agent)
        time.sleep(0.02)
    for name in waiting:
        found.waits[name] = max(found.waits.get(name, 0.0), passed)


def is_true(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except (OSError, HTTPException):
        return False  # no answer is none in time


def asked(agent: RunningAgent, path: str) -> dict[str, object]:
    """A page; nothing where there is no answer in time."""
    try:
        status, answer = agent.get(path, timeout=1.0)
    except (OSError, HTTPException):
        return {}
    assert status == 200, answer
    told: dict[str, object] = json.loads(answer)
    return told


def alerts(agent: RunningAgent) -> set[str]:
    """Those that are pending or firing."""
    told = asked(agent, "/api/v1/alerts")
    return {f"{one['labels']['alertname']} {one['state']}" for one in told["data"]["alerts"]} if told else set()


def evaluated(agent: RunningAgent) -> object:
    """When the rules were evaluated last, by the agent's clock."""
    told = asked(agent, "/api/v1/rules")
    return told["data"]["groups"][0]["lastEvaluation"] if told else None


def position(agent: RunningAgent) -> int:
    """That of the newest record of the log."""
    told = asked(agent, "/status")
    return told["log"]["position"] if told else 0


def committed(agent: RunningAgent) -> int:
    """The last record whose effects are in the history."""
    told = asked(agent, "/status")
    return told["log"]["readers"]["aggregate"]["committed"] if told else -1


def in_minutes(agent: RunningAgent) -> int:
    """What the history's minutes hold, of all days that there were."""
    now = time.time()
    path = f"/api/v1/history?series={SERIES}&from={now - 3 * 86400:.0f}&to={now + 3 * 86400:.0f}&step=1d"
    status, answer = agent.get(path, timeout=30.0)
    assert status == 200, answer
    return sum(point["count"] for one in json.loads(answer)["series"] for point in one["points"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=1)
    parser.add_argument("--hold", type=float, default=HOLD, help="seconds between two steps (%(default)s)")
    controls = parser.add_mutually_exclusive_group()
    controls.add_argument("--fake-monotonic", action="store_true", help="a control: waits must be too long")
    controls.add_argument("--forgetful", action="store_true", help="a control: minutes must lack spans")
    asked = parser.parse_args()
    found = run(asked.rounds, hold=asked.hold, fake_monotonic=asked.fake_monotonic, is_forgetful=asked.forgetful)
    print(found)
    if asked.fake_monotonic:
        return int(not found.long_waits)
    if asked.forgetful:
        return int(not found.minutes < found.counted == found.acknowledged)
    return int(not found.is_well)


if __name__ == "__main__":
    sys.exit(main())
