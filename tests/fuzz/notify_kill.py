"""Kills the pipeline at random moments while a webhook and PagerDuty are slow, down, or answer 429 and 500.

`python -m tests.fuzz.notify_kill 200` runs as many fire/resolve cycles, and about as many kills. A driver process
hands alerts to the pipeline and notes each that was accepted; it is killed with SIGKILL and started again until it is
done. Asserted, for either notifier: every fire and every resolve was delivered at least once, a resolve never before
its fire, at most one repetition per kill, and the same deduplication key throughout. Each cycle is a group of its own:
an alert that fires again so soon would be damped, and not every change of it told.

The seed is printed; `--seed` repeats the faults, though not the moments of the kills to the microsecond.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from otel_latency.clock import SystemClock
from otel_latency.config.values import Secret
from otel_latency.notify import retry
from otel_latency.notify.client import Client
from otel_latency.notify.outbox import Outbox
from otel_latency.notify.pagerduty import PagerDuty
from otel_latency.notify.pipeline import Pipeline, Route
from otel_latency.notify.webhook import Webhook
from otel_latency.records import Alert

NAMES = ("slow_llm", "slow_stt", "errors")
GROUP_BY = ("alertname", "cycle")
EPOCH = 1_700_000_000
FAULTS = ("", "", "slow", "429", "500", "reset")
PACE = 0.06
SCALE = 0.02
"""Waits between attempts are this much shorter than in production."""

Event = tuple[str, int, str]
"""An alert's name, its cycle, and `firing` or `resolved`."""


@dataclass
class FarSide:
    """Counts what it was sent, and answers badly more often than not."""

    source: random.Random
    delivered: dict[str, list[Event]] = field(default_factory=lambda: {"/webhook": [], "/pagerduty": []})
    keys: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    is_down: bool = False
    answers: Counter[str] = field(default_factory=Counter)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = "down" if self.is_down else self.source.choice(FAULTS)
        self.answers[fault or "ok"] += 1
        if fault in {"429", "500"}:
            return web.Response(status=int(fault), headers={"Retry-After": "0.02"} if fault == "429" else {})
        if fault in {"down", "reset"}:
            return _cut(request)
        event = _event(request.path, body)
        self.delivered[request.path].append(event)
        self.keys.setdefault((request.path, event[1]), set()).add(body.get("dedup_key") or body["groupKey"])
        if fault == "slow":
            await asyncio.sleep(0.05)
        return web.Response(text="ok")


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _event(path: str, body: dict) -> Event:
    """Which event a request tells of; for PagerDuty it stands in the details."""
    if path == "/webhook":
        (alert,) = body["alerts"]
        return alert["labels"]["alertname"], int(alert["labels"]["cycle"]), alert["status"]
    details = body["payload"]["custom_details"]
    text = details["firing"] or details["resolved"]
    words = dict(line.strip(" -").split(" = ") for line in text.splitlines() if " = " in line)
    return words["alertname"], int(words["cycle"]), "firing" if details["firing"] else "resolved"


def events(cycles: int) -> list[Event]:
    return [(NAMES[cycle % len(NAMES)], cycle, status) for cycle in range(cycles) for status in ("firing", "resolved")]


def _alert(event: Event) -> Alert:
    name, cycle, status = event
    start = EPOCH + cycle
    firing = Alert({"alertname": name, "cycle": str(cycle)}, {}, start, start + 240, True, 1.0)
    return firing if status == "firing" else replace(firing, is_firing=False, ends_at=start + 0.5)


async def drive(folder: Path, port: int, cycles: int) -> None:
    """Take up where the last driver was killed; end once all is delivered."""
    clock = SystemClock()
    client = Client(clock)
    base = f"http://127.0.0.1:{port}"
    routes = [
        Route(Webhook("webhook", client, Secret(f"{base}/webhook")), "webhook", group_by=GROUP_BY),
        Route(
            PagerDuty("pagerduty", client, Secret("key"), Secret(f"{base}/pagerduty")), "pagerduty", group_by=GROUP_BY
        ),
    ]
    pipeline = Pipeline(
        routes,
        Outbox(folder / "notify.db"),
        clock,
        delay=lambda attempt: SCALE * retry.delay(min(attempt, 5)),
        closing=client.close,
        retry_tick=0.01,
    )
    print("ready", flush=True)
    await pipeline.start()
    assert not pipeline.fault, pipeline.fault
    delivering = asyncio.create_task(pipeline.run())
    ledger = os.open(folder / "accepted", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    done = (folder / "accepted").stat().st_size
    for event in events(cycles)[done:]:
        await pipeline.accept([_alert(event)])
        os.write(ledger, b".")
        await asyncio.sleep(PACE)
    while any(pipeline.queued().values()):
        await asyncio.sleep(0.01)
    delivering.cancel()
    await asyncio.wait([delivering])
    await pipeline.close()


async def run(cycles: int, kills: int, seed: int) -> str:
    """Do it all and judge; the answer is a line about what happened."""
    source = random.Random(seed)
    far_side = FarSide(random.Random(seed + 1))
    app = web.Application()
    app.router.add_post("/{name}", far_side.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        with tempfile.TemporaryDirectory() as folder:
            killed = await _killing(Path(folder), port, cycles, kills, source, far_side)
    finally:
        await runner.cleanup()
    judge(far_side, cycles, killed)
    repeated = {path: len(got) - 2 * cycles for path, got in far_side.delivered.items()}
    return f"{cycles} cycles, {killed} kills, repeated {repeated}, answers {dict(far_side.answers)}"


async def _killing(folder: Path, port: int, cycles: int, kills: int, source: random.Random, far_side: FarSide) -> int:
    """How often a driver was killed before one came to its end."""
    command = [sys.executable, __file__, "--drive", str(folder), "--port", str(port), str(cycles)]
    killed = 0
    while True:
        driver = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        far_side.is_down = killed < kills and source.random() < 0.2
        assert driver.stdout is not None
        await driver.stdout.readline()
        try:
            await asyncio.wait_for(driver.wait(), source.random() * 0.3 if killed < kills else 120.0)
        except TimeoutError:
            assert killed < kills, "the last driver did not come to its end"
            driver.send_signal(signal.SIGKILL)
            await driver.wait()
            killed += 1
        else:
            assert driver.returncode == 0, f"the driver failed with {driver.returncode}"
            return killed


def judge(far_side: FarSide, cycles: int, killed: int) -> None:
    """The promises, for each notifier."""
    expected = events(cycles)
    for path, got in far_side.delivered.items():
        counts = Counter(got)
        assert set(expected) == set(counts), (path, set(expected) ^ set(counts))
        assert len(got) - len(expected) <= killed, (path, killed, counts.most_common(5))
        for cycle in range(cycles):
            firsts = list(dict.fromkeys(event for event in got if event[1] == cycle))
            assert [event for event in expected if event[1] == cycle] == firsts, (path, firsts)
    assert {len(keys) for keys in far_side.keys.values()} == {1}, far_side.keys
    assert len({key for keys in far_side.keys.values() for key in keys}) == 2 * cycles, far_side.keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cycles", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        logging.getLogger("otel_latency").setLevel(logging.CRITICAL)
        asyncio.run(drive(options.drive, options.port, options.cycles))
        return
    print(f"seed {options.seed}", flush=True)
    print(asyncio.run(run(options.cycles, options.kills or options.cycles, options.seed)))


if __name__ == "__main__":
    main()
